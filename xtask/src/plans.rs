//! `cargo xtask plans`: do lists and searches keep to their indexes when there are a million contacts?
//!
//! The work is done by the example `plans` of `diesel-postgres`, which can ask the stores themselves;
//! here PostgreSQL is started for it, and the options are read.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::bail;

use crate::{
    checkout::Checkout,
    postgres::{
        Home, Lease, address,
        cluster::{Cluster, Kind},
    },
    process, terminal,
};

/// Hold the query plans of lists and searches to their budgets, on a million contacts.
///
/// Fills the database acolhe_plans of this checkout's own development cluster (about 5 GB; some
/// minutes), once, and asks the product's stores under row-level security. Fails when a table is
/// read from end to end, an index that does not begin with the clinic is used, or far more rows are
/// visited than answered. The database is kept for the next time.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask plans\n  \
    cargo xtask plans --contacts 50000 --largest 5000\n  \
    cargo xtask plans --show 'tag rare'      with the plans of these cases\n  \
    cargo xtask plans --remove               drops the database")]
pub(crate) struct Args {
    /// Contacts of all clinics together.
    #[arg(long, default_value_t = 1_000_000)]
    contacts: u64,
    /// Contacts of the largest clinic.
    #[arg(long, default_value_t = 100_000)]
    largest: u64,
    /// Fill the database anew.
    #[arg(long)]
    fresh: bool,
    /// Drop the database, and do nothing else.
    #[arg(long)]
    remove: bool,
    /// Only cases with this in their name.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Show the plans of cases with this in their name.
    #[arg(long, value_name = "TEXT")]
    show: Option<String>,
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        if let Some(given) = address::given()? {
            bail!(
                "DATABASE_URL is set ({}), and plans are explained on this checkout's own PostgreSQL \
                 alone.\nRun: env -u DATABASE_URL cargo xtask plans",
                given.place()
            );
        }
        let program = build(checkout)?;
        let lease = Lease::take(Home::open(checkout)?, Kind::Dev)?;
        let mut command = Command::new(program);
        command
            .arg(Cluster::url(lease.running, address::SUPERUSER, "postgres"))
            .args(["--contacts", &self.contacts.to_string()])
            .args(["--largest", &self.largest.to_string()]);
        if self.fresh {
            command.arg("--fresh");
        }
        if self.remove {
            command.arg("--remove");
        }
        for (option, text) in [("--only", &self.only), ("--show", &self.show)] {
            if let Some(text) = text {
                command.args([option, text]);
            }
        }
        let status = process::run(&mut command)?;
        Ok(process::exit_code(status))
    }
}

/// Builds the example and tells where it lies.
fn build(checkout: &Checkout) -> anyhow::Result<PathBuf> {
    terminal::note("Building (the first time, all dependencies: some minutes) …");
    let mut command = checkout.cargo();
    command.args([
        "build",
        "--package",
        "diesel-postgres",
        "--example",
        "plans",
    ]);
    if !process::run(&mut command)?.success() {
        bail!("it could not be built: see above");
    }
    Ok(checkout.target_folder()?.join("debug/examples/plans"))
}
