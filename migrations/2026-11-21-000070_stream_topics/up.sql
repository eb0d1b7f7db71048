-- Where each topic of each clinic stands in the stream: what nodes follow to know which of their
-- cached answers are still true.

-- `topic` is an event's name up to the first full stop, `position` the clinic's last event of it,
-- `stamped` the transaction of the batch that moved it. Batches are one after the other, so that
-- whoever has seen one batch has seen all with a lower number.
CREATE TABLE app.stream_topics (
    clinic_id uuid NOT NULL,
    topic text NOT NULL,
    position bigint NOT NULL,
    stamped bigint NOT NULL,
    CONSTRAINT stream_topics_pk PRIMARY KEY (clinic_id, topic)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX stream_topics_by_batch ON app.stream_topics (stamped);
CALL app.seal_by_clinic('app.stream_topics');
CALL app.open_to_definer('app.stream_topics');
GRANT SELECT, INSERT, UPDATE ON app.stream_topics TO acolhe_definer;
CALL app.classify('app.stream_topics', 'none: clinic_id topic position stamped');

SET LOCAL ROLE acolhe_definer;

-- As before, and keeps the topics.
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
        RETURNING events.outbox_id, events.clinic_id, events.position, events.name
    ), t AS (
        INSERT INTO app.stream_topics (clinic_id, topic, position, stamped)
        SELECT i.clinic_id, split_part(i.name, '.', 1), max(i.position),
               pg_current_xact_id()::text::bigint
        FROM i GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT ON CONSTRAINT stream_topics_pk
        DO UPDATE SET position = EXCLUDED.position, stamped = EXCLUDED.stamped
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

-- One look at the stream, of one snapshot: the topics that batches after `p_after` moved and all
-- of the clinics that are wanted (with their position), and topics with events that are committed
-- and have no position yet (without). No more of these than `p_most`: one more says that there
-- are. Ids, topics and positions alone.
CREATE FUNCTION sec.follow_stream(p_after bigint, p_wanted uuid[], p_most int)
RETURNS TABLE (clinic_id uuid, topic text, reached bigint, batch bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off AS $$
    SELECT s.clinic_id, s.topic, s.position, s.stamped
    FROM app.stream_topics s WHERE s.stamped > p_after
    UNION ALL
    SELECT s.clinic_id, s.topic, s.position, s.stamped
    FROM app.stream_topics s WHERE s.clinic_id = ANY (p_wanted)
    UNION ALL
    (SELECT o.clinic_id, split_part(o.name, '.', 1), NULL, NULL FROM app.outbox o LIMIT p_most + 1)
$$;

-- Where a follower begins: the last batch that moved something.
CREATE FUNCTION sec.last_batch() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(max(s.stamped), 0) FROM app.stream_topics s
$$;

GRANT EXECUTE ON FUNCTION sec.follow_stream(bigint, uuid[], int), sec.last_batch() TO acolhe_app;
RESET ROLE;
