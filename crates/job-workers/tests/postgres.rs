//! Jobs of a real PostgreSQL: run once, taken up after a crash, tried again, given up.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use diesel_postgres::jobs::{PgJobs, complete_in};
use diesel_postgres::{Database, QueryName, query_name};
use job_workers::{Handlers, JobError, JobHandler, JobPorts, WakeSignal, WorkerSettings, Workers};
use kernel::job::{LeasedJob, NewJob, Queue};
use kernel::{Event, JobId, TenantContext, Toolkit};
use security::{SystemClock, SystemRandom};
use serde_json::json;
use test_support::{Clinic, TestDatabase, TwoClinics, two_clinics};
use tokio::time::sleep;
use tokio_postgres::Client;
use uuid::Uuid;

const ENQUEUE: QueryName = query_name!("job.enqueue", "INSERT", "jobs");
const EFFECT: QueryName = query_name!("job.take_effect", "INSERT", "outbox");

/// A database with two clinics, and a look behind row security.
struct Ground {
    base: TestDatabase,
    db: Database,
    clinics: TwoClinics,
    tools: Toolkit,
    superuser: Client,
}

impl Ground {
    async fn new() -> Self {
        let base = TestDatabase::new().await;
        let clinics = two_clinics(&base).await;
        Self {
            superuser: base.superuser().await,
            db: base.database(),
            clinics,
            tools: Toolkit::new(
                Arc::new(SystemClock),
                Arc::new(SystemRandom),
                test_support::keys(),
            ),
            base,
        }
    }

    /// A process of its own: own connections, own workers.
    fn process(&self, settings: WorkerSettings) -> (Workers, Arc<AtomicUsize>) {
        let db = self.base.database();
        let jobs = Arc::new(PgJobs::new(&db));
        let runs = Arc::new(AtomicUsize::new(0));
        let kind = |kind, does| Effect {
            kind,
            does,
            db: db.for_jobs(),
            tools: self.tools.clone(),
            runs: Arc::clone(&runs),
        };
        let handlers = Handlers::new()
            .with(kind("good", Does::Commits))
            .with(kind("slow", Does::CommitsAfter(Duration::from_secs(1))))
            .with(kind("poisoned", Does::Panics))
            .with(kind("hangs", Does::Hangs));
        let ports = JobPorts {
            leases: jobs.clone(),
            outcomes: jobs,
            tools: self.tools.clone(),
        };
        let workers = Workers::start(ports, handlers, settings, WakeSignal::new());
        (workers, runs)
    }

    async fn enqueue(&self, clinic: &Clinic, kind: &'static str, count: usize) -> Vec<JobId> {
        let jobs: Vec<NewJob> = (0..count)
            .map(|_| NewJob::due_now(&self.tools, Queue::Message, kind, json!({})))
            .collect();
        let enqueued = self.db.write(&clinic.cx, ENQUEUE, |batch| {
            for job in &jobs {
                batch.enqueue(job);
            }
        });
        enqueued.await.unwrap();
        jobs.iter().map(|job| job.id).collect()
    }

    async fn count(&self, state: &str) -> i64 {
        let sql = "SELECT count(*) FROM app.jobs WHERE state = $1";
        self.superuser
            .query_one(sql, &[&state])
            .await
            .unwrap()
            .get(0)
    }

    /// Effects that stand, and of how many jobs.
    async fn effects(&self) -> (i64, i64) {
        let sql = "SELECT count(*), count(DISTINCT entity_id) FROM app.outbox";
        let row = self.superuser.query_one(sql, &[]).await.unwrap();
        (row.get(0), row.get(1))
    }

    /// Attempts, state, last failure.
    async fn row(&self, job: JobId) -> (i16, String, Option<String>) {
        let sql = "SELECT attempts, state, last_failure FROM app.jobs WHERE id = $1";
        let row = self.superuser.query_one(sql, &[&Uuid::from(job)]).await;
        let row = row.unwrap();
        (row.get(0), row.get(1), row.get(2))
    }

    /// Waits until so many jobs are in that state.
    async fn until(&self, state: &str, count: i64, within: Duration) -> Duration {
        let began = Instant::now();
        while self.count(state).await != count {
            let found = self.count(state).await;
            assert!(began.elapsed() < within, "{found} of {count} are {state}");
            sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    }
}

#[derive(Clone, Copy)]
enum Does {
    Commits,
    CommitsAfter(Duration),
    Panics,
    Hangs,
}

/// Leaves an event behind, in one transaction with the job's end.
struct Effect {
    kind: &'static str,
    does: Does,
    db: Database,
    tools: Toolkit,
    runs: Arc<AtomicUsize>,
}

#[async_trait]
impl JobHandler for Effect {
    fn kind(&self) -> &'static str {
        self.kind
    }

