//! Acts that are done once for a key of the caller's, on a real PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::Arc;

use chrono::TimeDelta;
use contacts::{Contact, Contacts, CreateContact, CreateContactError, Tags};
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_postgres::audit::PgAuditTrail;
use diesel_postgres::contacts::PgContactStore;
use diesel_postgres::{Database, query_name, statement};
use futures_util::future::join_all;
use kernel::text::PersonName;
use kernel::{ContactId, Gate, Once, OnceKey, Repeat, StoreError, TenantContext, Toolkit};
use test_support::{FixedClock, TestDatabase, TwoClinics, toolkit, two_clinics};
use uuid::Uuid;

struct World {
    base: TestDatabase,
    clinics: TwoClinics,
    clock: Arc<FixedClock>,
    tools: Toolkit,
    db: Database,
    contacts: Contacts,
}

impl World {
    async fn new() -> Self {
        let base = TestDatabase::new().await;
        let clinics = two_clinics(&base).await;
        let clock = Arc::new(FixedClock::default());
        let tools = toolkit(Arc::clone(&clock));
        let db = base.database();
        let gate = Gate::new(Arc::new(PgAuditTrail::new(db.clone())), tools.clone());
        let store = Arc::new(PgContactStore::new(db.clone(), test_support::keys()));
        let contacts = Contacts::new(store, gate, tools.clone());
        Self {
            base,
            clinics,
            clock,
            tools,
            db,
            contacts,
        }
    }

    /// The key of a request that is answered with the id of what it makes.
    fn once(&self, cx: &TenantContext, key: &str, request: &str) -> Once<Contact> {
        let keys = self.tools.keys();
        let key = OnceKey::new(cx, keys, "POST /contacts", key, request.as_bytes());
        Once::new(
            key,
            Arc::new(|contact: &Contact| contact.id.to_string().into_bytes()),
        )
    }

    async fn create(
        &self,
        cx: &TenantContext,
        key: &str,
        request: &str,
    ) -> Result<ContactId, CreateContactError> {
        let once = self.once(cx, key, request);
        let made = self.contacts.create(cx, named("Ana"), Some(once)).await?;
        Ok(made.id)
    }

    async fn count(&self, sql: &str) -> i64 {
        let row = self.base.superuser().await.query_one(sql, &[]).await;
        row.unwrap().get(0)
    }

    async fn contacts(&self) -> i64 {
        self.count("SELECT count(*) FROM app.contacts").await
    }
}

fn named(name: &str) -> CreateContact {
    CreateContact {
        custom_fields: std::collections::BTreeMap::new(),
        name: PersonName::parse(name).unwrap(),
        social_name: None,
        birth_date: None,
        document: None,
        status: None,
        source: None,
        owner: None,
        notes: None,
        tags: Tags::default(),
        phones: Vec::new(),
        emails: Vec::new(),
    }
}

fn repeat<T: std::fmt::Debug>(result: Result<T, CreateContactError>) -> Repeat {
    match result {
        Err(CreateContactError::Store(StoreError::Repeat(repeat))) => repeat,
        other => panic!("{other:?}"),
    }
}

fn done(id: ContactId) -> Repeat {
    Repeat::Done(id.to_string().into_bytes())
}

#[tokio::test]
async fn the_same_key_and_request_is_answered_as_the_first_time() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    let id = world.create(cx, "k", "body").await.unwrap();
    assert_eq!(repeat(world.create(cx, "k", "body").await), done(id));
    assert_eq!(world.contacts().await, 1);
    let traces = "SELECT (SELECT count(*) FROM app.audit_entries)
        + (SELECT count(*) FROM app.outbox) + (SELECT count(*) FROM app.idempotency_keys)";
    assert_eq!(
        world.count(traces).await,
        3,
        "the repetition leaves nothing"
    );
    let other = world.create(cx, "another", "body").await.unwrap();
    assert_ne!(id, other);
}

#[tokio::test]
async fn the_same_key_with_another_request_is_refused() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    world.create(cx, "k", "body").await.unwrap();
    let refused = repeat(world.create(cx, "k", "another").await);
    assert_eq!(refused, Repeat::OtherRequest);
    assert_eq!(world.contacts().await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_is_done_and_the_others_learn_its_answer() {
    let world = Arc::new(World::new().await);
    let cx = &world.clinics.a.cx;
    let all = (0..16).map(|_| {
        let (world, cx) = (Arc::clone(&world), cx.clone());
        tokio::spawn(async move { world.create(&cx, "k", "body").await })
    });
    let all = join_all(all).await;
    let mut made = Vec::new();
    let mut repeats = Vec::new();
    for outcome in all {
        match outcome.unwrap() {
            Ok(id) => made.push(id),
            refused => repeats.push(repeat(refused)),
        }
    }
    assert_eq!(made.len(), 1, "{made:?}");
    for repeat in repeats {
        assert!(
            repeat == done(made[0]) || repeat == Repeat::InFlight,
            "{repeat:?}"
        );
    }
    assert_eq!(world.contacts().await, 1);
}

#[tokio::test]
async fn what_failed_is_not_kept_and_is_tried_anew() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    let mut nobodys = named("Ana");
    nobodys.owner = Some(Uuid::from_u128(77).into());
    let once = world.once(cx, "k", "body");
    let refused = world.contacts.create(cx, nobodys, Some(once)).await;
    assert!(matches!(refused, Err(CreateContactError::UnknownOwner)));
    world.create(cx, "k", "body").await.unwrap();
}

