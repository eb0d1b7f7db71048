//! The stream of events against a real PostgreSQL: nothing skipped, doubled or out of order,
//! whatever writers and sequencers do.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod writers;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use diesel_postgres::sequencer::progress::{Ask, Batch, Progress};
use diesel_postgres::sequencer::{Sequencer, SequencerSettings, SequencerSignal, SequencerState};
use futures_util::{StreamExt, stream};
use test_support::{FixedClock, TestDatabase, two_clinics};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, NoTls};
use uuid::Uuid;
use writers::{Open, Reader, Workload};

/// Long enough for a slow machine, and never waited for when things go well.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(base: &TestDatabase, change: impl FnOnce(&mut SequencerSettings)) -> Sequencer {
    let mut settings = SequencerSettings::new(base.app_url());
    // The tests' clock stands at an instant of its own, far from the writers' now().
    settings.retention = Duration::from_hours(100 * 365 * 24);
    change(&mut settings);
    Sequencer::start(
        settings,
        Arc::new(FixedClock::default()),
        SequencerSignal::default(),
    )
    .unwrap()
}

async fn reach(sequencer: &Sequencer, state: SequencerState) {
    let mut states = sequencer.state();
    timeout(PATIENCE, states.wait_for(|present| *present == state))
        .await
        .unwrap()
        .unwrap();
}

