//! The jobs' ports in memory, on the runtime's own clock (which tests let stand still), and a
//! listener for what is logged.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use job_workers::{Handlers, JobError, JobHandler, JobPorts, WakeSignal, WorkerSettings, Workers};
use kernel::job::{AfterFailure, FailureCode, JobLeases, JobOutcomes, Lease, LeasedJob, Queue};
use kernel::{Clock, JobId, StoreError, SystemContext, SystemPurpose, TenantContext, Toolkit};
use test_support::SeededRandom;
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use uuid::Uuid;

/// The runtime's clock, which begins at an instant of our choice.
pub(crate) struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_796_126_400, 0).unwrap() + self.0.elapsed()
    }
}

pub(crate) fn tools() -> Toolkit {
    Toolkit::new(
        Arc::new(RuntimeClock(Instant::now())),
        Arc::new(SeededRandom::new(1)),
        test_support::keys(),
    )
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum State {
    Waiting,
    Leased { until: DateTime<Utc>, token: Uuid },
    Completed,
    Dead,
}

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) kind: &'static str,
    pub(crate) version: i16,
    pub(crate) state: State,
    pub(crate) run_at: DateTime<Utc>,
    pub(crate) attempts: i16,
    pub(crate) max_attempts: i16,
    pub(crate) codes: Vec<&'static str>,
    /// How long each failure let it wait.
    pub(crate) waits: Vec<Duration>,
}

/// A queue in memory.
pub(crate) struct MemoryJobs {
    tools: Toolkit,
    jobs: Mutex<HashMap<JobId, Job>>,
    /// While above zero, calls fail, and each takes one away.
    pub(crate) failing: AtomicUsize,
    pub(crate) leased_times: AtomicUsize,
    pub(crate) renewed_times: AtomicUsize,
}

impl MemoryJobs {
    pub(crate) fn new(tools: &Toolkit) -> Arc<Self> {
        Arc::new(Self {
            tools: tools.clone(),
            jobs: Mutex::new(HashMap::new()),
            failing: AtomicUsize::new(0),
            leased_times: AtomicUsize::new(0),
            renewed_times: AtomicUsize::new(0),
        })
    }

    pub(crate) fn add(&self, kind: &'static str) -> JobId {
        let id = self.tools.id();
        self.jobs().insert(
            id,
            Job {
                kind,
                version: 1,
                state: State::Waiting,
                run_at: self.tools.now(),
                attempts: 0,
                max_attempts: 8,
                codes: Vec::new(),
                waits: Vec::new(),
            },
        );
        id
    }

    pub(crate) fn job(&self, id: JobId) -> Job {
        self.jobs()[&id].clone()
    }

    pub(crate) fn change(&self, id: JobId, change: impl FnOnce(&mut Job)) {
        change(self.jobs().get_mut(&id).unwrap());
    }

    pub(crate) fn count(&self, state: State) -> usize {
        let jobs = self.jobs();
        jobs.values().filter(|job| job.state == state).count()
    }

    /// What an effect's transaction does at its end.
    pub(crate) fn complete(&self, lease: Lease) -> Result<(), JobError> {
        let mut jobs = self.jobs();
        let job = jobs.get_mut(&lease.job).unwrap();
        if !job.holds(lease) {
            return Err(JobError::LeaseLost);
        }
        job.state = State::Completed;
        Ok(())
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Job>> {
        self.jobs.lock().unwrap()
    }

    fn answer(&self) -> Result<(), StoreError> {
        let took = self
            .failing
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if took.is_ok() {
            Err(StoreError::Unavailable(
                "Maria da Silva, 11987654321".into(),
            ))
        } else {
            Ok(())
        }
    }
}

impl Job {
    fn holds(&self, lease: Lease) -> bool {
        matches!(self.state, State::Leased { token, .. } if token == lease.token)
    }
}

#[async_trait]
impl JobLeases for MemoryJobs {
    async fn lease(
        &self,
        sys: &SystemContext,
        _: Queue,
        most: u16,
        ttl: Duration,
    ) -> Result<Vec<LeasedJob>, StoreError> {
        assert_eq!(sys.purpose(), SystemPurpose::JobLeasing);
        self.leased_times.fetch_add(1, Ordering::SeqCst);
        self.answer()?;
        let now = self.tools.now();
        let mut leased = Vec::new();
        let mut jobs = self.jobs();
        let mut due: Vec<_> = jobs.iter_mut().collect();
        due.sort_by_key(|(id, job)| (job.run_at, kernel::TypedId::as_uuid(*id)));
        for (id, job) in due {
            let free = match job.state {
                State::Waiting => job.run_at <= now,
                State::Leased { until, .. } => until < now,
                State::Completed | State::Dead => false,
            };
            if !free || leased.len() >= usize::from(most) {
                continue;
            }
            let token = self.tools.id::<JobId>().into();
            job.state = State::Leased {
                until: now + ttl,
                token,
            };
            job.attempts += 1;
            leased.push(LeasedJob {
                lease: Lease {
                    clinic: Uuid::from_u128(0xA).into(),
                    job: *id,
                    token,
                },
                kind: job.kind.to_owned(),
                version: job.version,
                attempt: job.attempts,
                max_attempts: job.max_attempts,
            });
        }
        Ok(leased)
    }

