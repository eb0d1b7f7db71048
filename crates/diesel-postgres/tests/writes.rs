//! A write is acknowledged only when all of it was committed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use diesel::sql_types::{BigInt, Text, Untyped, Uuid as SqlUuid};
use diesel_postgres::{Database, QueryName, StoreErrorExt, query_name, statement};
use futures_util::join;
use kernel::job::{NewJob, Queue};
use kernel::{AuditEntry, ChangedValue, Event, Resource, StoreError, TenantContext, Toolkit};
use serde_json::json;
use test_support::{FixedClock, TestDatabase, TwoClinics, toolkit, two_clinics};
use tokio_postgres::Client;
use uuid::Uuid;

statement! {
    struct InsertBranch<'a> { clinic: Uuid => SqlUuid, id: Uuid => SqlUuid, name: &'a str => Text }
        -> Untyped = "INSERT INTO app.branches (clinic_id, id, name, time_zone, status,
            row_version, created_at, updated_at)
            VALUES (?, ?, ?, 'America/Sao_Paulo', 'active', 1, now(), now())"
}

statement! {
    struct RenameBranch { id: Uuid => SqlUuid, version: i64 => BigInt } -> BigInt =
        "UPDATE app.branches SET name = 'renamed', row_version = row_version + 1
         WHERE clinic_id = app.current_clinic() AND id = ? AND row_version = ?
         RETURNING row_version"
}

statement! {
    struct Broken {} -> Untyped = "SELECT 1 / (SELECT 0)"
}

statement! {
    struct Changing {} -> Text = "SELECT c.n FROM app.changing c"
}

statement! {
    struct CountBranches {} -> BigInt = "SELECT count(*) FROM app.branches"
}

const WRITE: QueryName = query_name!("branch.write", "INSERT", "branches");

fn branch<'a>(cx: &TenantContext, id: u128, name: &'a str) -> InsertBranch<'a> {
    InsertBranch {
        clinic: cx.clinic().into(),
        id: Uuid::from_u128(id),
        name,
    }
}

struct Setting {
    base: TestDatabase,
    db: Database,
    clinics: TwoClinics,
    behind: Client,
    tools: Toolkit,
}

impl Setting {
    async fn new() -> Self {
        let base = TestDatabase::new().await;
        let clinics = two_clinics(&base).await;
        Self {
            db: base.database(),
            behind: base.superuser().await,
            clinics,
            base,
            tools: toolkit(Arc::new(FixedClock::default())),
        }
    }

    fn cx(&self) -> &TenantContext {
        &self.clinics.a.cx
    }

    async fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM app.{table}");
        self.behind.query_one(&sql, &[]).await.unwrap().get(0)
    }
}

#[tokio::test]
async fn a_failure_anywhere_in_a_batch_undoes_all_of_it() {
    let s = Setting::new().await;
    let cx = s.cx();
    for broken_at in 0..3 {
        let failed =
            s.db.write(cx, WRITE, |batch| {
                for step in 0..3 {
                    if step == broken_at {
                        batch.execute(Broken {});
                    } else {
                        batch.execute(branch(cx, step, &format!("step {step}")));
                    }
                }
            })
            .await
            .unwrap_err();
        assert_eq!(
            failed.sqlstate(),
            Some("22012"),
            "the first failure is told, not its echo"
        );
        assert_eq!(s.count("branches").await, 0);
    }
    let counts =
        s.db.write(cx, WRITE, |batch| {
            batch.execute(branch(cx, 1, "one"));
            batch.execute(branch(cx, 2, "two"));
        })
        .await
        .unwrap();
    assert_eq!(counts, [1, 1]);
    assert_eq!(s.count("branches").await, 2);
}

#[tokio::test]
async fn an_earlier_failure_that_is_passed_over_is_never_acknowledged() {
    let s = Setting::new().await;
    let cx = s.cx();
    let answered: Result<&str, StoreError> =
        s.db.unit(cx, WRITE, async |tx| {
            tx.execute(branch(cx, 1, "first")).await?;
            let _ = tx.execute(Broken {}).await;
            Ok("done")
        })
        .await;
    assert!(
        matches!(answered, Err(StoreError::Failed(_))),
        "{answered:?}"
    );
    assert_eq!(s.count("branches").await, 0);
}

#[tokio::test]
async fn statements_polled_together_fail_together() {
    let s = Setting::new().await;
    let cx = s.cx();
    let answered: Result<(), StoreError> =
        s.db.unit(cx, WRITE, async |tx| {
            let (a, b, c) = join!(
                tx.execute(branch(cx, 1, "first")),
                tx.execute(Broken {}),
                tx.execute(branch(cx, 2, "second")),
            );
            a?;
            c.and(b)?;
            Ok(())
        })
        .await;
    assert!(answered.is_err());
    assert_eq!(s.count("branches").await, 0);
    // The connection goes on: the next write is well.
    s.db.write(cx, WRITE, |batch| batch.execute(branch(cx, 3, "third")))
        .await
        .unwrap();
    assert_eq!(s.count("branches").await, 1);
}