/// Waits until `count` events of the whole database were given positions.
async fn stamped(looking: &Client, count: i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let row = looking
            .query_one("SELECT count(*) FROM app.events", &[])
            .await
            .unwrap();
        if row.get::<_, i64>(0) >= count {
            return;
        }
        assert!(Instant::now() < deadline, "the events never came");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Kills the server process of whatever sequencer leads; whether there was one.
async fn kill_leader(superuser: &Client) -> bool {
    superuser
        .query(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l
             WHERE l.locktype = 'advisory' AND l.objid = 4711004
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            &[],
        )
        .await
        .is_ok_and(|rows| !rows.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_lose_and_double_nothing() {
    let base = TestDatabase::new().await;
    let sequencer = start(&base, |_| ());
    // Draws an id before all others and commits after them.
    let idler = Open::begin(&base.app_url(), Uuid::from_u128(1)).await;
    let workload = Workload::new(8, 16, 60);
    let (committed, read) = workload.run(&base.app_url()).await;
    let late = idler.commit().await;
    let read = read
        .finish(committed.into_iter().chain([late]).collect())
        .await;
    assert!(read > 600, "{read}");
    sequencer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_sequencer_is_taken_over_without_skip_or_double() {
    let base = TestDatabase::new().await;
    let (one, other) = (start(&base, |_| ()), start(&base, |_| ()));
    let superuser = base.superuser().await;
    let killer = tokio::spawn(async move {
        let mut kills = 0;
        loop {
            sleep(Duration::from_millis(150)).await;
            kills += u32::from(kill_leader(&superuser).await);
            if kills >= 6 {
                return kills;
            }
        }
    });
    let workload = Workload::new(5, 12, 80);
    let (committed, read) = workload.run(&base.app_url()).await;
    assert_eq!(timeout(PATIENCE, killer).await.unwrap().unwrap(), 6);
    let read = read.finish(committed).await;
    assert!(read > 600, "{read}");
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sequencers_at_once_harm_nothing() {
    let base = TestDatabase::new().await;
    let sequencer = start(&base, |_| ());
    reach(&sequencer, SequencerState::Leading).await;
    // Another that never asked whether it may lead.
    let rogue = base.app().await;
    let rogue = tokio::spawn(async move {
        let mut by_hand = ByHand::begin(&rogue).await;
        loop {
            by_hand.batch(&rogue, false, Horizon::Xmin).await;
            sleep(Duration::from_millis(2)).await;
        }
    });
    let workload = Workload::new(5, 12, 60);
    let (committed, read) = workload.run(&base.app_url()).await;
    let read = read.finish(committed).await;
    assert!(read > 500, "{read}");
    assert!(!rogue.is_finished(), "the second one failed");
    rogue.abort();
    sequencer.stop().await;
}

#[tokio::test]
async fn one_leads_and_the_other_stands_by_until_it_is_gone() {
    let base = TestDatabase::new().await;
    let one = start(&base, |_| ());
    reach(&one, SequencerState::Leading).await;
    let other = start(&base, |_| ());
    reach(&other, SequencerState::StandingBy).await;
    one.stop().await;
    reach(&other, SequencerState::Leading).await;
    // Its own connection killed, it comes back.
    assert!(kill_leader(&base.superuser().await).await);
    reach(&other, SequencerState::Disconnected).await;
    reach(&other, SequencerState::Leading).await;
}

/// By which transaction id gaps are forgotten.
#[derive(Clone, Copy)]
enum Horizon {
    /// The rule.
    Xmin,
    /// The mistake that loses rows.
    Xmax,
}

/// A sequencer without the loop: each batch when the test says so.
struct ByHand(Progress);

impl ByHand {
    const MOST: i32 = 1_000;

    async fn begin(app: &Client) -> Self {
        let row = app
            .query_one("SELECT last_id, own_xid FROM sec.begin_sequencing()", &[])
            .await
            .unwrap();
        Self(Progress::begin(row.get(0), row.get(1), 1_000))
    }

    /// One batch; answers how many rows it moved.
    async fn batch(&mut self, app: &Client, sweep: bool, horizon: Horizon) -> usize {
        let ask: Ask = self.0.ask(sweep);
        let row = app
            .query_opt(
                "SELECT ids, batch_xid, snapshot_xmin,
                        pg_snapshot_xmax(pg_current_snapshot())::text::bigint
                 FROM sec.sequence_events($1, $2, $3)",
                &[&ask.high, &ask.gaps, &Self::MOST],
            )
            .await
            .unwrap();
        let Some(row) = row else { return 0 };
        let batch = Batch {
            ids: row.get(0),
            xid: row.get(1),
            xmin: match horizon {
                Horizon::Xmin => row.get(2),
                Horizon::Xmax => row.get(3),
            },
        };
        self.0.note(&ask, &batch);
        batch.ids.len()
    }
}

/// Whether a row whose transaction outlives a later one's is found without a full sweep.
async fn finds_the_late_row(horizon: Horizon) -> bool {
    let base = TestDatabase::new().await;
    let app = base.app().await;
    let mut sequencer = ByHand::begin(&app).await;
    // Transactions of other tests of this cluster may hold the horizon back.
    let deadline = Instant::now() + PATIENCE;
    while sequencer.0.is_beginning() {
        assert!(Instant::now() < deadline, "the beginning never ended");
        sequencer.batch(&app, false, Horizon::Xmin).await;
        sleep(Duration::from_millis(2)).await;
    }
    let slow = Open::begin(&base.app_url(), Uuid::from_u128(1)).await;
    let fast = Open::begin(&base.app_url(), Uuid::from_u128(1)).await;
    fast.commit().await;
    assert_eq!(sequencer.batch(&app, false, horizon).await, 1);
    // Others come and go, so that transaction ids go on.
    for _ in 0..3 {
        Open::begin(&base.app_url(), Uuid::from_u128(2))
            .await
            .commit()
            .await;
        sequencer.batch(&app, false, horizon).await;
    }
    slow.commit().await;
    sequencer.batch(&app, false, horizon).await == 1
}

#[tokio::test]
async fn a_gap_is_kept_while_its_transaction_may_run() {
    assert!(finds_the_late_row(Horizon::Xmin).await);
}

#[tokio::test]
async fn a_gap_forgotten_by_xmax_would_lose_its_row() {
    assert!(!finds_the_late_row(Horizon::Xmax).await);
}

#[tokio::test]
async fn a_gap_of_a_rollback_is_forgotten() {
    let base = TestDatabase::new().await;
    let app = base.app().await;
    let mut sequencer = ByHand::begin(&app).await;
    let undone = Open::begin(&base.app_url(), Uuid::from_u128(1)).await;
    Open::begin(&base.app_url(), Uuid::from_u128(1))
        .await
        .commit()
        .await;
    sequencer.batch(&app, false, Horizon::Xmin).await;
    assert_eq!(sequencer.0.open_gaps(), 1);
    undone.roll_back().await;
    // Other tests of the cluster run transactions too, and hold the horizon back.
    let deadline = Instant::now() + PATIENCE;
    while sequencer.0.open_gaps() > 0 {
        assert!(Instant::now() < deadline, "the gap was never forgotten");
        sequencer.batch(&app, false, Horizon::Xmin).await;
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_was_drawn_before_the_start_and_committed_after_is_found() {
    let base = TestDatabase::new().await;
    let looking = base.superuser().await;
    let early = Open::begin(&base.app_url(), Uuid::from_u128(1)).await;
    // A committed id above it, so that it lies below the highest at the start.
    Open::begin(&base.app_url(), Uuid::from_u128(2))
        .await
        .commit()
        .await;
    // Never a full sweep but those of the beginning.
    let sequencer = start(&base, |settings| settings.sweep = Duration::from_hours(1));
    stamped(&looking, 1).await;
    Open::begin(&base.app_url(), Uuid::from_u128(2))
        .await
        .commit()
        .await;
    stamped(&looking, 2).await;
    early.commit().await;
    stamped(&looking, 3).await;
    sequencer.stop().await;
}

#[tokio::test]
async fn a_backlog_larger_than_a_batch_is_moved_whole() {
    let base = TestDatabase::new().await;
    let mut ids = HashSet::new();
    for _ in 0..25 {
        ids.insert(
            Open::begin(&base.app_url(), Uuid::from_u128(1))
                .await
                .commit()
                .await,
        );
    }
    let read = Reader::start(&base.app_url(), vec![Uuid::from_u128(1)]);
    let sequencer = start(&base, |settings| {
        settings.most = 4;
        settings.sweep = Duration::from_hours(1);
    });
    assert_eq!(read.finish(ids).await, 25);
    sequencer.stop().await;
}

#[tokio::test]
async fn a_row_left_behind_is_found_by_the_sweep() {
    let base = TestDatabase::new().await;
    let looking = base.superuser().await;
    let sequencer = start(&base, |settings| {
        settings.sweep = Duration::from_millis(200);
    });
    Open::begin(&base.app_url(), Uuid::from_u128(1))
        .await
        .commit()
        .await;
    stamped(&looking, 1).await;
    // Not above the highest id and no gap: as a writer that broke the rules might leave it.
    looking
        .batch_execute(
            "INSERT INTO app.outbox OVERRIDING SYSTEM VALUE
             SELECT outbox_id, clinic_id, gen_random_uuid(), name, version, entity_id, at, payload
             FROM app.events",
        )
        .await
        .unwrap();
    stamped(&looking, 2).await;
    sequencer.stop().await;
}

#[tokio::test]
async fn what_its_own_node_commits_wakes_it_and_stopping_drains() {
    let base = TestDatabase::new().await;
    let looking = base.superuser().await;
    let clinics = two_clinics(&base).await;
    let db = base.database();
    let mut settings = SequencerSettings::new(base.app_url());
    settings.poll = Duration::from_hours(1);
    settings.retention = Duration::from_hours(100 * 365 * 24);
    let sequencer = Sequencer::start(
        settings,
        Arc::new(FixedClock::default()),
        db.sequencer_signal(),
    )
    .unwrap();
    reach(&sequencer, SequencerState::Leading).await;
    db.write(&clinics.a.cx, writers::EMIT, |batch| {
        batch.emit(&writers::event(1));
    })
    .await
    .unwrap();
    stamped(&looking, 1).await;
    let answer: Result<(), kernel::StoreError> = db
        .unit(&clinics.b.cx, writers::EMIT, async |tx| {
            tx.emit(&writers::event(2));
            Ok(())
        })
        .await;
    answer.unwrap();
    stamped(&looking, 2).await;
    // No signal, and an hour to the next poll: stopping moves it.
    Open::begin(&base.app_url(), clinics.a.id.into())
        .await
        .commit()
        .await;
    sequencer.stop().await;
    stamped(&looking, 3).await;
    let read = db.read_events(&clinics.a.cx, 0, 10).await.unwrap();
    let positions: Vec<i64> = read.events.iter().map(|event| event.position).collect();
    assert_eq!((positions, read.head, read.missed), (vec![1, 2], 2, false));
    assert_eq!(read.events[0].payload, serde_json::json!({ "number": 1 }));
    let read = db.read_events(&clinics.b.cx, 1, 10).await.unwrap();
    assert_eq!((read.events.len(), read.head, read.missed), (0, 1, false));
}

#[tokio::test]
async fn the_heart_beats_while_nothing_happens() {
    let base = TestDatabase::new().await;
    let app = base.app().await;
    let sequencer = start(&base, |_| ());
    reach(&sequencer, SequencerState::Leading).await;
    let deadline = Instant::now() + PATIENCE;
    let mut beats = HashSet::new();
    while beats.len() < 3 {
        assert!(Instant::now() < deadline, "the heart stands still");
        let row = app
            .query_one("SELECT sec.sequencer_beat_at()", &[])
            .await
            .unwrap();
        beats.extend(row.get::<_, Option<chrono::DateTime<chrono::Utc>>>(0));
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_batch_notifies_once() {
    let base = TestDatabase::new().await;
    let (listener, mut connection) = tokio_postgres::connect(&base.app_url(), NoTls)
        .await
        .unwrap();
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(note) = message {
                let _ = sender.send(note.channel().to_owned());
            }
        }
    });
    listener
        .batch_execute("LISTEN acolhe_events")
        .await
        .unwrap();
    let app = base.app().await;
    let mut sequencer = ByHand::begin(&app).await;
    for _ in 0..5 {
        Open::begin(&base.app_url(), Uuid::from_u128(1))
            .await
            .commit()
            .await;
    }
    assert_eq!(sequencer.batch(&app, true, Horizon::Xmin).await, 5);
    assert_eq!(sequencer.batch(&app, true, Horizon::Xmin).await, 0);
    let note = timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
    assert_eq!(note, "acolhe_events");
    sleep(Duration::from_millis(50)).await;
    assert!(heard.try_recv().is_err(), "one batch told twice");
}

#[tokio::test]
async fn pruning_drops_each_clinics_oldest_and_tells_who_missed_them() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let superuser = base.superuser().await;
    // Positions 1 to 6 of A and 1 to 3 of B; an old one stands behind a young one in A.
    superuser
        .batch_execute(&format!(
            "INSERT INTO app.events SELECT '{a}', p, p, gen_random_uuid(), 'x.done', 1,
                 gen_random_uuid(), now() - CASE WHEN p IN (1, 2, 3, 5) THEN interval '8 days'
                 ELSE interval '1 day' END, '{{}}' FROM generate_series(1, 6) p;
             INSERT INTO app.events SELECT '{b}', p, p, gen_random_uuid(), 'x.done', 1,
                 gen_random_uuid(), now() - interval '8 days', '{{}}' FROM generate_series(1, 3) p;
             INSERT INTO app.event_heads VALUES ('{a}', 6), ('{b}', 3)",
            a = clinics.a.id,
            b = clinics.b.id,
        ))
        .await
        .unwrap();
    let app = base.app().await;
    let mut dropped = Vec::new();
    for _ in 0..4 {
        let row = app
            .query_one("SELECT sec.prune_events(now() - interval '7 days', 2)", &[])
            .await
            .unwrap();
        dropped.push(row.get::<_, i64>(0));
    }
    assert_eq!(dropped, [2, 2, 2, 0]);
    let db = base.database();
    let read = db.read_events(&clinics.a.cx, 1, 10).await.unwrap();
    let positions: Vec<i64> = read.events.iter().map(|event| event.position).collect();
    assert_eq!((positions, read.missed), (vec![4, 5, 6], true));
    assert!(!db.read_events(&clinics.a.cx, 3, 10).await.unwrap().missed);
    let read = db.read_events(&clinics.b.cx, 2, 10).await.unwrap();
    assert_eq!((read.events.len(), read.head, read.missed), (0, 3, true));
}

#[tokio::test]
async fn the_leader_prunes_by_itself() {
    let base = TestDatabase::new().await;
    let looking = base.superuser().await;
    Open::begin(&base.app_url(), Uuid::from_u128(1))
        .await
        .commit()
        .await;
    looking
        .batch_execute(
            "INSERT INTO app.jobs (clinic_id, id, queue, kind, version, payload, priority, state,
                                   run_at, max_attempts, created_at, finished_at)
             SELECT gen_random_uuid(), gen_random_uuid(), 'q', 'k', 1, '{}', 0, 'completed', now(),
                    8, now(), '2200-01-01'::timestamptz + n * interval '1 s'
             FROM generate_series(1, 1200) n",
        )
        .await
        .unwrap();
    let sequencer = start(&base, |settings| {
        settings.retention = Duration::from_hours(365 * 24);
        settings.sweep = Duration::from_millis(20);
        settings.keep_most_jobs = 10;
    });
    stamped(&looking, 1).await;
    looking
        .batch_execute("UPDATE app.events SET at = '2020-01-01'")
        .await
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let row = looking
            .query_one(
                "SELECT (SELECT count(*) FROM app.events), (SELECT count(*) FROM app.jobs)",
                &[],
            )
            .await
            .unwrap();
        if (row.get::<_, i64>(0), row.get::<_, i64>(1)) == (0, 10) {
            break;
        }
        assert!(Instant::now() < deadline, "not all was pruned: {row:?}");
        sleep(Duration::from_millis(20)).await;
    }
    sequencer.stop().await;
}
