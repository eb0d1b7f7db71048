//! `cargo xtask ci`: what `.ci/run` does.

use std::{process::ExitCode, time::Instant};

use crate::{check, checkout::Checkout, terminal, test};

/// Run `check`, then `test`: all that must be green before a change is taken.
#[derive(clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let Self {} = self;
        let started = Instant::now();
        terminal::note(terminal::paint("1", "cargo xtask check"));
        let checked = check::Args::everything().run(checkout)?;
        terminal::note(terminal::paint("1", "cargo xtask test"));
        let tested = test::Args::everything().run(checkout)?;
        terminal::note(format!("ci took {}", terminal::time(started.elapsed())));
        Ok(if checked == ExitCode::SUCCESS {
            tested
        } else {
            checked
        })
    }
}
