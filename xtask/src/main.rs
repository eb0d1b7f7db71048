//! `cargo xtask`: the developers' commands.
//!
//! One module per command. To add one: write its module with a `clap::Args` struct and a `run`,
//! give it a variant in [`Command`] and a line in [`Command::run`].
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks to its user: results on stdout, progress on stderr"
)]

mod check;
mod checkout;
mod ci;
mod client;
mod crash;
mod db;
mod dev;
mod environment;
mod fuzz;
mod interrupt;
mod openapi;
mod plans;
mod postgres;
mod process;
mod replay;
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
    after_help = "PostgreSQL comes from DATABASE_URL, else from a bundle kept in .acolhe/ (fetched once with npm),\n\
                  else from the system (15 or newer). ACOLHE_POSTGRES=bundle or =system forces one of the last two."
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
    Replay(replay::Args),
    Crash(crash::Args),
    Fuzz(fuzz::Args),
    Plans(plans::Args),
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
            Self::Replay(args) => args.run(checkout),
            Self::Crash(args) => args.run(checkout),
            Self::Fuzz(args) => args.run(checkout),
            Self::Plans(args) => args.run(checkout),
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
