-- Operators' endpoints: their list, and new secrets for them. No clinic's user reaches these.

GRANT UPDATE (verify_token_sealed) ON app.webhook_endpoints TO acolhe_definer;
GRANT UPDATE (not_after), DELETE ON app.webhook_endpoint_secrets TO acolhe_definer;

SET LOCAL ROLE acolhe_definer;

CREATE FUNCTION sec.list_shared_endpoints()
RETURNS TABLE (endpoint_id uuid, provider text, path_key text, channels bigint, secrets bigint,
               created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT e.id, e.provider, e.path_key,
           (SELECT count(*) FROM app.channels c WHERE c.endpoint_id = e.id),
           (SELECT count(*) FROM app.webhook_endpoint_secrets s
            WHERE s.endpoint_id = e.id AND (s.not_after IS NULL OR s.not_after > now())),
           e.created_at
    FROM app.webhook_endpoints e WHERE e.clinic_id IS NULL ORDER BY e.created_at, e.id
$$;

-- A new secret beside the older ones, which end at p_older_until or at their own earlier end; and a
-- new verify token where one is given. Answers whether there is such an endpoint of the operator.
CREATE FUNCTION sec.rotate_shared_endpoint(p_endpoint uuid, p_secret_id uuid, p_secret_sealed bytea,
    p_verify_token_sealed bytea, p_older_until timestamptz, p_at timestamptz, p_log_id uuid,
    p_request uuid)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- FOR UPDATE: two rotations at once leave one secret that does not end, not two.
    PERFORM FROM app.webhook_endpoints e WHERE e.id = p_endpoint AND e.clinic_id IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE app.webhook_endpoint_secrets s SET not_after = p_older_until
    WHERE s.endpoint_id = p_endpoint AND (s.not_after IS NULL OR s.not_after > p_older_until);
    DELETE FROM app.webhook_endpoint_secrets s
    WHERE s.endpoint_id = p_endpoint AND s.not_after <= p_at;
    INSERT INTO app.webhook_endpoint_secrets (endpoint_id, id, clinic_id, sealed, not_after,
                                              created_at)
    VALUES (p_endpoint, p_secret_id, NULL, p_secret_sealed, NULL, p_at);
    UPDATE app.webhook_endpoints e SET verify_token_sealed = p_verify_token_sealed
    WHERE e.id = p_endpoint AND p_verify_token_sealed IS NOT NULL;
    INSERT INTO app.security_log (id, at, kind, request_id)
    VALUES (p_log_id, p_at, 'endpoint.secret-rotated', p_request);
    RETURN true;
END
$$;

GRANT EXECUTE ON FUNCTION sec.list_shared_endpoints() TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.rotate_shared_endpoint(uuid, uuid, bytea, bytea, timestamptz,
    timestamptz, uuid, uuid) TO acolhe_app;
RESET ROLE;
