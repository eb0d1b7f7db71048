SET LOCAL ROLE acolhe_definer;
DROP FUNCTION sec.prune_sessions(timestamptz, int);
DROP FUNCTION sec.list_revocations(bigint, timestamptz);
DROP FUNCTION sec.change_password(uuid, text, text, uuid, timestamptz);
DROP FUNCTION sec.revoke_sessions(uuid, uuid, text, timestamptz);
DROP FUNCTION sec.end_session(uuid, uuid, text, timestamptz);
DROP FUNCTION sec.list_sessions(uuid, timestamptz);
DROP FUNCTION sec.is_session_live(uuid, uuid, timestamptz);
DROP FUNCTION sec.rotate_session(uuid, bytea, bytea, bytea, text, text, timestamptz, interval,
    timestamptz);
DROP FUNCTION sec.open_session(uuid, uuid, text, bytea, text, text, timestamptz, timestamptz,
    timestamptz);
RESET ROLE;
REVOKE UPDATE (password_hash, updated_at) ON app.users FROM acolhe_definer;
DROP TABLE app.sessions;
