//! The compose file and the Dockerfile: keys, secrets and versions that are named elsewhere too.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::Context;

use super::yaml::{self, entries, texts};

const COMPOSE: &str = "deploy/compose.yaml";
const DOCKERFILE: &str = "deploy/Dockerfile";
const SECRETS: &str = "deploy/make-secrets.sh";
/// Its generated table has every key of the configuration.
const KEYS: &str = "docs/operations.md";

/// Variables of the compose file's own.
const OWN: &[&str] = &["ACOLHE_DOMAIN", "ACOLHE_IMAGE", "ACOLHE_SERVER"];

pub(super) fn faults(root: &Path) -> anyhow::Result<Vec<String>> {
    let read = |file: &str| {
        fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))
    };
    let mut faults = Vec::new();
    let documented = read(KEYS)?;
    let known: BTreeSet<&str> = variables(&documented).collect();
    let compose = read(COMPOSE)?;
    let dockerfile = read(DOCKERFILE)?;
    for (file, text) in [(COMPOSE, &compose), (DOCKERFILE, &dockerfile)] {
        for variable in variables(text) {
            let key = variable.strip_suffix("_FILE").unwrap_or(variable);
            if !known.contains(key) && !OWN.contains(&variable) {
                faults.push(format!(
                    "{file} sets {variable}, which is no key of the configuration (see {KEYS})"
                ));
            }
        }
    }
    faults.extend(unmade_secrets(&yaml::parse(&compose)?, &read(SECRETS)?));
    faults.extend(other_toolchain(&dockerfile, &read("rust-toolchain.toml")?)?);
    Ok(faults)
}

/// `ACOLHE_…`, wherever it stands.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("ACOLHE_").map(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        &rest[..end.unwrap_or(rest.len())]
    })
}

/// Every secret has a file that the script makes, and every one is used.
fn unmade_secrets(compose: &yaml_rust2::Yaml, script: &str) -> Vec<String> {
    let words: BTreeSet<&str> = script
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    let mut used = BTreeSet::new();
    for (_, service) in entries(&compose["services"]) {
        used.extend(texts(&service["secrets"]));
    }
    let mut faults = Vec::new();
    for (name, secret) in entries(&compose["secrets"]) {
        if secret["file"].as_str() != Some(format!("secrets/{name}").as_str()) {
            faults.push(format!(
                "{COMPOSE}: the secret {name} is not the file secrets/{name}"
            ));
        }
        if !words.contains(name) {
            faults.push(format!(
                "{SECRETS} does not make {name}, which {COMPOSE} reads"
            ));
        }
        if !used.remove(name) {
            faults.push(format!("{COMPOSE}: no service uses the secret {name}"));
        }
    }
    faults.extend(
        used.iter()
            .map(|name| format!("{COMPOSE}: the secret {name} is used and not there")),
    );
    faults
}

/// The image is built with the toolchain that everybody else builds with.
fn other_toolchain(dockerfile: &str, toolchain: &str) -> anyhow::Result<Option<String>> {
    let toolchain: toml::Table = toolchain.parse()?;
    let channel = toolchain["toolchain"]["channel"]
        .as_str()
        .unwrap_or_default();
    let wanted = format!("FROM rust:{channel}-");
    let builds = dockerfile.lines().any(|line| line.starts_with(&wanted));
    Ok((!builds).then(|| {
        format!("{DOCKERFILE} does not build with Rust {channel}, as rust-toolchain.toml says")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_wherever_they_stand() {
        let text = "X: ${ACOLHE_IMAGE:-a}\nACOLHE_HTTP_PORT: 1\n`ACOLHE_KEYS_MASTER_FILE`";
        let found: Vec<_> = variables(text).collect();
        assert_eq!(
            found,
            [
                "ACOLHE_IMAGE",
                "ACOLHE_HTTP_PORT",
                "ACOLHE_KEYS_MASTER_FILE"
            ]
        );
    }

    #[test]
    fn secrets_that_nobody_makes_or_uses_are_told() {
        let compose = "services: {a: {secrets: [one, three]}}\nsecrets: {one: {file: secrets/one}, two: {file: secrets/two}}";
        let told = unmade_secrets(&yaml::parse(compose).unwrap(), "put one\n").join("; ");
        assert!(told.contains("does not make two"), "{told}");
        assert!(told.contains("no service uses the secret two"), "{told}");
        assert!(told.contains("three is used and not there"), "{told}");
        assert!(!told.contains("one"), "{told}");
    }

    #[test]
    fn another_toolchain_in_the_image_is_told() {
        let toolchain = "[toolchain]\nchannel = \"1.95.0\"\n";
        let same = "FROM rust:1.95.0-slim-bookworm AS build\n";
        assert_eq!(other_toolchain(same, toolchain).unwrap(), None);
        assert!(
            other_toolchain("FROM rust:1.94.0-slim\n", toolchain)
                .unwrap()
                .is_some()
        );
    }
}
