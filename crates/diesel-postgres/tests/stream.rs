//! A follower of the stream over a real database: what it sees of commits and of the sequencer.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel_postgres::sequencer::{Sequencer, SequencerSettings, SequencerSignal};
use diesel_postgres::stream::{StreamTail, TailSignal};
use diesel_postgres::{QueryName, query_name};
use kernel::stream::{PollAnswer, PollStart, StreamSink, Topic, Topics};
use kernel::{ClinicId, Event};
use security::SystemClock;
use serde_json::json;
use test_support::{Clinic, FixedClock, TestDatabase, two_clinics};

const EMIT: QueryName = query_name!("event.emit", "INSERT", "outbox");

/// Remembers what it is told.
#[derive(Debug, Default)]
struct Heard(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    begun: u64,
    resets: u64,
    wanted: Vec<ClinicId>,
    committed: Vec<(ClinicId, Topics)>,
    answers: Vec<PollAnswer>,
}

impl StreamSink for Heard {
    fn committed(&self, clinic: ClinicId, topics: Topics) {
        self.0.lock().unwrap().committed.push((clinic, topics));
    }

    fn reset(&self) {
        let mut told = self.0.lock().unwrap();
        told.resets += 1;
        told.answers.clear();
    }

    fn poll_begins(&self) -> PollStart {
        let mut told = self.0.lock().unwrap();
        told.begun += 1;
        PollStart {
            number: told.begun,
            wanted: std::mem::take(&mut told.wanted),
        }
    }

    fn poll_ended(&self, answer: PollAnswer) {
        self.0.lock().unwrap().answers.push(answer);
    }
}

impl Heard {
    /// Waits until an answer is like this.
    async fn until(&self, what: &str, like: impl Fn(&PollAnswer) -> bool) {
        for _ in 0..1_000 {
            if self.0.lock().unwrap().answers.iter().any(&like) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "never heard: {what}; {:?}",
            self.0.lock().unwrap().answers.last()
        );
    }

    fn forget(&self) {
        self.0.lock().unwrap().answers.clear();
    }
}

fn sequencer(base: &TestDatabase, signal: SequencerSignal) -> Sequencer {
    Sequencer::start(
        SequencerSettings::new(base.app_url()),
        Arc::new(SystemClock),
        signal,
    )
    .unwrap()
}

async fn emit(base: &diesel_postgres::Database, clinic: &Clinic, name: &'static str) {
    let tools = test_support::toolkit(Arc::new(FixedClock::default()));
    let event = Event::new(&tools, name, clinic.owner, json!({}));
    base.write(&clinic.cx, EMIT, |batch| batch.emit(&event))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_event_is_pending_from_its_commit_until_it_has_its_position() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let heard = Arc::new(Heard::default());
    let db = base.database();
    db.tell(heard.clone());
    let signal = TailSignal::default();
    let _tail = StreamTail::start(&base.app_url(), heard.clone(), signal.clone()).unwrap();
    let (a, b) = (clinics.a.id, clinics.b.id);
    // No sequencer: the stream does not live.
    heard.until("nothing", |answer| !answer.live).await;

    emit(&db, &clinics.a, "contact.updated").await;
    let told = heard.0.lock().unwrap().committed.clone();
    assert_eq!(told, [(a, Topics::of(&[Topic::Contact]))]);
    signal.wake();
    heard
        .until("it as pending", |answer| {
            answer.pending == [(a, Topic::Contact)] && answer.moved.is_empty()
        })
        .await;

    let running = sequencer(&base, db.sequencer_signal());
    heard
        .until("its position", |answer| {
            answer.moved == [(a, Topic::Contact, 1)] && answer.pending.is_empty()
        })
        .await;
    heard.until("life", |answer| answer.live).await;

    // A clinic that is asked for is told whole; the other's changes are told as well.
    heard.forget();
    heard.0.lock().unwrap().wanted.push(a);
    heard
        .until("what was wanted", |answer| {
            answer.wanted == [a] && answer.moved == [(a, Topic::Contact, 1)]
        })
        .await;
    emit(&db, &clinics.b, "message.created").await;
    heard
        .until("the other clinic's", |answer| {
            answer.moved == [(b, Topic::Message, 1)]
        })
        .await;
    // Nothing moves twice.
    heard.forget();
    heard.until("quiet", |answer| answer.live).await;
    assert!(
        heard
            .0
            .lock()
            .unwrap()
            .answers
            .iter()
            .all(|answer| answer.moved.is_empty())
    );
    running.stop().await;
    heard.until("no life", |answer| !answer.live).await;
}

#[tokio::test]
async fn a_follower_that_lost_its_connection_begins_anew_and_skips_nothing() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let heard = Arc::new(Heard::default());
    let db = base.database();
    let _sequencer = sequencer(&base, db.sequencer_signal());
    let tail = StreamTail::start(&base.app_url(), heard.clone(), TailSignal::default());
    let _tail = tail.unwrap();
    heard.until("life", |answer| answer.live).await;
    let before = heard.0.lock().unwrap().resets;
    base.superuser()
        .await
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE '%follow_stream%'
               AND pid <> pg_backend_pid()",
        )
        .await
        .unwrap();
    for _ in 0..1_000 {
        if heard.0.lock().unwrap().resets > before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(heard.0.lock().unwrap().resets > before);
    let a = clinics.a.id;
    for (at, name) in ["contact.updated", "contact.updated", "branch.created"]
        .iter()
        .enumerate()
    {
        emit(&db, &clinics.a, name).await;
        let position = i64::try_from(at).unwrap() + 1;
        let topic = Topic::of(name);
        heard
            .until(name, |answer| answer.moved.contains(&(a, topic, position)))
            .await;
    }
}