#[tokio::test]
async fn a_key_is_good_for_one_clinic_and_one_actor() {
    let world = World::new().await;
    let (a, b) = (&world.clinics.a, &world.clinics.b);
    let in_a = world.create(&a.cx, "k", "body").await.unwrap();
    let in_b = world.create(&b.cx, "k", "body").await.unwrap();
    assert_ne!(in_a, in_b);
    // Another user of the same clinic, with the same key and request.
    let colleague = TenantContext::for_test(a.id, b.owner, a.cx.permissions());
    let third = world.create(&colleague, "k", "body").await.unwrap();
    assert_ne!(in_a, third);
    assert_eq!(repeat(world.create(&a.cx, "k", "body").await), done(in_a));
    assert_eq!(repeat(world.create(&b.cx, "k", "body").await), done(in_b));
    let readable = format!(
        "SELECT count(*) FROM app.idempotency_keys
         WHERE position(convert_to('{in_a}', 'UTF8') IN answer) > 0"
    );
    assert_eq!(world.count(&readable).await, 0, "answers are sealed");
}

#[tokio::test]
async fn an_answer_is_kept_for_a_day_and_pruned_after_it() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    let first = world.create(cx, "k", "body").await.unwrap();
    world.create(cx, "old", "body").await.unwrap();
    world
        .clock
        .advance(TimeDelta::hours(24) - TimeDelta::seconds(1));
    assert_eq!(repeat(world.create(cx, "k", "body").await), done(first));
    world.clock.advance(TimeDelta::seconds(1));
    let anew = world.create(cx, "k", "another").await.unwrap();
    assert_ne!(first, anew);
    assert_eq!(repeat(world.create(cx, "k", "another").await), done(anew));

    let now = world.tools.now() + TimeDelta::seconds(1);
    let client = world.base.app().await;
    let prune = "SELECT sec.prune_idempotency_keys($1, $2)";
    let pruned: i64 = client
        .query_one(prune, &[&now, &10_i32])
        .await
        .unwrap()
        .get(0);
    assert_eq!(pruned, 1, "the one that was not claimed again");
    let left = "SELECT count(*) FROM app.idempotency_keys";
    assert_eq!(world.count(left).await, 1);
}

#[tokio::test]
async fn a_key_in_flight_is_refused_at_once_and_free_after_a_rollback() {
    let world = World::new().await;
    let cx = &world.clinics.a.cx;
    let once = world.once(cx, "k", "body");
    let someone = Contact::from(contacts::NewContact {
        id: world.tools.id(),
        name: PersonName::parse("Ana").unwrap(),
        social_name: None,
        birth_date: None,
        document: None,
        status: contacts::ContactStatus::Lead,
        source: contacts::Source::manual(),
        owner: None,
        notes: None,
        tags: Tags::default(),
        phones: Vec::new(),
        emails: Vec::new(),
        custom_fields: contacts::CustomChange::default(),
        at: world.tools.now(),
    });
    let claim = once.claim(cx, &world.tools, &someone);
    let name = query_name!("test.claim", "INSERT", "idempotency_keys");
    let rolled_back: Result<(), StoreError> = world
        .db
        .unit(cx, name, async |tx| {
            tx.claim(Some(&claim)).await?;
            let refused = repeat(world.create(cx, "k", "body").await);
            assert_eq!(refused, Repeat::InFlight);
            Err(StoreError::Corrupt("nothing"))
        })
        .await;
    assert!(matches!(rolled_back, Err(StoreError::Corrupt(_))));
    let id = world.create(cx, "k", "body").await.unwrap();

    // And a unit is told of what was done, whatever it makes of the error.
    let told: Result<(), StoreError> = world
        .db
        .unit(cx, name, async |tx| {
            let _ = tx.claim(Some(&claim)).await;
            Ok(())
        })
        .await;
    match told {
        Err(StoreError::Repeat(repeat)) => assert_eq!(repeat, done(id)),
        other => panic!("{other:?}"),
    }
}

statement! {
    struct CountKeys { clinic: Uuid => SqlUuid } -> BigInt =
        "SELECT count(*) FROM app.idempotency_keys WHERE clinic_id <> ?"
}

#[tokio::test]
async fn no_clinic_sees_the_keys_of_another() {
    let world = World::new().await;
    let (a, b) = (&world.clinics.a, &world.clinics.b);
    world.create(&a.cx, "k", "body").await.unwrap();
    let name = query_name!("test.count", "SELECT", "idempotency_keys");
    let clinic = b.id.into();
    let seen: Vec<i64> = world
        .db
        .once(&b.cx, name, CountKeys { clinic })
        .await
        .unwrap();
    assert_eq!(seen, [0]);
}
