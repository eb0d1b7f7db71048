//! `cargo xtask dev`: a running product on this machine, from nothing.

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use fastrand::Rng;
use serde_json::Value;

use crate::{
    checkout::Checkout,
    client::signature,
    environment,
    postgres::{
        Home, Lease, address,
        bootstrap::bootstrap,
        cluster::{Cluster, Kind},
    },
    seed::{self, Demo},
    server::{self, Addresses, Server},
    terminal,
};

/// Where the port search begins.
const PORT: u16 = 8080;

/// Run the product: database, migrations, demo data, server.
///
/// On a fresh machine this alone is enough. PostgreSQL is found or fetched and runs on a private
/// port; data survives restarts; Ctrl-C stops all that was started and nothing else.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask dev              serve on 127.0.0.1:8080, or the next free port\n  \
    cargo xtask dev --reset      throw the data away and begin anew")]
pub(crate) struct Args {
    /// Throw this checkout's development data away first. Never a database given by DATABASE_URL.
    #[arg(long)]
    reset: bool,
    /// The port to serve on; the next free one where it is taken.
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// Leave out the demo data.
    #[arg(long)]
    empty: bool,
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        if self.reset {
            reset(checkout)?;
        }
        let program = server::build(checkout, server::Build::Debug)?;
        let database = Database::open(checkout)?;
        let server = database.server(checkout, program)?;
        terminal::step("Migrating the database", || server.migrate())?;
        let port = server::free_port(self.port)?;
        if port != self.port {
            terminal::note(format!("Port {} is taken: using {port}.", self.port));
        }
        let log = checkout.root().join(".acolhe/server.log");
        let mut serving = server.serve(port, Some(&log))?;
        if !self.empty {
            let demo = demo(checkout, &server, &serving.base_url)?;
            introduce(&demo, &log.display().to_string())?;
        }
        serving.wait()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Adds a demo to the development database, with a server of its own that ends with it.
pub(crate) fn seed_alone(checkout: &Checkout) -> anyhow::Result<()> {
    let program = server::build(checkout, server::Build::Debug)?;
    let database = Database::open(checkout)?;
    let server = database.server(checkout, program)?;
    server.migrate()?;
    let log = checkout.root().join(".acolhe/server.log");
    let serving = server.serve(server::free_port(PORT)?, Some(&log))?;
    let now = now()?;
    let demo = seed::seed(&server, &serving.base_url, now, &format!("-{now}"))?;
    for clinic in &demo.clinics {
        let owner = clinic
            .users
            .first()
            .map(|user| user.email.as_str())
            .unwrap_or_default();
        terminal::note(format!("{}: log in as {owner}", clinic.name));
    }
    Ok(())
}

/// The development database, kept running while this lives.
struct Database {
    addresses: Addresses,
    _lease: Option<Lease>,
}

impl Database {
    fn open(checkout: &Checkout) -> anyhow::Result<Self> {
        fs::create_dir_all(checkout.root().join(".acolhe"))?;
        if let Some(given) = address::given()? {
            terminal::note(format!(
                "Using the database of DATABASE_URL ({}).",
                given.place()
            ));
            let name = given.config.get_dbname().context(
                "DATABASE_URL names no database: write postgres://user:password@host:port/database",
            )?;
            bootstrap(checkout, &given.config, name)?;
            let role = |variable: &str, role: &str| {
                environment::text(variable).map_or_else(|| as_role(&given.url, role), Ok)
            };
            return Ok(Self {
                addresses: Addresses {
                    app: role("ACOLHE_DATABASE_URL", "acolhe_app")?,
                    owner: role("ACOLHE_DATABASE_OWNER_URL", "acolhe_owner")?,
                },
                _lease: None,
            });
        }
        let lease = Lease::take(Home::open(checkout)?, Kind::Dev)?;
        bootstrap(
            checkout,
            &Cluster::admin(lease.running, "postgres"),
            address::DATABASE,
        )?;
        Ok(Self {
            addresses: Addresses::local(lease.running.port, address::DATABASE),
            _lease: Some(lease),
        })
    }

