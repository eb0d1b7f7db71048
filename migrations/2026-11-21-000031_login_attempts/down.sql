SET LOCAL ROLE acolhe_definer;
DROP FUNCTION sec.prune_login_attempts(timestamptz, int);
DROP FUNCTION sec.settle_login(bytea, bytea, bytea, boolean, timestamptz);
DROP FUNCTION sec.admit_login(bytea, bytea, bytea, timestamptz, int, int, interval, interval,
    interval);
RESET ROLE;
DROP TABLE app.login_attempts;
