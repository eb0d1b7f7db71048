SET LOCAL ROLE acolhe_definer;

CREATE OR REPLACE FUNCTION sec.ingest(p_endpoint uuid, p_at timestamptz, p_ids uuid[], p_digests bytea[],
    p_routes text[], p_bodies bytea[], p_jobs uuid[])
RETURNS TABLE (stored bigint, routed bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH fresh AS (
        INSERT INTO app.webhook_inbox AS w
            (id, endpoint_id, digest, received_at, route, body, clinic_id, channel_id)
        SELECT c.id, p_endpoint, c.digest, p_at, c.route, c.body, ch.clinic_id, ch.id
        FROM unnest(p_ids, p_digests, p_routes, p_bodies) AS c (id, digest, route, body)
        LEFT JOIN app.channels ch
            ON ch.endpoint_id = p_endpoint AND ch.external_id = c.route AND ch.status = 'active'
        ON CONFLICT ON CONSTRAINT webhook_inbox_digest_unique DO NOTHING
        RETURNING w.id, w.clinic_id
    ), enqueued AS (
        INSERT INTO app.jobs (clinic_id, id, queue, kind, version, payload, priority, state,
                              run_at, max_attempts, created_at)
        SELECT f.clinic_id, j.job, 'message-worker', 'webhook.process', 1,
               jsonb_build_object('inboxId', f.id), 0, 'waiting', p_at, 20, p_at
        FROM fresh f JOIN unnest(p_ids, p_jobs) AS j (id, job) ON j.id = f.id
        WHERE f.clinic_id IS NOT NULL
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM fresh), (SELECT count(*) FROM enqueued)
$$;

CREATE OR REPLACE FUNCTION sec.route_waiting(p_clinic uuid, p_channel uuid, p_at timestamptz)
RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH claimed AS (
        UPDATE app.webhook_inbox w SET clinic_id = ch.clinic_id, channel_id = ch.id
        FROM app.channels ch
        WHERE ch.clinic_id = p_clinic AND ch.clinic_id = app.current_clinic()
          AND ch.id = p_channel AND ch.status = 'active'
          AND w.endpoint_id = ch.endpoint_id AND w.route = ch.external_id AND w.clinic_id IS NULL
        RETURNING w.id, w.clinic_id
    ), enqueued AS (
        INSERT INTO app.jobs (clinic_id, id, queue, kind, version, payload, priority, state,
                              run_at, max_attempts, created_at)
        SELECT c.clinic_id, gen_random_uuid(), 'message-worker', 'webhook.process', 1,
               jsonb_build_object('inboxId', c.id), 0, 'waiting', p_at, 20, p_at
        FROM claimed c RETURNING 1
    )
    SELECT count(*) FROM enqueued
$$;

RESET ROLE;
