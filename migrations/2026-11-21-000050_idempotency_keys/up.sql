-- Keys by which callers have acts done once (Idempotency-Key), each with the act's answer. A row
-- is written by the transaction of its act, and kept for a day.

CREATE TABLE app.idempotency_keys (
    clinic_id uuid NOT NULL,
    -- Keyed hash of who sent the key, to which route, and of the key itself.
    key bytea NOT NULL,
    -- Keyed hash of what was asked with it.
    request bytea NOT NULL,
    -- Status, headers and body of the answer, sealed.
    answer bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT idempotency_keys_pk PRIMARY KEY (clinic_id, key)
);
-- For pruning alone, across clinics.
CREATE INDEX idempotency_keys_expiring ON app.idempotency_keys (expires_at);
CALL app.seal_by_clinic('app.idempotency_keys');
CALL app.open_to_definer('app.idempotency_keys');
GRANT SELECT, INSERT, UPDATE ON app.idempotency_keys TO acolhe_app;
GRANT SELECT (clinic_id, key, expires_at), DELETE ON app.idempotency_keys TO acolhe_definer;
GRANT UPDATE (expires_at) ON app.idempotency_keys TO acolhe_definer;
CALL app.classify('app.idempotency_keys',
    'none: clinic_id key request created_at expires_at; secret: answer');

-- Claims a key for the present transaction, with its answer; p_lock is the key as a number. Fails
-- with the constraint idempotency_keys_in_flight while another transaction that claims it has not
-- ended, with idempotency_keys_pk where one has, and its row has not expired.
CREATE FUNCTION app.claim_idempotency_key(p_lock bigint, p_key bytea, p_request bytea,
    p_answer bytea, p_at timestamptz, p_until timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    -- Without it the insert would wait for the other transaction.
    IF NOT pg_try_advisory_xact_lock(p_lock) THEN
        RAISE EXCEPTION USING ERRCODE = 'unique_violation',
            CONSTRAINT = 'idempotency_keys_in_flight', MESSAGE = 'a key is being claimed';
    END IF;
    INSERT INTO app.idempotency_keys AS k (clinic_id, key, request, answer, created_at, expires_at)
    VALUES (app.current_clinic(), p_key, p_request, p_answer, p_at, p_until)
    ON CONFLICT ON CONSTRAINT idempotency_keys_pk DO UPDATE
        SET request = EXCLUDED.request, answer = EXCLUDED.answer,
            created_at = EXCLUDED.created_at, expires_at = EXCLUDED.expires_at
        WHERE k.expires_at <= EXCLUDED.created_at;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'unique_violation',
            CONSTRAINT = 'idempotency_keys_pk', MESSAGE = 'a key was claimed before';
    END IF;
END
$$;
GRANT EXECUTE ON FUNCTION
    app.claim_idempotency_key(bigint, bytea, bytea, bytea, timestamptz, timestamptz) TO acolhe_app;

SET LOCAL ROLE acolhe_definer;

-- Drops keys that expired before p_before, p_most at a time; answers how many. Waits for nobody.
CREATE FUNCTION sec.prune_idempotency_keys(p_before timestamptz, p_most int) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    WITH old AS MATERIALIZED (
        SELECT k.clinic_id, k.key FROM app.idempotency_keys k WHERE k.expires_at < p_before
        ORDER BY k.expires_at LIMIT p_most FOR UPDATE SKIP LOCKED
    ), dropped AS (
        DELETE FROM app.idempotency_keys k USING old
        WHERE k.clinic_id = old.clinic_id AND k.key = old.key RETURNING 1
    )
    SELECT count(*) FROM dropped
$$;

GRANT EXECUTE ON FUNCTION sec.prune_idempotency_keys(timestamptz, int) TO acolhe_app;
RESET ROLE;