#[tokio::test]
async fn a_constraint_that_is_checked_at_commit_is_an_error_of_the_write() {
    let s = Setting::new().await;
    let cx = s.cx();
    s.behind
        .batch_execute(
            "ALTER TABLE app.branches ADD CONSTRAINT branches_late UNIQUE (clinic_id, row_version)
             DEFERRABLE INITIALLY DEFERRED",
        )
        .await
        .unwrap();
    let failed =
        s.db.write(cx, WRITE, |batch| {
            batch.execute(branch(cx, 1, "one"));
            batch.execute(branch(cx, 2, "two"));
        })
        .await
        .unwrap_err();
    assert_eq!(failed.constraint(), Some("branches_late"));
    let failed: Result<(), StoreError> =
        s.db.unit(cx, WRITE, async |tx| {
            tx.execute(branch(cx, 1, "one")).await?;
            tx.execute(branch(cx, 2, "two")).await?;
            Ok(())
        })
        .await;
    assert_eq!(failed.unwrap_err().constraint(), Some("branches_late"));
    assert_eq!(s.count("branches").await, 0);
}

/// An operation's own error, as stores have them.
#[derive(Debug, thiserror::Error)]
enum RenameError {
    #[error("somebody else changed it")]
    VersionConflict,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[tokio::test]
async fn the_domain_s_refusal_rolls_back_and_keeps_the_connection() {
    let s = Setting::new().await;
    let cx = s.cx();
    s.db.write(cx, WRITE, |batch| batch.execute(branch(cx, 1, "one")))
        .await
        .unwrap();
    let rename = async |version: i64| -> Result<i64, RenameError> {
        s.db.unit(cx, WRITE, async |tx| {
            tx.execute(branch(cx, 7, "beside")).await?;
            tx.audit(&AuditEntry::done(
                &s.tools,
                "branch.rename",
                Resource::any("branch"),
            ));
            let id = Uuid::from_u128(1);
            tx.optional(RenameBranch { id, version })
                .await?
                .ok_or(RenameError::VersionConflict)
        })
        .await
    };
    assert!(matches!(rename(9).await, Err(RenameError::VersionConflict)));
    assert_eq!(
        (s.count("branches").await, s.count("audit_entries").await),
        (1, 0)
    );
    assert_eq!(rename(1).await.unwrap(), 2);
    assert_eq!(
        (s.count("branches").await, s.count("audit_entries").await),
        (2, 1)
    );
    assert!(
        matches!(rename(2).await, Err(RenameError::Store(error)) if error.constraint() == Some("branches_pk"))
    );
    let connections: i64 = s
        .behind
        .query_one(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND usename = 'acolhe_app'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(connections, 1);
    drop(s.base);
}

#[tokio::test]
async fn what_a_write_leaves_behind_commits_with_it_and_the_event_comes_last() {
    let s = Setting::new().await;
    let cx = s.cx();
    s.behind
        .batch_execute(
            "CREATE TABLE public.line (n serial, what text);
             CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
                 $$ BEGIN INSERT INTO public.line (what) VALUES (TG_TABLE_NAME); RETURN NULL; END $$;
             CREATE TRIGGER t AFTER INSERT ON app.branches EXECUTE FUNCTION public.note();
             CREATE TRIGGER t AFTER INSERT ON app.audit_entries EXECUTE FUNCTION public.note();
             CREATE TRIGGER t AFTER INSERT ON app.jobs EXECUTE FUNCTION public.note();
             CREATE TRIGGER t AFTER INSERT ON app.outbox EXECUTE FUNCTION public.note();",
        )
        .await
        .unwrap();
    let event = Event::new(&s.tools, "branch.created", Uuid::nil(), json!({}));
    let entry = AuditEntry::done(&s.tools, "branch.create", Resource::any("branch"));
    let job = NewJob::due_now(&s.tools, Queue::Message, "branch.greet", json!({}));
    s.db.write(cx, WRITE, |batch| {
        batch.emit(&event);
        batch.enqueue(&job);
        batch.audit(&entry);
        batch.execute(branch(cx, 1, "one"));
    })
    .await
    .unwrap();
    let rows = s
        .behind
        .query("SELECT what FROM public.line ORDER BY n", &[])
        .await
        .unwrap();
    let line: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(line, ["branches", "audit_entries", "jobs", "outbox"]);
    // A cold connection prepares each statement first; the order holds there too, and within a
    // unit.
    let seen: Result<i64, StoreError> =
        s.db.unit(cx, WRITE, async |tx| {
            tx.emit(&Event::new(
                &s.tools,
                "branch.created",
                Uuid::nil(),
                json!({}),
            ));
            tx.audit(&AuditEntry::done(
                &s.tools,
                "branch.create",
                Resource::any("branch"),
            ));
            tx.execute(branch(cx, 2, "two")).await?;
            tx.first(CountBranches {}).await
        })
        .await;
    assert_eq!(seen.unwrap(), 2);
    let rows = s
        .behind
        .query("SELECT what FROM public.line ORDER BY n OFFSET 4", &[])
        .await
        .unwrap();
    let line: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(line, ["branches", "audit_entries", "outbox"]);
}

#[tokio::test]
async fn the_audit_row_tells_who_did_what_and_holds_no_value() {
    let s = Setting::new().await;
    let cx = s.cx();
    let traced = s
        .tools
        .clone()
        .with_traces(|| Some("0af7651916cd43dd".repeat(2)));
    let entry = AuditEntry::done(
        &traced,
        "branch.rename",
        Resource::one("branch", Uuid::from_u128(5)),
    )
    .changed(
        cx,
        s.tools.keys(),
        [
            ChangedValue::new(
                "name",
                Some(b"planted".to_vec()),
                Some(b"planted value".to_vec()),
            ),
            ChangedValue::set("status", b"planted"),
            ChangedValue::secret("token"),
        ],
    );
    s.db.write(cx, WRITE, |batch| batch.audit(&entry))
        .await
        .unwrap();
    let row: String = s
        .behind
        .query_one("SELECT row_to_json(a)::text FROM app.audit_entries a", &[])
        .await
        .unwrap()
        .get(0);
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    assert_eq!(row["clinic_id"], s.clinics.a.id.to_string());
    assert_eq!(row["actor_id"], s.clinics.a.owner.to_string());
    assert_eq!(row["actor_kind"], "user");
    assert_eq!(row["action"], "branch.rename");
    assert_eq!(row["resource_id"], Uuid::from_u128(5).to_string());
    assert_eq!(row["outcome"], "done");
    assert_eq!(row["trace_id"], "0af7651916cd43dd0af7651916cd43dd");
    assert_eq!(row["changes"][0]["field"], "name");
    assert_eq!(row["changes"][0]["after"].as_str().unwrap().len(), 64);
    assert_eq!(row["changes"][0]["before"], row["changes"][1]["after"]);
    let (nothing, secret) = (serde_json::Value::Null, &row["changes"][2]);
    assert_eq!(row["changes"][1]["before"], nothing);
    assert_eq!((&secret["before"], &secret["after"]), (&nothing, &nothing));
    assert_eq!(row["purpose"], "administration");
    assert!(!row.to_string().contains("planted"));
}

#[tokio::test]
async fn no_error_repeats_a_bound_value() {
    let s = Setting::new().await;
    let cx = s.cx();
    let planted = "Maria da Silva 111.444.777-35";
    let long = planted.repeat(20);
    s.db.write(cx, WRITE, |batch| batch.execute(branch(cx, 1, planted)))
        .await
        .unwrap();
    // Unique, check, and encoding failures: the server's texts repeat the value for each.
    for name in [planted, &long, &format!("{planted}\0")] {
        let error =
            s.db.write(cx, WRITE, |batch| batch.execute(branch(cx, 2, name)))
                .await
                .unwrap_err();
        let mut told = format!("{error} {error:?}");
        let mut source = error.source();
        while let Some(cause) = source {
            let _ = write!(told, " {cause} {cause:?}");
            source = cause.source();
        }
        assert!(!told.contains("Maria") && !told.contains("111"), "{told}");
    }
}

#[tokio::test]
async fn a_changed_column_costs_one_failure_at_most_and_then_goes_on() {
    let s = Setting::new().await;
    let cx = s.cx();
    s.behind
        .batch_execute(
            "CREATE TABLE app.changing (n varchar(9)); INSERT INTO app.changing VALUES ('7');
             GRANT SELECT ON app.changing TO acolhe_app",
        )
        .await
        .unwrap();
    let read = async || s.db.once::<String, _, _>(cx, WRITE, Changing {}).await;
    assert_eq!(read().await.unwrap(), ["7"]);
    assert_eq!(read().await.unwrap(), ["7"]);
    s.behind
        .batch_execute("ALTER TABLE app.changing ALTER n TYPE text")
        .await
        .unwrap();
    let _ = read().await;
    assert_eq!(read().await.unwrap(), ["7"]);
}
