//! A real PostgreSQL database for each test: [`TestDatabase`].
//!
//! One template database is made from the migrations' text (its name holds a hash of it), by
//! whichever process comes first; each test then gets a copy, which PostgreSQL makes in some
//! tens of milliseconds, and drops it at the end. So tests are isolated as processes
//! (`cargo nextest`) and as threads (`cargo test`) alike.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use diesel_postgres::{Database, PoolSettings, migrations};
use kernel::ClinicId;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

/// Names the running cluster: a superuser's URL.
pub const CLUSTER_VARIABLE: &str = "ACOLHE_TEST_DATABASE_URL";

/// The server's role, and the variable with its password. Unset where it needs none.
const APP: (&str, &str) = ("acolhe_app", "ACOLHE_TEST_APP_PASSWORD");
/// The role of migrations, likewise.
const OWNER: (&str, &str) = ("acolhe_owner", "ACOLHE_TEST_OWNER_PASSWORD");

/// Held while a template is made or dropped.
const TEMPLATE_LOCK: i64 = 4_711_900;

/// A migrated database of a test's own, dropped with it.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    cluster: String,
}

impl TestDatabase {
    /// Makes a migrated database without rows.
    ///
    /// # Panics
    ///
    /// When no cluster is named or the migrations fail: a test cannot go on then.
    pub async fn new() -> Self {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let cluster = cluster();
        let template = TEMPLATE.get_or_init(|| template(&cluster)).await;
        let name = format!(
            "acolhe_test_{}_{}_{}",
            epoch(),
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let admin = connect(&cluster).await;
        run(
            &admin,
            &format!("CREATE DATABASE {name} TEMPLATE {template}"),
        )
        .await;
        Self { name, cluster }
    }

    /// As the server logs in.
    pub fn app_url(&self) -> String {
        login_as(&self.cluster, APP, &self.name)
    }

    /// As migrations log in.
    pub fn owner_url(&self) -> String {
        login_as(&self.cluster, OWNER, &self.name)
    }

    /// As a superuser: for looking behind row security in a test's assertions.
    pub fn superuser_url(&self) -> String {
        login(&self.cluster, Login::Superuser, &self.name)
    }

    /// The product's own access to it, with the default pool.
    pub fn database(&self) -> Database {
        self.database_with(|_| ())
    }

    /// The product's own access to it, with other pool settings.
    pub fn database_with(&self, change: impl FnOnce(&mut PoolSettings)) -> Database {
        let mut settings = PoolSettings::new(self.app_url());
        change(&mut settings);
        Database::new(settings).expect("the test cluster's address is readable")
    }

    /// From now on each new connection of the server's role has the tenant `clinic` set for
    /// its whole session, as a defect of ours or a careless pooler might leave it behind. No
    /// statement shape may ever show or write that clinic's rows for it.
    pub async fn leave_stale_tenant(&self, clinic: ClinicId) {
        let sql = format!(
            "ALTER ROLE acolhe_app IN DATABASE {} SET app.clinic_id = '{clinic}'",
            self.name
        );
        run(&self.superuser().await, &sql).await;
    }

    /// Takes back [`TestDatabase::leave_stale_tenant`] for connections opened from now on.
    pub async fn leave_no_tenant(&self) {
        let sql = format!(
            "ALTER ROLE acolhe_app IN DATABASE {} RESET app.clinic_id",
            self.name
        );
        run(&self.superuser().await, &sql).await;
    }

    /// A superuser's connection to it.
    pub async fn superuser(&self) -> Client {
        connect(&self.superuser_url()).await
    }

    /// A bare connection as the server's role.
    pub async fn app(&self) -> Client {
        connect(&self.app_url()).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (name, cluster) = (self.name.clone(), self.cluster.clone());
        // The test's runtime may be gone; a database that stays is dropped by a later run.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(async {
                    let admin = connect(&cluster).await;
                    let _ = admin
                        .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
                        .await;
                });
            }
        });
        let _ = dropping.join();
    }
}

/// The superuser's URL.
fn cluster() -> String {
    variable(CLUSTER_VARIABLE).unwrap_or_else(|| {
        panic!(
            "{CLUSTER_VARIABLE} is not set. Run `cargo xtask test`, which starts a PostgreSQL of \
             its own, or name a superuser's URL of a cluster for tests."
        )
    })
}

/// Where a role logs in, with the password that the environment tells.
fn login_as(cluster: &str, (role, password): (&'static str, &str), database: &str) -> String {
    let password = variable(password);
    login(cluster, Login::Role(role, password.as_deref()), database)
}

fn variable(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where tests learn of the cluster"
    )]
    let value = std::env::var(name);
    value.ok()
}

fn epoch() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "tells old leftovers from databases in use"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |age| age.as_secs())
}

