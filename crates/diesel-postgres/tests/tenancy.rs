//! No statement shape ever shows or writes another clinic's rows, whatever was left behind on
//! its connection.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Integer, Nullable, Text, Untyped, Uuid as SqlUuid};
use diesel_postgres::{
    Database, QueryName, StoreErrorExt, TenantSelect, query_name, statement, tenant_select,
};
use kernel::{Origin, RequestId, StoreError, SystemContext, SystemPurpose, TenantContext};
use test_support::{Clinic, TestDatabase, two_clinics};
use uuid::Uuid;

tenant_select! {
    /// The members of the clinic.
    struct Members {} -> (SqlUuid, Text) =
        "SELECT m.user_id, m.role FROM app.memberships m WHERE m.clinic_id = s.t"
}

tenant_select! {
    /// Branches in order, a part of them.
    struct Branches { most: i64 => diesel::sql_types::BigInt } -> Text =
        "SELECT b.name FROM app.branches b WHERE b.clinic_id = s.t ORDER BY b.name DESC LIMIT ?"
}

/// The same with text that varies.
struct MembersOf {
    role: Option<&'static str>,
}

impl QueryId for MembersOf {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Pg> for MembersOf {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT m.user_id, m.role FROM app.memberships m WHERE m.clinic_id = s.t");
        if let Some(role) = &self.role {
            out.push_sql(" AND m.role = ");
            out.push_bind_param::<Text, _>(role)?;
        }
        Ok(())
    }
}

impl Query for MembersOf {
    type SqlType = (SqlUuid, Text);
}

impl TenantSelect for MembersOf {}

statement! {
    /// The members of whatever clinic is set.
    struct AllMembers {} -> (SqlUuid, Text) = "SELECT m.user_id, m.role FROM app.memberships m"
}

statement! {
    struct InsertBranch<'a> { clinic: Uuid => SqlUuid, id: Uuid => SqlUuid, name: &'a str => Text }
        -> Untyped = "INSERT INTO app.branches (clinic_id, id, name, time_zone, status,
            row_version, created_at, updated_at)
            VALUES (?, ?, ?, 'America/Sao_Paulo', 'active', 1, now(), now())"
}

statement! {
    /// Who we are to the server, and which clinic is set.
    struct Session {} -> (Integer, Nullable<Text>) =
        "SELECT pg_backend_pid(), nullif(current_setting('app.clinic_id', true), '')"
}

statement! {
    struct Sleep {} -> Untyped = "SELECT pg_sleep(5)"
}

const MEMBERS: QueryName = query_name!("member.list", "SELECT", "memberships");
const BRANCH: QueryName = query_name!("branch.create", "INSERT", "branches");
const SESSION: QueryName = query_name!("session.show", "SELECT", "pg_settings");

type Member = (Uuid, String);

fn sys() -> SystemContext {
    SystemContext::new(
        SystemPurpose::OperatorCounts,
        Origin::internal(RequestId::from(Uuid::nil())),
    )
}

async fn session(db: &Database) -> (i32, Option<String>) {
    let rows: Vec<(i32, Option<String>)> = db.system(&sys(), SESSION, Session {}).await.unwrap();
    rows.into_iter().next().unwrap()
}

async fn members_by_each_shape(db: &Database, cx: &TenantContext) -> Vec<Vec<Member>> {
    let filtered = MembersOf {
        role: Some("owner"),
    };
    vec![
        db.read(cx, MEMBERS, Members {}).await.unwrap(),
        db.read(cx, MEMBERS, MembersOf { role: None })
            .await
            .unwrap(),
        db.read(cx, MEMBERS, filtered).await.unwrap(),
        db.once(cx, MEMBERS, AllMembers {}).await.unwrap(),
        db.unit(cx, MEMBERS, async |tx| tx.load(AllMembers {}).await)
            .await
            .map_err(|error: StoreError| error)
            .unwrap(),
    ]
}

