//! `cargo xtask dev`: a running product on this machine, from nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::bail;
use fastrand::Rng;
use serde_json::Value;

use crate::{
    checkout::Checkout,
    client::signature,
    interrupt,
    mailbox::Mailbox,
    postgres::{Home, address, cluster::Kind, site::Site},
    redis::Redis,
    seed::{self, Demo},
    server::{self, Addresses, Server},
    terminal,
};

/// Where the port search begins.
const PORT: u16 = 8080;
/// Where links in mails lead: the usual address of a front end that is being developed.
const FRONT_END: &str = "http://localhost:5173";

/// Run the product: database, migrations, demo data, server.
///
/// On a fresh machine this alone is enough. PostgreSQL is found or fetched and runs on a private
/// port; data survives restarts; Ctrl-C stops all that was started and nothing else.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask dev              serve on 127.0.0.1:8080, or the next free port\n  \
    cargo xtask dev --reset      throw the data away and begin anew\n\n\
    With DATABASE_URL=postgres://user:password@host:port/database that server is used: the database\n\
    and the roles acolhe_app and acolhe_owner are made where they are missing. Where logins need a\n\
    password the roles get one, worked out from that of DATABASE_URL; a password that they have\n\
    already is never changed: tell it by ACOLHE_DATABASE_URL and ACOLHE_DATABASE_OWNER_URL.")]
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
        // First what may fail soon, then the build.
        let database = Database::open(checkout)?;
        let redis = redis(checkout)?;
        let program = server::build(checkout, server::Build::Debug)?;
        let mut server = database.server(checkout, program)?;
        if let Some(redis) = &redis {
            server.set("ACOLHE_REDIS_URL", redis.url());
        }
        terminal::step("Migrating the database", || server.migrate())?;
        let log = checkout.root().join(".acolhe/server.log");
        let mut mailbox = Mailbox::new(&mail_folder(checkout));
        // Those of earlier runs are no news.
        mailbox.look();
        let mut serving = server.serve(self.port, Some(&log))?;
        if serving.port != self.port {
            terminal::note(format!(
                "Port {} is taken: using {}.",
                self.port, serving.port
            ));
        }
        let demo = if self.empty {
            None
        } else {
            Some(demo(checkout, &server, &serving.base_url)?)
        };
        introduce(
            &serving.base_url,
            &log,
            &mail_folder(checkout),
            demo.as_ref(),
        )?;
        mailbox.tell_new(&serving.base_url);
        serving.wait()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Where the server writes mails.
fn mail_folder(checkout: &Checkout) -> PathBuf {
    checkout.root().join(".acolhe/mail")
}

/// Adds a demo to the development database, with a server of its own that ends with it.
pub(crate) fn seed_alone(checkout: &Checkout) -> anyhow::Result<()> {
    let database = Database::open(checkout)?;
    let program = server::build(checkout, server::Build::Debug)?;
    let server = database.server(checkout, program)?;
    server.migrate()?;
    let log = checkout.root().join(".acolhe/server.log");
    let serving = server.serve(PORT, Some(&log))?;
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
    _site: Site,
}

impl Database {
    fn open(checkout: &Checkout) -> anyhow::Result<Self> {
        fs::create_dir_all(checkout.root().join(".acolhe"))?;
        let site = Site::open(checkout, Kind::Dev)?;
        let name = site.database()?;
        site.prepare(checkout, &name)?;
        Ok(Self {
            addresses: site.addresses(&name)?,
            _site: site,
        })
    }

    fn server(&self, checkout: &Checkout, program: PathBuf) -> anyhow::Result<Server> {
        let mut server = Server::new(
            program,
            &self.addresses,
            &checkout.root().join(".acolhe/keys.env"),
        )?;
        server.set("ACOLHE_TELEMETRY_LOG_FORMAT", "text");
        let folder = mail_folder(checkout).display().to_string();
        server.set("ACOLHE_MAIL_FOLDER", folder);
        server.set("ACOLHE_MAIL_FROM", "Acolhe <no-reply@acolhe.example>");
        server.set("ACOLHE_MAIL_LINK_BASE", FRONT_END);
        Ok(server)
    }
}

/// `None`: there is none to be had, and the product works without as well.
fn redis(checkout: &Checkout) -> anyhow::Result<Option<Redis>> {
    match Redis::open(checkout) {
        Ok(redis) => Ok(Some(redis)),
        Err(error) if error.is::<interrupt::Interrupted>() => Err(error),
        Err(error) => {
            terminal::note(format!("Going on without Redis: {error:#}"));
            Ok(None)
        }
    }
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
    let _ = fs::remove_dir_all(mail_folder(checkout));
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
fn introduce(base: &str, log: &Path, mails: &Path, demo: Option<&Demo>) -> anyhow::Result<()> {
    println!("\nAcolhe runs at {base}");
    println!("  API page   {base}/docs");
    println!("  log        {}", log.display());
    println!("  mails      {} (told here as they come)", mails.display());
    match demo {
        Some(demo) => introduce_demo(base, demo)?,
        None => println!(
            "  log in     nobody yet, with --empty: `cargo xtask seed` adds two clinics of made-up people"
        ),
    }
    if address::given()?.is_some() {
        println!("\nCtrl-C stops the server; the database of DATABASE_URL goes on.");
    } else {
        println!("\nCtrl-C stops the server and the database; the data stays.");
    }
    Ok(())
}

fn introduce_demo(base: &str, demo: &Demo) -> anyhow::Result<()> {
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
}
