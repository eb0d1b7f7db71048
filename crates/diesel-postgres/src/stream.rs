//! Follows the stream of all clinics' events: [`StreamTail`].
//!
//! It looks some forty times a second, and soon after this node committed something: one statement,
//! and so one snapshot, that shows which topics moved, how those stand that somebody wants to know,
//! and which topics have events that are committed but have no position yet. An event is in exactly
//! one of these places from the moment its transaction commits, so a look that began after a commit
//! never misses it, whatever the sequencer does meanwhile.
//!
//! Batches are stamped with their transaction's id under the sequencer's lock and therefore in
//! order, across takeovers too. A follower that lost its connection begins anew all the same: the
//! database it finds may be another one (a replica that took over, a restored backup).
//!
//! Its connection is one of its own, so that it is not starved by the pool it watches over.

use std::sync::Arc;
use std::time::Duration;

use kernel::stream::{PollAnswer, StreamSink, Topic};
use kernel::{ClinicId, TypedId};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use crate::connect::{AddressError, Connector};

/// Longest wait between the beginnings of two looks.
const EVERY: Duration = Duration::from_millis(25);
/// Shortest, after this node committed something: by then it has its position, as a rule.
const SOON: Duration = Duration::from_millis(6);
/// A look that takes longer is given up with its connection.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// First and longest wait before connecting anew.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Events without a position of which each is told. With more, nothing is known.
const MOST_PENDING: i32 = 5_000;
/// The stream lives when its heartbeat is younger. It beats five times a second.
const ALIVE_FOR: Duration = Duration::from_secs(1);

const LOOK: &str =
    "SELECT (extract(epoch FROM clock_timestamp() - sec.sequencer_beat_at()) * 1000)::bigint,
        f.clinic_id, f.topic, f.reached, f.batch
    FROM (SELECT) AS always LEFT JOIN sec.follow_stream($1, $2, $3) f ON true";

/// Makes a follower look soon. Cheap to clone; never waits.
#[derive(Debug, Clone, Default)]
pub struct TailSignal(Arc<Notify>);

impl TailSignal {
    /// To be called when something is wanted, or was committed.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// A running follower. Dropped, it ends.
#[derive(Debug)]
pub struct StreamTail(JoinHandle<()>);

impl StreamTail {
    /// Starts on the present runtime. `url` is PostgreSQL itself, or PgBouncer: nothing is kept in
    /// the session. An address that cannot be read is all that is refused.
    pub fn start(
        url: &str,
        sink: Arc<dyn StreamSink>,
        signal: TailSignal,
    ) -> Result<Self, AddressError> {
        let connector = Connector::new(url, ANSWER_WITHIN)?;
        Ok(Self(tokio::spawn(follow(connector, sink, signal))))
    }
}

impl Drop for StreamTail {
    fn drop(&mut self) {
        self.0.abort();
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

async fn follow(connector: Connector, sink: Arc<dyn StreamSink>, signal: TailSignal) {
    let mut back_off = BACK_OFF.0;
    loop {
        let Err(broken) = session(&connector, sink.as_ref(), &signal, &mut back_off).await;
        // What PostgreSQL says may quote data, so only its code is told.
        let sqlstate = match &broken {
            Broken::Postgres(error) => error.code().map(|code| code.code().to_owned()),
            Broken::Silent => None,
        };
        tracing::warn!(
            sqlstate,
            reason = %broken,
            retry_in_ms = u64::try_from(back_off.as_millis()).unwrap_or(u64::MAX),
            "the cache is passed by: the stream is followed anew"
        );
        sleep(back_off).await;
        back_off = (back_off * 2).min(BACK_OFF.1);
    }
}

/// One connection, from its opening to its end.
async fn session(
    connector: &Connector,
    sink: &dyn StreamSink,
    signal: &TailSignal,
    back_off: &mut Duration,
) -> Result<std::convert::Infallible, Broken> {
    let client = in_time(connector.client()).await?;
    let look = in_time(client.prepare(LOOK)).await?;
    let begun = in_time(client.query_one("SELECT sec.last_batch()", &[])).await?;
    let mut last: i64 = begun.try_get(0)?;
    // From here on each look sees what comes after that batch, and what is known is of before.
    sink.reset();
    loop {
        let began = Instant::now();
        last = poll(&client, &look, sink, last).await?;
        *back_off = BACK_OFF.0;
        tokio::select! {
            () = sleep_until(began + EVERY) => {}
            () = signal.0.notified() => sleep_until((began + SOON).max(Instant::now() + SOON / 2)).await,
        }
    }
}

/// One look. Answers the last batch that it saw.
async fn poll(
    client: &Client,
    look: &Statement,
    sink: &dyn StreamSink,
    after: i64,
) -> Result<i64, Broken> {
    let start = sink.poll_begins();
    let wanted: Vec<Uuid> = start.wanted.iter().map(TypedId::as_uuid).collect();
    let rows = in_time(client.query(look, &[&after, &wanted, &MOST_PENDING])).await?;
    let age: Option<i64> = match rows.first() {
        Some(row) => row.try_get(0)?,
        None => None,
    };
    let mut answer = PollAnswer {
        number: start.number,
        wanted: start.wanted,
        moved: Vec::new(),
        pending: Vec::new(),
        live: age.is_some_and(|age| i128::from(age) < ALIVE_FOR.as_millis().cast_signed()),
    };
    let mut last = after;
    for row in &rows {
        if let Some(batch) = read(row, &mut answer)? {
            last = last.max(batch);
        }
    }
    if answer.pending.len() > usize::try_from(MOST_PENDING).unwrap_or(usize::MAX) {
        answer.live = false;
    }
    sink.poll_ended(answer);
    Ok(last)
}

/// Puts a row where it belongs. Answers the batch that it is of.
fn read(row: &Row, answer: &mut PollAnswer) -> Result<Option<i64>, Broken> {
    let clinic: Option<Uuid> = row.try_get(1)?;
    let topic: Option<&str> = row.try_get(2)?;
    let (Some(clinic), Some(topic)) = (clinic, topic) else {
        return Ok(None);
    };
    let (clinic, topic) = (ClinicId::from(clinic), Topic::of(topic));
    let reached: Option<i64> = row.try_get(3)?;
    match reached {
        Some(position) => answer.moved.push((clinic, topic, position)),
        None => answer.pending.push((clinic, topic)),
    }
    Ok(row.try_get(4)?)
}

async fn in_time<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Broken> {
    match timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Broken::Silent),
    }
}
