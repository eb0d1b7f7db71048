//! Brings a database to this build's schema, and back.
//!
//! The folders of `migrations/` are embedded by the build script. Folders, versions and the list
//! of what was applied (`public.__diesel_schema_migrations`) are Diesel's own conventions. The
//! runner is ours for two reasons: `diesel_migrations` drops the SQLSTATE, so that a lock
//! timeout could not be told from a defect, and it needs the right to create tables even to ask
//! what is pending, which the server's role has not.
//!
//! URLs go to PostgreSQL itself, never through PgBouncer: the runner holds a session lock.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use crate::connect::{AddressError, Connector};

/// One embedded migration.
#[derive(Debug)]
pub struct Migration {
    /// Its version as stored: the digits of the folder's date, such as `20260131000001`.
    pub version: &'static str,
    /// Its folder.
    pub name: &'static str,
    up: &'static str,
    down: &'static str,
    in_transaction: bool,
}

/// All of them, oldest first.
pub static MIGRATIONS: &[Migration] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// The roles and rights that migrations presuppose.
static BOOTSTRAP: &str = include_str!("../../../migrations/bootstrap.sql");

/// Tells this build's schema from any other's: a hash of every script. Names the template of
/// test databases.
pub fn fingerprint() -> u64 {
    let mut hasher = DefaultHasher::new();
    BOOTSTRAP.hash(&mut hasher);
    for migration in MIGRATIONS {
        migration.up.hash(&mut hasher);
    }
    hasher.finish()
}

/// Held by a session that runs migrations.
const LOCK: i64 = 4_711_003;
/// How long one runner waits for another to finish.
const LOCK_PATIENCE: Duration = Duration::from_mins(1);

/// How long to wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Migrations could not be run.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No connection, or it broke: of the migration that was running, nothing was applied if it
    /// runs in a transaction.
    #[error("the database cannot be reached")]
    Unreachable(#[source] Error),
    /// Another runner holds the lock and did not finish within a minute.
    #[error("another process is running migrations")]
    Busy,
    /// A table stayed locked by others for longer than `lock_timeout`. Nothing of this
    /// migration was applied; run again in a quieter moment.
    #[error("migration {name}: a lock was not granted within lock_timeout; run it again later")]
    LockTimeout {
        /// The folder.
        name: &'static str,
        /// What PostgreSQL said.
        #[source]
        source: Error,
    },
    /// PostgreSQL refused a statement.
    #[error("migration {name} failed")]
    Failed {
        /// The folder.
        name: &'static str,
        /// What PostgreSQL said.
        #[source]
        source: Error,
    },
    /// The runner's own statements, or the bootstrap, failed.
    #[error("preparing migrations failed")]
    Unprepared(#[source] Error),
}

/// Makes the roles and rights that migrations presuppose. `url` is of an account that owns the
/// database and may create roles. Safe to run again, and beside another run in a sibling
/// database of the same cluster.
pub async fn bootstrap(url: &str) -> Result<(), MigrateError> {
    let client = client(url).await?;
    let mut attempt = 1;
    loop {
        match client.batch_execute(BOOTSTRAP).await {
            Ok(()) => return Ok(()),
            // Roles are the cluster's, and no lock reaches across its databases: of two that
            // make or change the same role, one fails and finds it made when it tries again.
            Err(error) if attempt < 10 && lost_a_race(&error) => {
                sleep(Duration::from_millis(50 * attempt)).await;
                attempt += 1;
            }
            Err(error) => return Err(MigrateError::Unprepared(error)),
        }
    }
}

fn lost_a_race(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        [
            SqlState::DUPLICATE_OBJECT,
            SqlState::UNIQUE_VIOLATION,
            // "tuple concurrently updated"
            SqlState::INTERNAL_ERROR,
            SqlState::T_R_DEADLOCK_DETECTED,
        ]
        .contains(code)
    })
}

/// Runs every migration that the database lacks, oldest first; answers their folders. `url` is
/// the owner's (`acolhe_owner`). Migrations that it holds but this build does not know (it was
/// migrated by a newer one) are left alone.
pub async fn migrate(url: &str) -> Result<Vec<&'static str>, MigrateError> {
    run(url, MIGRATIONS).await
}

/// Reverts every migration that the database holds, newest first; answers their folders.
/// Destroys all data.
pub async fn revert_all(url: &str) -> Result<Vec<&'static str>, MigrateError> {
    revert(url, MIGRATIONS, usize::MAX).await
}

/// Reverts the newest migration that the database holds; answers its folder.
pub async fn revert_newest(url: &str) -> Result<Option<&'static str>, MigrateError> {
    Ok(revert(url, MIGRATIONS, 1).await?.pop())
}

