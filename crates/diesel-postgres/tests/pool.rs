//! Connections live with the worker that opened them, and there are never more than agreed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use diesel::sql_types::{Integer, Untyped};
use diesel_postgres::{Database, QueryName, query_name, statement};
use futures_util::future::join_all;
use kernel::{Origin, RequestId, StoreError, SystemContext, SystemPurpose};
use test_support::TestDatabase;
use uuid::Uuid;

statement! {
    struct Pid {} -> Integer = "SELECT pg_backend_pid()"
}
statement! {
    struct Nap {} -> Integer = "SELECT pg_backend_pid() FROM pg_sleep(0.3)"
}
statement! {
    struct Hold {} -> Integer = "SELECT pg_backend_pid() FROM pg_advisory_xact_lock_shared(1)"
}
statement! {
    struct Nothing {} -> Untyped = "SELECT 1"
}

const PID: QueryName = query_name!("session.pid", "SELECT", "pg_stat_activity");

fn sys() -> SystemContext {
    SystemContext::new(
        SystemPurpose::OperatorCounts,
        Origin::internal(RequestId::from(Uuid::nil())),
    )
}

async fn pid(db: &Database) -> Result<i32, StoreError> {
    Ok(db.system::<i32, _, _>(&sys(), PID, Pid {}).await?[0])
}

async fn nap(db: &Database) -> Result<i32, StoreError> {
    Ok(db.system::<i32, _, _>(&sys(), PID, Nap {}).await?[0])
}

async fn connections(base: &TestDatabase) -> i64 {
    base.superuser()
        .await
        .query_one(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND usename = 'acolhe_app'",
            &[],
        )
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn no_more_connections_are_opened_than_agreed() {
    let base = TestDatabase::new().await;
    // One shard for requests and one for jobs: three each.
    let db = base.database_with(|settings| settings.max_connections = 6);
    let pids: HashSet<i32> = join_all((0..12).map(|_| nap(&db)))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(pids.len(), 3);
    let jobs = db.for_jobs();
    let of_jobs: HashSet<i32> = join_all((0..12).map(|_| nap(&jobs)))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(of_jobs.len(), 3);
    assert!(pids.is_disjoint(&of_jobs));
    assert_eq!(connections(&base).await, 6);
}

#[tokio::test]
async fn each_shard_has_two_connections_at_least() {
    let base = TestDatabase::new().await;
    let db = base.database_with(|settings| settings.max_connections = 1);
    let pids: HashSet<i32> = join_all((0..4).map(|_| nap(&db)))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(pids.len(), 2);
}

#[tokio::test]
async fn a_connection_that_is_not_free_in_time_is_unavailable() {
    let base = TestDatabase::new().await;
    let db = base.database_with(|settings| {
        settings.max_connections = 4;
        settings.acquire_timeout = Duration::from_millis(500);
    });
    // Making a connection takes as long as it takes; one that came too late for its caller stays.
    while connections(&base).await < 2 {
        let _ = futures_util::join!(nap(&db), nap(&db));
    }
    let holder = base.superuser().await;
    holder
        .batch_execute("SELECT pg_advisory_lock(1)")
        .await
        .unwrap();
    let sys = sys();
    let hold = || db.system::<i32, _, _>(&sys, PID, Hold {});
    let third = async {
        let answer = pid(&db).await;
        holder
            .batch_execute("SELECT pg_advisory_unlock(1)")
            .await
            .unwrap();
        answer
    };
    let (one, other, third) = futures_util::join!(hold(), hold(), third);
    one.and(other).unwrap();
    assert!(
        matches!(third, Err(StoreError::Unavailable(_))),
        "{third:?}"
    );
    pid(&db).await.unwrap();
}

/// A server that takes connections and says nothing.
async fn silent_server() -> (tokio::net::TcpListener, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "postgres://acolhe_app@{}/none",
        listener.local_addr().unwrap()
    );
    (listener, url)
}

#[tokio::test]
async fn waiting_for_a_turn_and_connecting_share_one_acquire_timeout() {
    let base = TestDatabase::new().await;
    let (_listener, url) = silent_server().await;
    let patience = Duration::from_secs(3);
    let db = base.database_with(|settings| {
        settings.url = url;
        settings.max_connections = 4;
        settings.acquire_timeout = patience;
    });
    let late = async {
        tokio::time::sleep(patience / 2).await;
        // It gets its turn when half of its time has passed.
        let began = Instant::now();
        let answer = pid(&db).await;
        (answer, began.elapsed())
    };
    let (one, other, (late, took)) = futures_util::join!(pid(&db), pid(&db), late);
    for answer in [one, other, late] {
        assert!(
            matches!(answer, Err(StoreError::Unavailable(_))),
            "{answer:?}"
        );
    }
    assert!(took < patience + patience / 3, "{took:?}");
}

