-- Operators: who runs the installation, of no clinic. Each has one token, known here by its keyed
-- hash alone; it opens the operators' own listener and nothing else.

CREATE TABLE app.operators (
    id uuid CONSTRAINT operators_pk PRIMARY KEY,
    name text NOT NULL CONSTRAINT operators_name_length CHECK (char_length(name) BETWEEN 1 AND 100),
    token_hash bytea NOT NULL CONSTRAINT operators_token_hash_unique UNIQUE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    last_used_at timestamptz
);
CALL app.seal_from_all('app.operators');
CALL app.open_to_definer('app.operators');
GRANT SELECT, INSERT, UPDATE (revoked_at, last_used_at) ON app.operators TO acolhe_definer;
CALL app.classify('app.operators', 'none: id created_at expires_at revoked_at last_used_at;
    personal: name; secret: token_hash');
-- Why a job failed is a code, never an error's own text: operators may read it.
GRANT SELECT (last_failure) ON app.jobs TO acolhe_definer;

SET LOCAL ROLE acolhe_definer;

CREATE FUNCTION sec.create_operator(p_id uuid, p_name text, p_token_hash bytea, p_at timestamptz,
    p_expires_at timestamptz, p_log_id uuid, p_request uuid)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO app.operators (id, name, token_hash, created_at, expires_at)
    VALUES (p_id, p_name, p_token_hash, p_at, p_expires_at);
    INSERT INTO app.security_log (id, at, kind, user_id, request_id)
    VALUES (p_log_id, p_at, 'operator.created', p_id, p_request)
$$;

CREATE FUNCTION sec.list_operators()
RETURNS TABLE (operator_id uuid, name text, created_at timestamptz, expires_at timestamptz,
    revoked_at timestamptz, last_used_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.id, o.name, o.created_at, o.expires_at, o.revoked_at, o.last_used_at
    FROM app.operators o ORDER BY o.created_at, o.id
$$;

-- Answers whether there was such an operator whose token was not revoked yet.
CREATE FUNCTION sec.revoke_operator(p_id uuid, p_at timestamptz, p_log_id uuid, p_request uuid)
RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH revoked AS (
        UPDATE app.operators o SET revoked_at = p_at
        WHERE o.id = p_id AND o.revoked_at IS NULL RETURNING o.id
    ), noted AS (
        INSERT INTO app.security_log (id, at, kind, user_id, request_id)
        SELECT p_log_id, p_at, 'operator.revoked', r.id, p_request FROM revoked r
    )
    SELECT EXISTS (SELECT FROM revoked)
$$;

-- The operator whose token it is, where it may be used. When it was used is kept to the minute.
CREATE FUNCTION sec.find_operator(p_token_hash bytea, p_at timestamptz)
RETURNS TABLE (operator_id uuid, name text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE app.operators o SET last_used_at = p_at
    WHERE o.token_hash = p_token_hash AND o.revoked_at IS NULL AND o.expires_at > p_at
      AND (o.last_used_at IS NULL OR o.last_used_at < p_at - interval '1 minute');
    RETURN QUERY SELECT o.id, o.name FROM app.operators o
    WHERE o.token_hash = p_token_hash AND o.revoked_at IS NULL AND o.expires_at > p_at;
END
$$;

-- Every clinic with what operators count: never its people's data.
CREATE FUNCTION sec.count_clinics()
RETURNS TABLE (clinic_id uuid, name text, status text, created_at timestamptz, members bigint,
    channels bigint, dead_jobs bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.id, c.name, c.status, c.created_at, coalesce(m.members, 0),
           coalesce(h.channels, 0), coalesce(j.jobs, 0)
    FROM app.clinics c
    LEFT JOIN (SELECT s.clinic_id, count(*) AS members FROM app.memberships s
               WHERE s.status = 'active' GROUP BY 1) m ON m.clinic_id = c.id
    LEFT JOIN (SELECT s.clinic_id, count(*) AS channels FROM app.channels s GROUP BY 1) h
        ON h.clinic_id = c.id
    LEFT JOIN (SELECT s.clinic_id, count(*) AS jobs FROM app.jobs s
               WHERE s.state = 'dead' GROUP BY 1) j ON j.clinic_id = c.id
    ORDER BY c.name, c.id
$$;

-- Dead letters, newest first: why, and never of what.
CREATE FUNCTION sec.list_dead_jobs(p_most int)
RETURNS TABLE (clinic_id uuid, job_id uuid, queue text, kind text, attempts smallint, failure text,
    finished_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT j.clinic_id, j.id, j.queue, j.kind, j.attempts, j.last_failure, j.finished_at
    FROM app.jobs j WHERE j.state = 'dead'
    ORDER BY j.finished_at DESC NULLS LAST, j.id DESC LIMIT least(p_most, 1000)
$$;

GRANT EXECUTE ON FUNCTION sec.create_operator(uuid, text, bytea, timestamptz, timestamptz, uuid,
    uuid) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.list_operators() TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.revoke_operator(uuid, timestamptz, uuid, uuid) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.find_operator(bytea, timestamptz) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.count_clinics() TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.list_dead_jobs(int) TO acolhe_app;
RESET ROLE;
