//! The sequencer: gives committed events their positions.
//!
//! Writers leave rows in the outbox; one sequencer in the whole installation moves them into
//! `app.events`, where each clinic's positions run without a gap and in the order in which
//! anybody can see them, so that a reader who remembers its last position never skips one.
//!
//! The rules that make it right:
//!
//! 1. A batch is one call of `sec.sequence_events`: it tries a lock that lasts as long as its
//!    transaction, and moves rows in the statement after that, whose snapshot is then fresh.
//! 2. A new sequencer reads the highest id that was drawn, then draws a transaction id of its
//!    own, and sweeps the whole outbox in every batch until all older transactions have ended.
//! 3. A missing id is remembered with the transaction id of the batch that missed it, and
//!    forgotten when `pg_snapshot_xmin` has passed that. Forgetting it by `pg_snapshot_xmax`
//!    loses the rows of whoever was running then.
//! 4. Writers write their domain's rows first and the outbox last: a transaction that draws an
//!    outbox id has its transaction id already. The full sweep of each second finds what a
//!    writer that broke this rule left behind.
//! 5. It wakes every 5 ms, and at once for what its own node committed ([`SequencerSignal`]).
//!    One `NOTIFY` a batch.
//!
//! Beside the batch's lock, which makes two sequencers safe, a session lock makes one of them
//! stand by, so that only one polls. Both need a connection to PostgreSQL itself: session locks
//! do not survive `PgBouncer`'s transaction mode.

pub mod progress;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kernel::Clock;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::{Client, Statement};

use crate::connect::{AddressError, Connector};
use progress::{Ask, Batch, Progress};

/// Held by the session of the sequencer that leads. (`sec.sequence_events` locks 4711002.)
const LEADER_LOCK: i64 = 4_711_004;
/// How often one that stands by tries to lead: what a takeover takes at most, beside the time
/// PostgreSQL needs to notice that the leader is gone.
const STANDBY_POLL: Duration = Duration::from_millis(50);
/// Least time between the beginnings of two batches when signals come in a row, so that a batch
/// serves several commits: at 1,000 writes a second, 9 % of a core in PostgreSQL instead of 16 %.
/// After a rest the first commit is served at once.
const GATHER: Duration = Duration::from_millis(2);
/// A batch that takes longer is given up with its connection. Above the role's statement_timeout.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// First and longest wait before connecting anew.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Events pruned at a time: some milliseconds of the stream's.
const PRUNE_BATCH: i32 = 1_000;
/// Idempotency keys pruned at a time.
const PRUNE_KEYS_BATCH: i32 = 1_000;
/// Completed jobs pruned at a time, and how soon again while there are more: 5,000 a second.
const PRUNE_JOBS_BATCH: i32 = 500;
const PRUNE_JOBS_AGAIN: Duration = Duration::from_millis(100);
/// How often completed jobs are looked for.
const PRUNE_JOBS: Duration = Duration::from_secs(10);

/// Where and how to work.
#[derive(Clone)]
pub struct SequencerSettings {
    /// PostgreSQL itself as the server's role, not `PgBouncer`.
    pub url: String,
    /// Longest wait between two batches.
    pub poll: Duration,
    /// How often to sweep the whole outbox.
    pub sweep: Duration,
    /// Most rows of one batch.
    pub most: u16,
    /// How long events are kept.
    pub retention: Duration,
    /// How long completed jobs are kept.
    pub keep_jobs: Duration,
    /// Completed jobs of each queue that are kept at most, whenever they were completed.
    pub keep_most_jobs: u16,
}

impl SequencerSettings {
    /// Polls every 5 ms, sweeps every second, moves 2,000 rows at most at a time, keeps events
    /// for seven days, and completed jobs for an hour, 1,000 of each queue at most.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            poll: Duration::from_millis(5),
            sweep: Duration::from_secs(1),
            most: 2_000,
            retention: Duration::from_hours(7 * 24),
            keep_jobs: Duration::from_hours(1),
            keep_most_jobs: 1_000,
        }
    }
}

impl fmt::Debug for SequencerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address holds a password.
        f.debug_struct("SequencerSettings")
            .field("poll", &self.poll)
            .field("sweep", &self.sweep)
            .field("most", &self.most)
            .field("retention", &self.retention)
            .field("keep_jobs", &self.keep_jobs)
            .field("keep_most_jobs", &self.keep_most_jobs)
            .finish_non_exhaustive()
    }
}

/// Tells this node's sequencer that something has committed. Cheap to clone; never waits.
#[derive(Debug, Clone, Default)]
pub struct SequencerSignal(Arc<Notify>);

impl SequencerSignal {
    /// To be called after a `COMMIT` of outbox rows was answered.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// What a sequencer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequencerState {
    /// It has no connection.
    Disconnected,
    /// Another node's leads.
    StandingBy,
    /// It gives out positions.
    Leading,
}

