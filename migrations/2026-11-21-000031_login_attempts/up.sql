-- Attempts to prove oneself by a password, counted for each account, each address, and each
-- account from an address where it had succeeded. Whoever fails too often waits, longer each time.

CREATE TABLE app.login_attempts (
    -- Keyed hash of what is counted: nobody reads an address or an e-mail out of it.
    subject bytea CONSTRAINT login_attempts_pk PRIMARY KEY,
    failures int NOT NULL,
    blocked_until timestamptz,
    -- An account and an address at which it succeeded: counted apart until then, so that
    -- strangers who try the account do not keep its owner out.
    known_until timestamptz,
    -- When the row says nothing any more.
    forget_at timestamptz NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX login_attempts_by_end ON app.login_attempts (forget_at);
CALL app.seal_from_all('app.login_attempts');
CALL app.open_to_definer('app.login_attempts');
GRANT SELECT, INSERT, DELETE, UPDATE (failures, blocked_until, known_until, forget_at)
    ON app.login_attempts TO acolhe_definer;
CALL app.classify('app.login_attempts',
    'none: failures blocked_until known_until forget_at; personal: subject');

SET LOCAL ROLE acolhe_definer;

-- Lets an attempt begin, or says how long it must wait. It is counted as a failure at once, so that
-- a thousand at the same moment are no more than one after another; sec.settle_login takes it back.
-- One that must wait is not counted: waiting never grows by asking.
--
-- What is counted is p_account, or p_pair in its place where the pair is known, and p_address. From
-- p_…_free failures on each one more doubles the wait, from p_base up to p_cap. `begun` says that
-- this attempt, should it fail, is the first that makes others wait.
CREATE FUNCTION sec.admit_login(p_account bytea, p_pair bytea, p_address bytea, p_at timestamptz,
    p_account_free int, p_address_free int, p_base interval, p_cap interval, p_forget interval)
RETURNS TABLE (own bytea, wait interval, begun boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    late timestamptz;
BEGIN
    own := p_account;
    IF EXISTS (SELECT FROM app.login_attempts a
               WHERE a.subject = p_pair AND a.known_until > p_at) THEN
        own := p_pair;
    END IF;
    -- In one order, so that two never wait for each other.
    INSERT INTO app.login_attempts AS a (subject, failures, forget_at)
    SELECT s.subject, 0, p_at + p_forget
    FROM unnest(ARRAY[own, p_address]) AS s (subject)
    WHERE s.subject IS NOT NULL ORDER BY s.subject
    ON CONFLICT ON CONSTRAINT login_attempts_pk DO NOTHING;
    PERFORM FROM app.login_attempts a
    WHERE a.subject IN (own, p_address) ORDER BY a.subject FOR UPDATE;

    SELECT max(a.blocked_until) INTO late FROM app.login_attempts a
    WHERE a.subject IN (own, p_address);
    IF late > p_at THEN
        wait := late - p_at;
        begun := false;
        RETURN NEXT;
        RETURN;
    END IF;
    WITH counted AS (
        UPDATE app.login_attempts a
        SET failures = c.failures,
            blocked_until = CASE WHEN c.failures >= c.free THEN p_at + least(p_cap,
                p_base * power(2, least(c.failures - c.free, 40))) END,
            forget_at = greatest(p_at + p_forget, a.known_until)
        FROM (SELECT b.subject, CASE WHEN b.forget_at <= p_at THEN 0 ELSE b.failures END + 1
                         AS failures,
                     CASE WHEN b.subject = own THEN p_account_free ELSE p_address_free END AS free
              FROM app.login_attempts b WHERE b.subject IN (own, p_address)) c
        WHERE a.subject = c.subject
        RETURNING c.failures = c.free AS crossed
    )
    SELECT bool_or(k.crossed) INTO begun FROM counted k;
    RETURN NEXT;
END
$$;

-- Takes an attempt back that was let in: it succeeded, or was never decided. After a success the
-- account's own failures are forgotten, and p_pair, where there is one, is known until p_known_until.
CREATE FUNCTION sec.settle_login(p_own bytea, p_address bytea, p_pair bytea, p_proven boolean,
    p_known_until timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM app.login_attempts a
    WHERE a.subject IN (p_own, p_address) ORDER BY a.subject FOR UPDATE;
    UPDATE app.login_attempts a
    SET failures = CASE WHEN p_proven AND a.subject = p_own THEN 0
                        ELSE greatest(a.failures - 1, 0) END,
        blocked_until = NULL
    WHERE a.subject IN (p_own, p_address);
    IF p_proven AND p_pair IS NOT NULL THEN
        INSERT INTO app.login_attempts AS a (subject, failures, known_until, forget_at)
        VALUES (p_pair, 0, p_known_until, p_known_until)
        ON CONFLICT ON CONSTRAINT login_attempts_pk DO UPDATE
        SET known_until = EXCLUDED.known_until,
            forget_at = greatest(a.forget_at, EXCLUDED.known_until);
    END IF;
END
$$;

-- Drops what says nothing any more, some thousands at a time; answers how many.
CREATE FUNCTION sec.prune_login_attempts(p_before timestamptz, p_most int) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dropped bigint;
BEGIN
    WITH old AS MATERIALIZED (
        SELECT a.subject FROM app.login_attempts a WHERE a.forget_at < p_before
        ORDER BY a.forget_at LIMIT p_most FOR UPDATE SKIP LOCKED
    )
    DELETE FROM app.login_attempts a USING old WHERE a.subject = old.subject;
    GET DIAGNOSTICS dropped = ROW_COUNT;
    RETURN dropped;
END
$$;

GRANT EXECUTE ON FUNCTION sec.admit_login(bytea, bytea, bytea, timestamptz, int, int, interval,
    interval, interval) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.settle_login(bytea, bytea, bytea, boolean, timestamptz)
    TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.prune_login_attempts(timestamptz, int) TO acolhe_app;
RESET ROLE;
