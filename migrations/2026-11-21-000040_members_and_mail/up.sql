-- A clinic manages its memberships and invites people; mails carry one-time links, which let an
-- invited person in and set a forgotten password anew.

-- Never the user: clinics manage memberships, not credentials.
GRANT UPDATE (role, branches, own_agenda_only, status, row_version, updated_at)
    ON app.memberships TO acolhe_app;

CREATE TABLE app.invitations (
    clinic_id uuid NOT NULL CONSTRAINT invitations_clinic_fk REFERENCES app.clinics,
    id uuid NOT NULL,
    email text COLLATE "C" NOT NULL,
    name text NOT NULL
        CONSTRAINT invitations_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
    role text NOT NULL CONSTRAINT invitations_role_known CHECK (role IN
        ('owner', 'admin', 'professional', 'receptionist', 'finance', 'readonly')),
    branches uuid[],
    own_agenda_only boolean NOT NULL,
    status text NOT NULL CONSTRAINT invitations_status_known
        CHECK (status IN ('pending', 'accepted', 'revoked', 'expired')),
    -- The member who invited; none where it was no user.
    invited_by uuid,
    -- When it was last asked to be sent, and until when its links let in.
    sent_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    row_version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT invitations_pk PRIMARY KEY (clinic_id, id)
);
CREATE UNIQUE INDEX invitations_pending_unique ON app.invitations (clinic_id, email)
    WHERE status = 'pending';
CREATE INDEX invitations_by_creation ON app.invitations (clinic_id, created_at DESC, id DESC);
CALL app.seal_by_clinic('app.invitations');
GRANT SELECT, INSERT, UPDATE (status, sent_at, expires_at, row_version, updated_at)
    ON app.invitations TO acolhe_app;
