-- Secrets sealed anew when the master key changes. The functions see sealed bytes alone.

GRANT UPDATE (sealed) ON app.webhook_endpoint_secrets TO acolhe_definer;

SET LOCAL ROLE acolhe_definer;

-- Signing secrets of every endpoint, and its verify token, which has no secret's id.
CREATE FUNCTION sec.list_sealed_secrets()
RETURNS TABLE (endpoint_id uuid, secret_id uuid, sealed bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.endpoint_id, s.id, s.sealed FROM app.webhook_endpoint_secrets s
    UNION ALL
    SELECT e.id, NULL, e.verify_token_sealed FROM app.webhook_endpoints e
$$;

-- A value that was changed since it was listed stays as it is. Answers how many were not.
CREATE FUNCTION sec.reseal_secrets(p_endpoints uuid[], p_secrets uuid[], p_before bytea[],
    p_after bytea[], p_at timestamptz, p_log_id uuid, p_request uuid)
RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH given AS (
        SELECT g.endpoint, g.secret, g.before, g.after
        FROM unnest(p_endpoints, p_secrets, p_before, p_after)
            AS g (endpoint, secret, before, after)
    ), secrets AS (
        UPDATE app.webhook_endpoint_secrets s SET sealed = g.after FROM given g
        WHERE s.endpoint_id = g.endpoint AND s.id = g.secret AND s.sealed = g.before
        RETURNING 1
    ), tokens AS (
        UPDATE app.webhook_endpoints e SET verify_token_sealed = g.after FROM given g
        WHERE g.secret IS NULL AND e.id = g.endpoint AND e.verify_token_sealed = g.before
        RETURNING 1
    ), noted AS (
        INSERT INTO app.security_log (id, at, kind, request_id)
        VALUES (p_log_id, p_at, 'keys.rotated', p_request)
    )
    SELECT (SELECT count(*) FROM secrets) + (SELECT count(*) FROM tokens)
$$;

GRANT EXECUTE ON FUNCTION sec.list_sealed_secrets() TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.reseal_secrets(uuid[], uuid[], bytea[], bytea[], timestamptz, uuid,
    uuid) TO acolhe_app;
RESET ROLE;
