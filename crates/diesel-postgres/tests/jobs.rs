//! Jobs are leased once, in turn between clinics, when they are due, and never lost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::TimeDelta;
use diesel_postgres::jobs::{PgJobs, complete_in};
use diesel_postgres::{Database, QueryName, query_name};
use kernel::job::{
    AfterFailure, FailureCode, JobLeases, JobOutcomes, Lease, LeaseLost, LeasedJob, NewJob, Queue,
};
use kernel::{
    AuditEntry, Origin, RequestId, Resource, StoreError, SystemContext, SystemPurpose,
    TenantContext, Toolkit,
};
use security::system::SystemClock;
use serde_json::json;
use test_support::{SeededRandom, TestDatabase, TwoClinics, keys, two_clinics};
use tokio_postgres::Client;
use tracing::instrument::WithSubscriber as _;
use tracing_subscriber::layer::SubscriberExt as _;
use uuid::Uuid;

const ENQUEUE: QueryName = query_name!("job.enqueue", "INSERT", "jobs");
const EFFECT: QueryName = query_name!("job.effect", "UPDATE", "jobs");
const TTL: Duration = Duration::from_secs(30);

struct Setting {
    base: TestDatabase,
    db: Database,
    jobs: PgJobs,
    clinics: TwoClinics,
    behind: Client,
    tools: Toolkit,
}

impl Setting {
    async fn new() -> Self {
        let base = TestDatabase::new().await;
        let clinics = two_clinics(&base).await;
        let db = base.database();
        Self {
            jobs: PgJobs::new(&db),
            behind: base.superuser().await,
            db,
            clinics,
            base,
            // What is due is decided by the database's clock.
            tools: Toolkit::new(
                Arc::new(SystemClock),
                Arc::new(SeededRandom::new(1)),
                keys(),
            ),
        }
    }

    fn job(&self) -> NewJob {
        NewJob::due_now(&self.tools, Queue::Message, "test.run", json!({}))
    }

    async fn enqueue(&self, cx: &TenantContext, job: &NewJob) {
        self.db
            .write(cx, ENQUEUE, |batch| batch.enqueue(job))
            .await
            .unwrap();
    }

    async fn lease(&self, most: u16) -> Vec<LeasedJob> {
        self.jobs
            .lease(&sys(), Queue::Message, most, TTL)
            .await
            .unwrap()
    }

    /// Waiting jobs by the thousand, past the product.
    async fn fill(&self, clinic: impl ToString, jobs: i64) {
        let sql = format!(
            "INSERT INTO app.jobs (clinic_id, id, queue, kind, version, payload, priority, state,
                                   run_at, max_attempts, created_at)
             SELECT '{}', gen_random_uuid(), 'message-worker', 'test.run', 1, '{{}}', 0, 'waiting',
                    now() - interval '1 hour', 8, now() FROM generate_series(1, {jobs})",
            clinic.to_string()
        );
        self.behind.batch_execute(&sql).await.unwrap();
    }

    async fn state(&self, lease: Lease) -> (String, Option<String>) {
        let row = self
            .behind
            .query_one(
                "SELECT state, last_failure FROM app.jobs WHERE id = $1::text::uuid",
                &[&lease.job.to_string()],
            )
            .await
            .unwrap();
        (row.get(0), row.get(1))
    }

    /// As if every lease's time had passed.
    async fn let_leases_run_out(&self) {
        self.behind
            .batch_execute(
                "UPDATE app.jobs SET leased_until = now() - interval '1 s' WHERE state = 'leased'",
            )
            .await
            .unwrap();
    }
}

/// What is told as a warning or worse.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        tracing_subscriber::registry().with(self.clone())
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Heard {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Told(String);
        impl tracing::field::Visit for Told {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                let _ = write!(self.0, " {field}={value:?}");
            }
        }
        let level = *event.metadata().level();
        if level <= tracing::Level::WARN {
            let mut told = Told(level.to_string());
            event.record(&mut told);
            self.0.lock().unwrap().push(told.0);
        }
    }
}

fn sys() -> SystemContext {
    SystemContext::new(
        SystemPurpose::JobLeasing,
        Origin::internal(RequestId::from(Uuid::nil())),
    )
}