CALL app.classify('app.invitations', 'none: clinic_id id role branches own_agenda_only status
    invited_by sent_at expires_at row_version created_at updated_at; personal: email name');

-- Mails to send. What a mail is about, by id; its text, its address and its link are made when it
-- is sent and kept nowhere.
CREATE TABLE app.mail_outbox (
    id uuid CONSTRAINT mail_outbox_pk PRIMARY KEY,
    kind text NOT NULL
        CONSTRAINT mail_outbox_kind_known CHECK (kind IN ('invitation', 'password_reset')),
    clinic_id uuid,
    -- The invitation, or the request for a new password.
    cause_id uuid NOT NULL,
    state text NOT NULL CONSTRAINT mail_outbox_state_known
        CHECK (state IN ('waiting', 'leased', 'done', 'dead')),
    -- Not before; of a leased one, when the lease runs out.
    run_at timestamptz NOT NULL,
    attempts smallint NOT NULL DEFAULT 0,
    lease_token uuid,
    -- A stable code, never what a mail server said.
    last_failure text,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    CONSTRAINT mail_outbox_clinic_where_known
        CHECK ((kind = 'invitation') = (clinic_id IS NOT NULL)),
    CONSTRAINT mail_outbox_lease_whole CHECK ((state = 'leased') = (lease_token IS NOT NULL))
);
CREATE INDEX mail_outbox_due ON app.mail_outbox (run_at) WHERE state IN ('waiting', 'leased');
CREATE INDEX mail_outbox_finished ON app.mail_outbox (finished_at) WHERE state = 'done';
CALL app.seal_from_all('app.mail_outbox');
CALL app.open_to_definer('app.mail_outbox');
GRANT SELECT, INSERT, DELETE, UPDATE (state, run_at, attempts, lease_token, last_failure,
    finished_at) ON app.mail_outbox TO acolhe_definer;
CALL app.classify('app.mail_outbox', 'none: id kind clinic_id cause_id state run_at attempts
    lease_token last_failure created_at finished_at');

-- What a link is known by: a keyed hash. Several may stand for one cause, each as good as the
-- others, until the cause is used up.
CREATE TABLE app.one_time_tokens (
    hash bytea CONSTRAINT one_time_tokens_pk PRIMARY KEY
        CONSTRAINT one_time_tokens_hash_length CHECK (octet_length(hash) = 32),
    kind text NOT NULL
        CONSTRAINT one_time_tokens_kind_known CHECK (kind IN ('invitation', 'password_reset')),
    clinic_id uuid,
    cause_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX one_time_tokens_expiring ON app.one_time_tokens (expires_at);
CALL app.seal_from_all('app.one_time_tokens');
CALL app.open_to_definer('app.one_time_tokens');
GRANT SELECT, INSERT, DELETE ON app.one_time_tokens TO acolhe_definer;
CALL app.classify('app.one_time_tokens', 'none: kind clinic_id cause_id expires_at created_at;
    secret: hash');

-- Requests for a new password, of unknown addresses too, so that both leave the same.
CREATE TABLE app.password_resets (
    id uuid CONSTRAINT password_resets_pk PRIMARY KEY,
    user_id uuid CONSTRAINT password_resets_user_fk REFERENCES app.users,
    -- Keyed hash of the address that was given.
    subject_hash bytea NOT NULL,
    -- Keyed hash of where the request came from.
    origin_hash bytea,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX password_resets_of_subject ON app.password_resets (subject_hash, created_at);
CREATE INDEX password_resets_of_origin ON app.password_resets (origin_hash, created_at);
CREATE INDEX password_resets_of_user ON app.password_resets (user_id) WHERE used_at IS NULL;
CREATE INDEX password_resets_by_creation ON app.password_resets (created_at);
CALL app.seal_from_all('app.password_resets');
CALL app.open_to_definer('app.password_resets');
GRANT SELECT, INSERT, DELETE, UPDATE (used_at) ON app.password_resets TO acolhe_definer;
CALL app.classify('app.password_resets', 'none: id user_id created_at expires_at used_at;
    personal: subject_hash origin_hash');

SET LOCAL ROLE acolhe_definer;

-- A mail of the present clinic, in the transaction of its cause.
CREATE FUNCTION sec.enqueue_mail(p_id uuid, p_kind text, p_cause uuid, p_at timestamptz)
RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO app.mail_outbox (id, kind, clinic_id, cause_id, state, run_at, created_at)
    VALUES (p_id, p_kind, app.current_clinic(), p_cause, 'waiting', p_at, p_at)
$$;

-- Leases due mails, the longest due first. One whose last attempt ended its worker is dead, and
-- is answered once, without a lease.
CREATE FUNCTION sec.lease_mails(p_most int, p_ttl interval, p_max_attempts smallint)
RETURNS TABLE (id uuid, kind text, clinic_id uuid, cause_id uuid, attempt smallint,
               lease_token uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    moment timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT o.id FROM app.mail_outbox o
        WHERE o.state IN ('waiting', 'leased') AND o.run_at <= moment
        ORDER BY o.run_at LIMIT p_most FOR UPDATE SKIP LOCKED
    )
    UPDATE app.mail_outbox o SET
        state = CASE WHEN o.attempts < p_max_attempts THEN 'leased' ELSE 'dead' END,
        lease_token = CASE WHEN o.attempts < p_max_attempts THEN gen_random_uuid() END,
        run_at = moment + p_ttl,
        attempts = least(o.attempts + 1, p_max_attempts),
        last_failure = CASE WHEN o.attempts < p_max_attempts THEN o.last_failure
                            ELSE 'lease_ran_out' END,
        finished_at = CASE WHEN o.attempts < p_max_attempts THEN NULL ELSE moment END
    FROM due WHERE o.id = due.id
    RETURNING o.id, o.kind, o.clinic_id, o.cause_id, o.attempts, o.lease_token;
END
$$;

-- Ends an attempt; false where the lease was lost meanwhile.
CREATE FUNCTION sec.settle_mail(p_id uuid, p_lease uuid, p_state text, p_run_at timestamptz,
    p_failure text, p_at timestamptz)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE app.mail_outbox o SET state = p_state, run_at = coalesce(p_run_at, o.run_at),
        lease_token = NULL, last_failure = p_failure,
        finished_at = CASE WHEN p_state IN ('done', 'dead') THEN p_at END
    WHERE o.id = p_id AND o.lease_token = p_lease AND o.state = 'leased'
      AND p_state IN ('waiting', 'done', 'dead');
    RETURN FOUND;
END
$$;

-- Keeps a link's hash for the cause of a leased mail; false where the lease was lost meanwhile.
CREATE FUNCTION sec.issue_one_time_token(p_mail uuid, p_lease uuid, p_hash bytea,
    p_expires_at timestamptz, p_at timestamptz)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO app.one_time_tokens (hash, kind, clinic_id, cause_id, expires_at, created_at)
    SELECT p_hash, o.kind, o.clinic_id, o.cause_id, p_expires_at, p_at
    FROM app.mail_outbox o
    WHERE o.id = p_mail AND o.lease_token = p_lease AND o.state = 'leased';
    RETURN FOUND;
END
$$;

-- What a link stands for, while it has not ended. Whether the cause still stands is asked there.
CREATE FUNCTION sec.find_one_time_token(p_hash bytea, p_kind text, p_at timestamptz)
RETURNS TABLE (clinic_id uuid, cause_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT t.clinic_id, t.cause_id FROM app.one_time_tokens t
    WHERE t.hash = p_hash AND t.kind = p_kind AND t.expires_at > p_at
$$;

-- Makes a member of the present clinic: of a new user, whose address is given then, or of one
-- who is there. False where the address is another user's, or the membership exists already.
CREATE FUNCTION sec.join_clinic(p_user uuid, p_email text, p_name text, p_password_hash text,
    p_role text, p_branches uuid[], p_own_agenda_only boolean, p_at timestamptz)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF p_email IS NOT NULL THEN
        INSERT INTO app.users AS u (id, email, name, password_hash, status, created_at, updated_at)
        VALUES (p_user, p_email, p_name, p_password_hash, 'active', p_at, p_at)
        ON CONFLICT ON CONSTRAINT users_email_unique DO NOTHING;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    END IF;
    INSERT INTO app.memberships AS m (clinic_id, user_id, role, branches, own_agenda_only, status,
                                      row_version, created_at, updated_at)
    VALUES (app.current_clinic(), p_user, p_role, p_branches, p_own_agenda_only, 'active', 1, p_at,
            p_at)
    ON CONFLICT ON CONSTRAINT memberships_pk DO NOTHING;
    RETURN FOUND;
END
$$;

-- Takes a request for a new password: the same work for known and unknown addresses, and a mail
-- that is found to have no reader when it should be sent. False, and nothing but a line in the
-- security log, once the account or the place it comes from has asked too often.
CREATE FUNCTION sec.request_password_reset(p_id uuid, p_mail uuid, p_email text,
    p_subject_hash bytea, p_origin_hash bytea, p_at timestamptz, p_expires_at timestamptz,
    p_since timestamptz, p_of_subject bigint, p_of_origin bigint, p_log_id uuid, p_address text,
    p_user_agent text, p_request uuid)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    free boolean;
BEGIN
    -- Requests for one account take turns, or a burst would pass the limit together.
    PERFORM pg_advisory_xact_lock(4711040, hashtext(encode(p_subject_hash, 'hex')));
    free := (SELECT count(*) FROM app.password_resets r
             WHERE r.subject_hash = p_subject_hash AND r.created_at > p_since) < p_of_subject
        AND (SELECT count(*) FROM app.password_resets r
             WHERE r.origin_hash = p_origin_hash AND r.created_at > p_since) < p_of_origin;
    IF free THEN
        INSERT INTO app.password_resets (id, user_id, subject_hash, origin_hash, created_at,
                                         expires_at)
        VALUES (p_id, (SELECT u.id FROM app.users u WHERE u.email = p_email), p_subject_hash,
                p_origin_hash, p_at, p_expires_at);
        INSERT INTO app.mail_outbox (id, kind, clinic_id, cause_id, state, run_at, created_at)
        VALUES (p_mail, 'password_reset', NULL, p_id, 'waiting', p_at, p_at);
    END IF;
    INSERT INTO app.security_log (id, at, kind, subject_hash, address, user_agent, request_id)
    VALUES (p_log_id, p_at,
            CASE WHEN free THEN 'password_reset.requested' ELSE 'password_reset.throttled' END,
            p_subject_hash, p_address, p_user_agent, p_request);
    RETURN free;
END
$$;

-- Whose password a request sets anew, while it may: the address for the mail, and the language
-- of a clinic of theirs.
CREATE FUNCTION sec.find_password_reset(p_id uuid, p_at timestamptz)
RETURNS TABLE (user_id uuid, email text, name text, expires_at timestamptz, locale text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.id, u.email, u.name, r.expires_at,
           (SELECT c.locale FROM app.memberships m JOIN app.clinics c ON c.id = m.clinic_id
            WHERE m.user_id = u.id AND m.status = 'active' AND c.status = 'active'
            ORDER BY m.created_at, m.clinic_id LIMIT 1)
    FROM app.password_resets r JOIN app.users u ON u.id = r.user_id
    WHERE r.id = p_id AND r.used_at IS NULL AND r.expires_at > p_at AND u.status = 'active'
$$;

-- Sets the password that a link allows to be set, once. Every other link and every session of the
-- user ends with it. Answers whose it was; no row where the link is used, has ended or never was.
CREATE FUNCTION sec.reset_password(p_hash bytea, p_password_hash text, p_at timestamptz,
    p_log_id uuid, p_address text, p_user_agent text, p_request uuid)
RETURNS TABLE (user_id uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    cause uuid;
    owner uuid;
BEGIN
    SELECT r.id, r.user_id INTO cause, owner
    FROM app.one_time_tokens t JOIN app.password_resets r ON r.id = t.cause_id
    WHERE t.hash = p_hash AND t.kind = 'password_reset' AND t.expires_at > p_at;
    -- Links of one user take turns.
    PERFORM FROM app.users u WHERE u.id = owner AND u.status = 'active' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE app.password_resets r SET used_at = p_at
    WHERE r.id = cause AND r.used_at IS NULL AND r.expires_at > p_at;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE app.password_resets r SET used_at = p_at WHERE r.user_id = owner AND r.used_at IS NULL;
    UPDATE app.users u SET password_hash = p_password_hash, updated_at = p_at WHERE u.id = owner;
    PERFORM sec.revoke_sessions(owner, NULL, 'password_reset', p_at);
    INSERT INTO app.security_log (id, at, kind, user_id, address, user_agent, request_id)
    VALUES (p_log_id, p_at, 'password_reset.done', owner, p_address, p_user_agent, p_request);
    RETURN QUERY SELECT owner;
END
$$;

-- Drops mails that were sent, links that have ended, and requests that are that old. Dead mails
-- stay. Answers how many rows.
CREATE FUNCTION sec.prune_mails(p_before timestamptz, p_most int) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dropped bigint;
    total bigint;
BEGIN
    DELETE FROM app.mail_outbox o WHERE o.id IN (
        SELECT d.id FROM app.mail_outbox d WHERE d.state = 'done' AND d.finished_at < p_before
        ORDER BY d.finished_at LIMIT p_most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS total = ROW_COUNT;
    DELETE FROM app.one_time_tokens t WHERE t.hash IN (
        SELECT d.hash FROM app.one_time_tokens d WHERE d.expires_at < p_before
        ORDER BY d.expires_at LIMIT p_most);
    GET DIAGNOSTICS dropped = ROW_COUNT;
    total := total + dropped;
    DELETE FROM app.password_resets r WHERE r.id IN (
        SELECT d.id FROM app.password_resets d WHERE d.created_at < p_before
        ORDER BY d.created_at LIMIT p_most);
    GET DIAGNOSTICS dropped = ROW_COUNT;
    RETURN total + dropped;
END
$$;

GRANT EXECUTE ON FUNCTION
    sec.enqueue_mail(uuid, text, uuid, timestamptz),
    sec.lease_mails(int, interval, smallint),
    sec.settle_mail(uuid, uuid, text, timestamptz, text, timestamptz),
    sec.issue_one_time_token(uuid, uuid, bytea, timestamptz, timestamptz),
    sec.find_one_time_token(bytea, text, timestamptz),
    sec.join_clinic(uuid, text, text, text, text, uuid[], boolean, timestamptz),
    sec.request_password_reset(uuid, uuid, text, bytea, bytea, timestamptz, timestamptz,
        timestamptz, bigint, bigint, uuid, text, text, uuid),
    sec.find_password_reset(uuid, timestamptz),
    sec.reset_password(bytea, text, timestamptz, uuid, text, text, uuid),
    sec.prune_mails(timestamptz, int)
    TO acolhe_app;
RESET ROLE;
