//! The checkout we work in, and the folder where its own PostgreSQL lives.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use sha2::{Digest as _, Sha256};

use crate::postgres::account::Account;

/// The root of the repository.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// As Cargo tells it, so that `cargo xtask` works from any folder of the checkout; else by the
    /// folder we stand in.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("cannot tell the current folder")?;
        let start = crate::environment::text("CARGO_MANIFEST_DIR").map_or(here, PathBuf::from);
        let root = start
            .ancestors()
            .find(|folder| folder.join("xtask/Cargo.toml").is_file())
            .with_context(|| {
                format!(
                    "{} is in no checkout of Acolhe: change to one, then: cargo xtask",
                    start.display()
                )
            })?;
        Ok(Self {
            root: root.canonicalize()?,
        })
    }

    #[cfg(test)]
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `cargo`, in this checkout.
    pub(crate) fn cargo(&self) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.root);
        command
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target_folder(&self) -> anyhow::Result<PathBuf> {
        let mut metadata = self.cargo();
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
        let metadata: serde_json::Value =
            serde_json::from_str(&crate::process::quiet(&mut metadata)?)?;
        let target = metadata["target_directory"]
            .as_str()
            .context("cargo metadata names no target directory")?;
        Ok(target.into())
    }

    /// The tracked files and those that are new and not ignored, relative to the root. Needs git.
    pub(crate) fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let listed = crate::process::quiet(Command::new("git").current_dir(&self.root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))
        .context("cannot list the checkout's files: is this a git clone, and git installed?")?;
        let mut files: Vec<PathBuf> = listed
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .filter(|file| self.root.join(file).exists())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Where the PostgreSQL of this checkout is kept: `.acolhe/postgres`, or a folder under
    /// `/var/tmp` where the account that PostgreSQL runs under cannot reach the checkout (root's
    /// clone in root's home).
    pub(crate) fn postgres_folder(&self, account: &Account) -> anyhow::Result<PathBuf> {
        if account.can_reach(&self.root)? {
            let folder = self.root.join(".acolhe/postgres");
            fs::create_dir_all(&folder).with_context(|| cannot_create(&folder))?;
            for folder in [self.root.join(".acolhe"), folder.clone()] {
                open_to_all(&folder)?;
            }
            return Ok(folder);
        }
        let folder = Path::new("/var/tmp").join(self.key());
        claim(&folder)?;
        Ok(folder)
    }

    /// A folder name of this checkout's own: readable, and different for every path.
    fn key(&self) -> String {
        use std::fmt::Write as _;
        let digest = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        let mut key = String::from("acolhe-");
        for byte in digest.iter().take(8) {
            let _ = write!(key, "{byte:02x}");
        }
        key
    }
}

/// Makes the folder ours. `/var/tmp` is everybody's: a folder that another user put there first is
/// refused, since PostgreSQL's programs would be run from it.
fn claim(folder: &Path) -> anyhow::Result<()> {
    if let Err(error) = fs::create_dir(folder)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(error).with_context(|| cannot_create(folder));
    }
    let found = fs::symlink_metadata(folder)?;
    let us = rustix::process::geteuid().as_raw();
    if !found.is_dir() || found.uid() != us {
        bail!(
            "{} exists and is not ours (owner {}): remove it, then try again",
            folder.display(),
            found.uid()
        );
    }
    open_to_all(folder)
}

/// Others may enter and read, whatever the umask: PostgreSQL may run under another account.
/// Nothing secret lies there; the data folders themselves are closed.
fn open_to_all(folder: &Path) -> anyhow::Result<()> {
    let metadata = fs::metadata(folder)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode != 0o755 && metadata.uid() == rustix::process::geteuid().as_raw() {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn cannot_create(folder: &Path) -> String {
    format!(
        "cannot create {}: does another user own it (perhaps root, by an earlier `cargo xtask`)? \
         Then remove it as that user",
        folder.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_checkouts_never_share_a_folder() {
        let one = Checkout::at("/root/acolhe".into()).key();
        let other = Checkout::at("/root/acolhe2".into()).key();
        assert_ne!(one, other);
        assert_eq!(one, Checkout::at("/root/acolhe".into()).key());
    }

    #[test]
    fn a_link_that_someone_else_planted_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let planted = place.path().join("planted");
        std::os::unix::fs::symlink("/tmp", &planted).unwrap();
        assert!(claim(&planted).is_err());
        let fresh = place.path().join("fresh");
        claim(&fresh).unwrap();
        claim(&fresh).unwrap();
    }
}
