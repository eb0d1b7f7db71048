//! A PostgreSQL that is on this machine: where its programs are and which version they have.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{environment, postgres::account::Account, process};

/// The oldest that the migrations and queries are tested with.
pub(crate) const OLDEST: u32 = 15;

/// `postgres`, `initdb` and `pg_ctl` in one folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Installation {
    pub(crate) bin: PathBuf,
    pub(crate) major: u32,
    /// As PostgreSQL writes it: `18.4`, or `15.18 (Debian 15.18-0+deb12u1)`.
    pub(crate) version: String,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Origin {
    Bundle,
    System,
}

impl Origin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::System => "system",
        }
    }
}

impl Installation {
    /// Asks the programs in `bin` for their version, under the account that will run them: this
    /// also proves that they run here at all.
    pub(crate) fn examine(bin: &Path, origin: Origin, account: &Account) -> anyhow::Result<Self> {
        for program in ["initdb", "pg_ctl"] {
            anyhow::ensure!(
                bin.join(program).is_file(),
                "{} has no {program}",
                bin.display()
            );
        }
        let said = process::quiet(account.command(bin.join("postgres")).arg("--version"))?;
        let (major, version) =
            parse_version(&said).with_context(|| format!("cannot read a version from {said:?}"))?;
        Ok(Self {
            bin: bin.to_owned(),
            major,
            version,
            origin,
        })
    }

    /// One of its programs, under the account.
    pub(crate) fn program(&self, name: &str, account: &Account) -> Command {
        account.command(self.bin.join(name))
    }
}

/// From `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; `19beta1` has a major as well.
fn parse_version(said: &str) -> Option<(u32, String)> {
    let version = said.trim().strip_prefix("postgres (PostgreSQL) ")?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, version.to_owned()))
}

/// Folders where a system keeps PostgreSQL's programs: `PATH`, what `pg_config` says, Debian's,
/// Red Hat's and Homebrew's. The newest first where there are several.
pub(crate) fn system_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for folder in environment::search_path() {
        if folder.join("postgres").is_file() {
            folders.push(folder);
        }
    }
    if let Some(pg_config) = environment::find_program("pg_config")
        && let Ok(said) = process::quiet(Command::new(pg_config).arg("--bindir"))
    {
        folders.push(PathBuf::from(said.trim()));
    }
    for (parent, prefix, suffix) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
    ] {
        folders.extend(versioned(Path::new(parent), prefix, suffix));
    }
    let mut seen = Vec::new();
    folders.retain(|folder| {
        let real = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let new = !seen.contains(&real);
        seen.push(real);
        new
    });
    folders
}

/// `PARENT/PREFIX<major>/SUFFIX`, the highest major first.
fn versioned(parent: &Path, prefix: &str, suffix: &str) -> Vec<PathBuf> {
    let Ok(entries) = parent.read_dir() else {
        return Vec::new();
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let major = name.strip_prefix(prefix)?.parse().ok()?;
            Some((major, entry.path().join(suffix)))
        })
        .collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// The system's PostgreSQL, 15 or newer; `major` asks for just that one.
pub(crate) fn find_system(account: &Account, major: Option<u32>) -> Option<Installation> {
    system_folders()
        .iter()
        .filter_map(|bin| Installation::examine(bin, Origin::System, account).ok())
        .find(|found| found.major >= OLDEST && major.is_none_or(|wanted| wanted == found.major))
}

/// `psql`, of any version: a newer or older one serves as well.
pub(crate) fn find_psql() -> Option<PathBuf> {
    environment::find_program("psql").or_else(|| {
        system_folders()
            .into_iter()
            .chain([
                PathBuf::from("/opt/homebrew/opt/libpq/bin"),
                PathBuf::from("/usr/local/opt/libpq/bin"),
            ])
            .map(|bin| bin.join("psql"))
            .find(|psql| psql.is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_packager_are_read() {
        for (said, major) in [
            ("postgres (PostgreSQL) 18.4\n", 18),
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", 15),
            ("postgres (PostgreSQL) 19beta1\n", 19),
        ] {
            assert_eq!(parse_version(said).unwrap().0, major);
        }
        assert!(parse_version("mysqld 8").is_none());
    }

    #[test]
    fn the_newest_versioned_folder_comes_first_and_others_are_passed_over() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["9", "15", "17", "common", "pgsql-16"] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        let found = versioned(parent.path(), "", "bin");
        let expected: Vec<_> = ["17", "15", "9"]
            .iter()
            .map(|name| parent.path().join(name).join("bin"))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(versioned(parent.path(), "pgsql-", "bin").len(), 1);
    }
}
