//! `cargo xtask fuzz`: random inputs against what reads strangers' bytes.
//!
//! Every `crates/*/fuzz` is a small workspace of its own, with one binary for each target, built by
//! `cargo-fuzz` with a nightly compiler. A new target needs nothing here: its binary's name is found
//! in the manifest, and the folder of inputs that it begins with under `package.metadata.seeds`.
//! What is built, found on the way (the corpus) and found to fail (the artifacts) lies under
//! `target/fuzz`, so that a second run goes on where the first one ended.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, bail};

use crate::{checkout::Checkout, environment, interrupt, process, terminal};

/// How long one input may take, in seconds, before that counts as a failure.
const SLOWEST: u32 = 10;

/// Fuzz what reads strangers' bytes: webhooks, signatures, cursors.
///
/// Builds every target, or those named, and runs one after the other for the given time each,
/// with the address sanitizer, beginning with the repository's own fixtures. libFuzzer shows its
/// progress. Ends at the first input that fails, and says how to look at it.
#[derive(clap::Args)]
#[command(
    after_help = "It takes a nightly compiler, cargo-fuzz and a C++ compiler:\n  \
    rustup toolchain install nightly --profile minimal\n  \
    cargo install --locked cargo-fuzz\n\n\
    Examples:\n  \
    cargo xtask fuzz                       every target, ten minutes each\n  \
    cargo xtask fuzz cursor --seconds 60   one target, one minute\n  \
    cargo xtask fuzz --list                which targets there are"
)]
pub(crate) struct Args {
    /// Only these targets.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long each one runs.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Run nothing; name the targets.
    #[arg(long)]
    list: bool,
}

/// One fuzz target.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    name: String,
    /// The `fuzz` folder, relative to the root.
    folder: PathBuf,
    /// What it begins with, relative to `folder`.
    seeds: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let targets = chosen(found(checkout)?, &self.targets)?;
        if self.list {
            for target in targets {
                println!("{:<12}{}", target.name, target.folder.display());
            }
            return Ok(ExitCode::SUCCESS);
        }
        let host = host_of_nightly()?;
        let place = checkout.target_folder()?.join("fuzz");
        for target in &targets {
            terminal::note(format!(
                "Building {} (the first time, its dependencies too) …",
                target.name
            ));
            build(checkout, target, &host, &place)?;
        }
        for target in &targets {
            interrupt::check()?;
            fuzz(checkout, target, &host, &place, self.seconds)?;
        }
        terminal::note(format!(
            "Nothing failed: {} for {} s each.",
            names(&targets),
            self.seconds
        ));
        Ok(ExitCode::SUCCESS)
    }
}

/// Every target of every `crates/*/fuzz`, by name.
fn found(checkout: &Checkout) -> anyhow::Result<Vec<Target>> {
    let mut targets = Vec::new();
    for krate in fs::read_dir(checkout.root().join("crates")).context("cannot list crates/")? {
        let folder = krate?.path().join("fuzz");
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        let text = fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        let folder = folder.strip_prefix(checkout.root()).unwrap_or(&folder);
        targets.extend(
            targets_in(folder, &text)
                .with_context(|| format!("cannot understand {}", manifest.display()))?,
        );
    }
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(targets)
}

fn targets_in(folder: &Path, manifest: &str) -> anyhow::Result<Vec<Target>> {
    let manifest: toml::Table = manifest.parse()?;
    let seeds = manifest
        .get("package")
        .and_then(|package| package.get("metadata")?.get("seeds"));
    let binaries = manifest
        .get("bin")
        .and_then(toml::Value::as_array)
        .context("it has no [[bin]]")?;
    binaries
        .iter()
        .map(|binary| {
            let name = binary
                .get("name")
                .and_then(toml::Value::as_str)
                .context("a [[bin]] has no name")?;
            Ok(Target {
                name: name.to_owned(),
                folder: folder.to_owned(),
                seeds: seeds
                    .and_then(|seeds| seeds.get(name)?.as_str())
                    .map(PathBuf::from),
            })
        })
        .collect()
}

/// Those asked for, or all.
fn chosen(all: Vec<Target>, wanted: &[String]) -> anyhow::Result<Vec<Target>> {
    if let Some(unknown) = wanted
        .iter()
        .find(|name| all.iter().all(|target| target.name != **name))
    {
        bail!(
            "there is no fuzz target {unknown}. There are: {}",
            names(&all)
        );
    }
    Ok(all
        .into_iter()
        .filter(|target| wanted.is_empty() || wanted.contains(&target.name))
        .collect())
}

