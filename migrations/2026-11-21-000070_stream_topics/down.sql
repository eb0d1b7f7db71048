SET LOCAL ROLE acolhe_definer;
DROP FUNCTION sec.last_batch();
DROP FUNCTION sec.follow_stream(bigint, uuid[], int);
CREATE OR REPLACE FUNCTION sec.sequence_events(p_high bigint, p_gaps bigint[], p_most int)
RETURNS TABLE (ids bigint[], clinics uuid[], batch_xid bigint, snapshot_xmin bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(4711002) THEN
        RETURN;
    END IF;
    WITH k AS MATERIALIZED (
        SELECT o.id FROM app.outbox o WHERE o.id = ANY (p_gaps)
        UNION ALL
        (SELECT o.id FROM app.outbox o WHERE o.id > p_high ORDER BY o.id LIMIT p_most)
    ), b AS (
        DELETE FROM app.outbox o USING k WHERE o.id = k.id RETURNING o.*
    ), n AS (
        SELECT b.clinic_id, count(*) AS rows FROM b GROUP BY 1
    ), h AS (
        INSERT INTO app.event_heads AS eh (clinic_id, head)
        SELECT n.clinic_id, n.rows FROM n ORDER BY 1
        ON CONFLICT (clinic_id) DO UPDATE SET head = eh.head + EXCLUDED.head
        RETURNING eh.clinic_id, eh.head
    ), i AS (
        INSERT INTO app.events (clinic_id, position, outbox_id, event_id, name, version,
                                entity_id, at, payload)
        SELECT b.clinic_id,
               h.head - n.rows + row_number() OVER (PARTITION BY b.clinic_id ORDER BY b.id),
               b.id, b.event_id, b.name, b.version, b.entity_id, b.at, b.payload
        FROM b JOIN n USING (clinic_id) JOIN h USING (clinic_id)
        RETURNING events.outbox_id, events.clinic_id
    )
    SELECT coalesce(array_agg(i.outbox_id), '{}'),
           coalesce(array_agg(DISTINCT i.clinic_id), '{}'),
           CASE WHEN count(*) > 0 THEN pg_current_xact_id()::text::bigint END,
           pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    INTO ids, clinics, batch_xid, snapshot_xmin FROM i;
    INSERT INTO app.sequencer_heartbeat AS s (singleton, beat_at) VALUES (true, clock_timestamp())
    ON CONFLICT (singleton) DO UPDATE SET beat_at = EXCLUDED.beat_at
    WHERE s.beat_at < EXCLUDED.beat_at - interval '200 milliseconds';
    IF ids <> '{}' THEN
        PERFORM pg_notify('acolhe_events', '');
    END IF;
    RETURN NEXT;
END
$$;
RESET ROLE;
DROP TABLE app.stream_topics;
