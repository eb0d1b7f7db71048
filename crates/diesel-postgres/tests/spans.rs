//! What traces and logs tell of a query: names, durations, SQLSTATE, and nothing of its data.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::sql_types::{Integer, Text, Untyped, Uuid as SqlUuid};
use diesel_postgres::{QueryName, query_name, statement};
use kernel::StoreError;
use test_support::{TestDatabase, two_clinics};
use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};
use uuid::Uuid;

statement! {
    struct InsertBranch<'a> { clinic: Uuid => SqlUuid, id: Uuid => SqlUuid, name: &'a str => Text }
        -> Untyped = "INSERT INTO app.branches (clinic_id, id, name, time_zone, status,
            row_version, created_at, updated_at)
            VALUES (?, ?, ?, 'America/Sao_Paulo', 'active', 1, now(), now())"
}

statement! {
    struct Hold {} -> Integer = "SELECT 1 FROM pg_advisory_xact_lock_shared(1)"
}
statement! {
    struct Quick {} -> Integer = "SELECT 1"
}

const HOLD: QueryName = query_name!("session.hold", "SELECT", "pg_locks");
const QUICK: QueryName = query_name!("session.show", "SELECT", "pg_settings");
const CREATE: QueryName = query_name!("branch.create", "INSERT", "branches");

type Fields = BTreeMap<String, String>;

/// Writes down every span and event, of whatever level and target.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Fields>>>);

struct Into_<'a>(&'a mut Fields);

impl Visit for Into_<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(
            field.name().to_owned(),
            format!("{value:?}").trim_matches('"').to_owned(),
        );
    }
}

/// Where in the notes a span is.
struct Place(usize);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Notes {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Into_(&mut fields));
        let mut notes = self.0.lock().unwrap();
        cx.span(id)
            .unwrap()
            .extensions_mut()
            .insert(Place(notes.len()));
        notes.push(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        let span = cx.span(id).unwrap();
        let extensions = span.extensions();
        let Place(at) = extensions.get::<Place>().unwrap();
        values.record(&mut Into_(&mut self.0.lock().unwrap()[*at]));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Into_(&mut fields));
        self.0.lock().unwrap().push(fields);
    }
}

#[tokio::test]
async fn a_query_s_span_names_it_and_holds_none_of_its_values() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let cx = &clinics.a.cx;
    let db = base.database_with(|settings| settings.slow_query = Duration::ZERO);
    let notes = Notes::default();
    let planted = "Maria da Silva";
    let insert = || InsertBranch {
        clinic: cx.clinic().into(),
        id: Uuid::from_u128(1),
        name: planted,
    };
    async {
        db.write(cx, CREATE, |batch| batch.execute(insert()))
            .await
            .unwrap();
        db.write(cx, CREATE, |batch| batch.execute(insert()))
            .await
            .unwrap_err();
        let refused: Result<(), Refused> = db
            .unit(cx, CREATE, async |tx| {
                tx.execute(insert()).await.map(drop).map_err(|_| Refused)
            })
            .await;
        refused.unwrap_err();
    }
    .with_subscriber(Registry::default().with(notes.clone()))
    .await;

    let notes = notes.0.lock().unwrap();
    let spans: Vec<&Fields> = notes
        .iter()
        .filter(|note| note.contains_key("otel.name"))
        .collect();
    assert_eq!(spans.len(), 3);
    for span in &spans {
        let expected = [
            ("otel.name", "db.branch.create"),
            ("otel.kind", "client"),
            ("db.system.name", "postgresql"),
            ("db.operation.name", "INSERT"),
            ("db.collection.name", "branches"),
            ("db.query.summary", "INSERT branches"),
            ("acolhe.clinic_id", &clinics.a.id.to_string()),
        ];
        for (field, value) in expected {
            assert_eq!(span.get(field).map(String::as_str), Some(value), "{field}");
        }
    }
    let status = |span: &Fields| span.get("db.response.status_code").cloned();
    assert_eq!(status(spans[0]), None);
    assert_eq!(status(spans[1]).as_deref(), Some("23505"));
    assert_eq!(
        status(spans[2]).as_deref(),
        Some("23505"),
        "told though the domain took it up"
    );
    let slow = notes
        .iter()
        .filter(|note| note.get("message").is_some_and(|text| text == "slow query"));
    assert_eq!(slow.count(), 1, "once a window, or it floods the log");
    let all = format!("{notes:?}");
    assert!(!all.contains("Maria"), "{all}");
}

#[tokio::test]
async fn waiting_for_a_connection_is_told_and_makes_no_query_slow() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let cx = &clinics.a.cx;
    let db = base.database_with(|settings| {
        settings.max_connections = 4;
        settings.slow_query = Duration::from_secs(2);
    });
    // Both connections of the requests are held until the lock is given up.
    let holder = base.superuser().await;
    holder
        .batch_execute("SELECT pg_advisory_lock(1)")
        .await
        .unwrap();
    let held = || db.once::<i32, _, _>(cx, HOLD, Hold {});
    let notes = Notes::default();
    let innocent = async {
        wait_for_holders(&holder).await;
        let asked = async {
            let quick: Vec<i32> = db.once(cx, QUICK, Quick {}).await.unwrap();
            assert_eq!(quick, [1]);
        };
        let release = async {
            tokio::time::sleep(Duration::from_millis(2500)).await;
            holder
                .batch_execute("SELECT pg_advisory_unlock(1)")
                .await
                .unwrap();
        };
        let heard = asked.with_subscriber(Registry::default().with(notes.clone()));
        futures_util::join!(heard, release);
    };
    let (one, other, ()) = futures_util::join!(held(), held(), innocent);
    one.and(other).unwrap();

    let notes = notes.0.lock().unwrap();
    let told = |text: &str| {
        let said = |note: &&Fields| note.get("message").is_some_and(|message| message == text);
        notes.iter().filter(said).count()
    };
    assert_eq!(told("slow query"), 0, "{notes:?}");
    assert_eq!(told("slow to get a database connection"), 1, "{notes:?}");
}

/// Waits until two connections wait for the lock.
async fn wait_for_holders(behind: &tokio_postgres::Client) {
    loop {
        let waiting: i64 = behind
            .query_one(
                "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                 WHERE d.datname = current_database() AND l.locktype = 'advisory'
                   AND NOT l.granted",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        if waiting == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[derive(Debug)]
struct Refused;

impl From<StoreError> for Refused {
    fn from(_: StoreError) -> Self {
        Self
    }
}
