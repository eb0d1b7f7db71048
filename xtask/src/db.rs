//! `cargo xtask db`: this checkout's own PostgreSQL, by hand.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};

use crate::{
    checkout::Checkout,
    postgres::{
        Home, address,
        bootstrap::bootstrap,
        cluster::{Cluster, Kind, Running},
        installation,
        site::{self, Site},
    },
    process, schema, terminal,
};

/// Start, stop, look into this checkout's own PostgreSQL.
///
/// There are two clusters: `dev` keeps its data; `test` is thrown away at each stop. They listen
/// on 127.0.0.1 alone, on a port of their own, so that checkouts do not meet.
/// With DATABASE_URL set there is nothing to start, stop or reset: that server is somebody else's.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Db,
}

#[derive(Subcommand)]
enum Db {
    /// Start it, with its roles and an empty database; it runs until `db stop`.
    Start(Which),
    /// Stop it. Both clusters, unless one is named.
    Stop {
        /// Only this one.
        #[arg(long, value_enum)]
        cluster: Option<Choice>,
    },
    /// Tell what runs and where.
    Status,
    /// Delete the cluster with all its data; start it anew if it was running.
    ///
    /// Never touches a database that DATABASE_URL gives.
    Reset(Which),
    /// Bring its database to the shape this checkout needs: builds the server, runs `acolhe-server migrate`.
    Migrate,
    /// Write the Rust side of the schema, from the migrations.
    ///
    /// Runs them on a scratch database of the test cluster and writes
    /// crates/diesel-postgres/src/schema.rs.
    Schema,
    /// Print its address, and nothing else.
    Url {
        #[command(flatten)]
        which: Which,
        /// The role to connect as.
        #[arg(long, value_enum, default_value_t = Role::Superuser)]
        role: Role,
    },
    /// Open psql on it.
    ///
    /// What follows `--` goes to psql:  cargo xtask db shell -- -c 'SELECT version()'
    Shell {
        #[command(flatten)]
        which: Which,
        /// The role to connect as.
        #[arg(long, value_enum, default_value_t = Role::Superuser)]
        role: Role,
        /// Run this one command and end.
        #[arg(short, long, value_name = "SQL")]
        command: Option<String>,
        /// Arguments for psql.
        #[arg(last = true)]
        psql: Vec<String>,
    },
}

#[derive(clap::Args)]
struct Which {
    /// The cluster.
    #[arg(long, value_enum, default_value_t = Choice::Dev)]
    cluster: Choice,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    Dev,
    Test,
}