/// The folders of the migrations that the database lacks. `url` may be the server's own role.
pub async fn pending(url: &str) -> Result<Vec<&'static str>, MigrateError> {
    let client = client(url).await?;
    let listed = client
        .query_one(
            "SELECT to_regclass('public.__diesel_schema_migrations') IS NOT NULL",
            &[],
        )
        .await
        .map_err(MigrateError::Unprepared)?
        .get(0);
    let applied = if listed {
        applied(&client).await?
    } else {
        HashSet::new()
    };
    Ok(MIGRATIONS
        .iter()
        .filter(|migration| !applied.contains(migration.version))
        .map(|migration| migration.name)
        .collect())
}

async fn run(url: &str, migrations: &[Migration]) -> Result<Vec<&'static str>, MigrateError> {
    let mut client = prepared(url).await?;
    let applied = applied(&client).await?;
    let mut done = Vec::new();
    for migration in migrations {
        if applied.contains(migration.version) {
            continue;
        }
        step(
            &mut client,
            migration,
            migration.up,
            "INSERT INTO public.__diesel_schema_migrations (version) VALUES ($1)",
        )
        .await?;
        tracing::info!(migration = migration.name, "migration applied");
        done.push(migration.name);
    }
    Ok(done)
}

async fn revert(
    url: &str,
    migrations: &[Migration],
    most: usize,
) -> Result<Vec<&'static str>, MigrateError> {
    let mut client = prepared(url).await?;
    let applied = applied(&client).await?;
    let held = |migration: &&Migration| applied.contains(migration.version);
    let mut done = Vec::new();
    for migration in migrations.iter().rev().filter(held).take(most) {
        step(
            &mut client,
            migration,
            migration.down,
            "DELETE FROM public.__diesel_schema_migrations WHERE version = $1",
        )
        .await?;
        tracing::info!(migration = migration.name, "migration reverted");
        done.push(migration.name);
    }
    Ok(done)
}

/// Runs one script and notes it, in one transaction where the migration does not forbid that.
///
/// Outside a transaction it waits for as long as it must: `CREATE INDEX CONCURRENTLY` waits for
/// every transaction that began before it, and keeps none from reading or writing meanwhile. Cut
/// by `lock_timeout` it would leave an invalid index behind, which another cut run of it may
/// have done all the same: such a one is dropped first.
async fn step(
    client: &mut Client,
    migration: &Migration,
    script: &str,
    note: &str,
) -> Result<(), MigrateError> {
    let work = async {
        if migration.in_transaction {
            let transaction = client.transaction().await?;
            transaction.batch_execute(script).await?;
            transaction.execute(note, &[&migration.version]).await?;
            transaction.commit().await
        } else {
            let patience: String = client
                .query_one("SELECT current_setting('lock_timeout')", &[])
                .await?
                .get(0);
            client.batch_execute("SET lock_timeout = 0").await?;
            drop_invalid(client, script).await?;
            client.batch_execute(script).await?;
            client
                .execute("SELECT set_config('lock_timeout', $1, false)", &[&patience])
                .await?;
            client.execute(note, &[&migration.version]).await?;
            Ok(())
        }
    };
    let name = migration.name;
    work.await.map_err(|source| match source.code() {
        None => MigrateError::Unreachable(source),
        Some(&SqlState::LOCK_NOT_AVAILABLE) => MigrateError::LockTimeout { name, source },
        Some(_) => MigrateError::Failed { name, source },
    })
}

/// Drops the indexes that `script` is about to build and that are there unusable.
async fn drop_invalid(client: &Client, script: &str) -> Result<(), Error> {
    for name in built_concurrently(script) {
        let invalid = client
            .query(
                "SELECT format('DROP INDEX CONCURRENTLY %I.%I', n.nspname, x.relname)
                 FROM pg_index i
                 JOIN pg_class x ON x.oid = i.indexrelid
                 JOIN pg_namespace n ON n.oid = x.relnamespace
                 WHERE x.relname = $1 AND NOT i.indisvalid
                   AND n.nspname IN ('app', 'part')",
                &[&name],
            )
            .await?;
        for row in invalid {
            let drop: String = row.get(0);
            client.batch_execute(&drop).await?;
            tracing::warn!("an unfinished index of an earlier run was dropped, to be built anew");
        }
    }
    Ok(())
}