#[tokio::test]
async fn higher_priorities_go_first_then_what_was_due_first() {
    let s = Setting::new().await;
    let cx = &s.clinics.a.cx;
    let mut expected = Vec::new();
    for (priority, minutes_ago) in [(0, 1), (5, 1), (0, 9), (5, 7)] {
        let mut job = s.job();
        job.priority = priority;
        job.run_at -= TimeDelta::minutes(minutes_ago);
        s.enqueue(cx, &job).await;
        expected.push((priority, minutes_ago, job.id));
    }
    expected.sort_by_key(|&(priority, minutes_ago, _)| (-priority, -minutes_ago));
    for (_, _, id) in expected {
        let leased = s.lease(1).await;
        assert_eq!(leased[0].lease.job, id);
        assert_eq!((leased[0].attempt, leased[0].max_attempts), (1, 8));
    }
    assert_eq!(s.lease(1).await, []);
}

#[tokio::test]
async fn a_delayed_job_is_not_leased_before_its_time() {
    let s = Setting::new().await;
    let mut job = s.job();
    job.run_at += TimeDelta::milliseconds(1500);
    s.enqueue(&s.clinics.a.cx, &job).await;
    assert_eq!(s.lease(10).await, []);
    let due = job.run_at;
    loop {
        let leased = s.lease(10).await;
        if !leased.is_empty() {
            assert_eq!(leased[0].lease.job, job.id);
            assert!(s.tools.now() >= due);
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(
            s.tools.now() < due + TimeDelta::seconds(5),
            "it is leased once due"
        );
    }
}

#[tokio::test]
async fn a_hundred_thousand_jobs_of_one_clinic_do_not_delay_another_s_first() {
    let s = Setting::new().await;
    s.fill(s.clinics.a.id, 100_000).await;
    // Future jobs and other clinics' future jobs are not in the way either.
    s.behind
        .batch_execute("VACUUM ANALYZE app.jobs")
        .await
        .unwrap();
    s.lease(20).await;
    let job = s.job();
    s.enqueue(&s.clinics.b.cx, &job).await;
    // What it reads is counted, for how long that takes depends on what else the machine does.
    // The table has some thousands of pages.
    let explained = s
        .behind
        .query_one(
            "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)
             SELECT * FROM sec.lease_jobs('message-worker', 2, '1 ms',
                                          '00000000-0000-0000-0000-000000000000')",
            &[],
        )
        .await
        .unwrap();
    let explained: serde_json::Value = explained.get(0);
    let plan = &explained[0]["Plan"];
    let pages = ["Shared Hit Blocks", "Shared Read Blocks"]
        .map(|kind| plan[kind].as_u64().unwrap())
        .iter()
        .sum::<u64>();
    assert!(pages < 1_000, "{explained}");
    // Those two are due again.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let leased = s.lease(2).await;
    assert!(
        leased.iter().any(|leased| leased.lease.job == job.id),
        "B's job is in the next lease"
    );
    // And with work in both, leases are shared evenly.
    s.fill(s.clinics.b.id, 100).await;
    let mut shares: HashMap<String, usize> = HashMap::new();
    for leased in s.lease(20).await {
        *shares.entry(leased.lease.clinic.to_string()).or_default() += 1;
    }
    assert_eq!(shares.into_values().collect::<Vec<_>>(), [10, 10]);
}

#[tokio::test]
async fn single_leases_go_around_between_clinics() {
    let s = Setting::new().await;
    s.fill(s.clinics.a.id, 50).await;
    s.fill(s.clinics.b.id, 50).await;
    let mut turns = Vec::new();
    for _ in 0..6 {
        turns.push(s.lease(1).await[0].lease.clinic);
    }
    let (a, b) = (s.clinics.a.id, s.clinics.b.id);
    assert_eq!(turns, [a, b, a, b, a, b]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_leasers_never_lease_a_job_twice_and_leave_none() {
    let s = Setting::new().await;
    s.fill(s.clinics.a.id, 3000).await;
    s.fill(s.clinics.b.id, 1000).await;
    let leasers: Vec<_> = (0..8)
        .map(|_| {
            // Processes of their own, as far as turns go.
            let jobs = PgJobs::new(&s.db);
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let leased = jobs.lease(&sys(), Queue::Message, 25, TTL).await.unwrap();
                    if leased.is_empty() {
                        break mine;
                    }
                    mine.extend(leased);
                }
            })
        })
        .collect();
    let mut seen = HashSet::new();
    let mut total = 0;
    for leaser in leasers {
        for leased in leaser.await.unwrap() {
            assert_eq!(leased.attempt, 1);
            seen.insert(leased.lease.job);
            total += 1;
        }
    }
    assert_eq!((seen.len(), total), (4000, 4000));
}