async fn insert(
    db: &Database,
    cx: &TenantContext,
    into: &Clinic,
    id: u128,
) -> Result<(), StoreError> {
    let statement = InsertBranch {
        clinic: into.id.into(),
        id: Uuid::from_u128(id),
        name: &format!("branch {id}"),
    };
    db.write(cx, BRANCH, |batch| batch.execute(statement))
        .await
        .map(drop)
}

#[tokio::test]
async fn each_shape_sees_its_own_clinic_alone() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let db = base.database();
    for clinic in [&clinics.a, &clinics.b] {
        let expected = vec![(Uuid::from(clinic.owner), "owner".to_owned())];
        for seen in members_by_each_shape(&db, &clinic.cx).await {
            assert_eq!(seen, expected);
        }
    }
}

#[tokio::test]
async fn a_stale_tenant_on_the_connection_is_never_seen_nor_written() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    base.leave_stale_tenant(clinics.b.id).await;
    let db = base.database();
    assert_eq!(
        session(&db).await.1,
        Some(clinics.b.id.to_string()),
        "the trap is set"
    );
    let expected = vec![(Uuid::from(clinics.a.owner), "owner".to_owned())];
    for seen in members_by_each_shape(&db, &clinics.a.cx).await {
        assert_eq!(seen, expected);
    }
    insert(&db, &clinics.a.cx, &clinics.a, 1).await.unwrap();
    insert(&db, &clinics.a.cx, &clinics.b, 2).await.unwrap_err();
    let superuser = base.superuser().await;
    let rows = superuser
        .query("SELECT clinic_id::text FROM app.branches", &[])
        .await
        .unwrap();
    let owners: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(owners, [clinics.a.id.to_string()]);
}

#[tokio::test]
async fn a_query_outside_a_tenant_transaction_returns_nothing() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    base.leave_no_tenant().await;
    let db = base.database();
    let none: Vec<Member> = db.system(&sys(), MEMBERS, AllMembers {}).await.unwrap();
    assert_eq!(none, []);
    // Nor after tenants were set on the same connection.
    for _ in 0..2 {
        members_by_each_shape(&db, &clinics.a.cx).await;
        assert_eq!(session(&db).await.1, None);
        let none: Vec<Member> = db.system(&sys(), MEMBERS, AllMembers {}).await.unwrap();
        assert_eq!(none, []);
    }
}

#[tokio::test]
async fn inserting_for_another_clinic_is_refused() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let db = base.database();
    let refused = insert(&db, &clinics.a.cx, &clinics.b, 1).await.unwrap_err();
    assert_eq!(refused.sqlstate(), Some("42501"));
    insert(&db, &clinics.b.cx, &clinics.b, 1).await.unwrap();
}

#[tokio::test]
async fn a_hot_read_keeps_the_order_of_its_rows() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let db = base.database();
    for id in [3, 1, 4, 2] {
        insert(&db, &clinics.a.cx, &clinics.a, id).await.unwrap();
    }
    let names: Vec<String> = db
        .read(&clinics.a.cx, BRANCH, Branches { most: 3 })
        .await
        .unwrap();
    assert_eq!(names, ["branch 4", "branch 3", "branch 2"]);
}

#[tokio::test]
async fn a_dropped_unit_leaves_no_tenant_and_its_connection_is_thrown_away() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    base.leave_no_tenant().await;
    let db = base.database();
    let (first, _) = session(&db).await;
    let cx = &clinics.a.cx;
    let unit = db.unit(cx, BRANCH, async |tx| {
        let id = Uuid::from_u128(1);
        tx.execute(InsertBranch {
            clinic: cx.clinic().into(),
            id,
            name: "half",
        })
        .await?;
        tx.execute(Sleep {}).await?;
        Ok::<_, StoreError>(())
    });
    tokio::time::timeout(Duration::from_millis(300), unit)
        .await
        .unwrap_err();
    let began = std::time::Instant::now();
    let (next, tenant) = session(&db).await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "nobody waits for what was abandoned"
    );
    assert_ne!(next, first);
    assert_eq!(tenant, None);
    let superuser = base.superuser().await;
    let count: i64 = superuser
        .query_one("SELECT count(*) FROM app.branches", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 0);
}

