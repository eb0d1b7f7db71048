//! `cargo xtask restore-drill`: a backup is one that was restored.
//!
//! What `docs/operations.md` tells is done here, on a PostgreSQL of the system's with an archive as
//! in `deploy/compose.yaml`: base backup, writes through the API, a mistake, more writes, then the
//! database's machine is lost in the midst of them. From the base backup, the archive and the keys
//! in escrow it is brought back twice, to the last moment that was archived and to the moment before
//! the mistake, and a server is started on it each time. Printed are the two figures that matter:
//! RPO, how much of the newest writes is lost, and RTO, how long it takes until the server is ready.

mod cluster;
mod writer;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use fastrand::Rng;

use cluster::{Cluster, Until};
use writer::Writer;

use crate::{
    checkout::Checkout,
    client::Client,
    interrupt,
    postgres::{
        Home, address,
        bootstrap::{bootstrap, connect},
        installation::{self, Installation, Origin},
    },
    seed::{self, Demo},
    server::{self, Addresses, Build, Server, Serving},
    terminal,
};

/// Where the port search of servers begins.
const PORT: u16 = 28_480;

/// Lose a database and bring it back: base backup, archive, point in time, keys in escrow.
///
/// Needs a PostgreSQL of the system with pg_basebackup (15 or newer). Everything is made in a
/// folder of its own and removed again.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// PostgreSQL's archive_timeout in seconds: changes leave for the archive as often as that.
    #[arg(long, default_value_t = 60)]
    archive_timeout: u32,
    /// How long is written after the mistake until the machine is lost, in seconds. Not a multiple
    /// of the timeout, so that something is lost.
    #[arg(long, default_value_t = 95)]
    write_for: u64,
}

/// What was measured.
struct Measured {
    backup: Duration,
    backup_bytes: u64,
    acknowledged: usize,
    lost: usize,
    rpo: Duration,
    rto: Duration,
    rto_of_the_moment: Duration,
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let home = Home::open(checkout)?;
        let installation = installation::system_folders()
            .iter()
            .filter(|bin| bin.join("pg_basebackup").is_file())
            .filter_map(|bin| Installation::examine(bin, Origin::System, &home.account).ok())
            .find(|found| found.major >= installation::OLDEST)
            .context(
                "no PostgreSQL of the system with pg_basebackup: apt install postgresql (the \
                 bundle has none)",
            )?;
        terminal::note(format!("With PostgreSQL {}.", installation.version));
        let program = server::build(checkout, Build::Debug)?;
        let folder = home.folder.join(format!("drill-{}", std::process::id()));
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        home.account.own(&folder)?;
        let drill = Drill {
            checkout,
            program,
            escrow: folder.join("keys-in-escrow.env"),
            log: folder.join("server.log"),
            primary: Cluster::new(&folder, "primary", installation, home.account.clone()),
            folder: folder.clone(),
        };
        let measured = drill.run(&self);
        if let Err(error) = &measured
            && !error.is::<interrupt::Interrupted>()
        {
            for log in ["primary.log", "latest.log", "moment.log", "server.log"] {
                tail(&folder.join(log));
            }
        }
        drill.primary.destroy();
        let _ = fs::remove_dir_all(&folder);
        self.tell(&measured?);
        Ok(ExitCode::SUCCESS)
    }

    fn tell(&self, measured: &Measured) {
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        println!("| measured | |\n|---|---|");
        println!(
            "| base backup | {} MB in {} |",
            measured.backup_bytes / 1_000_000,
            seconds(measured.backup)
        );
        println!(
            "| RPO, everything but base backup and archive lost (`archive_timeout` {} s) | {}: {} of {} writes |",
            self.archive_timeout,
            seconds(measured.rpo),
            measured.lost,
            measured.acknowledged
        );
        println!(
            "| RTO, to the last archived moment | {} |",
            seconds(measured.rto)
        );
        println!(
            "| RTO, to the moment before a mistake | {} |",
            seconds(measured.rto_of_the_moment)
        );
    }
}

/// The last lines of a log, if there is one.
fn tail(log: &Path) {
    let Ok(text) = fs::read_to_string(log) else {
        return;
    };
    terminal::note(format!("{} ends:", log.display()));
    let lines: Vec<_> = text.lines().rev().take(12).collect();
    for line in lines.iter().rev() {
        terminal::note(format!("  {line}"));
    }
}