#[tokio::test]
async fn a_lease_that_ran_out_is_leased_again_and_its_old_holder_can_do_nothing() {
    let s = Setting::new().await;
    let cx = &s.clinics.a.cx;
    s.enqueue(cx, &s.job()).await;
    let old = s.lease(1).await.remove(0).lease;
    assert_eq!(s.lease(1).await, []);
    assert_eq!(s.jobs.renew(&sys(), &[old], TTL).await.unwrap(), [old]);
    s.let_leases_run_out().await;
    let again = s.lease(1).await.remove(0);
    assert_eq!((again.lease.job, again.attempt), (old.job, 2));
    assert_ne!(again.lease.token, old.token);
    assert_eq!(s.jobs.renew(&sys(), &[old], TTL).await.unwrap(), []);
    let code = FailureCode("test.failed");
    assert!(
        !s.jobs
            .fail(cx, old, code, AfterFailure::Dead)
            .await
            .unwrap()
    );
    assert!(matches!(finish(&s, old).await, Err(EffectError::Lost(_))));
    finish(&s, again.lease).await.unwrap();
    assert_eq!(s.state(old).await.0, "completed");
    assert_eq!(s.lease(1).await, []);
    drop(s.base);
}

#[tokio::test]
async fn a_job_whose_row_is_locked_keeps_its_lease_and_delays_no_other_s() {
    let s = Setting::new().await;
    let cx = &s.clinics.a.cx;
    s.enqueue(cx, &s.job()).await;
    s.enqueue(cx, &s.job()).await;
    let leases: Vec<Lease> = s.lease(2).await.iter().map(|leased| leased.lease).collect();
    let until = async |lease: Lease| -> String {
        s.behind
            .query_one(
                "SELECT leased_until::text FROM app.jobs WHERE id = $1::text::uuid",
                &[&lease.job.to_string()],
            )
            .await
            .unwrap()
            .get(0)
    };
    let before = until(leases[1]).await;
    // The job's own transaction, which has recorded its success and is not done yet.
    let holder = s.base.superuser().await;
    holder
        .batch_execute(&format!(
            "BEGIN; UPDATE app.jobs SET state = 'completed', lease_token = NULL,
                 leased_until = NULL, finished_at = now() WHERE id = '{}'",
            leases[0].job
        ))
        .await
        .unwrap();
    assert_eq!(s.jobs.renew(&sys(), &leases, TTL).await.unwrap(), leases);
    assert_ne!(until(leases[1]).await, before);
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(
        s.jobs.renew(&sys(), &leases, TTL).await.unwrap(),
        leases[1..]
    );
}