impl From<Choice> for Kind {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Dev => Self::Dev,
            Choice::Test => Self::Test,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// Everything; for looking.
    Superuser,
    /// Owns the tables, runs migrations; sees no clinic's rows.
    Owner,
    /// What the server logs in as.
    App,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Superuser => address::SUPERUSER,
            Self::Owner => "acolhe_owner",
            Self::App => "acolhe_app",
        }
    }
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        match self.command {
            Db::Start(which) => start(checkout, which.cluster.into())?,
            Db::Stop { cluster } => stop(checkout, cluster.map(Kind::from))?,
            Db::Status => status(checkout)?,
            Db::Reset(which) => reset(checkout, which.cluster.into())?,
            Db::Migrate => return migrate(checkout),
            Db::Schema => write_schema(checkout)?,
            Db::Url { which, role } => println!("{}", url(checkout, which.cluster.into(), role)?),
            Db::Shell {
                which,
                role,
                command,
                psql,
            } => {
                shell(checkout, which.cluster.into(), role, command, &psql)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn start(checkout: &Checkout, kind: Kind) -> anyhow::Result<()> {
    if let Some(given) = address::given()? {
        terminal::note(format!(
            "DATABASE_URL is set ({}): it is used as it is, nothing is started.",
            given.place()
        ));
        return Ok(());
    }
    let home = Home::open(checkout)?;
    let _lock = home.lock(kind)?;
    let (cluster, running, started) = bring_up(checkout, &home, kind)?;
    if !started {
        terminal::note(format!("The {} server was running already.", kind.name()));
    }
    home.say_where();
    describe(&cluster, running);
    Ok(())
}

/// Starts the cluster to stay, with roles and database.
fn bring_up(
    checkout: &Checkout,
    home: &Home,
    kind: Kind,
) -> anyhow::Result<(Cluster, Running, bool)> {
    let mut cluster = home.cluster(kind)?;
    let (running, started) = cluster.start()?;
    cluster.keep(true)?;
    bootstrap(
        checkout,
        &Cluster::admin(running, "postgres"),
        address::DATABASE,
    )?;
    Ok((cluster, running, started))
}

fn describe(cluster: &Cluster, running: Running) {
    let found = cluster.installation();
    terminal::note(format!(
        "  {:<5} PostgreSQL {} ({}), 127.0.0.1:{}, pid {}\n        {}\n        {}",
        cluster.kind.name(),
        found.version,
        found.origin.name(),
        running.port,
        running.pid,
        cluster.folder.display(),
        Cluster::url(running, address::SUPERUSER, address::DATABASE),
    ));
}

fn stop(checkout: &Checkout, only: Option<Kind>) -> anyhow::Result<()> {
    let home = Home::open(checkout)?;
    let mut any = false;
    for kind in Kind::ALL {
        if only.is_some_and(|only| only != kind) {
            continue;
        }
        let _lock = home.lock(kind)?;
        for mut cluster in home.existing(kind) {
            if cluster.stop()? {
                any = true;
                terminal::note(format!("Stopped the {} server.", kind.name()));
            }
            match kind {
                Kind::Dev => cluster.keep(false)?,
                Kind::Test => cluster.remove()?,
            }
        }
    }
    if !any {
        terminal::note("Nothing of this checkout was running.");
    }
    Ok(())
}

fn status(checkout: &Checkout) -> anyhow::Result<()> {
    if let Some(given) = address::given()? {
        terminal::note(format!(
            "DATABASE_URL is set: commands use {} as it is.",
            given.place()
        ));
    }
    let home = Home::open(checkout)?;
    home.say_where();
    for kind in Kind::ALL {
        let clusters = home.existing(kind);
        if clusters.is_empty() {
            terminal::note(format!("  {:<5} not made yet", kind.name()));
        }
        for cluster in clusters {
            match cluster.running()? {
                Some(running) => describe(&cluster, running),
                None => terminal::note(format!(
                    "  {:<5} stopped; PostgreSQL {} ({})\n        {}",
                    kind.name(),
                    cluster.installation().version,
                    cluster.installation().origin.name(),
                    cluster.folder.display(),
                )),
            }
        }
    }
    Ok(())
}

fn reset(checkout: &Checkout, kind: Kind) -> anyhow::Result<()> {
    if let Some(given) = address::given()? {
        bail!(
            "DATABASE_URL is set ({}), and reset never touches a database that was given.\n\
             To reset this checkout's own: env -u DATABASE_URL cargo xtask db reset",
            given.place()
        );
    }
    let home = Home::open(checkout)?;
    let _lock = home.lock(kind)?;
    let mut was_running = false;
    for cluster in home.existing(kind) {
        was_running |= cluster.stop()?;
        cluster.remove()?;
        terminal::note(format!("Deleted {}.", cluster.folder.display()));
    }
    if was_running {
        let (cluster, running, _) = bring_up(checkout, &home, kind)?;
        describe(&cluster, running);
    } else {
        terminal::note(format!(
            "The {} server was not running; `cargo xtask db start` makes a new one.",
            kind.name()
        ));
    }
    Ok(())
}

fn migrate(checkout: &Checkout) -> anyhow::Result<ExitCode> {
    let owner = if address::given()?.is_some() {
        let site = Site::open(checkout, Kind::Dev)?;
        let database = site.database()?;
        site.prepare(checkout, &database)?;
        site.addresses(&database)?.owner
    } else {
        url(checkout, Kind::Dev, Role::Owner)?
    };
    let status = process::run(
        checkout
            .cargo()
            .args(["run", "--quiet", "--package", "server", "--", "migrate"])
            .env("ACOLHE_DATABASE_OWNER_URL", owner),
    )?;
    Ok(process::exit_code(status))
}

fn write_schema(checkout: &Checkout) -> anyhow::Result<()> {
    let text = schema::in_rust(checkout)?;
    if schema::is_written(checkout, &text) {
        terminal::note(format!("{} was up to date.", schema::RUST_FILE));
        return Ok(());
    }
    schema::write(checkout, &text)?;
    terminal::note(format!("Wrote {}.", schema::RUST_FILE));
    Ok(())
}

fn url(checkout: &Checkout, kind: Kind, role: Role) -> anyhow::Result<String> {
    if address::given()?.is_some() {
        let site = Site::open(checkout, kind)?;
        let database = site.database()?;
        return match role {
            Role::Superuser => Ok(site.address(site::Role::Admin, &database)?.to_string()),
            Role::Owner => Ok(site.addresses(&database)?.owner),
            Role::App => Ok(site.addresses(&database)?.app),
        };
    }
    let home = Home::open(checkout)?;
    for cluster in home.existing(kind) {
        if let Some(running) = cluster.running()? {
            return Ok(Cluster::url(running, role.name(), address::DATABASE));
        }
    }
    let option = match kind {
        Kind::Dev => "",
        Kind::Test => " --cluster test",
    };
    bail!(
        "the {} server is not running. Start it: cargo xtask db start{option}",
        kind.name()
    )
}

fn shell(
    checkout: &Checkout,
    kind: Kind,
    role: Role,
    sql: Option<String>,
    arguments: &[String],
) -> anyhow::Result<()> {
    let url = url(checkout, kind, role)?;
    let psql = installation::find_psql().with_context(|| {
        let shown = if address::given().ok().flatten().is_some() { "DATABASE_URL" } else { url.as_str() };
        format!(
            "psql is not on this machine (the bundle does not hold it).\n\
             Get it: apt install postgresql-client, dnf install postgresql, or brew install libpq.\n\
             Any other client serves as well, with this address: {shown}"
        )
    })?;
    let mut command = Command::new(psql);
    command.arg(url);
    if let Some(sql) = sql {
        command.arg("-c").arg(sql);
    }
    command.args(arguments);
    // In our place: Ctrl-C is psql's own then. Returns only when it could not be run.
    Err(command.exec()).context("cannot run psql")
}
