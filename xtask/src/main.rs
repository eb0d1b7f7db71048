//! `cargo xtask`: the developers' commands.
//!
//! One module per command. To add one: write its module with a `clap::Args` struct and a `run`,
//! give it a variant in [`Command`] and a line in [`Command::run`].
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks to its user: results on stdout, progress on stderr"
)]

mod api_test;
#[cfg(target_os = "linux")]
mod bench;
mod cache_faults;
mod check;
mod checkout;
mod ci;
mod client;
mod crash;
mod db;
mod deadline;
mod deploy;
mod dev;
mod environment;
mod fuzz;
mod interrupt;
#[cfg(target_os = "linux")]
mod load;
mod mailbox;
mod openapi;
mod overload;
mod plans;
mod postgres;
mod process;
#[cfg(target_os = "linux")]
mod profile;
mod redis;
mod replay;
mod restore;
mod schema;
mod seed;
mod server;
mod terminal;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::checkout::Checkout;

/// The developers' commands of Acolhe.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true,
    after_help = "Begin with `cargo xtask dev`. Variables of the environment:\n  \
        DATABASE_URL              use this PostgreSQL: postgres://user:password@host:port/database\n  \
        ACOLHE_DATABASE_URL,      how acolhe_app and acolhe_owner log in there, where they have\n  \
        ACOLHE_DATABASE_OWNER_URL   passwords already (else they get one)\n  \
        ACOLHE_POSTGRES           `bundle` (fetched once with npm into .acolhe/) or `system` (15 or\n  \
        \x20                         newer); without it and DATABASE_URL the first of them that there is\n  \
        ACOLHE_REDIS_URL          `dev` uses this Redis: redis://user:password@host:port\n  \
        ACOLHE_REPLAY_DIR         a folder of webhook deliveries for `replay` and `ci`"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Dev(dev::Args),
    Db(db::Args),
    Test(test::Args),
    Check(check::Args),
    Ci(ci::Args),
    Seed(seed::Args),
    Openapi(openapi::Args),
    Redis(redis::Args),
    Replay(replay::Args),
    CacheFaults(cache_faults::Args),
    Crash(crash::Args),
    Fuzz(fuzz::Args),
    Plans(plans::Args),
    Deploy(deploy::Args),
    ApiTest(api_test::Args),
    RestoreDrill(restore::Args),
    Overload(overload::Args),
    #[cfg(target_os = "linux")]
    Bench(bench::Args),
    #[cfg(target_os = "linux")]
    Profile(profile::Args),
    #[cfg(target_os = "linux")]
    Load(load::Args),
    #[command(hide = true)]
    Deadline(deadline::Args),
}

impl Command {
    fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        match self {
            Self::Dev(args) => args.run(checkout),
            Self::Db(args) => args.run(checkout),
            Self::Test(args) => args.run(checkout),
            Self::Check(args) => args.run(checkout),
            Self::Ci(args) => args.run(checkout),
            Self::Seed(args) => args.run(checkout),
            Self::Openapi(args) => args.run(checkout),
            Self::Redis(args) => args.run(checkout),
            Self::Replay(args) => args.run(checkout),
            Self::CacheFaults(args) => args.run(checkout),
            Self::Crash(args) => args.run(checkout),
            Self::Fuzz(args) => args.run(checkout),
            Self::Plans(args) => args.run(checkout),
            Self::Deploy(args) => args.run(checkout),
            Self::ApiTest(args) => args.run(checkout),
            Self::RestoreDrill(args) => args.run(checkout),
            Self::Overload(args) => args.run(checkout),
            #[cfg(target_os = "linux")]
            Self::Bench(args) => args.run(checkout),
            #[cfg(target_os = "linux")]
            Self::Profile(args) => args.run(checkout),
            #[cfg(target_os = "linux")]
            Self::Load(args) => args.run(checkout),
            Self::Deadline(args) => args.run(),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = interrupt::install()
        .and_then(|()| Checkout::find())
        .and_then(|checkout| cli.command.run(&checkout));
    match outcome {
        Ok(code) => code,
        Err(error) if error.is::<interrupt::Interrupted>() => {
            eprintln!("Stopped.");
            ExitCode::from(130)
        }
        Err(error) => {
            terminal::failure(&error);
            ExitCode::FAILURE
        }
    }
}
