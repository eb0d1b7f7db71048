//! `cargo xtask openapi`: what is generated from the code, and what others think of it.

pub(crate) mod breaking;
pub(crate) mod client;
mod generated;
mod lint;

use std::process::ExitCode;

use generated::DOCUMENT;

use crate::{checkout::Checkout, server, terminal};

/// Write all that is generated from the code: the OpenAPI document, the catalogue of errors, the
/// table of the configuration, what telemetry may carry, and the TypeScript client where npm is.
#[derive(clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, of its own meaning"
)]
pub(crate) struct Args {
    /// Write nothing; fail when a file differs from what the code says.
    #[arg(long)]
    check: bool,
    /// Look at the committed OpenAPI document with Redocly and Spectral, and write nothing.
    ///
    /// Needs Node.js; the linters are fetched once with npm, into .acolhe/tools. Errors fail,
    /// warnings are shown.
    #[arg(long, conflicts_with = "check")]
    lint: bool,
    /// The TypeScript client alone: write it from the committed document, compile and try it.
    ///
    /// Needs Node.js; the generator is fetched once with npm, into .acolhe/tools. With --check
    /// nothing is written.
    #[arg(long)]
    client: bool,
    /// Compare the committed document with the last released one: fail when a change breaks callers.
    #[arg(long, conflicts_with_all = ["check", "lint", "client"])]
    breaking: bool,
    /// Keep the committed document as the one that was released on this day.
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with_all = ["check", "lint", "client", "breaking"])]
    release: Option<String>,
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        if self.lint {
            return lint::run(checkout, DOCUMENT);
        }
        if let Some(day) = &self.release {
            terminal::note(format!("Released {}.", breaking::release(checkout, day)?));
        } else if self.breaking {
            terminal::note(breaking::check(checkout)?);
        } else if self.client {
            terminal::note(told(&client::run(checkout, self.check)?));
        } else if self.check {
            terminal::note(format!("Up to date: {}.", check(checkout)?));
        } else {
            let program = server::build(checkout, server::Build::Debug)?;
            let written = generated::write(checkout, &program)?;
            terminal::note(if written.is_empty() {
                "All was up to date.".to_owned()
            } else {
                format!("Wrote {}.", written.join(", "))
            });
            terminal::note(told(&client::run(checkout, false)?));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the linters say of the committed document.
pub(crate) fn lint(checkout: &Checkout) -> anyhow::Result<ExitCode> {
    lint::run(checkout, DOCUMENT)
}

fn told(outcome: &client::Outcome) -> String {
    match outcome {
        client::Outcome::Written => "Wrote the client, openapi/client/src; it compiles.".to_owned(),
        client::Outcome::Current => "The client is what the document says; it compiles.".to_owned(),
        client::Outcome::Skipped(why) => format!("The client was left as it is: {why}."),
    }
}

/// The client's drift and compilation, as a step of `check`. Without npm it says so and passes.
pub(crate) fn check_client(checkout: &Checkout) -> anyhow::Result<String> {
    Ok(match client::run(checkout, true)? {
        client::Outcome::Skipped(why) => format!("SKIPPED: {why}"),
        _ => "generated anew, compiled, tried".to_owned(),
    })
}

/// Names the files; fails when a committed one is not what the code says.
pub(crate) fn check(checkout: &Checkout) -> anyhow::Result<String> {
    generated::check(checkout, &server::build(checkout, server::Build::Debug)?)
}
