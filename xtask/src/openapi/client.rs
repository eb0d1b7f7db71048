//! `cargo xtask openapi --client`: the TypeScript client, generated from the OpenAPI document by
//! `@hey-api/openapi-ts` into `openapi/client/src`, compiled strictly with its example, and run.
//!
//! Needs Node.js and npm. The generator and the compiler are what
//! `openapi/client/package-lock.json` says, kept in `.acolhe/tools`, never in the repository; no
//! script of any package is run.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use sha2::{Digest as _, Sha256};

use crate::{checkout::Checkout, environment, interrupt, process, terminal};

const FOLDER: &str = "openapi/client";
const SOURCE: &str = "openapi/client/src";
const CONFIGURATION: &str = "openapi-ts.config.js";

/// What the tools are made of.
const MANIFESTS: &[&str] = &["package.json", "package-lock.json"];

/// One mistake makes many errors: no more are shown.
const MOST_ERRORS: usize = 20;

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The client was written anew.
    Written,
    /// It is as it should be.
    Current,
    /// It could not be looked at, for this reason.
    Skipped(String),
}

/// Generates the client, and compiles and tries it. What differs is written, or fails with `check`.
pub(crate) fn run(checkout: &Checkout, check: bool) -> anyhow::Result<Outcome> {
    for program in ["node", "npm"] {
        if environment::find_program(program).is_none() {
            return Ok(Outcome::Skipped(format!("{program} is not on PATH")));
        }
    }
    let folder = checkout.root().join(FOLDER);
    let tools = match fetched(checkout, &folder) {
        Ok(tools) => tools,
        Err(error) if error.is::<interrupt::Interrupted>() => return Err(error),
        Err(error) => {
            return Ok(Outcome::Skipped(format!(
                "npm could not fetch the generator ({})",
                error.to_string().lines().next().unwrap_or_default()
            )));
        }
    };
    let work = checkout
        .root()
        .join(format!(".acolhe/client-{}", std::process::id()));
    let result = generate_and_try(checkout, &tools, &work, check);
    let _ = fs::remove_dir_all(&work);
    result
}

fn generate_and_try(
    checkout: &Checkout,
    tools: &Path,
    work: &Path,
    check: bool,
) -> anyhow::Result<Outcome> {
    let (folder, source) = (checkout.root().join(FOLDER), checkout.root().join(SOURCE));
    // The configuration names its input and output from where it lies: a copy of the place.
    let place = work.join("client");
    fs::create_dir_all(&place)?;
    fs::copy(folder.join(CONFIGURATION), place.join(CONFIGURATION))?;
    fs::copy(
        checkout.root().join(super::DOCUMENT),
        work.join("acolhe.json"),
    )?;
    let mut generate = Command::new(tools.join("openapi-ts"));
    process::hushed(generate.current_dir(&place).arg("--silent"))
        .context("the client could not be generated")?;
    let (now, then) = (tree(&source)?, tree(&place.join("src"))?);
    let outcome = if now == then {
        Outcome::Current
    } else if check {
        bail!(
            "{SOURCE} is not what {} says ({}). Write it anew: cargo xtask openapi --client",
            super::DOCUMENT,
            differing(&now, &then)
        );
    } else {
        if source.exists() {
            fs::remove_dir_all(&source)?;
        }
        for (name, text) in &then {
            let file = source.join(name);
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(file, text)?;
        }
        Outcome::Written
    };
    compile_and_run(tools, &folder, &work.join("out"))?;
    Ok(outcome)
}

fn compile_and_run(tools: &Path, folder: &Path, out: &Path) -> anyhow::Result<()> {
    let compiled = Command::new(tools.join("tsc"))
        .current_dir(folder)
        .args([
            "--project",
            "tsconfig.json",
            "--pretty",
            "false",
            "--outDir",
        ])
        .arg(out)
        .output()
        .context("cannot run tsc")?;
    if !compiled.status.success() {
        let said = String::from_utf8_lossy(&compiled.stdout);
        let said: Vec<_> = said.lines().take(MOST_ERRORS).collect();
        bail!(
            "the client, or {FOLDER}/example with it, does not compile:\n{}",
            said.join("\n")
        );
    }
    fs::write(out.join("package.json"), "{\"type\": \"module\"}\n")?;
    process::hushed(Command::new("node").arg(out.join("example/inbox.test.js")))
        .with_context(|| format!("{FOLDER}/example/inbox.test.ts fails"))?;
    Ok(())
}

/// The names of up to five files that differ.
fn differing(now: &BTreeMap<PathBuf, Vec<u8>>, then: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut names: Vec<_> = now
        .keys()
        .chain(then.keys())
        .filter(|name| now.get(*name) != then.get(*name))
        .map(|name| name.display().to_string())
        .collect();
    names.sort();
    names.dedup();
    names.truncate(5);
    names.join(", ")
}

/// Every file below a folder, by its path from there; none where there is no folder.
fn tree(folder: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in next.read_dir().into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder)?.to_owned();
                found.insert(name, fs::read(&path)?);
            }
        }
    }
    Ok(found)
}

/// The folder of the tools' programs, one for each state of the lock file. It is moved into place as
/// a whole, so that being there means being complete.
pub(crate) fn fetched(checkout: &Checkout, manifests: &Path) -> anyhow::Result<PathBuf> {
    let mut digest = Sha256::new();
    for name in MANIFESTS {
        let path = manifests.join(name);
        digest.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    let key: String = {
        use std::fmt::Write as _;
        digest
            .finalize()
            .iter()
            .take(6)
            .fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
    };
    let tools = checkout.root().join(".acolhe/tools");
    let folder = tools.join(format!("client-{key}"));
    let programs = folder.join("node_modules/.bin");
    if programs.is_dir() {
        return Ok(programs);
    }
    let work = tools.join(format!("fetching-client-{}", std::process::id()));
    let result = terminal::step(
        "Fetching the client's generator and compiler (36 MB, once)",
        || {
            fs::create_dir_all(&work)?;
            for name in MANIFESTS {
                fs::copy(manifests.join(name), work.join(name))?;
            }
            process::hushed(Command::new("npm").current_dir(&work).args([
                "ci",
                "--no-fund",
                "--no-audit",
                "--ignore-scripts",
                "--fetch-retries=1",
                "--fetch-timeout=60000",
            ]))?;
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::rename(&work, &folder)?;
            Ok(programs)
        },
    );
    let _ = fs::remove_dir_all(&work);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_holds_every_file_by_its_path_and_differences_are_named() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("a/core")).unwrap();
        fs::write(place.path().join("a/one.ts"), "1").unwrap();
        fs::write(place.path().join("a/core/two.ts"), "2").unwrap();
        let now = tree(&place.path().join("a")).unwrap();
        assert_eq!(now.len(), 2);
        assert_eq!(tree(&place.path().join("none")).unwrap().len(), 0);
        let mut then = now.clone();
        then.insert("core/two.ts".into(), b"3".to_vec());
        then.insert("three.ts".into(), b"3".to_vec());
        assert_eq!(differing(&now, &then), "core/two.ts, three.ts");
        assert_eq!(differing(&now, &now), "");
    }
}
