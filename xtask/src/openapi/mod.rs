//! `cargo xtask openapi`: the documents that are generated from the code.

mod lint;

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};

use crate::{checkout::Checkout, interrupt, process, server, terminal};

const DOCUMENT: &str = "openapi/acolhe.json";

/// What is generated, and the server's command that prints it.
const GENERATED: &[(&str, &str)] = &[(DOCUMENT, "openapi"), ("docs/errors.md", "errors")];

/// Write the OpenAPI document and the catalogue of errors from the code.
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
            for (file, command) in GENERATED {
                let text = print(&program, command)?;
                let path = checkout.root().join(file);
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)?;
                }
                fs::write(&path, text).with_context(|| format!("cannot write {file}"))?;
                terminal::note(format!("Wrote {file}."));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Names the files; fails when a committed one is not what the code says.
pub(crate) fn check(checkout: &Checkout) -> anyhow::Result<String> {
    let program = server::build(checkout, server::Build::Debug)?;
    let mut stale = Vec::new();
    for (file, command) in GENERATED {
        interrupt::check()?;
        let written = fs::read_to_string(checkout.root().join(file)).unwrap_or_default();
        if written != print(&program, command)? {
            stale.push(*file);
        }
    }
    if !stale.is_empty() {
        bail!(
            "not what the code says: {}. Write anew: cargo xtask openapi",
            stale.join(" and ")
        );
    }
    let files: Vec<_> = GENERATED.iter().map(|(file, _)| *file).collect();
    Ok(files.join(", "))
}

fn print(program: &Path, command: &str) -> anyhow::Result<String> {
    process::quiet(Command::new(program).arg(command))
}