    async fn renew(
        &self,
        sys: &SystemContext,
        leases: &[Lease],
        ttl: Duration,
    ) -> Result<Vec<Lease>, StoreError> {
        assert_eq!(sys.purpose(), SystemPurpose::JobLeasing);
        self.renewed_times.fetch_add(1, Ordering::SeqCst);
        self.answer()?;
        let renewed_until = self.tools.now() + ttl;
        let mut jobs = self.jobs();
        let mut renewed = Vec::new();
        for lease in leases {
            let job = jobs.get_mut(&lease.job).unwrap();
            if let State::Leased { until, token } = &mut job.state
                && *token == lease.token
            {
                *until = renewed_until;
                renewed.push(*lease);
            }
        }
        Ok(renewed)
    }
}

#[async_trait]
impl JobOutcomes for MemoryJobs {
    async fn fail(
        &self,
        cx: &TenantContext,
        lease: Lease,
        code: FailureCode,
        after: AfterFailure,
    ) -> Result<bool, StoreError> {
        assert_eq!(cx.clinic(), lease.clinic);
        self.answer()?;
        let now = self.tools.now();
        let mut jobs = self.jobs();
        let job = jobs.get_mut(&lease.job).unwrap();
        if !job.holds(lease) {
            return Ok(false);
        }
        job.codes.push(code.0);
        match after {
            AfterFailure::RetryAt(at) => {
                job.state = State::Waiting;
                job.run_at = at;
                job.waits.push((at - now).to_std().unwrap());
            }
            AfterFailure::Dead => job.state = State::Dead,
        }
        Ok(true)
    }
}

/// What a fake kind of job does.
pub(crate) enum Does {
    Succeeds {
        after: Duration,
    },
    Fails(JobError),
    /// The first so many attempts.
    FailsAtFirst(u32, JobError),
    Panics,
    NeverEnds,
}

/// Runs one kind of job.
pub(crate) struct Fake {
    pub(crate) kind: &'static str,
    pub(crate) does: Does,
    pub(crate) jobs: Arc<MemoryJobs>,
    pub(crate) seen: Arc<Seen>,
}

/// What a fake handler saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) runs: AtomicU32,
    pub(crate) now: AtomicU32,
    pub(crate) most_at_once: AtomicU32,
}

impl Seen {
    pub(crate) fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl JobHandler for Fake {
    fn kind(&self) -> &'static str {
        self.kind
    }

    async fn run(&self, cx: &TenantContext, job: &LeasedJob) -> Result<(), JobError> {
        assert_eq!(cx.actor(), kernel::Actor::Job(job.lease.job));
        let runs = self.seen.runs.fetch_add(1, Ordering::SeqCst) + 1;
        let now = self.seen.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.seen.most_at_once.fetch_max(now, Ordering::SeqCst);
        let ended = match &self.does {
            Does::Succeeds { after } => {
                tokio::time::sleep(*after).await;
                self.jobs.complete(job.lease)
            }
            Does::Fails(error) => Err(*error),
            Does::FailsAtFirst(times, error) if runs <= *times => Err(*error),
            Does::FailsAtFirst(..) => self.jobs.complete(job.lease),
            Does::Panics => panic!("Maria da Silva, 11987654321"),
            Does::NeverEnds => std::future::pending().await,
        };
        self.seen.now.fetch_sub(1, Ordering::SeqCst);
        ended
    }
}

/// A process that works one queue in memory.
pub(crate) struct Process {
    pub(crate) tools: Toolkit,
    pub(crate) jobs: Arc<MemoryJobs>,
    pub(crate) signal: WakeSignal,
    pub(crate) settings: WorkerSettings,
    handlers: Handlers,
}

impl Process {
    pub(crate) fn new() -> Self {
        let tools = tools();
        Self {
            jobs: MemoryJobs::new(&tools),
            tools,
            signal: WakeSignal::new(),
            settings: WorkerSettings::default(),
            handlers: Handlers::new(),
        }
    }

    /// Adds a kind of job.
    pub(crate) fn kind(&mut self, kind: &'static str, does: Does) -> Arc<Seen> {
        let seen = Arc::new(Seen::default());
        self.handlers = std::mem::take(&mut self.handlers).with(Fake {
            kind,
            does,
            jobs: Arc::clone(&self.jobs),
            seen: Arc::clone(&seen),
        });
        seen
    }

    pub(crate) fn start(&self) -> Workers {
        let ports = JobPorts {
            leases: self.jobs.clone(),
            outcomes: self.jobs.clone(),
            tools: self.tools.clone(),
        };
        let (handlers, settings) = (self.handlers.clone(), self.settings.clone());
        Workers::start(ports, handlers, settings, self.signal.clone())
    }
}

/// Keeps every span and event of the present thread as a line of text.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// The lines that hold `text`.
    pub(crate) fn with(&self, text: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        let found = lines.iter().filter(|line| line.contains(text));
        found.cloned().collect()
    }

    fn push(&self, head: &str, record: impl FnOnce(&mut Written)) {
        let mut written = Written(head.to_owned());
        record(&mut written);
        self.0.lock().unwrap().push(written.0);
    }
}

struct Written(String);

impl Visit for Written {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("job_workers")
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.push("span", |written| span.record(written));
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        self.push("record", |written| values.record(written));
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let level = event.metadata().level().as_str();
        self.push(level, |written| event.record(written));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
