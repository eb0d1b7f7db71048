//! `cargo xtask test`: every test, against a real PostgreSQL and a real Redis.

use std::process::{Command, ExitCode, ExitStatus};

use anyhow::Context as _;

use crate::{
    checkout::Checkout,
    environment,
    postgres::{
        cluster::Kind,
        site::{Role, Site},
    },
    process,
    redis::Redis,
    terminal,
};

/// How the tests learn of their server: a superuser's address, and the passwords of the product's
/// roles where logins need one. The `test-support` crate reads them.
const VARIABLES: [(Role, &str); 2] = [
    (Role::App, "ACOLHE_TEST_APP_PASSWORD"),
    (Role::Owner, "ACOLHE_TEST_OWNER_PASSWORD"),
];
const TEST_DATABASE_URL: &str = "ACOLHE_TEST_DATABASE_URL";
/// A Redis that the tests share, and its program for those that need one of their own.
const TEST_REDIS_URL: &str = "ACOLHE_TEST_REDIS_URL";
const TEST_REDIS_SERVER: &str = "ACOLHE_TEST_REDIS_SERVER";

/// Run the tests against a real PostgreSQL and Redis, which are brought up and taken down.
///
/// Nothing is skipped for lack of something: it is fetched, or this fails and says how to get it.
/// With DATABASE_URL set that server is used: its account must be a superuser. The tests create and
/// drop databases of their own there (acolhe_test_…, acolhe_template_…) and touch no other.
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
        let ground = Ground::open(checkout)?;
        let status = self.run_tests(checkout, &ground)?;
        Ok(process::exit_code(status))
    }

    fn run_tests(&self, checkout: &Checkout, ground: &Ground) -> anyhow::Result<ExitStatus> {
        if !has_nextest() {
            terminal::note(
                "cargo-nextest is not installed: running with `cargo test`, which is slower.\n\
                 To install it (some minutes): cargo install --locked cargo-nextest",
            );
            let mut command = self.cargo(checkout, ground, &["test"]);
            command.arg("--config").arg(through_deadline()?);
            command.arg("--no-fail-fast").args(&self.options);
            if !self.filter.is_empty() {
                command.arg("--").args(&self.filter);
            }
            return process::run(&mut command);
        }
        let mut command = self.cargo(checkout, ground, &["nextest", "run"]);
        let status = process::run(command.args(&self.filter).args(&self.options))?;
        let everything = self.filter.is_empty() && self.options.is_empty();
        if !everything || !self.package.is_empty() {
            return Ok(status);
        }
        // nextest leaves the examples in the documentation aside.
        let mut examples = self.cargo(checkout, ground, &["test", "--quiet", "--doc"]);
        let examples = process::run(examples.arg("--no-fail-fast"))?;
        Ok(if status.success() { examples } else { status })
    }

    fn cargo(&self, checkout: &Checkout, ground: &Ground, subcommand: &[&str]) -> Command {
        let mut command = checkout.cargo();
        command.args(subcommand).envs(ground.environment());
        if self.package.is_empty() {
            command.arg("--workspace");
        }
        for package in &self.package {
            command.args(["--package", package]);
        }
        command
    }
}

/// The PostgreSQL and the Redis that the tests run on, kept running while this lives.
pub(crate) struct Ground {
    environment: Vec<(&'static str, String)>,
    _site: Site,
    _redis: Redis,
}

impl Ground {
    /// How the tests learn of both.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.environment
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    pub(crate) fn open(checkout: &Checkout) -> anyhow::Result<Self> {
        let site = Site::open(checkout, Kind::Test)?;
        let redis = Redis::private(checkout)?;
        let mut environment = vec![
            (TEST_DATABASE_URL, site.admin_address().to_string()),
            (TEST_REDIS_URL, redis.url().to_owned()),
        ];
        if let Some(program) = redis.program() {
            environment.push((TEST_REDIS_SERVER, program.display().to_string()));
        }
        if site.is_given() {
            site.require_superuser("Tests look behind row-level security")?;
            // Its roles are made here: each test comes too late to give them a password.
            site.try_out(checkout)?;
        }
        for (role, variable) in VARIABLES {
            environment.extend(site.password(role)?.map(|password| (variable, password)));
        }
        Ok(Self {
            environment,
            _site: site,
            _redis: redis,
        })
    }
}

/// Has cargo run each program of tests through `cargo xtask deadline`: a hang must end.
fn through_deadline() -> anyhow::Result<String> {
    let ourselves = std::env::current_exe().context("cannot tell our own program's path")?;
    let runner = toml::Value::from(vec![
        ourselves.display().to_string(),
        "deadline".to_owned(),
        "--".to_owned(),
    ]);
    Ok(format!("target.'cfg(unix)'.runner={runner}"))
}

fn has_nextest() -> bool {
    environment::find_program("cargo-nextest").is_some()
}
