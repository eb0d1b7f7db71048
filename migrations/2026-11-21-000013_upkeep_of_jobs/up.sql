-- Completed jobs are pruned, those that die unseen are told of, and counting them reads no table.

GRANT DELETE ON app.jobs TO acolhe_definer;

SET LOCAL ROLE acolhe_definer;

-- Drops completed jobs, p_most at a time: those that were finished before p_before, and of each
-- queue all but the p_keep latest (what finished at the same instant goes together). Answers how
-- many. Waits for nobody.
CREATE FUNCTION sec.prune_jobs(p_before timestamptz, p_keep int, p_most int) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    present text := '';
    edge timestamptz;
    dropped bigint;
    total bigint := 0;
BEGIN
    WHILE total < p_most LOOP
        SELECT j.queue INTO present FROM app.jobs j
        WHERE j.state = 'completed' AND j.queue > present ORDER BY j.queue LIMIT 1;
        EXIT WHEN NOT FOUND;
        -- The latest that is not kept; none where there are no more than are kept.
        edge := NULL;
        SELECT j.finished_at INTO edge FROM app.jobs j
        WHERE j.queue = present AND j.state = 'completed'
        ORDER BY j.finished_at DESC OFFSET p_keep LIMIT 1;
        edge := greatest(edge, p_before - interval '1 microsecond');
        WITH old AS MATERIALIZED (
            SELECT j.clinic_id, j.id FROM app.jobs j
            WHERE j.queue = present AND j.state = 'completed' AND j.finished_at <= edge
            ORDER BY j.finished_at LIMIT p_most - total FOR UPDATE SKIP LOCKED
        )
        DELETE FROM app.jobs j USING old WHERE j.clinic_id = old.clinic_id AND j.id = old.id;
        GET DIAGNOSTICS dropped = ROW_COUNT;
        total := total + dropped;
    END LOOP;
    RETURN total;
END
$$;

-- Ends jobs whose last attempt's lease ran out, and answers them: a job that kills its worker has
-- nobody else to tell of its end. Asked before sec.lease_jobs, which would end them in silence.
CREATE FUNCTION sec.bury_jobs(p_queue text)
RETURNS TABLE (clinic_id uuid, id uuid, kind text, version smallint, attempt smallint,
               max_attempts smallint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
    UPDATE app.jobs j
    SET state = 'dead', last_failure = 'lease_ran_out', lease_token = NULL, leased_until = NULL,
        finished_at = now()
    FROM (SELECT k.clinic_id, k.id FROM app.jobs k
          WHERE k.queue = p_queue AND k.state = 'leased' AND k.leased_until < now()
            AND k.attempts >= k.max_attempts
          ORDER BY k.leased_until LIMIT 1000 FOR UPDATE SKIP LOCKED) late
    WHERE j.clinic_id = late.clinic_id AND j.id = late.id
    RETURNING j.clinic_id, j.id, j.kind, j.version, j.attempts, j.max_attempts
$$;

-- Each state has an index that leads with the queue; there may be any number of completed jobs.
CREATE OR REPLACE FUNCTION sec.count_jobs()
RETURNS TABLE (queue text, state text, jobs bigint, oldest timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    SELECT j.queue, 'delayed', count(*), min(j.run_at) FROM app.jobs j
    WHERE j.state = 'delayed' GROUP BY 1
    UNION ALL
    SELECT j.queue, 'waiting', count(*), min(j.run_at) FROM app.jobs j
    WHERE j.state = 'waiting' GROUP BY 1
    UNION ALL
    SELECT j.queue, 'leased', count(*), min(j.run_at) FROM app.jobs j
    WHERE j.state = 'leased' GROUP BY 1
    UNION ALL
    SELECT j.queue, 'dead', count(*), min(j.run_at) FROM app.jobs j
    WHERE j.state = 'dead' GROUP BY 1
$$;

GRANT EXECUTE ON FUNCTION sec.prune_jobs(timestamptz, int, int) TO acolhe_app;
GRANT EXECUTE ON FUNCTION sec.bury_jobs(text) TO acolhe_app;
RESET ROLE;
