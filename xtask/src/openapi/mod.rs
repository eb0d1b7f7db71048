//! `cargo xtask openapi`: what is generated from the code, and what others think of it.

mod generated;
mod lint;

use std::process::ExitCode;

use generated::DOCUMENT;

use crate::{checkout::Checkout, server, terminal};

/// Write all that is generated from the code: the OpenAPI document, the catalogue of errors, the
/// table of the configuration, the fields that telemetry may carry.
#[derive(clap::Args)]
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
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        if self.lint {
            return lint::run(checkout, DOCUMENT);
        }
        if self.check {
            terminal::note(format!("Up to date: {}.", check(checkout)?));
        } else {
            let program = server::build(checkout, server::Build::Debug)?;
            let written = generated::write(checkout, &program)?;
            terminal::note(if written.is_empty() {
                "All was up to date.".to_owned()
            } else {
                format!("Wrote {}.", written.join(", "))
            });
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Names the files; fails when a committed one is not what the code says.
pub(crate) fn check(checkout: &Checkout) -> anyhow::Result<String> {
    generated::check(checkout, &server::build(checkout, server::Build::Debug)?)
}
