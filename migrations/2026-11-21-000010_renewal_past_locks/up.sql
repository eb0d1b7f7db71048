-- Renewing waits for nobody. A row that is locked is being ended by its own job, perhaps slowly:
-- it is still held, and nobody leases it while it is locked. Waited for, it would cost all the
-- other jobs of its queue their leases.
SET LOCAL ROLE acolhe_definer;
CREATE OR REPLACE FUNCTION sec.renew_leases(p_clinics uuid[], p_jobs uuid[], p_tokens uuid[], p_ttl interval)
RETURNS TABLE (id uuid, lease_token uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH held AS MATERIALIZED (
        SELECT j.clinic_id, j.id, j.lease_token
        FROM unnest(p_clinics, p_jobs, p_tokens) AS asked (clinic_id, id, token)
        JOIN app.jobs j ON j.clinic_id = asked.clinic_id AND j.id = asked.id
        WHERE j.lease_token = asked.token AND j.state = 'leased'
    ), free AS MATERIALIZED (
        SELECT j.clinic_id, j.id
        FROM held JOIN app.jobs j ON j.clinic_id = held.clinic_id AND j.id = held.id
        WHERE j.lease_token = held.lease_token AND j.state = 'leased'
        FOR NO KEY UPDATE OF j SKIP LOCKED
    ), renewed AS (
        UPDATE app.jobs j SET leased_until = clock_timestamp() + p_ttl
        FROM free WHERE j.clinic_id = free.clinic_id AND j.id = free.id
    )
    SELECT held.id, held.lease_token FROM held
$$;
RESET ROLE;
