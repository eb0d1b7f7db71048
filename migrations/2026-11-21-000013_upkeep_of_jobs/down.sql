SET LOCAL ROLE acolhe_definer;
CREATE OR REPLACE FUNCTION sec.count_jobs()
RETURNS TABLE (queue text, state text, jobs bigint, oldest timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT j.queue, j.state, count(*), min(j.run_at) FROM app.jobs j
    WHERE j.state IN ('delayed', 'waiting', 'leased', 'dead') GROUP BY 1, 2
$$;
DROP FUNCTION sec.bury_jobs(text);
DROP FUNCTION sec.prune_jobs(timestamptz, int, int);
RESET ROLE;
REVOKE DELETE ON app.jobs FROM acolhe_definer;
