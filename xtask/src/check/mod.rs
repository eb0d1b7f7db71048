//! `cargo xtask check`: everything that is checked without running the product.
//!
//! A step is a function; to add one, write it in a module of its own and give it a line in
//! [`STEPS`]. It answers with a few words on what it looked at, or with an error that lists every
//! fault it found and says how to mend them.

mod cargo_tools;
mod deny;
mod dependencies;
mod documents;
mod forbidden;
mod layout;
mod licences;
mod locks;
mod metadata;
mod migrations;

use std::{
    fmt::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::{checkout::Checkout, deploy, interrupt, openapi, terminal};

/// One thing that is checked.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Checkout) -> anyhow::Result<String>,
}

/// Quick ones first: what fails early is mended early.
const STEPS: &[Step] = &[
    Step {
        name: "format",
        about: "cargo fmt",
        run: cargo_tools::format,
    },
    Step {
        name: "layout",
        about: "the top level holds what it should and nothing else",
        run: layout::check,
    },
    Step {
        name: "documents",
        about: "every path that a document names exists",
        run: documents::check,
    },
    Step {
        name: "forbidden",
        about: "no construct that the project bans",
        run: forbidden::check,
    },
    Step {
        name: "dependencies",
        about: "crates use only what their floor may",
        run: dependencies::check,
    },
    Step {
        name: "licences",
        about: "licences, banned crates, sources (.deny.toml)",
        run: licences::check,
    },
    Step {
        name: "deploy",
        about: "the files under deploy/ fit the code and pass the tools that are here",
        run: deploy::check,
    },
    Step {
        name: "migrations",
        about: "migrations up, down, up, no index under a lock; schema.rs is what they make",
        run: migrations::check,
    },
    Step {
        name: "openapi",
        about: "the OpenAPI document, errors, configuration, fields are what the code says",
        run: openapi::check,
    },
    Step {
        name: "client",
        about: "the TypeScript client is what the OpenAPI document says, and compiles (npm)",
        run: openapi::check_client,
    },
    Step {
        name: "compatible",
        about: "the API breaks no caller of the last released one",
        run: openapi::breaking::check,
    },
    Step {
        name: "clippy",
        about: "clippy, warnings denied",
        run: cargo_tools::clippy,
    },
];

/// Check format, lints, dependency rules, licences, documents.
///
/// All steps run, whatever fails; a summary comes last.
#[derive(clap::Args)]
#[command(after_help = steps_help())]
pub(crate) struct Args {
    /// Only these steps.
    #[arg(value_name = "STEP", value_parser = clap::builder::PossibleValuesParser::new(STEPS.iter().map(|step| step.name)))]
    steps: Vec<String>,
}

fn steps_help() -> String {
    let mut text = String::from("Steps:\n");
    for step in STEPS {
        let _ = writeln!(text, "  {:<14}{}", step.name, step.about);
    }
    text
}

enum Outcome {
    Passed(String),
    Failed,
}

impl Args {
    /// Every step, as CI runs it.
    pub(crate) fn everything() -> Self {
        Self { steps: Vec::new() }
    }

    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let wanted =
            |step: &&Step| self.steps.is_empty() || self.steps.iter().any(|name| name == step.name);
        let mut outcomes: Vec<(&str, Outcome, Duration)> = Vec::new();
        for step in STEPS.iter().filter(wanted) {
            interrupt::check()?;
            terminal::note(format!(
                "{} {}: {}",
                terminal::paint("1", "check"),
                step.name,
                step.about
            ));
            let started = Instant::now();
            let outcome = match (step.run)(checkout) {
                Ok(seen) => Outcome::Passed(seen),
                Err(error) if error.is::<interrupt::Interrupted>() => return Err(error),
                Err(error) => {
                    terminal::failure(&error);
                    Outcome::Failed
                }
            };
            outcomes.push((step.name, outcome, started.elapsed()));
        }
        Ok(summary(&outcomes))
    }
}

fn summary(outcomes: &[(&str, Outcome, Duration)]) -> ExitCode {
    terminal::note("");
    let mut failed = Vec::new();
    for (name, outcome, elapsed) in outcomes {
        let (word, seen) = match outcome {
            Outcome::Passed(seen) => (terminal::paint("32", "pass"), seen.as_str()),
            Outcome::Failed => {
                failed.push(*name);
                (terminal::paint("31;1", "FAIL"), "")
            }
        };
        terminal::note(format!(
            "  {word}  {name:<14}{:>9}  {seen}",
            terminal::time(*elapsed)
        ));
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    terminal::note(format!(
        "To run only what failed: cargo xtask check {}",
        failed.join(" ")
    ));
    ExitCode::FAILURE
}

/// `seen` when there is no fault; else an error with one line for each.
fn verdict(faults: &[String], advice: &str, seen: String) -> anyhow::Result<String> {
    if faults.is_empty() {
        return Ok(seen);
    }
    bail!(
        "{} to mend. {advice}\n  {}",
        faults.len(),
        faults.join("\n  ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_at_once() {
        let faults = vec!["one".to_owned(), "two".to_owned()];
        let error = verdict(&faults, "Do this.", String::new()).unwrap_err();
        assert_eq!(error.to_string(), "2 to mend. Do this.\n  one\n  two");
        assert_eq!(verdict(&[], "", "3 files".to_owned()).unwrap(), "3 files");
    }
}