    async fn run(&self, cx: &TenantContext, job: &LeasedJob) -> Result<(), JobError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        match self.does {
            Does::Commits => {}
            Does::CommitsAfter(wait) => sleep(wait).await,
            Does::Panics => panic!("a poisoned job"),
            Does::Hangs => std::future::pending().await,
        }
        let event = Event::new(&self.tools, "test.happened", job.lease.job, json!({}));
        let effect = self.db.unit(cx, EFFECT, async |tx| {
            tx.emit(&event);
            complete_in::<JobError>(tx, job.lease, self.tools.now()).await
        });
        effect.await
    }
}

fn settings() -> WorkerSettings {
    WorkerSettings::default()
}

fn leases_of(ttl: Duration) -> WorkerSettings {
    WorkerSettings {
        lease_ttl: ttl,
        ..settings()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_takes_effect_exactly_once_with_several_processes() {
    let ground = Ground::new().await;
    ground.enqueue(&ground.clinics.a, "good", 200).await;
    ground.enqueue(&ground.clinics.b, "good", 200).await;
    let processes: Vec<_> = (0..3).map(|_| ground.process(settings())).collect();
    ground
        .until("completed", 400, Duration::from_secs(30))
        .await;
    assert_eq!(ground.effects().await, (400, 400));
    let mut runs = 0;
    for (workers, ran) in processes {
        assert_eq!(workers.stop().await, 0);
        runs += ran.load(Ordering::SeqCst);
    }
    assert_eq!(runs, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_processes_jobs_are_taken_up_after_their_leases() {
    let ground = Ground::new().await;
    let jobs = ground.enqueue(&ground.clinics.a, "slow", 5).await;
    let (killed, runs) = ground.process(leases_of(Duration::from_secs(2)));
    // A lease is in the row before its worker knows of it.
    let began = Instant::now();
    while runs.load(Ordering::SeqCst) < 5 {
        assert!(began.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(5)).await;
    }
    drop(killed);
    let (_other, _) = ground.process(leases_of(Duration::from_secs(2)));
    ground.until("completed", 5, Duration::from_secs(15)).await;
    assert_eq!(ground.effects().await, (5, 5));
    for job in jobs {
        let (attempts, ..) = ground.row(job).await;
        assert_eq!(attempts, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_longer_than_its_lease_keeps_it() {
    let ground = Ground::new().await;
    let job = ground.enqueue(&ground.clinics.a, "slow", 1).await;
    let short = leases_of(Duration::from_millis(400));
    let (_one, _) = ground.process(short.clone());
    let (_other, _) = ground.process(short);
    ground.until("completed", 1, Duration::from_secs(10)).await;
    assert_eq!(ground.row(job[0]).await.0, 1);
    assert_eq!(ground.effects().await, (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_effect_of_a_job_that_lost_its_lease_does_not_stand() {
    let ground = Ground::new().await;
    let job = ground.enqueue(&ground.clinics.a, "slow", 1).await;
    let (workers, runs) = ground.process(settings());
    ground.until("leased", 1, Duration::from_secs(5)).await;
    let discard =
        "UPDATE app.jobs SET state = 'cancelled', lease_token = NULL, leased_until = NULL";
    ground.superuser.execute(discard, &[]).await.unwrap();
    assert_eq!(workers.stop().await, 0);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(ground.effects().await, (0, 0));
    assert_eq!(ground.row(job[0]).await, (1, "cancelled".to_owned(), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wait_after_a_failure_is_kept_in_the_row_and_outlives_the_process() {
    let ground = Ground::new().await;
    let job = ground.enqueue(&ground.clinics.a, "poisoned", 1).await[0];
    let (workers, _) = ground.process(settings());
    ground.until("delayed", 1, Duration::from_secs(5)).await;
    workers.stop().await;
    let sql = "SELECT extract(epoch FROM run_at - clock_timestamp())::float8 FROM app.jobs";
    let due_in: f64 = ground.superuser.query_one(sql, &[]).await.unwrap().get(0);
    assert!((0.5..=1.25).contains(&due_in), "{due_in}");
    let failed = Some("panicked".to_owned());
    assert_eq!(ground.row(job).await, (1, "delayed".to_owned(), failed));
    let (_other, runs) = ground.process(settings());
    sleep(Duration::from_millis(300)).await;
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    sleep(Duration::from_millis(2_200)).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(ground.row(job).await.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_job_ends_dead_and_others_go_on() {
    let ground = Ground::new().await;
    let poisoned = ground.enqueue(&ground.clinics.a, "poisoned", 12).await;
    ground.enqueue(&ground.clinics.a, "good", 50).await;
    let unknown = ground.enqueue(&ground.clinics.b, "of.tomorrow", 1).await[0];
    ground
        .superuser
        .execute("UPDATE app.jobs SET max_attempts = 2", &[])
        .await
        .unwrap();
    let (_workers, _) = ground.process(settings());
    ground.until("completed", 50, Duration::from_secs(10)).await;
    ground.until("dead", 13, Duration::from_secs(15)).await;
    for job in poisoned {
        let failed = Some("panicked".to_owned());
        assert_eq!(ground.row(job).await, (2, "dead".to_owned(), failed));
    }
    let failed = Some("unknown_kind".to_owned());
    assert_eq!(ground.row(unknown).await, (2, "dead".to_owned(), failed));
    assert_eq!(ground.effects().await, (50, 50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_finishes_what_runs_and_leases_nothing_more() {
    let ground = Ground::new().await;
    ground.enqueue(&ground.clinics.a, "slow", 14).await;
    let (workers, _) = ground.process(settings());
    ground.until("leased", 10, Duration::from_secs(5)).await;
    assert_eq!(workers.stop().await, 0);
    assert_eq!(ground.count("completed").await, 10);
    assert_eq!(ground.count("waiting").await, 4);
    assert_eq!(ground.effects().await, (10, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stopping_cuts_is_left_to_its_lease() {
    let ground = Ground::new().await;
    let job = ground.enqueue(&ground.clinics.a, "hangs", 1).await[0];
    let (workers, _) = ground.process(WorkerSettings {
        stop_within: Duration::from_millis(300),
        ..leases_of(Duration::from_secs(1))
    });
    ground.until("leased", 1, Duration::from_secs(5)).await;
    assert_eq!(workers.stop().await, 1);
    let (_other, runs) = ground.process(leases_of(Duration::from_secs(1)));
    sleep(Duration::from_millis(2_500)).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(ground.row(job).await.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_clinics_thousand_jobs_do_not_delay_anothers_first() {
    let ground = Ground::new().await;
    ground.enqueue(&ground.clinics.a, "slow", 1_000).await;
    let (_workers, _) = ground.process(settings());
    ground.until("leased", 10, Duration::from_secs(5)).await;
    ground.enqueue(&ground.clinics.b, "good", 1).await;
    let began = Instant::now();
    let done = "SELECT count(*) FROM app.jobs WHERE kind = 'good' AND state = 'completed'";
    loop {
        let row = ground.superuser.query_one(done, &[]).await.unwrap();
        if row.get::<_, i64>(0) == 1 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20));
        sleep(Duration::from_millis(10)).await;
    }
    // The first slot that is free is the other clinic's: no more ended before it than the ten
    // that ran, and the ten that took their slots meanwhile.
    let ended = ground.count("completed").await - 1;
    assert!(ended <= 20, "{ended} jobs of the first clinic went before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_outlive_an_outage_of_the_database() {
    let ground = Ground::new().await;
    ground.enqueue(&ground.clinics.a, "slow", 20).await;
    let (workers, _) = ground.process(leases_of(Duration::from_secs(2)));
    ground.until("leased", 10, Duration::from_secs(5)).await;
    let url = ground.base.superuser_url();
    let (cluster, name) = url.rsplit_once('/').unwrap();
    let (admin, connection) =
        tokio_postgres::connect(&format!("{cluster}/postgres"), tokio_postgres::NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    let shut = format!(
        "ALTER DATABASE {name} ALLOW_CONNECTIONS false;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = '{name}' AND usename = 'acolhe_app'"
    );
    admin.batch_execute(&shut).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    let open = format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true");
    admin.batch_execute(&open).await.unwrap();
    ground.until("completed", 20, Duration::from_secs(30)).await;
    assert_eq!(ground.effects().await, (20, 20));
    assert_eq!(workers.stop().await, 0);
}