/// The names of the indexes that a script builds concurrently.
fn built_concurrently(script: &str) -> Vec<&str> {
    let code = script
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"));
    let words: Vec<&str> = code.flat_map(str::split_whitespace).collect();
    let is = |at: usize, word: &str| {
        words
            .get(at)
            .is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    (1..words.len())
        .filter(|&at| is(at - 1, "INDEX") && is(at, "CONCURRENTLY"))
        .filter(|&at| at >= 2 && (is(at - 2, "CREATE") || is(at - 2, "UNIQUE")))
        .filter_map(|at| {
            let named = if is(at + 1, "IF") { at + 4 } else { at + 1 };
            words.get(named).copied()
        })
        .collect()
}

async fn client(url: &str) -> Result<Client, MigrateError> {
    Connector::new(url, CONNECT_WITHIN)?
        .client()
        .await
        .map_err(MigrateError::Unreachable)
}

/// A connection that holds the lock, with the list of applied migrations in place.
async fn prepared(url: &str) -> Result<Client, MigrateError> {
    let client = client(url).await?;
    // Asked again and again and never waited for: a waiting statement holds a snapshot, and
    // CREATE INDEX CONCURRENTLY of the runner that holds the lock would wait for it forever.
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let row = client
            .query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK])
            .await
            .map_err(MigrateError::Unprepared)?;
        if row.get(0) {
            break;
        }
        if Instant::now() >= deadline {
            return Err(MigrateError::Busy);
        }
        sleep(Duration::from_millis(100)).await;
    }
    // The bootstrap gives the owner a lock_timeout; an account that lacks one gets it here,
    // so that no migration ever queues the whole clinic behind its own wait.
    client
        .batch_execute(
            "SELECT set_config('lock_timeout', '5s', false)
             WHERE current_setting('lock_timeout') = '0';
             SET client_min_messages = warning;
             CREATE TABLE IF NOT EXISTS public.__diesel_schema_migrations (
                 version varchar(50) PRIMARY KEY NOT NULL,
                 run_on timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);
             GRANT SELECT ON public.__diesel_schema_migrations TO acolhe_app;",
        )
        .await
        .map_err(MigrateError::Unprepared)?;
    Ok(client)
}

