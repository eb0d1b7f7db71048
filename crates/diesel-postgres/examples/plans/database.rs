//! The database that is filled once and kept: made, recognised, dropped.

use std::time::Instant;

use diesel_postgres::migrations;
use test_support::Crowd;
use tokio_postgres::{Client, NoTls};

/// Ours by its name; nothing else is ever dropped.
const NAME: &str = "acolhe_plans";

/// A filled database.
pub(crate) struct Filled {
    server: String,
    crowd: Crowd,
}

impl Filled {
    /// The database with this crowd in the present schema: the one that is there, or a new one.
    pub(crate) async fn open(server: &str, crowd: Crowd, fresh: bool) -> Self {
        let filled = Self {
            server: server.to_owned(),
            crowd,
        };
        let admin = connect(server).await;
        let known: Option<String> = admin
            .query_opt(
                "SELECT s.description FROM pg_database d
                 JOIN pg_shdescription s ON s.objoid = d.oid WHERE d.datname = $1",
                &[&NAME],
            )
            .await
            .expect("databases can be listed")
            .map(|row| row.get(0));
        if fresh || known.as_deref() != Some(&crowd.label()) {
            filled.make(&admin).await;
        }
        let applied = migrations::migrate(&filled.url("acolhe_owner"))
            .await
            .expect("the migrations run");
        if !applied.is_empty() {
            eprintln!("Applied {}.", applied.join(", "));
        }
        filled
    }

    async fn make(&self, admin: &Client) {
        drop_database(admin).await;
        run(admin, &format!("CREATE DATABASE {NAME}")).await;
        migrations::bootstrap(&self.superuser_url())
            .await
            .expect("the bootstrap runs");
        migrations::migrate(&self.url("acolhe_owner"))
            .await
            .expect("the migrations run");
        let began = Instant::now();
        let behind = self.superuser().await;
        let all = self.crowd.contacts;
        eprintln!("Filling {NAME} with {} …", self.crowd.label());
        self.crowd
            .fill(&behind, test_support::keys().as_ref(), |done| {
                if done % 50_000 == 0 || done == all {
                    eprintln!("  {done} of {all} contacts, {:.0?}", began.elapsed());
                }
            })
            .await;
        // Only now is it whole.
        let label = self.crowd.label();
        run(admin, &format!("COMMENT ON DATABASE {NAME} IS '{label}'")).await;
        let row = admin
            .query_one(
                "SELECT pg_size_pretty(pg_database_size($1::text::name))",
                &[&NAME],
            )
            .await
            .expect("its size can be asked");
        let size: String = row.get(0);
        eprintln!("Filled in {:.0?}: {size}.", began.elapsed());
    }

    pub(crate) fn label(&self) -> String {
        self.crowd.label()
    }

    /// As the server logs in.
    pub(crate) fn app_url(&self) -> String {
        self.url("acolhe_app")
    }

    pub(crate) async fn superuser(&self) -> Client {
        connect(&self.superuser_url()).await
    }

    pub(crate) async fn version(&self, client: &Client) -> String {
        let row = client.query_one("SHOW server_version", &[]).await;
        row.expect("the version can be asked").get(0)
    }

    fn superuser_url(&self) -> String {
        let (base, _) = self.server.rsplit_once('/').expect("an address is a URL");
        format!("{base}/{NAME}")
    }

    fn url(&self, role: &str) -> String {
        let (_, host) = self.server.rsplit_once('@').expect("an address has a user");
        let (host, _) = host.split_once('/').expect("an address has a database");
        format!("postgres://{role}@{host}/{NAME}")
    }
}

/// Drops the database, if it is there.
pub(crate) async fn remove(server: &str) {
    drop_database(&connect(server).await).await;
}

async fn drop_database(admin: &Client) {
    run(
        admin,
        &format!("DROP DATABASE IF EXISTS {NAME} WITH (FORCE)"),
    )
    .await;
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("the server is reachable");
    tokio::spawn(connection);
    client
}

pub(crate) async fn run(client: &Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql).await {
        panic!("{sql}: {:?}", error.as_db_error());
    }
}

/// In which settings the server's role is explained.
pub(crate) async fn explain_the_role(client: &Client, on: bool) {
    let settings = [
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_buffers", "on"),
        // The clock of each node would cost more than the node.
        ("auto_explain.log_timing", "off"),
        ("auto_explain.log_verbose", "on"),
        ("auto_explain.log_format", "json"),
        ("auto_explain.log_level", "notice"),
        ("auto_explain.log_parameter_max_length", "0"),
        ("client_min_messages", "notice"),
    ];
    run(client, "LOAD 'auto_explain'").await;
    for (name, value) in settings {
        let change = if on {
            format!("SET {name} = '{value}'")
        } else {
            format!("RESET {name}")
        };
        let sql = format!("ALTER ROLE acolhe_app IN DATABASE {NAME} {change}");
        run(client, &sql).await;
    }
}
