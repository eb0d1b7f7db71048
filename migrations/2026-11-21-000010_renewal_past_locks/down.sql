SET LOCAL ROLE acolhe_definer;
CREATE OR REPLACE FUNCTION sec.renew_leases(p_clinics uuid[], p_jobs uuid[], p_tokens uuid[], p_ttl interval)
RETURNS TABLE (id uuid, lease_token uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE app.jobs j SET leased_until = clock_timestamp() + p_ttl
    FROM unnest(p_clinics, p_jobs, p_tokens) AS held (clinic_id, id, token)
    WHERE j.clinic_id = held.clinic_id AND j.id = held.id AND j.lease_token = held.token AND j.state = 'leased'
    RETURNING j.id, j.lease_token
$$;
RESET ROLE;
