DROP FUNCTION sec.list_dead_jobs(int);
DROP FUNCTION sec.count_clinics();
DROP FUNCTION sec.find_operator(bytea, timestamptz);
DROP FUNCTION sec.revoke_operator(uuid, timestamptz, uuid, uuid);
DROP FUNCTION sec.list_operators();
DROP FUNCTION sec.create_operator(uuid, text, bytea, timestamptz, timestamptz, uuid, uuid);
REVOKE SELECT (last_failure) ON app.jobs FROM acolhe_definer;
DROP TABLE app.operators;
