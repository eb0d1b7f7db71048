//! `cargo xtask openapi --lint`: what two linters of others think of the OpenAPI document.
//!
//! Both come with some two hundred packages of npm's, so they are no part of `cargo xtask check`
//! and are kept in the checkout's cache folder, never in the repository. The versions are pinned,
//! no script of any package is run. An error of either fails; warnings are shown.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};

use crate::{checkout::Checkout, environment, process, terminal};

const REDOCLY: &str = "2.77.0";
const SPECTRAL: &str = "6.16.3";

/// Spectral does nothing without a file of rules; Redocly brings its own.
const SPECTRAL_RULES: &str = "openapi/.spectral.yaml";

/// Runs both, whatever the first one says.
pub(super) fn run(checkout: &Checkout, document: &str) -> anyhow::Result<ExitCode> {
    if !checkout.root().join(document).is_file() {
        bail!("there is no {document} yet. Write it: cargo xtask openapi");
    }
    needed("node")?;
    let programs = fetched(&checkout.root().join(".acolhe/tools"))?;
    let mut unhappy = Vec::new();
    for (name, arguments) in [
        ("redocly", ["lint", document, "--extends", "recommended"]),
        ("spectral", ["lint", document, "--ruleset", SPECTRAL_RULES]),
    ] {
        terminal::note(terminal::paint("1", name));
        let mut command = Command::new(programs.join(name));
        command
            .current_dir(checkout.root())
            .args(arguments)
            .env("REDOCLY_TELEMETRY", "off")
            .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
        if !process::run(&mut command)?.success() {
            unhappy.push(name);
        }
    }
    if !unhappy.is_empty() {
        bail!(
            "{} found errors: see above. They are mended where the document comes from, in \
             crates/http-api; then: cargo xtask openapi",
            unhappy.join(" and ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder of the linters' programs. It is moved into place as a whole, so that being there
/// means being complete.
fn fetched(tools: &Path) -> anyhow::Result<PathBuf> {
    let folder = tools.join(format!("redocly-{REDOCLY}-spectral-{SPECTRAL}"));
    let programs = folder.join("node_modules/.bin");
    if programs.is_dir() {
        return Ok(programs);
    }
    needed("npm")?;
    let work = tools.join(format!("fetching-{}", std::process::id()));
    let result = terminal::step("Fetching Redocly and Spectral (83 MB, once)", || {
        fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        fs::write(work.join("package.json"), "{\"private\": true}\n")?;
        install(&work)?;
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::rename(&work, &folder)?;
        Ok(programs)
    });
    let _ = fs::remove_dir_all(&work);
    result
}

fn needed(program: &str) -> anyhow::Result<()> {
    if environment::find_program(program).is_none() {
        bail!(
            "the linters run on Node.js and are fetched with npm, and {program} is not on PATH. \
             Install Node.js 20.19 or newer (npm comes with it): https://nodejs.org"
        );
    }
    Ok(())
}

fn install(work: &Path) -> anyhow::Result<()> {
    process::hushed(
        Command::new("npm")
            .current_dir(work)
            .args([
                "install",
                "--no-fund",
                "--no-audit",
                "--ignore-scripts",
                "--engine-strict",
                "--save-exact",
                "--fetch-retries=1",
                "--fetch-timeout=120000",
            ])
            .arg(format!("@redocly/cli@{REDOCLY}"))
            .arg(format!("@stoplight/spectral-cli@{SPECTRAL}")),
    )
    .context(
        "npm could not fetch the linters: are the network and npm's registry reachable, and is \
         Node.js 20.19 or newer (not 21)?",
    )?;
    Ok(())
}
