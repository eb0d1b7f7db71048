//! Writers that commit late and out of order, and a reader that notices everything.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::DateTime;
use diesel_postgres::{QueryName, query_name};
use futures_util::future::join_all;
use kernel::Event;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// What the tests' own writes are called.
pub(crate) const EMIT: QueryName = query_name!("event.emit", "INSERT", "outbox");

const PATIENCE: Duration = Duration::from_secs(30);

/// An event, told apart by its number.
pub(crate) fn event(number: u32) -> Event {
    Event {
        id: Uuid::from_u128(u128::from(number) | (7 << 76)).into(),
        name: "test.done",
        version: 1,
        entity: Uuid::from_u128(number.into()),
        at: DateTime::from_timestamp(1_796_126_400, 0).unwrap(),
        payload: serde_json::json!({ "number": number }),
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn begin(client: &Client, clinic: Uuid) {
    client
        .batch_execute(&format!(
            "BEGIN; SELECT set_config('app.clinic_id', '{clinic}', true);
             INSERT INTO app.audit_entries (clinic_id, id, at, actor_kind, actor_role, action,
                 resource_kind, outcome, changes, request_id)
             VALUES ('{clinic}', gen_random_uuid(), now(), 'user', 'test', 'test', 'test', 'done',
                 '[]', gen_random_uuid())"
        ))
        .await
        .unwrap();
}

/// Draws an outbox id.
async fn emit(client: &Client, clinic: Uuid, id: Uuid) {
    client
        .execute(
            "INSERT INTO app.outbox (clinic_id, event_id, name, version, entity_id, at, payload)
             VALUES ($1, $2, 'test.done', 1, $2, now(), '{}')",
            &[&clinic, &id],
        )
        .await
        .unwrap();
}

/// A transaction that has drawn its outbox id and is still open.
pub(crate) struct Open {
    client: Client,
    id: Uuid,
}

impl Open {
    pub(crate) async fn begin(url: &str, clinic: Uuid) -> Self {
        let client = connect(url).await;
        begin(&client, clinic).await;
        let id = id_of(&client).await;
        emit(&client, clinic, id).await;
        Self { client, id }
    }

    /// Commits; answers the event's id.
    pub(crate) async fn commit(self) -> Uuid {
        self.client.batch_execute("COMMIT").await.unwrap();
        self.id
    }

    pub(crate) async fn roll_back(self) {
        self.client.batch_execute("ROLLBACK").await.unwrap();
    }
}

async fn id_of(client: &Client) -> Uuid {
    client
        .query_one("SELECT gen_random_uuid()", &[])
        .await
        .unwrap()
        .get(0)
}

/// Many writers over several clinics, the first of which takes half of the writes.
pub(crate) struct Workload {
    clinics: u128,
    writers: u64,
    transactions: u64,
}

impl Workload {
    pub(crate) const fn new(clinics: u128, writers: u64, transactions: u64) -> Self {
        Self {
            clinics,
            writers,
            transactions,
        }
    }

    /// Writes; answers the ids of the events that were committed, and the reader that has been
    /// reading beside it.
    pub(crate) async fn run(&self, url: &str) -> (HashSet<Uuid>, Reader) {
        let reader = Reader::start(url, (1..=self.clinics).map(Uuid::from_u128).collect());
        let writers = (0..self.writers).map(|number| self.write(url.to_owned(), number + 1));
        let committed = join_all(writers).await.into_iter().flatten().collect();
        (committed, reader)
    }

    async fn write(&self, url: String, seed: u64) -> Vec<Uuid> {
        let client = connect(&url).await;
        let mut dice = Dice(seed);
        let mut committed = Vec::new();
        for _ in 0..self.transactions {
            let clinic = if dice.roll(2) == 0 {
                1
            } else {
                u128::from(dice.roll(u64::try_from(self.clinics).unwrap())) + 1
            };
            let clinic = Uuid::from_u128(clinic);
            begin(&client, clinic).await;
            dice.pause().await;
            let mut ids = Vec::new();
            for _ in 0..=dice.roll(3) {
                let id = Uuid::from_u128(
                    (u128::from(seed) << 64) | u128::from(dice.next()) | (7 << 124),
                );
                emit(&client, clinic, id).await;
                ids.push(id);
            }
            dice.pause().await;
            if dice.roll(8) == 0 {
                client.batch_execute("ROLLBACK").await.unwrap();
            } else {
                client.batch_execute("COMMIT").await.unwrap();
                committed.extend(ids);
            }
        }
        committed
    }
}

/// Chance that is the same in each run.
struct Dice(u64);

impl Dice {
    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.next() % sides
    }

    /// Mostly short, sometimes long: who began first does not commit first.
    async fn pause(&mut self) {
        let most = if self.roll(10) == 0 { 60 } else { 8 };
        sleep(Duration::from_millis(self.roll(most))).await;
    }
}

/// Reads the streams of clinics from the beginning on. Fails at once at a skip, a double or
/// disorder.
pub(crate) struct Reader {
    expected: oneshot::Sender<HashSet<Uuid>>,
    task: JoinHandle<usize>,
}

impl Reader {
    pub(crate) fn start(url: &str, clinics: Vec<Uuid>) -> Self {
        let (expected, expectation) = oneshot::channel();
        let task = tokio::spawn(read(url.to_owned(), clinics, expectation));
        Self { expected, task }
    }

    /// Reads on until `expected` is read, no more and no less; answers how many there were.
    pub(crate) async fn finish(self, expected: HashSet<Uuid>) -> usize {
        let _ = self.expected.send(expected);
        self.task.await.unwrap()
    }
}

async fn read(
    url: String,
    clinics: Vec<Uuid>,
    mut expectation: oneshot::Receiver<HashSet<Uuid>>,
) -> usize {
    let client = connect(&url).await;
    let mut last: HashMap<Uuid, i64> = HashMap::new();
    let mut seen = HashSet::new();
    let mut expected: Option<(HashSet<Uuid>, Instant)> = None;
    loop {
        for clinic in &clinics {
            let position = last.entry(*clinic).or_insert(0);
            let rows = client
                .query(
                    "WITH s AS MATERIALIZED (
                         SELECT set_config('app.clinic_id', $1::uuid::text, true)::uuid AS t)
                     SELECT c.* FROM s, LATERAL (
                         SELECT e.position, e.event_id FROM app.events e
                         WHERE e.clinic_id = s.t AND e.position > $2
                         ORDER BY e.position LIMIT 100 OFFSET 0) c",
                    &[clinic, position],
                )
                .await
                .unwrap();
            for row in rows {
                let (next, id): (i64, Uuid) = (row.get(0), row.get(1));
                assert_eq!(
                    next,
                    *position + 1,
                    "a position was skipped or out of order"
                );
                assert!(seen.insert(id), "an event was read twice");
                *position = next;
            }
        }
        if expected.is_none()
            && let Ok(wanted) = expectation.try_recv()
        {
            expected = Some((wanted, Instant::now() + PATIENCE));
        }
        if let Some((wanted, deadline)) = &expected {
            assert!(
                seen.is_subset(wanted),
                "an event that never committed was read"
            );
            if seen.len() == wanted.len() {
                return seen.len();
            }
            assert!(
                Instant::now() < *deadline,
                "{} events were never read",
                wanted.len() - seen.len()
            );
        }
        sleep(Duration::from_millis(2)).await;
    }
}
