-- What operators set for the whole installation and for single clinics: feature flags, and the
-- requests of plans that are not the default one. The server reads all of it through one function and
-- holds it in memory. Nobody's tables: sealed from the server's role.

-- One row: raised by each change, so that a node asks for nothing that it has.
CREATE TABLE app.rollout_revision (
    id boolean DEFAULT true CONSTRAINT rollout_revision_pk PRIMARY KEY,
    revision bigint NOT NULL DEFAULT 1,
    CONSTRAINT rollout_revision_one CHECK (id)
);
INSERT INTO app.rollout_revision DEFAULT VALUES;

-- Of the clinics without a word of their own, the hundredth part for which a flag is on.
CREATE TABLE app.flag_rules (
    flag text CONSTRAINT flag_rules_pk PRIMARY KEY,
    percentage smallint NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT flag_rules_flag_form CHECK (flag ~ '^[a-z][a-z0-9-]{0,62}$'),
    CONSTRAINT flag_rules_percentage_range CHECK (percentage BETWEEN 0 AND 100)
);

-- A clinic's own word.
CREATE TABLE app.flag_clinics (
    clinic_id uuid NOT NULL CONSTRAINT flag_clinics_clinic_fk REFERENCES app.clinics (id),
    flag text NOT NULL,
    is_on boolean NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT flag_clinics_pk PRIMARY KEY (clinic_id, flag),
    CONSTRAINT flag_clinics_flag_form CHECK (flag ~ '^[a-z][a-z0-9-]{0,62}$')
);

-- Plans that differ from the default.
CREATE TABLE app.clinic_plans (
    clinic_id uuid CONSTRAINT clinic_plans_pk PRIMARY KEY
        CONSTRAINT clinic_plans_clinic_fk REFERENCES app.clinics (id),
    requests_per_minute integer NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT clinic_plans_requests_range CHECK (requests_per_minute BETWEEN 1 AND 60000000)
);

CALL app.seal_from_all('app.rollout_revision');
CALL app.seal_from_all('app.flag_rules');
CALL app.seal_from_all('app.flag_clinics');
CALL app.seal_from_all('app.clinic_plans');
CALL app.open_to_definer('app.rollout_revision');
CALL app.open_to_definer('app.flag_rules');
CALL app.open_to_definer('app.flag_clinics');
CALL app.open_to_definer('app.clinic_plans');
GRANT SELECT, UPDATE ON app.rollout_revision TO acolhe_definer;
GRANT SELECT, INSERT, UPDATE, DELETE ON app.flag_rules, app.flag_clinics, app.clinic_plans
    TO acolhe_definer;
CALL app.classify('app.rollout_revision', 'none: id revision');
CALL app.classify('app.flag_rules', 'none: flag percentage updated_at');
CALL app.classify('app.flag_clinics', 'none: clinic_id flag is_on updated_at');
CALL app.classify('app.clinic_plans', 'none: clinic_id requests_per_minute updated_at');

-- Why an operator did what the log says.
ALTER TABLE app.security_log ADD COLUMN reason text;
CALL app.classify('app.security_log', 'none: reason');

SET LOCAL ROLE acolhe_definer;

-- Everything, where the caller's revision is not the present one; no row otherwise. The first row is
-- the revision alone.
CREATE FUNCTION sec.read_rollout(p_known bigint)
RETURNS TABLE (revision bigint, kind text, name text, clinic_id uuid, value integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH present AS (
        SELECT r.revision FROM app.rollout_revision r WHERE r.revision <> p_known
    )
    SELECT p.revision, 'revision', '', NULL::uuid, 0 FROM present p
    UNION ALL
    SELECT p.revision, 'rule', f.flag, NULL, f.percentage::integer
    FROM present p, app.flag_rules f
    UNION ALL
    SELECT p.revision, 'clinic', c.flag, c.clinic_id, c.is_on::integer
    FROM present p, app.flag_clinics c
    UNION ALL
    SELECT p.revision, 'plan', '', l.clinic_id, l.requests_per_minute
    FROM present p, app.clinic_plans l
$$;

-- Sets a flag's percentage, or takes the rule away where none is given.
CREATE FUNCTION sec.set_flag(p_flag text, p_percentage integer, p_at timestamptz, p_log_id uuid,
    p_request uuid, p_reason text)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- First: changes come one after the other, each with a revision of its own.
    UPDATE app.rollout_revision SET revision = revision + 1;
    IF p_percentage IS NULL THEN
        DELETE FROM app.flag_rules f WHERE f.flag = p_flag;
    ELSE
        INSERT INTO app.flag_rules (flag, percentage, updated_at)
        VALUES (p_flag, p_percentage, p_at)
        ON CONFLICT ON CONSTRAINT flag_rules_pk
            DO UPDATE SET percentage = excluded.percentage, updated_at = excluded.updated_at;
    END IF;
    INSERT INTO app.security_log (id, at, kind, request_id, reason)
    VALUES (p_log_id, p_at,
        'flag.' || p_flag || CASE WHEN p_percentage IS NULL THEN '.cleared'
                                  ELSE '.set-' || p_percentage END,
        p_request, p_reason);
END
$$;

-- A clinic's own word on a flag, or none any more.
CREATE FUNCTION sec.set_clinic_flag(p_clinic uuid, p_flag text, p_is_on boolean, p_at timestamptz,
    p_log_id uuid, p_request uuid, p_reason text)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE app.rollout_revision SET revision = revision + 1;
    IF p_is_on IS NULL THEN
        DELETE FROM app.flag_clinics c WHERE c.clinic_id = p_clinic AND c.flag = p_flag;
    ELSE
        INSERT INTO app.flag_clinics (clinic_id, flag, is_on, updated_at)
        VALUES (p_clinic, p_flag, p_is_on, p_at)
        ON CONFLICT ON CONSTRAINT flag_clinics_pk
            DO UPDATE SET is_on = excluded.is_on, updated_at = excluded.updated_at;
    END IF;
    INSERT INTO app.security_log (id, at, kind, clinic_id, request_id, reason)
    VALUES (p_log_id, p_at,
        'flag.' || p_flag || CASE p_is_on WHEN true THEN '.on' WHEN false THEN '.off'
                                          ELSE '.cleared' END,
        p_clinic, p_request, p_reason);
END
$$;

-- A clinic's requests a minute, or the default plan's again.
CREATE FUNCTION sec.set_clinic_plan(p_clinic uuid, p_requests integer, p_at timestamptz,
    p_log_id uuid, p_request uuid, p_reason text)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE app.rollout_revision SET revision = revision + 1;
    IF p_requests IS NULL THEN
        DELETE FROM app.clinic_plans l WHERE l.clinic_id = p_clinic;
    ELSE
        INSERT INTO app.clinic_plans (clinic_id, requests_per_minute, updated_at)
        VALUES (p_clinic, p_requests, p_at)
        ON CONFLICT ON CONSTRAINT clinic_plans_pk
            DO UPDATE SET requests_per_minute = excluded.requests_per_minute,
                          updated_at = excluded.updated_at;
    END IF;
    INSERT INTO app.security_log (id, at, kind, clinic_id, request_id, reason)
    VALUES (p_log_id, p_at, 'plan.set', p_clinic, p_request, p_reason);
END
$$;

GRANT EXECUTE ON FUNCTION sec.read_rollout(bigint) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.set_flag(text, integer, timestamptz, uuid, uuid, text) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.set_clinic_flag(uuid, text, boolean, timestamptz, uuid, uuid, text)
    TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.set_clinic_plan(uuid, integer, timestamptz, uuid, uuid, text)
    TO acolhe_app;
RESET ROLE;