struct Drill<'a> {
    checkout: &'a Checkout,
    program: PathBuf,
    folder: PathBuf,
    escrow: PathBuf,
    log: PathBuf,
    primary: Cluster,
}

impl Drill<'_> {
    fn run(&self, args: &Args) -> anyhow::Result<Measured> {
        let primary = &self.primary;
        terminal::step("Starting the primary, with an archive", || {
            primary.initialise(args.archive_timeout)?;
            primary.start()?;
            bootstrap(self.checkout, &primary.admin("postgres"), address::DATABASE)
        })?;
        let server = self.server(primary, &self.escrow)?;
        server.migrate()?;
        let serving = server.serve(PORT, Some(&self.log))?;
        let demo = seed::seed(&server, &serving.base_url, now(primary)?, "")?;

        let base = self.folder.join("base");
        let began = Instant::now();
        terminal::step("Base backup", || primary.base_backup(&base))?;
        let backup = began.elapsed();

        let writer = Writer::start(&serving.base_url, &demo)?;
        Self::pause(Duration::from_secs(3))?;
        let before = Self::mistake(primary)?;
        terminal::step("Writing on, until the machine is lost", || {
            Self::pause(Duration::from_secs(args.write_for))
        })?;
        // First what the writer believes, then the loss: what is acknowledged later does not count.
        primary.kill()?;
        let lost_at = Instant::now();
        let written = writer.stop()?;
        drop(serving);
        primary.destroy();
        ensure!(!written.is_empty(), "nothing was written");
        terminal::note(format!(
            "{} writes were acknowledged; the machine is gone.",
            written.len()
        ));

        // To the last moment that reached the archive.
        let began = Instant::now();
        let latest = self.restored(&base, "latest", &Until::TheEnd)?;
        let (serving, server) = self.serve(&latest)?;
        let rto = began.elapsed();
        let there = writer::ids(&latest)?;
        let lost: Vec<_> = written
            .iter()
            .filter(|one| !there.contains(&one.id))
            .collect();
        let kept = written.len() - lost.len();
        ensure!(
            written.iter().take(kept).all(|one| there.contains(&one.id)),
            "a write is missing before the last that is there: the archive has a hole"
        );
        // What is lost is what was acknowledged after the last write that is there.
        let last_kept = written
            .get(kept.wrapping_sub(1))
            .map_or(written[0].at, |one| one.at);
        let rpo = lost_at.saturating_duration_since(last_kept);
        self.prove(&serving, &server, &latest, &demo)?;
        drop(serving);
        latest.destroy();

        // To the moment before the mistake.
        let began = Instant::now();
        let moment = self.restored(&base, "moment", &Until::Time(before.time.clone()))?;
        let (serving, server) = self.serve(&moment)?;
        let rto_of_the_moment = began.elapsed();
        let found = contacts(&moment)?;
        ensure!(
            found.all == before.contacts.all && found.ruined == 0,
            "at {} there were {} contacts, none ruined; restored are {}, {} ruined",
            before.time,
            before.contacts.all,
            found.all,
            found.ruined
        );
        self.prove(&serving, &server, &moment, &demo)?;
        drop(serving);
        moment.destroy();

        Ok(Measured {
            backup,
            backup_bytes: cluster::size(&base),
            acknowledged: written.len(),
            lost: lost.len(),
            rpo,
            rto,
            rto_of_the_moment,
        })
    }

    /// A statement without its WHERE; answers the moment before it, and what there was.
    fn mistake(primary: &Cluster) -> anyhow::Result<Before> {
        let mut client = connect(&primary.admin(address::DATABASE))?;
        // Restored is what was committed up to that moment: no contact is written around it.
        let mut quiet = client.transaction()?;
        quiet.batch_execute("LOCK TABLE app.contacts IN EXCLUSIVE MODE")?;
        thread::sleep(Duration::from_millis(600));
        let row = quiet.query_one(
            "SELECT clock_timestamp()::text, count(*) FROM app.contacts",
            &[],
        )?;
        let before = Before {
            time: row.get(0),
            contacts: Contacts {
                all: row.get(1),
                ruined: 0,
            },
        };
        thread::sleep(Duration::from_millis(600));
        quiet.execute("UPDATE app.contacts SET name = 'ruined'", &[])?;
        quiet.commit()?;
        terminal::note("A statement without its WHERE has ruined every contact's name.");
        Ok(before)
    }

    fn restored(&self, base: &Path, name: &str, until: &Until) -> anyhow::Result<Cluster> {
        let heading = match until {
            Until::TheEnd => "Restoring to the last archived moment".to_owned(),
            Until::Time(time) => format!("Restoring to {time}"),
        };
        terminal::step(&heading, || {
            self.primary.restore(&self.folder, base, name, until)
        })
    }

    /// A server on the restored database, with the keys in escrow.
    fn serve(&self, cluster: &Cluster) -> anyhow::Result<(Serving, Server)> {
        let server = self.server(cluster, &self.escrow)?;
        let serving = server.serve(PORT, Some(&self.log))?;
        Ok((serving, server))
    }

    fn server(&self, cluster: &Cluster, keys: &Path) -> anyhow::Result<Server> {
        let url = |role: &str| address::local(role, cluster.port(), address::DATABASE);
        let addresses = Addresses {
            app: url("acolhe_app"),
            owner: url("acolhe_owner"),
        };
        let mut server = Server::new(self.program.clone(), &addresses, keys)?;
        server.set("ACOLHE_TELEMETRY_LOG_FORMAT", "text");
        Ok(server)
    }

    /// People can work: they log in, read, write; a delivery is taken, which opens the channel's
    /// sealed secret. With other keys it is not.
    fn prove(
        &self,
        serving: &Serving,
        server: &Server,
        cluster: &Cluster,
        demo: &Demo,
    ) -> anyhow::Result<()> {
        ensure!(
            server
                .admin(&["list-clinics"], None)?
                .as_array()
                .map(Vec::len)
                == Some(demo.clinics.len()),
            "not every clinic is there"
        );
        for clinic in &demo.clinics {
            let user = clinic.users.first().context("the demo has no user")?;
            let client = Client::new(&serving.base_url);
            let session = client.log_in(&user.email, &user.password, &clinic.id)?;
            let page = session.get("/api/v1/contacts?limit=5")?;
            ensure!(
                page["data"].as_array().map(Vec::len) == Some(5),
                "no contacts are listed"
            );
            writer::add(&session, "after the restore")?;
            ensure!(
                deliver(&client, clinic, now(cluster)?)? == 200,
                "a delivery is refused: the channel's secret does not open with the keys in escrow"
            );
        }
        // The counter-proof: it is the escrow that matters.
        let others = self.folder.join("other-keys.env");
        let wrong = self.server(cluster, &others)?;
        let status = match wrong.serve(PORT + 50, Some(&self.log)) {
            Err(_) => None,
            Ok(wrong) => {
                let clinic = demo.clinics.first().context("the demo has no clinic")?;
                Some(deliver(
                    &Client::new(&wrong.base_url),
                    clinic,
                    now(cluster)?,
                )?)
            }
        };
        ensure!(
            status != Some(200),
            "with other keys the sealed secret opens too"
        );
        terminal::note(
            "Logins, reads, writes and sealed secrets work; with other keys they do not.",
        );
        Ok(())
    }

    fn pause(pause: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            interrupt::check()?;
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// A clinic's delivery, signed as the provider would; answers the status.
fn deliver(client: &Client, clinic: &seed::Clinic, now: i64) -> anyhow::Result<u16> {
    let channel = clinic.channels.first().context("the demo has no channel")?;
    let mut rng = Rng::new();
    let person = seed::newcomer(&mut rng);
    let id = seed::message_id(&mut rng);
    let message = seed::text("Vocês abrem no sábado?");
    let body = seed::delivery(&channel.number(), &person, &id, now, message).to_string();
    client.deliver(&channel.webhook_path, &channel.app_secret, &body)
}

struct Before {
    time: String,
    contacts: Contacts,
}

struct Contacts {
    all: i64,
    ruined: i64,
}

fn contacts(cluster: &Cluster) -> anyhow::Result<Contacts> {
    let row = connect(&cluster.admin(address::DATABASE))?.query_one(
        "SELECT count(*), count(*) FILTER (WHERE name = 'ruined') FROM app.contacts",
        &[],
    )?;
    Ok(Contacts {
        all: row.get(0),
        ruined: row.get(1),
    })
}

/// The database's time, in seconds.
fn now(cluster: &Cluster) -> anyhow::Result<i64> {
    let row = connect(&cluster.admin("postgres"))?
        .query_one("SELECT extract(epoch FROM clock_timestamp())::bigint", &[])?;
    match row.get(0) {
        seconds if seconds > 0 => Ok(seconds),
        _ => bail!("the database has no time"),
    }
}