    fn server(&self, checkout: &Checkout, program: PathBuf) -> anyhow::Result<Server> {
        let mut server = Server::new(
            program,
            &self.addresses,
            &checkout.root().join(".acolhe/keys.env"),
        )?;
        server.set("ACOLHE_TELEMETRY_LOG_FORMAT", "text");
        Ok(server)
    }
}

/// The same address for another role, without a password.
fn as_role(url: &str, role: &str) -> anyhow::Result<String> {
    let (scheme, rest) = url
        .split_once("://")
        .context("DATABASE_URL is no address")?;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    Ok(format!("{scheme}://{role}@{host}"))
}

fn reset(checkout: &Checkout) -> anyhow::Result<()> {
    if let Some(given) = address::given()? {
        bail!(
            "DATABASE_URL is set ({}), and --reset never touches a database that was given.\n\
             To reset this checkout's own: env -u DATABASE_URL cargo xtask dev --reset",
            given.place()
        );
    }
    let home = Home::open(checkout)?;
    let _lock = home.lock(Kind::Dev)?;
    for cluster in home.existing(Kind::Dev) {
        cluster.stop()?;
        cluster.remove()?;
    }
    for file in [
        ".acolhe/demo.json",
        ".acolhe/keys.env",
        ".acolhe/server.log",
    ] {
        let _ = fs::remove_file(checkout.root().join(file));
    }
    terminal::note("Threw the development data away.");
    Ok(())
}

fn now() -> anyhow::Result<i64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a command's messages are of the present"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}

/// The demo of an earlier run where it still stands, else a new one.
fn demo(checkout: &Checkout, server: &Server, base_url: &str) -> anyhow::Result<Demo> {
    let file = checkout.root().join(".acolhe/demo.json");
    let there = server.admin(&["list-clinics"], None)?;
    let ids: Vec<&str> = there
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|clinic| clinic["clinicId"].as_str())
        .collect();
    let known = Demo::read(&file).filter(|demo| {
        demo.clinics
            .iter()
            .all(|clinic| ids.contains(&clinic.id.as_str()))
    });
    let demo = if let Some(mut demo) = known {
        base_url.clone_into(&mut demo.base_url);
        demo
    } else {
        let now = now()?;
        let tag = if ids.is_empty() {
            String::new()
        } else {
            format!("-{now}")
        };
        seed::seed(server, base_url, now, &tag)?
    };
    demo.write(&file)?;
    Ok(demo)
}

/// Tells a newcomer what there is. On standard output: it is the command's result.
fn introduce(demo: &Demo, log: &str) -> anyhow::Result<()> {
    let base = &demo.base_url;
    println!("\nAcolhe runs at {base}");
    println!("  API page   {base}/docs");
    println!("  log        {log}");
    for clinic in &demo.clinics {
        if let Some(user) = clinic.users.first() {
            println!(
                "  log in     {} / {}  ({}, {})",
                user.email, user.password, user.role, clinic.name
            );
        }
    }
    println!("  all users  .acolhe/demo.json");
    if let Some(clinic) = demo.clinics.first()
        && let (Some(user), Some(channel)) = (clinic.users.first(), clinic.channels.first())
    {
        let now = now()?;
        let mut rng = Rng::new();
        let person = seed::newcomer(&mut rng);
        let message = seed::text("Oi! Tem horario para uma avaliacao amanha de manha?");
        let id = seed::message_id(&mut rng);
        let payload = ascii(&seed::delivery(
            &channel.number(),
            &person,
            &id,
            now,
            message,
        ));
        let path = &channel.webhook_path;
        println!("\nA WhatsApp message arrives:\n");
        println!(
            "curl -sS '{base}{path}' -H 'Content-Type: application/json' \
             -H 'X-Hub-Signature-256: {}' -d '{payload}'",
            signature(&channel.app_secret, payload.as_bytes())
        );
        println!("\nThe conversation it made:\n");
        println!(
            "curl -sS '{base}/api/v1/conversations?limit=1' -H 'X-Clinic-Id: {}' \
             -H \"Authorization: Bearer $(curl -sS '{base}/api/v1/auth/login' \
             -H 'Content-Type: application/json' \
             -d '{{\"email\":\"{}\",\"password\":\"{}\"}}' | sed 's/.*\"accessToken\":\"\\([^\"]*\\)\".*/\\1/')\"",
            clinic.id, user.email, user.password
        );
    }
    println!("\nCtrl-C stops the server and the database; the data stays.");
    Ok(())
}

/// JSON in ASCII, so that a shell's locale cannot change the signed bytes.
fn ascii(value: &Value) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() && c != '\'' {
            text.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_payload_is_safe_between_single_quotes_and_means_the_same() {
        let value = serde_json::json!({ "name": "Inês d'Ávila 💙" });
        let text = ascii(&value);
        assert!(text.is_ascii() && !text.contains('\''));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn another_roles_address_keeps_no_password() {
        let url = as_role("postgres://boss:p@ss@db.example:5432/x", "acolhe_app").unwrap();
        assert_eq!(url, "postgres://acolhe_app@db.example:5432/x");
    }
}
