SET LOCAL ROLE acolhe_definer;
DROP FUNCTION sec.prune_idempotency_keys(timestamptz, int);
RESET ROLE;
DROP FUNCTION app.claim_idempotency_key(bigint, bytea, bytea, bytea, timestamptz, timestamptz);
DROP TABLE app.idempotency_keys;