#[derive(Debug, thiserror::Error)]
enum EffectError {
    #[error(transparent)]
    Lost(#[from] LeaseLost),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An effect with its job's success in one transaction.
async fn finish(s: &Setting, lease: Lease) -> Result<(), EffectError> {
    let cx = &s.clinics.a.cx;
    s.db.unit(cx, EFFECT, async |tx| {
        tx.audit(&AuditEntry::done(
            &s.tools,
            "test.effect",
            Resource::any("test"),
        ));
        complete_in(tx, lease, s.tools.now()).await
    })
    .await
}

#[tokio::test]
async fn an_effect_whose_lease_was_lost_does_not_stand() {
    let s = Setting::new().await;
    s.enqueue(&s.clinics.a.cx, &s.job()).await;
    let lease = s.lease(1).await.remove(0).lease;
    let forged = Lease {
        token: Uuid::nil(),
        ..lease
    };
    let effects = async || -> i64 {
        s.behind
            .query_one("SELECT count(*) FROM app.audit_entries", &[])
            .await
            .unwrap()
            .get(0)
    };
    assert!(matches!(
        finish(&s, forged).await,
        Err(EffectError::Lost(LeaseLost))
    ));
    assert_eq!(effects().await, 0);
    finish(&s, lease).await.unwrap();
    assert_eq!(effects().await, 1);
    assert!(matches!(
        finish(&s, lease).await,
        Err(EffectError::Lost(LeaseLost))
    ));
    assert_eq!(effects().await, 1);
}

#[tokio::test]
async fn a_job_that_kills_its_worker_each_time_ends_dead() {
    let s = Setting::new().await;
    let mut job = s.job();
    job.max_attempts = 2;
    s.enqueue(&s.clinics.a.cx, &job).await;
    for attempt in 1..=2 {
        let leased = s.lease(1).await.remove(0);
        assert_eq!(leased.attempt, attempt);
        s.let_leases_run_out().await;
    }
    // Whoever finds it tells of it, once.
    let heard = Heard::default();
    for _ in 0..2 {
        assert_eq!(s.lease(1).with_subscriber(heard.subscriber()).await, []);
    }
    let heard = heard.0.lock().unwrap().clone();
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(
        heard[0].contains("ERROR") && heard[0].contains(&job.id.to_string()),
        "{heard:?}"
    );
    let row = s
        .behind
        .query_one(
            "SELECT state, last_failure, finished_at IS NOT NULL FROM app.jobs",
            &[],
        )
        .await
        .unwrap();
    let told: (String, Option<String>, bool) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(
        told,
        ("dead".to_owned(), Some("lease_ran_out".to_owned()), true)
    );
}

#[tokio::test]
async fn a_failed_attempt_waits_for_its_time_or_stays_dead() {
    let s = Setting::new().await;
    let cx = &s.clinics.a.cx;
    s.enqueue(cx, &s.job()).await;
    let first = s.lease(1).await.remove(0).lease;
    let code = FailureCode("provider.unreachable");
    let later = s.tools.now() + TimeDelta::hours(1);
    assert!(
        s.jobs
            .fail(cx, first, code, AfterFailure::RetryAt(later))
            .await
            .unwrap()
    );
    assert_eq!(
        s.state(first).await,
        (
            "delayed".to_owned(),
            Some("provider.unreachable".to_owned())
        )
    );
    assert_eq!(s.lease(1).await, []);
    s.behind
        .batch_execute("UPDATE app.jobs SET run_at = now()")
        .await
        .unwrap();
    let second = s.lease(1).await.remove(0);
    assert_eq!(second.attempt, 2);
    assert!(
        !s.jobs
            .fail(cx, first, code, AfterFailure::Dead)
            .await
            .unwrap()
    );
    // Nor can another clinic end it.
    let other = &s.clinics.b.cx;
    assert!(
        !s.jobs
            .fail(other, second.lease, code, AfterFailure::Dead)
            .await
            .unwrap()
    );
    assert!(
        s.jobs
            .fail(cx, second.lease, code, AfterFailure::Dead)
            .await
            .unwrap()
    );
    assert_eq!(s.state(first).await.0, "dead");
    assert_eq!(s.lease(1).await, []);
}

#[tokio::test]
async fn while_a_job_with_its_key_waits_or_runs_no_second_is_enqueued() {
    let s = Setting::new().await;
    let keyed = |delay: TimeDelta| {
        let mut job = s.job();
        job.unique_key = Some("contact:7".to_owned());
        job.run_at += delay;
        job
    };
    let count = async || -> i64 {
        s.behind
            .query_one("SELECT count(*) FROM app.jobs", &[])
            .await
            .unwrap()
            .get(0)
    };
    let cx = &s.clinics.a.cx;
    s.enqueue(cx, &keyed(TimeDelta::hours(1))).await;
    s.enqueue(cx, &keyed(TimeDelta::zero())).await;
    assert_eq!(count().await, 1);
    s.behind
        .batch_execute("UPDATE app.jobs SET run_at = now()")
        .await
        .unwrap();
    let lease = s.lease(1).await.remove(0).lease;
    s.enqueue(cx, &keyed(TimeDelta::zero())).await;
    assert_eq!(count().await, 1, "it runs");
    s.enqueue(&s.clinics.b.cx, &keyed(TimeDelta::zero())).await;
    assert_eq!(count().await, 2, "keys are a clinic's own");
    finish(&s, lease).await.unwrap();
    s.enqueue(cx, &keyed(TimeDelta::zero())).await;
    assert_eq!(count().await, 3);
}

#[tokio::test]
async fn of_completed_jobs_the_latest_are_kept_for_a_while() {
    let s = Setting::new().await;
    for (clinic, queue, minutes_ago) in [
        (s.clinics.a.id, "one", 5),
        (s.clinics.b.id, "one", 4),
        (s.clinics.a.id, "one", 3),
        (s.clinics.a.id, "one", 61),
        (s.clinics.b.id, "other", 70),
        (s.clinics.b.id, "other", 2),
    ] {
        s.behind
            .batch_execute(&format!(
                "INSERT INTO app.jobs (clinic_id, id, queue, kind, version, payload, priority,
                     state, run_at, max_attempts, created_at, finished_at)
                 SELECT '{clinic}', gen_random_uuid(), '{queue}', 'test.run', 1, '{{}}', 0, state,
                     now(), 8, now(), now() - interval '{minutes_ago} minutes'
                 FROM unnest(ARRAY['completed', 'dead', 'cancelled']) AS state"
            ))
            .await
            .unwrap();
    }
    // Waited for by nobody.
    let holder = s.base.superuser().await;
    holder
        .batch_execute(
            "BEGIN; SELECT FROM app.jobs WHERE queue = 'other' AND state = 'completed'
                 AND finished_at < now() - interval '1 hour' FOR UPDATE",
        )
        .await
        .unwrap();
    let app = s.base.app().await;
    let prune = async |most: i32| -> i64 {
        let row = app
            .query_one(
                "SELECT sec.prune_jobs(now() - interval '1 hour', 2, $1)",
                &[&most],
            )
            .await
            .unwrap();
        row.get(0)
    };
    assert_eq!(prune(1).await, 1, "as many as were asked for");
    assert_eq!(prune(100).await, 1, "the third of its queue");
    assert_eq!(prune(100).await, 0);
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(prune(100).await, 1, "what was locked");
    let kept = s
        .behind
        .query_one(
            "SELECT count(*) FILTER (WHERE state = 'completed' AND queue = 'one'),
                    count(*) FILTER (WHERE state = 'completed' AND queue = 'other'),
                    count(*) FILTER (WHERE state <> 'completed'),
                    extract(minutes FROM now() - min(finished_at) FILTER
                            (WHERE state = 'completed' AND queue = 'one'))::int
             FROM app.jobs",
            &[],
        )
        .await
        .unwrap();
    let kept: (i64, i64, i64, i32) = (kept.get(0), kept.get(1), kept.get(2), kept.get(3));
    assert_eq!(kept, (2, 1, 12, 4));
}

#[tokio::test]
async fn counting_jobs_does_not_read_the_completed_ones() {
    let s = Setting::new().await;
    s.fill(s.clinics.a.id, 5_010).await;
    s.behind
        .batch_execute(
            "UPDATE app.jobs SET finished_at = now(), state = CASE WHEN n <= 5000 THEN 'completed'
                                 WHEN n <= 5003 THEN 'dead' ELSE 'waiting' END
             FROM (SELECT id AS numbered, row_number() OVER () AS n FROM app.jobs) AS numbers
             WHERE id = numbered",
        )
        .await
        .unwrap();
    s.behind
        .batch_execute("VACUUM ANALYZE app.jobs")
        .await
        .unwrap();
    s.lease(1).await;
    // Once beforehand: what PostgreSQL must learn first is not counted.
    let count = "SELECT state, jobs FROM sec.count_jobs() ORDER BY 1";
    let rows = s.behind.query(count, &[]).await.unwrap();
    let explained = s
        .behind
        .query_one(
            "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) SELECT * FROM sec.count_jobs()",
            &[],
        )
        .await
        .unwrap();
    let explained: serde_json::Value = explained.get(0);
    let plan = &explained[0]["Plan"];
    let pages = plan["Shared Hit Blocks"].as_u64().unwrap();
    assert!(pages < 100, "the table has 200: {explained}");
    let counts: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = [("dead", 3), ("leased", 1), ("waiting", 6)];
    assert_eq!(
        counts,
        expected.map(|(state, jobs)| (state.to_owned(), jobs))
    );
}