async fn applied(client: &Client) -> Result<HashSet<String>, MigrateError> {
    let rows = client
        .query("SELECT version FROM public.__diesel_schema_migrations", &[])
        .await
        .map_err(MigrateError::Unprepared)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
mod tests {
    use test_support::TestDatabase;

    use super::*;

    const fn migration(up: &'static str, down: &'static str, in_transaction: bool) -> Migration {
        Migration {
            version: "99991231000001",
            name: "9999-12-31-000001_test",
            up,
            down,
            in_transaction,
        }
    }

    async fn exists(base: &TestDatabase, relation: &str) -> bool {
        let row = base
            .superuser()
            .await
            .query_one("SELECT to_regclass($1) IS NOT NULL", &[&relation])
            .await
            .unwrap();
        row.get(0)
    }

    #[tokio::test]
    async fn the_server_role_learns_what_is_pending() {
        let base = TestDatabase::new().await;
        assert_eq!(pending(&base.app_url()).await.unwrap(), [""; 0]);
        let newest = revert_newest(&base.owner_url()).await.unwrap().unwrap();
        assert_eq!(pending(&base.app_url()).await.unwrap(), [newest]);
        revert_all(&base.owner_url()).await.unwrap();
        let all: Vec<_> = MIGRATIONS.iter().map(|migration| migration.name).collect();
        assert_eq!(pending(&base.app_url()).await.unwrap(), all);
        assert_eq!(revert_newest(&base.owner_url()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn of_two_runners_one_works_and_the_other_finds_it_done() {
        let base = TestDatabase::new().await;
        // A copy of a template has none of the rights on the database itself.
        bootstrap(&base.superuser_url()).await.unwrap();
        let url = base.owner_url();
        revert_all(&url).await.unwrap();
        let (one, other) = tokio::join!(migrate(&url), migrate(&url));
        let mut done = one.unwrap();
        done.extend(other.unwrap());
        assert_eq!(done.len(), MIGRATIONS.len());
    }

    #[tokio::test]
    async fn a_bootstrap_may_run_again_beside_others() {
        let base = TestDatabase::new().await;
        let url = base.superuser_url();
        let (a, b, c) = tokio::join!(bootstrap(&url), bootstrap(&url), bootstrap(&url));
        a.and(b).and(c).unwrap();
    }

    #[tokio::test]
    async fn a_lock_that_is_not_granted_is_told_and_leaves_nothing_behind() {
        let base = TestDatabase::new().await;
        let holder = base.superuser().await;
        holder
            .batch_execute("BEGIN; LOCK TABLE app.contacts")
            .await
            .unwrap();
        let migrations = [migration(
            "SET LOCAL lock_timeout = '100ms'; CREATE TABLE app.first (id int);
             ALTER TABLE app.contacts ADD COLUMN extra int",
            "SELECT 1",
            true,
        )];
        let error = run(&base.owner_url(), &migrations).await.unwrap_err();
        assert!(
            matches!(error, MigrateError::LockTimeout { name, .. } if name.ends_with("_test")),
            "{error}"
        );
        assert!(!exists(&base, "app.first").await);
    }

    #[tokio::test]
    async fn a_failed_migration_is_named_and_leaves_nothing_behind() {
        let base = TestDatabase::new().await;
        let migrations = [migration(
            "CREATE TABLE app.first (id int); SELECT * FROM app.nowhere",
            "SELECT 1",
            true,
        )];
        let error = run(&base.owner_url(), &migrations).await.unwrap_err();
        assert!(matches!(error, MigrateError::Failed { .. }), "{error}");
        assert!(!exists(&base, "app.first").await);
    }

    #[tokio::test]
    async fn an_index_is_built_concurrently_outside_a_transaction() {
        let base = TestDatabase::new().await;
        let up = "CREATE INDEX CONCURRENTLY branches_test ON app.branches (clinic_id, status)";
        let down = "DROP INDEX CONCURRENTLY app.branches_test";
        let inside = [migration(up, down, true)];
        assert!(run(&base.owner_url(), &inside).await.is_err());
        let outside = [migration(up, down, false)];
        // Another runner waits meanwhile: were it to wait inside a statement, neither would end.
        let url = base.owner_url();
        let (one, other) = tokio::join!(run(&url, &outside), run(&url, &outside));
        assert_eq!(one.unwrap().len() + other.unwrap().len(), 1);
        assert!(exists(&base, "app.branches_test").await);
        revert(&base.owner_url(), &outside, 1).await.unwrap();
        assert!(!exists(&base, "app.branches_test").await);
    }

    #[test]
    fn the_names_of_indexes_are_found_in_a_script() {
        assert_eq!(built_concurrently(UP), ["branches_test"]);
        assert_eq!(built_concurrently(DOWN), [""; 0]);
        let unique =
            "-- CREATE INDEX CONCURRENTLY told\ncreate unique index concurrently a ON b (c)";
        assert_eq!(built_concurrently(unique), ["a"]);
        for migration in MIGRATIONS.iter().filter(|one| !one.in_transaction) {
            let builds = usize::from(migration.up.contains("CREATE "));
            assert_eq!(built_concurrently(migration.up).len(), builds);
        }
    }

    const UP: &str =
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS branches_test ON app.branches (clinic_id, status)";
    const DOWN: &str = "DROP INDEX CONCURRENTLY IF EXISTS app.branches_test";

    async fn is_valid(base: &TestDatabase, index: &str) -> bool {
        let row = base
            .superuser()
            .await
            .query_one(
                "SELECT indisvalid FROM pg_index WHERE indexrelid = $1::text::regclass",
                &[&index],
            )
            .await
            .unwrap();
        row.get(0)
    }

    #[tokio::test]
    async fn what_blocks_nobody_while_it_waits_waits_for_longer_than_lock_timeout() {
        let base = TestDatabase::new().await;
        let holder = base.superuser().await;
        holder
            .batch_execute(
                "DO $$ BEGIN EXECUTE format(
                     'ALTER ROLE acolhe_owner IN DATABASE %I SET lock_timeout = 100',
                     current_database()); END $$",
            )
            .await
            .unwrap();
        holder
            .batch_execute("BEGIN; LOCK TABLE app.branches IN ROW EXCLUSIVE MODE")
            .await
            .unwrap();
        let (outside, url) = ([migration(UP, DOWN, false)], base.owner_url());
        let (done, ()) = tokio::join!(run(&url, &outside), async {
            sleep(Duration::from_millis(700)).await;
            holder.batch_execute("COMMIT").await.unwrap();
        });
        assert_eq!(done.unwrap().len(), 1);
        assert!(is_valid(&base, "app.branches_test").await);
    }

    #[tokio::test]
    async fn an_index_that_an_interrupted_run_left_invalid_is_built_anew() {
        let base = TestDatabase::new().await;
        base.superuser()
            .await
            .batch_execute(
                "SET ROLE acolhe_owner;
                 CREATE INDEX branches_test ON app.branches (clinic_id, status);
                 RESET ROLE;
                 UPDATE pg_index SET indisvalid = false
                 WHERE indexrelid = 'app.branches_test'::regclass",
            )
            .await
            .unwrap();
        let outside = [migration(UP, DOWN, false)];
        run(&base.owner_url(), &outside).await.unwrap();
        assert!(is_valid(&base, "app.branches_test").await);
    }

    #[tokio::test]
    async fn an_index_that_was_built_but_not_noted_is_left_as_it_is() {
        let base = TestDatabase::new().await;
        let outside = [migration(UP, DOWN, false)];
        run(&base.owner_url(), &outside).await.unwrap();
        base.superuser()
            .await
            .batch_execute(
                "DELETE FROM public.__diesel_schema_migrations WHERE version = '99991231000001'",
            )
            .await
            .unwrap();
        run(&base.owner_url(), &outside).await.unwrap();
        assert!(is_valid(&base, "app.branches_test").await);
    }
}