/// Who logs in.
#[derive(Clone, Copy)]
enum Login<'a> {
    /// As the cluster's URL says.
    Superuser,
    /// A role of the product's, with its password where the cluster wants one.
    Role(&'static str, Option<&'a str>),
}

/// The cluster's URL with another database, and perhaps another login.
fn login(cluster: &str, login: Login<'_>, database: &str) -> String {
    let (scheme, rest) = cluster
        .split_once("://")
        .expect("the test cluster's address is a URL");
    let (address, query) = match rest.find('?') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let server = address.split('/').next().unwrap_or_default();
    let (superuser, host) = server.rsplit_once('@').unwrap_or(("postgres", server));
    let who = match login {
        Login::Superuser => superuser.to_owned(),
        Login::Role(role, None) => role.to_owned(),
        Login::Role(role, Some(password)) => format!("{role}:{}", encoded(password)),
    };
    format!("{scheme}://{who}@{host}/{database}{query}")
}

/// As a part of a URL.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .unwrap_or_else(|error| {
            let said = error
                .as_db_error()
                .map_or_else(|| error.to_string(), |said| said.message().to_owned());
            panic!("cannot log in to the cluster that {CLUSTER_VARIABLE} names: {said}")
        });
    tokio::spawn(connection);
    client
}

async fn run(client: &Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql).await {
        let told = error
            .as_db_error()
            .map_or_else(|| error.to_string(), |db| format!("{db:?}"));
        panic!("the test database could not be prepared: {told}");
    }
}

/// Finds or makes the template of the present migrations; answers its name.
async fn template(cluster: &str) -> String {
    let name = format!("acolhe_template_{:016x}", migrations::fingerprint());

    let admin = connect(cluster).await;
    run(&admin, &format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await;
    // A template is whole once it has its comment.
    let ready = admin
        .query_opt(
            "SELECT FROM pg_database d JOIN pg_shdescription s ON s.objoid = d.oid
             WHERE d.datname = $1 AND s.description LIKE 'ready %'",
            &[&name],
        )
        .await
        .expect("databases can be listed")
        .is_some();
    if !ready {
        run(
            &admin,
            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        )
        .await;
        run(&admin, &format!("CREATE DATABASE {name}")).await;
        migrations::bootstrap(&login(cluster, Login::Superuser, &name))
            .await
            .expect("the bootstrap runs");
        migrations::migrate(&login_as(cluster, OWNER, &name))
            .await
            .expect("the migrations run");
        drop_leftovers(&admin).await;
    }
    run(
        &admin,
        &format!("COMMENT ON DATABASE {name} IS 'ready {}'", epoch()),
    )
    .await;
    run(
        &admin,
        &format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})"),
    )
    .await;
    name
}

/// Drops templates that nobody used for a day, and databases of tests that ended an hour ago
/// without dropping theirs.
async fn drop_leftovers(admin: &Client) {
    let now = i64::try_from(epoch()).unwrap_or(i64::MAX);
    let old = admin
        .query(
            "SELECT d.datname::text FROM pg_database d
             LEFT JOIN pg_shdescription s ON s.objoid = d.oid
             WHERE d.datname ~ '^acolhe_template_[0-9a-f]{16}$'
               AND coalesce(substring(s.description FROM '^ready ([0-9]+)$')::bigint, $1::bigint)
                   < $1 - 86400
             UNION ALL
             SELECT d.datname::text FROM pg_database d
             WHERE d.datname ~ '^acolhe_test_[0-9]+_'
               AND substring(d.datname FROM '^acolhe_test_([0-9]+)_')::bigint < $1 - 3600",
            &[&now],
        )
        .await
        .expect("databases can be listed");
    for row in old {
        let name: String = row.get(0);
        let _ = admin
            .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "postgres://boss:p%40ss@127.0.0.1:5433/postgres?connect_timeout=3";

    #[test]
    fn a_superuser_keeps_the_password_that_the_cluster_wants() {
        assert_eq!(
            login(CLUSTER, Login::Superuser, "x"),
            "postgres://boss:p%40ss@127.0.0.1:5433/x?connect_timeout=3"
        );
        assert_eq!(
            login("postgres://127.0.0.1", Login::Superuser, "x"),
            "postgres://postgres@127.0.0.1/x"
        );
    }

    #[test]
    fn a_role_brings_its_own_password_or_none() {
        assert_eq!(
            login(CLUSTER, Login::Role("acolhe_app", Some("a/b")), "x"),
            "postgres://acolhe_app:a%2Fb@127.0.0.1:5433/x?connect_timeout=3"
        );
        assert_eq!(
            login(CLUSTER, Login::Role("acolhe_app", None), "x"),
            "postgres://acolhe_app@127.0.0.1:5433/x?connect_timeout=3"
        );
    }
}
