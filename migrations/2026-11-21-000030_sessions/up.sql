-- Sessions: what a login begins and a family of refresh tokens continues. Each is one family: of
-- its tokens the newest refreshes, the one before it is answered once more within a short grace,
-- and any older one that comes back ends the session.

CREATE TABLE app.sessions (
    id uuid CONSTRAINT sessions_pk PRIMARY KEY,
    user_id uuid NOT NULL CONSTRAINT sessions_user_fk REFERENCES app.users,
    -- Keyed hashes of the newest token and of the one before it.
    token_hash bytea NOT NULL,
    previous_hash bytea,
    -- What the newest token was derived with from the one before it: worthless without both that
    -- token and the key.
    successor_nonce bytea,
    rotated_at timestamptz,
    user_agent text,
    address text,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    -- Never behind expires_at; the end itself, once it has ended.
    idle_until timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    end_reason text CONSTRAINT sessions_end_reason_known CHECK (end_reason IN ('logout',
        'logout_everywhere', 'ended', 'reuse', 'password_changed', 'password_reset',
        'deactivated')),
    -- The transaction that ended it: whoever asks for what has ended since misses none, however
    -- late it commits.
    ended_xid bigint,
    CONSTRAINT sessions_end_whole CHECK ((ended_at IS NULL) = (end_reason IS NULL)
        AND (ended_at IS NULL) = (ended_xid IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX sessions_by_user ON app.sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_end ON app.sessions (ended_xid) WHERE ended_xid IS NOT NULL;
CREATE INDEX sessions_by_idleness ON app.sessions (idle_until);
CALL app.seal_from_all('app.sessions');
CALL app.open_to_definer('app.sessions');
GRANT SELECT, INSERT, DELETE, UPDATE (token_hash, previous_hash, successor_nonce, rotated_at,
    user_agent, address, last_used_at, idle_until, ended_at, end_reason, ended_xid)
    ON app.sessions TO acolhe_definer;
CALL app.classify('app.sessions', 'none: id user_id rotated_at created_at last_used_at idle_until
    expires_at ended_at end_reason ended_xid; personal: user_agent address;
    secret: token_hash previous_hash successor_nonce');

-- The definer functions change a password, and lock a user's row while a session begins.
GRANT UPDATE (password_hash, updated_at) ON app.users TO acolhe_definer;

SET LOCAL ROLE acolhe_definer;

-- Begins a session of an active user whose password's hash is still the one that was verified.
-- Waits for whoever is about to change either; answers whether it began.
CREATE FUNCTION sec.open_session(p_id uuid, p_user uuid, p_password_hash text, p_token_hash bytea,
    p_user_agent text, p_address text, p_at timestamptz, p_idle_until timestamptz,
    p_expires_at timestamptz)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM app.users u
    WHERE u.id = p_user AND u.status = 'active' AND u.password_hash = p_password_hash FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO app.sessions (id, user_id, token_hash, user_agent, address, created_at,
                              last_used_at, idle_until, expires_at)
    VALUES (p_id, p_user, p_token_hash, p_user_agent, p_address, p_at, p_at,
            least(p_idle_until, p_expires_at), p_expires_at);
    RETURN true;
END
$$;

-- Replaces a session's token by its successor. The outcome is
--   rotated   p_next is the newest token now;
--   repeated  the one before the newest came again within p_grace: nonce is what its successor
--             was derived with, and nothing changed;
--   reused    any other token of the family: the session is ended;
--   ended     it is over, or its user may not log in.
-- No row: there is no such session.
CREATE FUNCTION sec.rotate_session(p_id uuid, p_presented bytea, p_next bytea, p_nonce bytea,
    p_user_agent text, p_address text, p_at timestamptz, p_grace interval,
    p_idle_until timestamptz)
RETURNS TABLE (outcome text, user_id uuid, nonce bytea, idle_until timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    held app.sessions%ROWTYPE;
BEGIN
    SELECT s.* INTO held FROM app.sessions s WHERE s.id = p_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF held.ended_at IS NOT NULL OR held.idle_until <= p_at
       OR NOT EXISTS (SELECT FROM app.users u WHERE u.id = held.user_id AND u.status = 'active')
    THEN
        RETURN QUERY SELECT 'ended', held.user_id, NULL::bytea, held.idle_until;
    ELSIF held.token_hash = p_presented THEN
        RETURN QUERY UPDATE app.sessions s
        SET token_hash = p_next, previous_hash = p_presented, successor_nonce = p_nonce,
            rotated_at = p_at, last_used_at = p_at, user_agent = p_user_agent,
            address = p_address, idle_until = least(p_idle_until, s.expires_at)
        WHERE s.id = p_id
        RETURNING 'rotated', s.user_id, NULL::bytea, s.idle_until;
    ELSIF held.previous_hash = p_presented AND held.rotated_at > p_at - p_grace THEN
        RETURN QUERY SELECT 'repeated', held.user_id, held.successor_nonce, held.idle_until;
    ELSE
        RETURN QUERY UPDATE app.sessions s
        SET ended_at = p_at, end_reason = 'reuse', idle_until = least(s.idle_until, p_at),
            ended_xid = pg_current_xact_id()::text::bigint
        WHERE s.id = p_id
        RETURNING 'reused', s.user_id, NULL::bytea, s.idle_until;
    END IF;
END
$$;

-- Whether a session of this user is in force.
CREATE FUNCTION sec.is_session_live(p_id uuid, p_user uuid, p_at timestamptz) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM app.sessions s JOIN app.users u ON u.id = s.user_id
        WHERE s.id = p_id AND s.user_id = p_user AND s.ended_at IS NULL AND s.idle_until > p_at
          AND u.status = 'active')
$$;

-- A user's own sessions in force, the latest used first.
CREATE FUNCTION sec.list_sessions(p_user uuid, p_at timestamptz)
RETURNS TABLE (id uuid, user_agent text, address text, created_at timestamptz,
               last_used_at timestamptz, idle_until timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.id, s.user_agent, s.address, s.created_at, s.last_used_at, s.idle_until
    FROM app.sessions s
    WHERE s.user_id = p_user AND s.ended_at IS NULL AND s.idle_until > p_at
    ORDER BY s.last_used_at DESC, s.id DESC LIMIT 200
$$;

-- Ends one session of this user; answers whether there was one to end.
CREATE FUNCTION sec.end_session(p_id uuid, p_user uuid, p_reason text, p_at timestamptz)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE app.sessions s
    SET ended_at = p_at, end_reason = p_reason, idle_until = least(s.idle_until, p_at),
        ended_xid = pg_current_xact_id()::text::bigint
    WHERE s.id = p_id AND s.user_id = p_user AND s.ended_at IS NULL AND s.idle_until > p_at;
    RETURN FOUND;
END
$$;

-- Ends every session of a user but p_except (none is excepted where that is null), and answers
-- which. Whoever withdraws what proves a user calls this in the same transaction.
CREATE FUNCTION sec.revoke_sessions(p_user uuid, p_except uuid, p_reason text, p_at timestamptz)
RETURNS TABLE (session_id uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE app.sessions s
    SET ended_at = p_at, end_reason = p_reason, idle_until = least(s.idle_until, p_at),
        ended_xid = pg_current_xact_id()::text::bigint
    WHERE s.user_id = p_user AND s.ended_at IS NULL AND s.id IS DISTINCT FROM p_except
    RETURNING s.id
$$;

-- Replaces a password's hash where it still is p_before, and ends every session but p_keep. No
-- row where it was changed meanwhile.
CREATE FUNCTION sec.change_password(p_user uuid, p_before text, p_after text, p_keep uuid,
    p_at timestamptz)
RETURNS TABLE (ended uuid[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE app.users u SET password_hash = p_after, updated_at = p_at
    WHERE u.id = p_user AND u.password_hash = p_before AND u.status = 'active';
    IF FOUND THEN
        RETURN QUERY SELECT coalesce(array_agg(r.session_id), '{}')
        FROM sec.revoke_sessions(p_user, p_keep, 'password_changed', p_at) r;
    END IF;
END
$$;

-- What was revoked by transactions that the asker may not have seen, and after p_after: access
-- tokens of before are over anyway. p_since is the answer's own `next` of the time before, 0 at
-- first: each transaction that was not visible then has an id from there on.
CREATE FUNCTION sec.list_revocations(p_since bigint, p_after timestamptz)
RETURNS TABLE (ids uuid[], next bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT array_agg(s.id) FROM app.sessions s
                     WHERE s.ended_xid >= p_since AND s.ended_at > p_after), '{}'),
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint
$$;

-- Drops sessions that were over before p_before, some thousands at a time; answers how many.
CREATE FUNCTION sec.prune_sessions(p_before timestamptz, p_most int) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dropped bigint;
BEGIN
    WITH old AS MATERIALIZED (
        SELECT s.id FROM app.sessions s WHERE s.idle_until < p_before
        ORDER BY s.idle_until LIMIT p_most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM app.sessions s USING old WHERE s.id = old.id;
    GET DIAGNOSTICS dropped = ROW_COUNT;
    RETURN dropped;
END
$$;

GRANT EXECUTE ON FUNCTION sec.open_session(uuid, uuid, text, bytea, text, text, timestamptz,
    timestamptz, timestamptz) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.rotate_session(uuid, bytea, bytea, bytea, text, text, timestamptz,
    interval, timestamptz) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.is_session_live(uuid, uuid, timestamptz) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.list_sessions(uuid, timestamptz) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.end_session(uuid, uuid, text, timestamptz) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.revoke_sessions(uuid, uuid, text, timestamptz) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.change_password(uuid, text, text, uuid, timestamptz) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.list_revocations(bigint, timestamptz) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.prune_sessions(timestamptz, int) TO acolhe_app;
RESET ROLE;
