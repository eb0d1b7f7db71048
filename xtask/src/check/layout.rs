//! The top level of the repository: what a newcomer sees first holds what it should, no more.

use std::{collections::BTreeSet, path::PathBuf};

use super::verdict;
use crate::checkout::Checkout;

/// As `docs/architecture.md` lists it. Dotfiles are free.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "crates",
    "deploy",
    "docs",
    "migrations",
    "openapi",
    "rust-toolchain.toml",
    "xtask",
];

pub(super) fn check(checkout: &Checkout) -> anyhow::Result<String> {
    verdict(
        &faults(&checkout.files()?),
        "The list is in docs/architecture.md and xtask/src/check/layout.rs.",
        String::new(),
    )
}

fn faults(files: &[PathBuf]) -> Vec<String> {
    let found: BTreeSet<String> = files
        .iter()
        .filter_map(|file| Some(file.iter().next()?.to_string_lossy().into_owned()))
        .filter(|name| !name.starts_with('.'))
        .collect();
    let strange = found
        .iter()
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()))
        .map(|name| format!("{name} does not belong at the top level"));
    let missing = TOP_LEVEL
        .iter()
        .filter(|name| !found.contains(**name))
        .map(|name| format!("{name} is missing"));
    strange.chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_and_gaps_are_both_told() {
        let mut files: Vec<PathBuf> = TOP_LEVEL
            .iter()
            .map(|name| PathBuf::from(name).join("x"))
            .collect();
        files.push(".ci/run".into());
        assert_eq!(faults(&files), Vec::<String>::new());
        files.push("scripts/build.sh".into());
        files.retain(|file| !file.starts_with("LICENSE"));
        assert_eq!(
            faults(&files),
            [
                "scripts does not belong at the top level",
                "LICENSE is missing"
            ]
        );
    }
}