fn names(targets: &[Target]) -> String {
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    names.join(", ")
}

/// The machine's triple, as the nightly compiler tells it; or an error that says what to install.
fn host_of_nightly() -> anyhow::Result<String> {
    if environment::find_program("rustup").is_none() {
        bail!(
            "fuzzing takes a nightly compiler, got by rustup, which is not on PATH: \
             https://rustup.rs"
        );
    }
    let version = process::quiet(Command::new("rustup").args(["run", "nightly", "rustc", "-vV"]))
        .context(
        "fuzzing takes a nightly compiler. Install one: \
             rustup toolchain install nightly --profile minimal",
    )?;
    if environment::find_program("cargo-fuzz").is_none() {
        bail!("cargo-fuzz is not on PATH. Install it: cargo install --locked cargo-fuzz");
    }
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("the nightly compiler does not name its host")
}

fn build(checkout: &Checkout, target: &Target, host: &str, place: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("rustup");
    command
        .current_dir(checkout.root())
        .args(["run", "nightly", "cargo", "fuzz", "build", "--fuzz-dir"])
        .arg(&target.folder)
        .arg("--target-dir")
        .arg(place.join("build"))
        .args(["--target", host, &target.name]);
    if !process::run(&mut command)?.success() {
        bail!(
            "{} could not be built: see above. libFuzzer needs a C++ compiler (Debian: g++; \
             macOS: xcode-select --install)",
            target.name
        );
    }
    Ok(())
}

fn fuzz(
    checkout: &Checkout,
    target: &Target,
    host: &str,
    place: &Path,
    seconds: u32,
) -> anyhow::Result<()> {
    let corpus = place.join("corpus").join(&target.name);
    let artifacts = place.join("artifacts").join(&target.name);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let program = place
        .join("build")
        .join(host)
        .join("release")
        .join(&target.name);
    terminal::note(terminal::paint(
        "1",
        &format!("{}: {seconds} s", target.name),
    ));
    let mut command = Command::new(&program);
    command
        .current_dir(checkout.root())
        // What cargo-fuzz sets: LLVM's own containers would be reported otherwise.
        .env("ASAN_OPTIONS", "detect_odr_violation=0")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={SLOWEST}"))
        .arg("-print_final_stats=1")
        // A folder's name, to libFuzzer, only with the slash.
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(&corpus);
    if let Some(seeds) = &target.seeds {
        let seeds = checkout.root().join(&target.folder).join(seeds);
        if !seeds.is_dir() {
            bail!(
                "{} names seeds that are not there: {}",
                target.folder.join("Cargo.toml").display(),
                seeds.display()
            );
        }
        command.arg(seeds);
    }
    let status = process::run(&mut command)?;
    if !status.success() {
        bail!(
            "{} failed ({status}): see above. The input lies in {}. To run it again:\n\
             {} INPUT\n\
             Write a test that fails for the same reason before mending it.",
            target.name,
            artifacts.display(),
            program.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"x-fuzz\"\n[package.metadata.seeds]\n\
                            one = \"../fixtures\"\n[[bin]]\nname = \"one\"\n[[bin]]\nname = \"two\"\n";

    #[test]
    fn a_manifest_names_its_targets_and_their_seeds() {
        let targets = targets_in(Path::new("crates/x/fuzz"), MANIFEST).unwrap();
        assert_eq!(names(&targets), "one, two");
        assert_eq!(targets[0].seeds.as_deref(), Some(Path::new("../fixtures")));
        assert_eq!(targets[1].seeds, None);
        assert!(targets_in(Path::new("crates/x/fuzz"), "[package]").is_err());
    }

    #[test]
    fn an_unknown_target_is_told_with_those_there_are() {
        let all = || targets_in(Path::new("crates/x/fuzz"), MANIFEST).unwrap();
        assert_eq!(chosen(all(), &[]).unwrap().len(), 2);
        assert_eq!(names(&chosen(all(), &["two".into()]).unwrap()), "two");
        let error = chosen(all(), &["three".into()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no fuzz target three. There are: one, two"
        );
    }

    #[test]
    fn every_target_of_this_repository_is_found_and_has_its_seeds() {
        let checkout = Checkout::find().unwrap();
        let targets = found(&checkout).unwrap();
        assert_eq!(names(&targets), "cursor, signature, webhook");
        for target in targets {
            let folder = checkout.root().join(&target.folder);
            assert!(folder.join("Cargo.lock").is_file(), "{}", target.name);
            if let Some(seeds) = target.seeds {
                assert!(folder.join(seeds).is_dir(), "{}", target.name);
            }
        }
    }
}