#[tokio::test]
async fn a_database_that_is_away_is_unavailable_within_the_acquire_timeout() {
    let base = TestDatabase::new().await;
    let began = Instant::now();
    for url in [
        "postgres://acolhe_app@127.0.0.1:1/none",
        &format!("{}_gone", base.app_url()),
    ] {
        let db = base.database_with(|settings| {
            url.clone_into(&mut settings.url);
            settings.acquire_timeout = Duration::from_millis(500);
        });
        assert!(
            matches!(pid(&db).await, Err(StoreError::Unavailable(_))),
            "{url}"
        );
    }
    // The default is ten seconds for each.
    assert!(began.elapsed() < Duration::from_secs(9));
}

#[tokio::test]
async fn a_killed_connection_is_noticed_and_replaced() {
    let base = TestDatabase::new().await;
    let db = base.database();
    let superuser = base.superuser().await;
    let first = pid(&db).await.unwrap();
    superuser
        .execute("SELECT pg_terminate_backend($1)", &[&first])
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // It was idle, so nobody sees an error.
    let second = pid(&db).await.unwrap();
    assert_ne!(first, second);
    // While it works, its statement fails as unavailable, and the next is well.
    let (answer, ()) = futures_util::join!(nap(&db), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        superuser
            .execute("SELECT pg_terminate_backend($1)", &[&second])
            .await
            .unwrap();
    });
    assert!(
        matches!(answer, Err(StoreError::Unavailable(_))),
        "{answer:?}"
    );
    assert_ne!(pid(&db).await.unwrap(), second);
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_unavailable_and_its_connection_is_not_used_again() {
    let base = TestDatabase::new().await;
    let db = base.database_with(|settings| {
        settings.max_connections = 4;
        settings.answer_timeout = Duration::from_millis(300);
    });
    let before = pid(&db).await.unwrap();
    let superuser = base.superuser().await;
    let lock = "SELECT pg_advisory_lock(1)";
    superuser.batch_execute(lock).await.unwrap();
    let began = Instant::now();
    let held = db.system::<i32, _, _>(&sys(), PID, Hold {}).await;
    assert!(matches!(held, Err(StoreError::Unavailable(_))), "{held:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_ne!(pid(&db).await.unwrap(), before);
    // Jobs may take longer: what takes half as long again as a request may, is done.
    superuser
        .batch_execute("SELECT pg_advisory_unlock_all()")
        .await
        .unwrap();
    assert!(nap(&db.for_jobs()).await.is_ok());
}

#[tokio::test]
async fn idle_connections_are_closed_but_for_those_kept() {
    let base = TestDatabase::new().await;
    let db = base.database_with(|settings| {
        settings.keep = 2;
        settings.idle_timeout = Duration::from_secs(2);
    });
    join_all((0..5).map(|_| nap(&db))).await;
    assert_eq!(connections(&base).await, 5);
    let deadline = Instant::now() + Duration::from_secs(30);
    while connections(&base).await > 1 {
        assert!(Instant::now() < deadline, "idle connections are not closed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        connections(&base).await,
        1,
        "two are kept, one for each shard"
    );
}

#[test]
fn connections_stay_with_the_worker_that_opened_them() {
    let setup = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let base = setup.block_on(TestDatabase::new());
    let db = base.database_with(|settings| settings.shards = 2);
    let barrier = Arc::new(Barrier::new(2));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (db, barrier) = (db.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let worker = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                worker.block_on(async {
                    let mut pids = HashSet::new();
                    for _ in 0..20 {
                        pids.extend(
                            join_all((0..3).map(|_| pid(&db)))
                                .await
                                .into_iter()
                                .map(Result::unwrap),
                        );
                    }
                    barrier.wait();
                    pids
                })
            })
        })
        .collect();
    let pids: Vec<HashSet<i32>> = workers
        .into_iter()
        .map(|worker| worker.join().unwrap())
        .collect();
    assert!(pids[0].is_disjoint(&pids[1]), "{pids:?}");
    assert!(pids.iter().all(|pids| pids.len() <= 3), "{pids:?}");
}

#[test]
fn the_pool_outlives_a_runtime_that_used_it() {
    let setup = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let base = setup.block_on(TestDatabase::new());
    let db = base.database();
    let mut pids = HashSet::new();
    for _ in 0..5 {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        pids.insert(runtime.block_on(async {
            let spawned = db.clone();
            let there = tokio::spawn(async move { pid(&spawned).await.unwrap() })
                .await
                .unwrap();
            let here = pid(&db).await.unwrap();
            assert_eq!(
                there, here,
                "threads of one runtime share their connections"
            );
            here
        }));
    }
    assert_eq!(pids.len(), 5, "and runtimes do not");
}

#[tokio::test]
async fn a_login_that_row_security_does_not_bind_is_refused_with_what_to_do() {
    let base = TestDatabase::new().await;
    base.database().verify_role(&sys()).await.unwrap();
    for (url, told) in [
        (base.superuser_url(), "superuser"),
        (base.owner_url(), "owns tables"),
    ] {
        let db = base.database_with(|settings| settings.url = url);
        let refused = db.verify_role(&sys()).await.unwrap_err().to_string();
        assert!(
            refused.contains(told) && refused.contains("acolhe_app"),
            "{refused}"
        );
    }
    let db = base.database();
    db.system_execute(&sys(), PID, Nothing {}).await.unwrap();
}