#[tokio::test]
async fn what_a_dropped_unit_was_doing_is_cancelled_and_its_locks_are_free() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let db = base.database();
    let cx = &clinics.a.cx;
    let unit = db.unit(cx, BRANCH, async |tx| {
        let id = Uuid::from_u128(1);
        tx.execute(InsertBranch {
            clinic: cx.clinic().into(),
            id,
            name: "half",
        })
        .await?;
        tx.execute(Sleep {}).await?;
        Ok::<_, StoreError>(())
    });
    tokio::time::timeout(Duration::from_millis(300), unit)
        .await
        .unwrap_err();
    // The same key would wait for whoever inserted it first, until that one ends.
    let began = std::time::Instant::now();
    insert(&db, cx, &clinics.a, 1).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_dropped_statement_of_each_shape_gives_the_next_another_connection() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    base.leave_no_tenant().await;
    let db = base.database();
    let cx = &clinics.a.cx;
    let soon = Duration::from_millis(100);
    let (mut before, _) = session(&db).await;
    for shape in 0..3 {
        let timed_out = match shape {
            0 => tokio::time::timeout(soon, db.write(cx, BRANCH, |b| b.execute(Sleep {})))
                .await
                .is_err(),
            1 => tokio::time::timeout(soon, db.system_execute(&sys(), BRANCH, Sleep {}))
                .await
                .is_err(),
            _ => {
                // A statement that is dropped inside the unit, whose answer nobody ever read.
                let passed_over: Result<(), StoreError> = db
                    .unit(cx, BRANCH, async |tx| {
                        let _ = tokio::time::timeout(soon, tx.execute(Sleep {})).await;
                        Ok(())
                    })
                    .await;
                passed_over.is_err()
            }
        };
        assert!(timed_out);
        let (after, tenant) = session(&db).await;
        assert_ne!(after, before);
        assert_eq!(tenant, None);
        before = after;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_random_cancellations_nobody_ever_sees_another_clinic() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let db = base.database_with(|settings| settings.max_connections = 12);
    let tasks: Vec<_> = (0..24_u64)
        .map(|task| {
            let clinic = if task % 2 == 0 {
                &clinics.a
            } else {
                &clinics.b
            }
            .clone();
            let db = db.clone();
            tokio::spawn(async move {
                let expected = vec![(Uuid::from(clinic.owner), "owner".to_owned())];
                let mut answers = 0;
                for step in 0..40_u64 {
                    // From far too short to ample.
                    let patience = Duration::from_micros((task * 40 + step) * 7919 % 60_000);
                    let cx = &clinic.cx;
                    let asked = async {
                        match step % 3 {
                            0 => db.read(cx, MEMBERS, Members {}).await,
                            1 => db.once(cx, MEMBERS, AllMembers {}).await,
                            _ => {
                                db.unit(cx, MEMBERS, async |tx| {
                                    let _: Vec<Member> = tx.load(AllMembers {}).await?;
                                    tx.load(AllMembers {}).await
                                })
                                .await
                            }
                        }
                    };
                    let seen: Result<Result<Vec<Member>, StoreError>, _> =
                        tokio::time::timeout(patience, asked).await;
                    if let Ok(seen) = seen {
                        assert_eq!(seen.unwrap(), expected);
                        answers += 1;
                    }
                }
                answers
            })
        })
        .collect();
    let mut answers = 0;
    for task in tasks {
        answers += task.await.unwrap();
    }
    assert!(
        (1..960).contains(&answers),
        "some were cancelled, some not: {answers}"
    );
    // And the pool is whole: as many as it may have can work at once.
    let at_once = futures_util::future::join_all((0..12).map(|_| session(&db))).await;
    assert_eq!(at_once.len(), 12);
}
