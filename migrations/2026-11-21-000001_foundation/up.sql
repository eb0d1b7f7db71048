-- Tenants and who may act in them, the audit, the outbox with its stream, and jobs.
--
-- app  tables; row security enabled and forced on each of them
-- part partitions; no grants, so that none is reached but through its parent
-- sec  narrow SECURITY DEFINER functions: all that is ever seen across clinics

ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

CREATE SCHEMA app;
CREATE SCHEMA part;
CREATE SCHEMA sec;
GRANT USAGE ON SCHEMA app TO acolhe_app, acolhe_definer;
GRANT USAGE ON SCHEMA sec TO acolhe_app, acolhe_definer;
GRANT CREATE ON SCHEMA sec TO acolhe_definer;

-- The clinic of this transaction; NULL (no rows) when none is set. After a local setting ends it
-- reads '' and not NULL, hence NULLIF.
CREATE FUNCTION app.current_clinic() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid $$;
GRANT EXECUTE ON FUNCTION app.current_clinic() TO acolhe_app, acolhe_definer;

-- Seals one table off by clinic: enabled, forced, one policy. The policy's expression is inlined
-- and wrapped in a sub-select so that it is evaluated once a statement.
CREATE PROCEDURE app.seal_by_clinic(p_table regclass, p_column name DEFAULT 'clinic_id')
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', p_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', p_table);
    EXECUTE format(
        'CREATE POLICY tenant ON %s TO acolhe_app, acolhe_owner
         USING (%I = (SELECT NULLIF(current_setting(''app.clinic_id'', true), '''')::uuid))
         WITH CHECK (%I = (SELECT NULLIF(current_setting(''app.clinic_id'', true), '''')::uuid))',
        p_table, p_column, p_column);
END
$$;

-- Seals a table off from everybody but the definer functions.
CREATE PROCEDURE app.seal_from_all(p_table regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', p_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', p_table);
END
$$;

-- Lets the definer functions see all rows of a table; which columns, grants say.
CREATE PROCEDURE app.open_to_definer(p_table regclass) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format(
        'CREATE POLICY definer ON %s TO acolhe_definer USING (true) WITH CHECK (true)', p_table);
END
$$;

-- Classifies columns (none, personal, medical, secret) in their comments: 'none: id name; …'.
CREATE PROCEDURE app.classify(p_table regclass, p_classes text) LANGUAGE plpgsql AS $$
DECLARE
    part text;
    class text;
    col text;
BEGIN
    FOREACH part IN ARRAY string_to_array(p_classes, ';') LOOP
        class := btrim(split_part(part, ':', 1), E' \n\t');
        FOREACH col IN ARRAY regexp_split_to_array(btrim(split_part(part, ':', 2), E' \n\t'), '\s+') LOOP
            EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', p_table, col, class);
        END LOOP;
    END LOOP;
END
$$;

-- ---------------------------------------------------------------- clinics and access

CREATE TABLE app.clinics (
    id uuid CONSTRAINT clinics_pk PRIMARY KEY,
    name text NOT NULL CONSTRAINT clinics_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
    time_zone text NOT NULL,
    locale text NOT NULL,
    settings jsonb NOT NULL,
    status text NOT NULL CONSTRAINT clinics_status_known CHECK (status IN ('active', 'suspended')),
    row_version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CALL app.seal_by_clinic('app.clinics', 'id');
CALL app.open_to_definer('app.clinics');
GRANT SELECT, UPDATE (name, time_zone, locale, settings, row_version, updated_at)
    ON app.clinics TO acolhe_app;
GRANT SELECT, INSERT ON app.clinics TO acolhe_definer;
CALL app.classify('app.clinics',
    'none: id name time_zone locale settings status row_version created_at updated_at');

CREATE TABLE app.branches (
    clinic_id uuid NOT NULL CONSTRAINT branches_clinic_fk REFERENCES app.clinics,
    id uuid NOT NULL,
    name text NOT NULL CONSTRAINT branches_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
    time_zone text NOT NULL,
    address jsonb,
    opening_hours jsonb,
    status text NOT NULL CONSTRAINT branches_status_known CHECK (status IN ('active', 'closed')),
    row_version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT branches_pk PRIMARY KEY (clinic_id, id)
);
CREATE UNIQUE INDEX branches_name_unique ON app.branches (clinic_id, lower(name));
CREATE INDEX branches_by_creation ON app.branches (clinic_id, created_at DESC, id DESC);
CALL app.seal_by_clinic('app.branches');
GRANT SELECT, INSERT, UPDATE ON app.branches TO acolhe_app;
CALL app.classify('app.branches', 'none: clinic_id id name time_zone address opening_hours status
    row_version created_at updated_at');

-- Users log in; they are not a clinic's. The server's role reads those of the present clinic's
-- memberships, and never the password's hash.
CREATE TABLE app.users (
    id uuid CONSTRAINT users_pk PRIMARY KEY,
    email text COLLATE "C" NOT NULL CONSTRAINT users_email_unique UNIQUE
        CONSTRAINT users_email_folded CHECK (email = lower(email)),
    name text NOT NULL CONSTRAINT users_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
    password_hash text,
    status text NOT NULL CONSTRAINT users_status_known CHECK (status IN ('active', 'disabled')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CALL app.seal_from_all('app.users');
CALL app.open_to_definer('app.users');
GRANT SELECT, INSERT ON app.users TO acolhe_definer;
CALL app.classify('app.users',
    'none: id status created_at updated_at; personal: email name; secret: password_hash');

CREATE TABLE app.memberships (
    clinic_id uuid NOT NULL CONSTRAINT memberships_clinic_fk REFERENCES app.clinics,
    user_id uuid NOT NULL CONSTRAINT memberships_user_fk REFERENCES app.users,
    role text NOT NULL CONSTRAINT memberships_role_known CHECK (role IN
        ('owner', 'admin', 'professional', 'receptionist', 'finance', 'readonly')),
    branches uuid[],
    own_agenda_only boolean NOT NULL,
    status text NOT NULL
        CONSTRAINT memberships_status_known CHECK (status IN ('active', 'disabled')),
    row_version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT memberships_pk PRIMARY KEY (clinic_id, user_id)
);
-- Login asks the other way round; only the definer functions do.
CREATE INDEX memberships_by_user ON app.memberships (user_id);
CALL app.seal_by_clinic('app.memberships');
CALL app.open_to_definer('app.memberships');
GRANT SELECT ON app.memberships TO acolhe_app;
GRANT SELECT, INSERT ON app.memberships TO acolhe_definer;
CALL app.classify('app.memberships', 'none: clinic_id user_id role branches own_agenda_only
    status row_version created_at updated_at');
-- Asked user by user: a request reads one of them, never all of a clinic's.
CREATE POLICY tenant ON app.users FOR SELECT TO acolhe_app, acolhe_owner USING (
    EXISTS (SELECT FROM app.memberships m
            WHERE m.clinic_id = (SELECT NULLIF(current_setting('app.clinic_id', true), '')::uuid)
              AND m.user_id = users.id));
GRANT SELECT (id, email, name, status, created_at, updated_at) ON app.users TO acolhe_app;

-- What happened where no clinic is known: failed logins, unknown clinics. Append-only.
CREATE TABLE app.security_log (
    id uuid CONSTRAINT security_log_pk PRIMARY KEY,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    user_id uuid,
    clinic_id uuid,
    subject_hash bytea,
    address text,
    user_agent text,
    request_id uuid NOT NULL
);
CALL app.seal_from_all('app.security_log');
CALL app.open_to_definer('app.security_log');
GRANT INSERT ON app.security_log TO acolhe_definer;
CALL app.classify('app.security_log', 'none: id at kind user_id clinic_id request_id;
    personal: address user_agent subject_hash');

-- ---------------------------------------------------------------- audit

-- Append-only: the server's role may insert and read. Partitioned by id, whose time leads.
CREATE TABLE app.audit_entries (
    clinic_id uuid NOT NULL,
    id uuid NOT NULL,
    at timestamptz NOT NULL,
    actor_kind text NOT NULL,
    actor_id uuid,
    actor_role text NOT NULL,
    action text NOT NULL,
    resource_kind text NOT NULL,
    resource_id uuid,
    subject_contact_id uuid,
    outcome text NOT NULL CONSTRAINT audit_outcome_known CHECK (outcome IN ('done', 'denied')),
    purpose text,
    -- [{"field": …, "hash": keyed hash in hex}]
    changes jsonb NOT NULL,
    address text,
    user_agent text,
    request_id uuid NOT NULL,
    CONSTRAINT audit_entries_pk PRIMARY KEY (clinic_id, id)
) PARTITION BY RANGE (id);
CREATE INDEX audit_entries_by_resource
    ON app.audit_entries (clinic_id, resource_kind, resource_id, id);
CREATE INDEX audit_entries_by_subject ON app.audit_entries (clinic_id, subject_contact_id, id)
    WHERE subject_contact_id IS NOT NULL;
CALL app.seal_by_clinic('app.audit_entries');
GRANT SELECT, INSERT ON app.audit_entries TO acolhe_app;
CALL app.classify('app.audit_entries', 'none: clinic_id id at actor_kind actor_id actor_role action
    resource_kind resource_id subject_contact_id outcome purpose changes request_id;
    personal: address user_agent');

-- Smallest UUIDv7 of an instant: where a partition begins.
CREATE FUNCTION app.uuid_floor(p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT (lpad(to_hex((extract(epoch FROM p_at) * 1000)::bigint), 12, '0')
              || '00000000000000000000')::uuid $$;

-- Makes the yearly partitions of a table that is partitioned by UUIDv7, and one for whatever
-- falls outside. Row security is enabled on each partition too, and none has a grant: a
-- partition that is reached directly must show nothing.
CREATE PROCEDURE app.partition_yearly(p_table regclass, p_from int, p_to int)
LANGUAGE plpgsql AS $$
DECLARE
    base text := (SELECT relname FROM pg_class WHERE oid = p_table);
    part text;
    bounds text;
BEGIN
    FOR y IN p_from .. p_to + 1 LOOP
        IF y > p_to THEN
            part := base || '_other';
            bounds := 'DEFAULT';
        ELSE
            part := base || '_' || y;
            bounds := format('FOR VALUES FROM (%L) TO (%L)',
                app.uuid_floor(make_timestamptz(y, 1, 1, 0, 0, 0, 'UTC')),
                app.uuid_floor(make_timestamptz(y + 1, 1, 1, 0, 0, 0, 'UTC')));
        END IF;
        EXECUTE format('CREATE TABLE part.%I PARTITION OF %s %s', part, p_table, bounds);
        EXECUTE format('ALTER TABLE part.%I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('ALTER TABLE part.%I FORCE ROW LEVEL SECURITY', part);
    END LOOP;
END
$$;
CALL app.partition_yearly('app.audit_entries', 2026, 2036);

-- ---------------------------------------------------------------- outbox and stream

-- Written last in each transaction, without a position. Rows stay for milliseconds.
CREATE TABLE app.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT outbox_pk PRIMARY KEY,
    clinic_id uuid NOT NULL,
    event_id uuid NOT NULL,
    name text NOT NULL,
    version smallint NOT NULL,
    entity_id uuid NOT NULL,
    at timestamptz NOT NULL,
    payload jsonb NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
CALL app.seal_by_clinic('app.outbox');
CALL app.open_to_definer('app.outbox');
GRANT INSERT ON app.outbox TO acolhe_app;
GRANT SELECT, DELETE ON app.outbox TO acolhe_definer;
GRANT SELECT ON SEQUENCE app.outbox_id_seq TO acolhe_definer;
CALL app.classify('app.outbox', 'none: id clinic_id event_id name version entity_id at payload');

CREATE TABLE app.event_heads (
    clinic_id uuid CONSTRAINT event_heads_pk PRIMARY KEY,
    head bigint NOT NULL
) WITH (fillfactor = 20);
CALL app.seal_by_clinic('app.event_heads');
CALL app.open_to_definer('app.event_heads');
GRANT SELECT ON app.event_heads TO acolhe_app;
GRANT SELECT, INSERT, UPDATE ON app.event_heads TO acolhe_definer;
CALL app.classify('app.event_heads', 'none: clinic_id head');

-- The stamped stream: positions without a gap, in commit order as far as anybody can see.
CREATE TABLE app.events (
    clinic_id uuid NOT NULL,
    position bigint NOT NULL,
    outbox_id bigint NOT NULL,
    event_id uuid NOT NULL,
    name text NOT NULL,
    version smallint NOT NULL,
    entity_id uuid NOT NULL,
    at timestamptz NOT NULL,
    payload jsonb NOT NULL,
    CONSTRAINT events_pk PRIMARY KEY (clinic_id, position)
);
CALL app.seal_by_clinic('app.events');
CALL app.open_to_definer('app.events');
GRANT SELECT ON app.events TO acolhe_app;
GRANT SELECT, INSERT, DELETE ON app.events TO acolhe_definer;
CALL app.classify('app.events', 'none: clinic_id position outbox_id event_id name version entity_id
    at payload');

-- Tells readers that the stream is alive.
CREATE TABLE app.sequencer_heartbeat (
    singleton boolean CONSTRAINT sequencer_heartbeat_pk PRIMARY KEY
        CONSTRAINT sequencer_heartbeat_single CHECK (singleton),
    beat_at timestamptz NOT NULL
);
CALL app.seal_from_all('app.sequencer_heartbeat');
CALL app.open_to_definer('app.sequencer_heartbeat');
GRANT SELECT, INSERT, UPDATE ON app.sequencer_heartbeat TO acolhe_definer;
CALL app.classify('app.sequencer_heartbeat', 'none: singleton beat_at');

-- ---------------------------------------------------------------- jobs

CREATE TABLE app.jobs (
    clinic_id uuid NOT NULL,
    id uuid NOT NULL,
    queue text NOT NULL,
    kind text NOT NULL,
    version smallint NOT NULL,
    payload jsonb NOT NULL,
    priority smallint NOT NULL,
    -- delayed: not due yet; waiting: due. Leasing makes the one the other, so that the index it
    -- looks through holds due jobs alone, and a thousand clinics' future jobs cost it nothing.
    state text NOT NULL CONSTRAINT jobs_state_known CHECK (state IN
        ('delayed', 'waiting', 'leased', 'completed', 'dead', 'cancelled')),
    run_at timestamptz NOT NULL,
    attempts smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL,
    lease_token uuid,
    leased_until timestamptz,
    unique_key text,
    -- A stable code, never an error's text.
    last_failure text,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    CONSTRAINT jobs_pk PRIMARY KEY (clinic_id, id),
    CONSTRAINT jobs_lease_whole CHECK ((state = 'leased') = (lease_token IS NOT NULL)
        AND (lease_token IS NULL) = (leased_until IS NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX jobs_unique_key ON app.jobs (clinic_id, queue, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('delayed', 'waiting', 'leased');
-- Leasing takes turns between clinics: it skips from clinic to clinic and takes each one's first.
CREATE INDEX jobs_waiting ON app.jobs (queue, clinic_id, priority DESC, run_at)
    WHERE state = 'waiting';
CREATE INDEX jobs_delayed ON app.jobs (queue, run_at) WHERE state = 'delayed';
CREATE INDEX jobs_leased ON app.jobs (queue, leased_until) WHERE state = 'leased';
CREATE INDEX jobs_by_state ON app.jobs (clinic_id, state, queue, id);
CALL app.seal_by_clinic('app.jobs');
CALL app.open_to_definer('app.jobs');
GRANT SELECT, INSERT, UPDATE ON app.jobs TO acolhe_app;
-- Column by column: leasing must never be able to read a payload.
GRANT SELECT (clinic_id, id, queue, kind, version, priority, state, run_at, attempts,
              max_attempts, lease_token, leased_until, created_at, finished_at),
      INSERT, UPDATE (state, attempts, lease_token, leased_until, run_at, last_failure, finished_at)
    ON app.jobs TO acolhe_definer;
CALL app.classify('app.jobs', 'none: clinic_id id queue kind version payload priority state run_at
    attempts max_attempts lease_token leased_until unique_key last_failure created_at finished_at');

-- ---------------------------------------------------------------- definer functions

SET LOCAL ROLE acolhe_definer;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

CREATE FUNCTION sec.find_credentials(p_email text)
RETURNS TABLE (user_id uuid, name text, password_hash text, status text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.id, u.name, u.password_hash, u.status FROM app.users u WHERE u.email = p_email
$$;

CREATE FUNCTION sec.find_user(p_user uuid)
RETURNS TABLE (email text, name text, status text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.email, u.name, u.status FROM app.users u WHERE u.id = p_user
$$;

CREATE FUNCTION sec.find_memberships(p_user uuid)
RETURNS TABLE (clinic_id uuid, clinic_name text, role text, branches uuid[], own_agenda_only boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.clinic_id, c.name, m.role, m.branches, m.own_agenda_only
    FROM app.memberships m JOIN app.clinics c ON c.id = m.clinic_id
    WHERE m.user_id = p_user AND m.status = 'active' AND c.status = 'active'
    ORDER BY c.name, m.clinic_id
$$;

CREATE FUNCTION sec.record_security_event(p_id uuid, p_at timestamptz, p_kind text, p_user uuid,
    p_clinic uuid, p_subject_hash bytea, p_address text, p_user_agent text, p_request uuid)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO app.security_log (id, at, kind, user_id, clinic_id, subject_hash, address,
                                  user_agent, request_id)
    VALUES (p_id, p_at, p_kind, p_user, p_clinic, p_subject_hash, p_address, p_user_agent,
            p_request)
$$;

CREATE FUNCTION sec.create_clinic(p_id uuid, p_name text, p_time_zone text, p_locale text,
    p_settings jsonb, p_at timestamptz)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO app.clinics (id, name, time_zone, locale, settings, status, row_version,
                             created_at, updated_at)
    VALUES (p_id, p_name, p_time_zone, p_locale, p_settings, 'active', 1, p_at, p_at)
$$;

-- Every clinic, for operators.
CREATE FUNCTION sec.list_clinics()
RETURNS TABLE (clinic_id uuid, name text, status text, created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.id, c.name, c.status, c.created_at FROM app.clinics c ORDER BY c.name, c.id
$$;

-- Makes a membership for the user of that address, and the user too where there is none yet.
-- Answers the user's id and whether it was made now; no row when the membership exists already.
CREATE FUNCTION sec.create_member(p_user uuid, p_email text, p_name text, p_password_hash text,
    p_clinic uuid, p_role text, p_at timestamptz)
RETURNS TABLE (user_id uuid, user_created boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_id uuid;
BEGIN
    INSERT INTO app.users AS u (id, email, name, password_hash, status, created_at, updated_at)
    VALUES (p_user, p_email, p_name, p_password_hash, 'active', p_at, p_at)
    ON CONFLICT ON CONSTRAINT users_email_unique DO NOTHING;
    SELECT u.id INTO found_id FROM app.users u WHERE u.email = p_email;
    INSERT INTO app.memberships AS m (clinic_id, user_id, role, branches, own_agenda_only, status,
                                      row_version, created_at, updated_at)
    VALUES (p_clinic, found_id, p_role, NULL, false, 'active', 1, p_at, p_at)
    ON CONFLICT ON CONSTRAINT memberships_pk DO NOTHING;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT found_id, found_id = p_user;
END
$$;

-- Moves committed outbox rows into the stream. What was tried, and why each rule stands, is told
-- in docs/decisions. The guard is a statement of its own so that the move takes a fresh snapshot:
-- READ COMMITTED only.
CREATE FUNCTION sec.sequence_events(p_high bigint, p_gaps bigint[], p_most int)
RETURNS TABLE (ids bigint[], clinics uuid[], batch_xid bigint, snapshot_xmin bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(4711002) THEN
        RETURN;
    END IF;
    WITH k AS MATERIALIZED (
        SELECT o.id FROM app.outbox o WHERE o.id = ANY (p_gaps)
        UNION ALL
        (SELECT o.id FROM app.outbox o WHERE o.id > p_high ORDER BY o.id LIMIT p_most)
    ), b AS (
        DELETE FROM app.outbox o USING k WHERE o.id = k.id RETURNING o.*
    ), n AS (
        SELECT b.clinic_id, count(*) AS rows FROM b GROUP BY 1
    ), h AS (
        INSERT INTO app.event_heads AS eh (clinic_id, head)
        SELECT n.clinic_id, n.rows FROM n ORDER BY 1
        ON CONFLICT (clinic_id) DO UPDATE SET head = eh.head + EXCLUDED.head
        RETURNING eh.clinic_id, eh.head
    ), i AS (
        INSERT INTO app.events (clinic_id, position, outbox_id, event_id, name, version,
                                entity_id, at, payload)
        SELECT b.clinic_id,
               h.head - n.rows + row_number() OVER (PARTITION BY b.clinic_id ORDER BY b.id),
               b.id, b.event_id, b.name, b.version, b.entity_id, b.at, b.payload
        FROM b JOIN n USING (clinic_id) JOIN h USING (clinic_id)
        RETURNING events.outbox_id, events.clinic_id
    )
    SELECT coalesce(array_agg(i.outbox_id), '{}'),
           coalesce(array_agg(DISTINCT i.clinic_id), '{}'),
           CASE WHEN count(*) > 0 THEN pg_current_xact_id()::text::bigint END,
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    INTO ids, clinics, batch_xid, snapshot_xmin FROM i;
    INSERT INTO app.sequencer_heartbeat AS s (singleton, beat_at) VALUES (true, clock_timestamp())
    ON CONFLICT (singleton) DO UPDATE SET beat_at = EXCLUDED.beat_at
    WHERE s.beat_at < EXCLUDED.beat_at - interval '200 milliseconds';
    IF ids <> '{}' THEN
        PERFORM pg_notify('acolhe_events', '');
    END IF;
    RETURN NEXT;
END
$$;

-- Where a new sequencer begins: its own transaction id, and the highest id that was ever drawn.
CREATE FUNCTION sec.begin_sequencing() RETURNS TABLE (last_id bigint, own_xid bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(pg_sequence_last_value('app.outbox_id_seq'::regclass), 0),
           pg_current_xact_id()::text::bigint
$$;

CREATE FUNCTION sec.sequencer_beat_at() RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.beat_at FROM app.sequencer_heartbeat s
$$;

-- Drops events older than the retention, some thousands at a time; answers how many. Of each
-- clinic only from the lowest position upwards, so that what is kept has no hole and a reader
-- can tell whether it still finds all that it missed.
CREATE FUNCTION sec.prune_events(p_before timestamptz, p_most int) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    clinic uuid;
    kept bigint;
    dropped bigint;
    total bigint := 0;
BEGIN
    FOR clinic IN SELECT h.clinic_id FROM app.event_heads h ORDER BY 1 LOOP
        -- The first to keep, or the last of those looked at: both by walking the primary key.
        SELECT e.position INTO kept FROM (
            SELECT o.position, o.at FROM app.events o WHERE o.clinic_id = clinic
            ORDER BY o.position LIMIT p_most - total) e
        WHERE e.at >= p_before ORDER BY e.position LIMIT 1;
        IF kept IS NULL THEN
            SELECT max(e.position) + 1 INTO kept FROM (
                SELECT o.position FROM app.events o WHERE o.clinic_id = clinic
                ORDER BY o.position LIMIT p_most - total) e;
        END IF;
        DELETE FROM app.events e WHERE e.clinic_id = clinic AND e.position < kept;
        GET DIAGNOSTICS dropped = ROW_COUNT;
        total := total + dropped;
        EXIT WHEN total >= p_most;
    END LOOP;
    RETURN total;
END
$$;

-- Leases due jobs, taking turns: first one of each clinic that has work, in the order of their
-- ids and beginning behind p_after, then of what is left to take an even share of each, and so on.
-- Within a clinic, higher priorities first, then what was due first. Locks nothing that it does
-- not take, so that leasers do not starve each other.
CREATE FUNCTION sec.lease_jobs(p_queue text, p_most int, p_ttl interval, p_after uuid)
RETURNS TABLE (clinic_id uuid, id uuid, kind text, version smallint, attempt smallint,
               max_attempts smallint, lease_token uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
    wanted int := p_most;
    position_ uuid := p_after;
    wrapped boolean := false;
    clinic uuid;
    share int;
    got int;
    clinics uuid[] := '{}';
    more uuid[];
BEGIN
    -- A crashed worker's jobs wait again; one that was its last attempt is dead, or a job that
    -- kills its worker would do so forever.
    UPDATE app.jobs j
    SET state = CASE WHEN j.attempts < j.max_attempts THEN 'waiting' ELSE 'dead' END,
        last_failure = 'lease_ran_out', lease_token = NULL, leased_until = NULL,
        finished_at = CASE WHEN j.attempts < j.max_attempts THEN NULL ELSE moment END
    FROM (SELECT k.clinic_id, k.id FROM app.jobs k
          WHERE k.queue = p_queue AND k.state = 'leased' AND k.leased_until < moment
          ORDER BY k.leased_until LIMIT 100 FOR UPDATE SKIP LOCKED) late
    WHERE j.clinic_id = late.clinic_id AND j.id = late.id;

    UPDATE app.jobs j SET state = 'waiting'
    FROM (SELECT k.clinic_id, k.id FROM app.jobs k
          WHERE k.queue = p_queue AND k.state = 'delayed' AND k.run_at <= moment
          ORDER BY k.run_at LIMIT 1000 FOR UPDATE SKIP LOCKED) due
    WHERE j.clinic_id = due.clinic_id AND j.id = due.id;

    -- Once around the clinics that have work.
    WHILE wanted > 0 LOOP
        SELECT k.clinic_id INTO clinic FROM app.jobs k
        WHERE k.queue = p_queue AND k.state = 'waiting' AND k.clinic_id > position_
        ORDER BY k.clinic_id LIMIT 1;
        IF NOT FOUND THEN
            EXIT WHEN wrapped;
            wrapped := true;
            position_ := '00000000-0000-0000-0000-000000000000';
            CONTINUE;
        END IF;
        EXIT WHEN wrapped AND clinic > p_after;
        position_ := clinic;
        RETURN QUERY
        WITH first AS MATERIALIZED (
            SELECT k.id FROM app.jobs k
            WHERE k.queue = p_queue AND k.clinic_id = clinic AND k.state = 'waiting'
            ORDER BY k.priority DESC, k.run_at LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        UPDATE app.jobs j
        SET state = 'leased', attempts = j.attempts + 1, lease_token = gen_random_uuid(),
            leased_until = moment + p_ttl
        FROM first WHERE j.clinic_id = clinic AND j.id = first.id
        RETURNING j.clinic_id, j.id, j.kind, j.version, j.attempts, j.max_attempts,
                  j.lease_token;
        IF FOUND THEN
            clinics := clinics || clinic;
            wanted := wanted - 1;
        END IF;
    END LOOP;

    -- Then around those again that may have more.
    WHILE wanted > 0 AND cardinality(clinics) > 0 LOOP
        more := '{}';
        share := greatest(1, wanted / cardinality(clinics));
        FOREACH clinic IN ARRAY clinics LOOP
            RETURN QUERY
            WITH first AS MATERIALIZED (
                SELECT k.id FROM app.jobs k
                WHERE k.queue = p_queue AND k.clinic_id = clinic AND k.state = 'waiting'
                ORDER BY k.priority DESC, k.run_at LIMIT share FOR UPDATE SKIP LOCKED
            )
            UPDATE app.jobs j
            SET state = 'leased', attempts = j.attempts + 1, lease_token = gen_random_uuid(),
                leased_until = moment + p_ttl
            FROM first WHERE j.clinic_id = clinic AND j.id = first.id
            RETURNING j.clinic_id, j.id, j.kind, j.version, j.attempts, j.max_attempts,
                  j.lease_token;
            GET DIAGNOSTICS got = ROW_COUNT;
            wanted := wanted - got;
            EXIT WHEN wanted <= 0;
            IF got = share THEN
                more := more || clinic;
            END IF;
        END LOOP;
        clinics := more;
    END LOOP;
END
$$;

CREATE FUNCTION sec.renew_leases(p_clinics uuid[], p_jobs uuid[], p_tokens uuid[], p_ttl interval)
RETURNS TABLE (id uuid, lease_token uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE app.jobs j SET leased_until = clock_timestamp() + p_ttl
    FROM unnest(p_clinics, p_jobs, p_tokens) AS held (clinic_id, id, token)
    WHERE j.clinic_id = held.clinic_id AND j.id = held.id AND j.lease_token = held.token AND j.state = 'leased'
    RETURNING j.id, j.lease_token
$$;

-- Counts for operators: nothing that names a clinic or a person.
CREATE FUNCTION sec.count_jobs()
RETURNS TABLE (queue text, state text, jobs bigint, oldest timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT j.queue, j.state, count(*), min(j.run_at) FROM app.jobs j
    WHERE j.state IN ('delayed', 'waiting', 'leased', 'dead') GROUP BY 1, 2
$$;

GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sec TO acolhe_app;
RESET ROLE;