/// A running sequencer. Dropped, it ends at once (which is safe: a batch commits or does not).
#[derive(Debug)]
pub struct Sequencer {
    signal: SequencerSignal,
    state: watch::Receiver<SequencerState>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Sequencer {
    /// Starts on the present runtime, woken by `signal`. Connects, and connects anew, by itself;
    /// an address that cannot be read is all that is refused.
    pub fn start(
        settings: SequencerSettings,
        clock: Arc<dyn Clock>,
        signal: SequencerSignal,
    ) -> Result<Self, AddressError> {
        let connector = Connector::new(&settings.url, ANSWER_WITHIN)?;
        let (state_sender, state) = watch::channel(SequencerState::Disconnected);
        let (stop, stopped) = watch::channel(false);
        let worker = Worker {
            settings,
            connector,
            clock,
            signal: signal.clone(),
            state: state_sender,
            stopped,
        };
        Ok(Self {
            signal,
            state,
            stop,
            task: tokio::spawn(worker.run()),
        })
    }

    /// What wakes it.
    pub fn signal(&self) -> SequencerSignal {
        self.signal.clone()
    }

    /// What it is doing, and when that changes.
    pub fn state(&self) -> watch::Receiver<SequencerState> {
        self.state.clone()
    }

    /// Moves what has committed so far, gives the lead away and ends. Call it when nothing
    /// writes any more.
    pub async fn stop(mut self) {
        // An error means that it has ended already.
        let _ = self.stop.send(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Sequencer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("PostgreSQL answered with an error, or not at all")]
    Postgres(#[from] tokio_postgres::Error),
    #[error("PostgreSQL did not answer in time")]
    Silent,
}

struct Worker {
    settings: SequencerSettings,
    connector: Connector,
    clock: Arc<dyn Clock>,
    signal: SequencerSignal,
    state: watch::Sender<SequencerState>,
    stopped: watch::Receiver<bool>,
}

impl Worker {
    async fn run(mut self) {
        let mut back_off = BACK_OFF.0;
        while !*self.stopped.borrow() {
            let broken = match self.session(&mut back_off).await {
                Ok(()) => return,
                Err(broken) => broken,
            };
            self.enter(SequencerState::Disconnected);
            // What PostgreSQL says may quote data, so only its code is told; what the network
            // says quotes none.
            let (sqlstate, error) = match &broken {
                Broken::Postgres(error) => match error.code() {
                    Some(code) => (Some(code.code().to_owned()), None),
                    None => (None, Some(error.to_string())),
                },
                Broken::Silent => (None, None),
            };
            tracing::warn!(
                sqlstate,
                error,
                reason = %broken,
                retry_in_ms = u64::try_from(back_off.as_millis()).unwrap_or(u64::MAX),
                "the sequencer connects anew"
            );
            tokio::select! {
                () = sleep(back_off) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => {}
            }
            back_off = (back_off * 2).min(BACK_OFF.1);
        }
    }

    /// One connection, from its opening to its end. `Ok` when asked to stop.
    async fn session(&mut self, back_off: &mut Duration) -> Result<(), Broken> {
        let client = in_time(self.connector.client()).await?;
        // A leader whose machine is gone must lose its lock soon, not when TCP gives up. And a
        // batch's two statements must have a snapshot each.
        in_time(client.batch_execute(
            "SET application_name = 'acolhe-sequencer'; SET tcp_keepalives_idle = 5;
             SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
             SET tcp_user_timeout = 10000;
             SET default_transaction_isolation = 'read committed'",
        ))
        .await?;
        let lead = in_time(client.prepare("SELECT pg_try_advisory_lock($1)")).await?;
        loop {
            if in_time(client.query_one(&lead, &[&LEADER_LOCK]))
                .await?
                .get(0)
            {
                break;
            }
            *back_off = BACK_OFF.0;
            self.enter(SequencerState::StandingBy);
            tokio::select! {
                () = sleep(STANDBY_POLL) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
        }
        let mut lead = Lead::begin(client, self.settings.most).await?;
        self.enter(SequencerState::Leading);
        *back_off = BACK_OFF.0;
        self.lead(&mut lead).await
    }

    async fn lead(&mut self, lead: &mut Lead) -> Result<(), Broken> {
        let mut sweep_at = Instant::now() + self.settings.sweep;
        let mut prune_at = Instant::now() + self.settings.sweep;
        let mut prune_jobs_at = prune_at;
        loop {
            // Read before the batch: what committed before the stop is moved.
            let stopping = *self.stopped.borrow();
            let now = Instant::now();
            let sweep_due = stopping || now >= sweep_at;
            if sweep_due {
                sweep_at = now + self.settings.sweep;
            }
            if lead.batch(sweep_due).await? {
                continue;
            }
            if stopping {
                return Ok(());
            }
            if now >= prune_at {
                let before = self.ago(self.settings.retention);
                let more_events = lead.prune(before).await?;
                let more_keys = lead.prune_keys(self.clock.now()).await?;
                let wait = if more_events || more_keys {
                    Duration::from_secs(1)
                } else {
                    Duration::from_mins(1)
                };
                prune_at = Instant::now() + wait;
            }
            if now >= prune_jobs_at {
                let before = self.ago(self.settings.keep_jobs);
                let keep = self.settings.keep_most_jobs.into();
                let wait = if lead.prune_jobs(before, keep).await? {
                    PRUNE_JOBS_AGAIN
                } else {
                    PRUNE_JOBS
                };
                prune_jobs_at = Instant::now() + wait;
            }
            let woken = tokio::select! {
                () = sleep(self.settings.poll) => false,
                () = self.signal.0.notified() => true,
                _ = self.stopped.wait_for(|stopped| *stopped) => false,
            };
            if woken {
                sleep_until(now + GATHER).await;
            }
        }
    }

    /// What is from before this instant is older than `kept`.
    fn ago(&self, kept: Duration) -> chrono::DateTime<chrono::Utc> {
        let now = self.clock.now();
        chrono::TimeDelta::from_std(kept)
            .ok()
            .and_then(|kept| now.checked_sub_signed(kept))
            .unwrap_or(chrono::DateTime::<chrono::Utc>::MIN_UTC)
    }

    fn enter(&self, state: SequencerState) {
        let changed = self.state.send_if_modified(|present| {
            let changed = *present != state;
            *present = state;
            changed
        });
        if changed {
            tracing::info!(state = ?state, "the sequencer's state changed");
        }
    }
}

/// The connection that holds the leader's lock, and what it has seen.
struct Lead {
    client: Client,
    sequence: Statement,
    prune: Statement,
    prune_keys: Statement,
    prune_jobs: Statement,
    progress: Progress,
    most: i32,
}

impl Lead {
    async fn begin(client: Client, most: u16) -> Result<Self, Broken> {
        let sequence =
            in_time(client.prepare(
                "SELECT ids, batch_xid, snapshot_xmin FROM sec.sequence_events($1, $2, $3)",
            ))
            .await?;
        let prune = in_time(client.prepare("SELECT sec.prune_events($1, $2)")).await?;
        let prune_keys =
            in_time(client.prepare("SELECT sec.prune_idempotency_keys($1, $2)")).await?;
        let prune_jobs = in_time(client.prepare("SELECT sec.prune_jobs($1, $2, $3)")).await?;
        let begun =
            in_time(client.query_one("SELECT last_id, own_xid FROM sec.begin_sequencing()", &[]))
                .await?;
        Ok(Self {
            client,
            sequence,
            prune,
            prune_keys,
            prune_jobs,
            progress: Progress::begin(begun.try_get(0)?, begun.try_get(1)?, most.into()),
            most: most.into(),
        })
    }

    /// Moves what it can see; answers whether there is more to move at once.
    async fn batch(&mut self, sweep_due: bool) -> Result<bool, Broken> {
        let ask: Ask = self.progress.ask(sweep_due);
        let row = in_time(
            self.client
                .query_opt(&self.sequence, &[&ask.high, &ask.gaps, &self.most]),
        )
        .await?;
        // No row: another sequencer is amid a batch. That harms neither, and it will stand by.
        let Some(row) = row else { return Ok(false) };
        let batch = Batch {
            ids: row.try_get(0)?,
            xid: row.try_get(1)?,
            xmin: row.try_get(2)?,
        };
        if !batch.ids.is_empty() {
            tracing::trace!(
                moved = batch.ids.len(),
                open_gaps = self.progress.open_gaps(),
                "events were given positions"
            );
        }
        Ok(self.progress.note(&ask, &batch))
    }

    /// Drops some events from before `before`; answers whether there may be more.
    async fn prune(&self, before: chrono::DateTime<chrono::Utc>) -> Result<bool, Broken> {
        let row = in_time(self.client.query_one(&self.prune, &[&before, &PRUNE_BATCH])).await?;
        Ok(row.try_get::<_, i64>(0)? >= i64::from(PRUNE_BATCH))
    }

    /// Drops some idempotency keys that have expired; answers whether there may be more.
    async fn prune_keys(&self, now: chrono::DateTime<chrono::Utc>) -> Result<bool, Broken> {
        let row = in_time(
            self.client
                .query_one(&self.prune_keys, &[&now, &PRUNE_KEYS_BATCH]),
        )
        .await?;
        Ok(row.try_get::<_, i64>(0)? >= i64::from(PRUNE_KEYS_BATCH))
    }

    /// Drops some jobs that were completed before `before`, or that are beyond the latest `keep`
    /// of their queue; answers whether there may be more.
    async fn prune_jobs(
        &self,
        before: chrono::DateTime<chrono::Utc>,
        keep: i32,
    ) -> Result<bool, Broken> {
        let row = in_time(
            self.client
                .query_one(&self.prune_jobs, &[&before, &keep, &PRUNE_JOBS_BATCH]),
        )
        .await?;
        Ok(row.try_get::<_, i64>(0)? >= i64::from(PRUNE_JOBS_BATCH))
    }
}

async fn in_time<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Broken> {
    match timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Broken::Silent),
    }
}
