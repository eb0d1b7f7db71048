//! `cargo xtask ci`: what `.ci/run` does.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use crate::{check, checkout::Checkout, environment, replay, terminal, test};

/// Run `check`, `test` and `replay`: all that must be green before a change is taken.
///
/// Replays the repository's own deliveries, and those of ACOLHE_REPLAY_DIR when it is set.
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
        let replayed = replayed(checkout);
        terminal::note(format!("ci took {}", terminal::time(started.elapsed())));
        replayed?;
        Ok(if checked == ExitCode::SUCCESS {
            tested
        } else {
            checked
        })
    }
}

fn replayed(checkout: &Checkout) -> anyhow::Result<()> {
    terminal::note(terminal::paint("1", "cargo xtask replay"));
    replay::Args::own(checkout).run(checkout)?;
    if let Some(folder) = environment::text("ACOLHE_REPLAY_DIR") {
        replay::Args::over(PathBuf::from(folder)).run(checkout)?;
    }
    Ok(())
}
