//! `cargo xtask test`: every test, against a real PostgreSQL.

use std::process::{Command, ExitCode, ExitStatus};

use crate::{
    checkout::Checkout,
    environment,
    postgres::{
        Home, Lease, address,
        cluster::{Cluster, Kind},
    },
    process, terminal,
};

/// How the tests learn of their server: the address of an account that may create roles and
/// databases. The `test-support` crate reads it.
pub(crate) const TEST_DATABASE_URL: &str = "ACOLHE_TEST_DATABASE_URL";

/// Run the tests against a real PostgreSQL, which is brought up and taken down.
///
/// Nothing is skipped for lack of something: it is fetched, or this fails and says how to get it.
/// With DATABASE_URL set that server is used: the tests create and drop databases of their own on
/// it and touch no other.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask test                       everything\n  \
    cargo xtask test ninth_digit           tests with that in their name\n  \
    cargo xtask test -p kernel             one crate\n  \
    cargo xtask test -- --no-capture       options of cargo nextest run (or cargo test)")]
pub(crate) struct Args {
    /// Only tests with one of these in their name.
    filter: Vec<String>,
    /// Only this crate's tests; may be repeated.
    #[arg(short, long, value_name = "CRATE")]
    package: Vec<String>,
    /// Options for `cargo nextest run`, or for `cargo test` where nextest is not installed.
    #[arg(last = true)]
    options: Vec<String>,
}

impl Args {
    /// Everything, as CI runs it.
    pub(crate) fn everything() -> Self {
        Self {
            filter: Vec::new(),
            package: Vec::new(),
            options: Vec::new(),
        }
    }

    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let (_lease, url) = if let Some(given) = address::given()? {
            terminal::note(format!(
                "Testing on the server of DATABASE_URL ({}).",
                given.place()
            ));
            (None, given.url)
        } else {
            let lease = Lease::take(Home::open(checkout)?, Kind::Test)?;
            let url = Cluster::url(lease.running, address::SUPERUSER, "postgres");
            (Some(lease), url)
        };
        let status = self.run_tests(checkout, &url)?;
        Ok(process::exit_code(status))
    }

    fn run_tests(&self, checkout: &Checkout, url: &str) -> anyhow::Result<ExitStatus> {
        if !has_nextest() {
            terminal::note(
                "cargo-nextest is not installed: running with `cargo test`, which is slower.\n\
                 To install it: cargo install --locked cargo-nextest",
            );
            let mut command = self.cargo(checkout, url, &["test"]);
            command.arg("--no-fail-fast").args(&self.options);
            if !self.filter.is_empty() {
                command.arg("--").args(&self.filter);
            }
            return process::run(&mut command);
        }
        let mut command = self.cargo(checkout, url, &["nextest", "run"]);
        let status = process::run(command.args(&self.filter).args(&self.options))?;
        let everything = self.filter.is_empty() && self.options.is_empty();
        if !everything || !self.package.is_empty() {
            return Ok(status);
        }
        // nextest leaves the examples in the documentation aside.
        let mut examples = self.cargo(checkout, url, &["test", "--quiet", "--doc"]);
        let examples = process::run(examples.arg("--no-fail-fast"))?;
        Ok(if status.success() { examples } else { status })
    }

    fn cargo(&self, checkout: &Checkout, url: &str, subcommand: &[&str]) -> Command {
        let mut command = checkout.cargo();
        command.args(subcommand).env(TEST_DATABASE_URL, url);
        if self.package.is_empty() {
            command.arg("--workspace");
        }
        for package in &self.package {
            command.args(["--package", package]);
        }
        command
    }
}

fn has_nextest() -> bool {
    environment::find_program("cargo-nextest").is_some()
}
