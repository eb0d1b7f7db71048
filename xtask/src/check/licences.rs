//! Licences, banned crates and sources of all that we are built from, by the rules in `.deny.toml`.
//!
//! cargo-deny reads the same file and may be run as well. It is not required: a fresh machine does
//! not have it, and building it takes longer than the rest of the check.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use spdx::{Expression, Licensee, ParseMode};

use super::{
    deny::Deny,
    metadata::{Metadata, Package},
    verdict,
};
use crate::checkout::Checkout;

pub(super) fn check(checkout: &Checkout) -> anyhow::Result<String> {
    let deny = Deny::load(checkout)?;
    let metadata = Metadata::load(checkout, &deny.graph.targets)?;
    let seen = format!("{} packages", metadata.packages.len());
    verdict(
        &faults(&deny, &metadata.packages)?,
        "Use something else, or decide and write it into .deny.toml with its reason.",
        seen,
    )
}

fn faults(deny: &Deny, packages: &[Package]) -> anyhow::Result<Vec<String>> {
    let allowed = licensees(&deny.licenses.allow)?;
    let mut faults = Vec::new();
    for package in packages {
        let called = format!("{} {}", package.name, package.version);
        let mut allowed = allowed.clone();
        for exception in &deny.licenses.exceptions {
            if exception.name == package.name {
                allowed.extend(licensees(&exception.allow)?);
            }
        }
        if let Err(reason) = licence(package.license.as_deref(), &allowed) {
            faults.push(format!("{called}: {reason}"));
        }
        if let Some(reason) = source(package.source.as_deref(), deny) {
            faults.push(format!("{called}: {reason}"));
        }
    }
    faults.extend(banned(deny, packages));
    Ok(faults)
}

fn licensees(names: &[String]) -> anyhow::Result<Vec<Licensee>> {
    names
        .iter()
        .map(|name| {
            Licensee::parse(name)
                .map_err(|error| anyhow!(error.reason))
                .with_context(|| format!(".deny.toml allows {name:?}, which is no SPDX licence"))
        })
        .collect()
}

/// `Err` with what is wrong about a licence expression. `MIT/Apache-2.0` is read in the old way.
fn licence(expression: Option<&str>, allowed: &[Licensee]) -> Result<(), String> {
    let Some(text) = expression else {
        return Err("names no licence".to_owned());
    };
    let parsed = Expression::parse_mode(text, ParseMode::LAX)
        .map_err(|error| format!("licence {text:?} cannot be read: {}", error.reason))?;
    if parsed.evaluate(|requirement| {
        allowed
            .iter()
            .any(|licensee| licensee.satisfies(requirement))
    }) {
        Ok(())
    } else {
        Err(format!("licence {text:?} is not allowed"))
    }
}

fn source(source: Option<&str>, deny: &Deny) -> Option<String> {
    let source = source?;
    let known = match source.split_once('+') {
        Some(("registry" | "sparse", url)) => deny
            .sources
            .allow_registry
            .iter()
            .any(|allowed| allowed == url),
        Some(("git", url)) => {
            let url = url.split(['?', '#']).next().unwrap_or(url);
            deny.sources.allow_git.iter().any(|allowed| allowed == url)
        }
        _ => false,
    };
    (!known).then(|| format!("comes from {source}, which is no allowed source"))
}

fn banned(deny: &Deny, packages: &[Package]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions
            .entry(&package.name)
            .or_default()
            .push(&package.version);
    }
    let mut faults = Vec::new();
    for ban in &deny.bans.deny {
        let found = versions
            .get(ban.name.as_str())
            .map(Vec::as_slice)
            .unwrap_or_default();
        let reason = &ban.reason;
        if ban.deny_multiple_versions && found.len() > 1 {
            faults.push(format!(
                "{} is there in {} versions ({}): {reason}",
                ban.name,
                found.len(),
                found.join(", ")
            ));
        } else if !ban.deny_multiple_versions && !found.is_empty() {
            faults.push(format!(
                "{} is banned: {reason} (who brings it: cargo tree --invert {})",
                ban.name, ban.name
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deny() -> Deny {
        toml::from_str(
            r#"
            [licenses]
            allow = ["MIT", "Apache-2.0"]
            exceptions = [{ crate = "roots", allow = ["CDLA-Permissive-2.0"] }]
            [bans]
            deny = [
                { crate = "openssl", reason = "we use rustls" },
                { crate = "once", deny-multiple-versions = true, reason = "they do not mix" },
            ]
            [sources]
            allow-registry = ["https://example.org/index"]
            "#,
        )
        .unwrap()
    }

    fn package(name: &str, version: &str, license: Option<&str>) -> Package {
        Package {
            id: format!("{name} {version}"),
            name: name.to_owned(),
            version: version.to_owned(),
            source: Some("registry+https://example.org/index".to_owned()),
            license: license.map(str::to_owned),
            dependencies: Vec::new(),
        }
    }

    fn found(packages: &[Package]) -> Vec<String> {
        faults(&deny(), packages).unwrap()
    }

    #[test]
    fn an_expression_holds_when_what_is_allowed_satisfies_it() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "MIT/Apache-2.0",
            "(MIT OR ISC) AND Apache-2.0",
        ] {
            assert_eq!(
                found(&[package("a", "1.0.0", Some(good))]),
                Vec::<String>::new(),
                "{good}"
            );
        }
        for bad in [
            "GPL-3.0-only",
            "MIT AND ISC",
            "Apache-2.0 WITH LLVM-exception",
            "no licence at all",
        ] {
            assert_eq!(found(&[package("a", "1.0.0", Some(bad))]).len(), 1, "{bad}");
        }
        assert_eq!(
            found(&[package("a", "1.0.0", None)]),
            ["a 1.0.0: names no licence"]
        );
    }

    #[test]
    fn an_exception_is_for_its_crate_alone() {
        let licence = Some("CDLA-Permissive-2.0");
        assert_eq!(
            found(&[package("roots", "1.0.0", licence)]),
            Vec::<String>::new()
        );
        assert_eq!(found(&[package("others", "1.0.0", licence)]).len(), 1);
    }

    #[test]
    fn banned_crates_and_double_ones_are_told() {
        let mit = Some("MIT");
        assert!(
            found(&[package("openssl", "1.0.0", mit)])[0]
                .starts_with("openssl is banned: we use rustls")
        );
        assert_eq!(
            found(&[package("once", "1.0.0", mit)]),
            Vec::<String>::new()
        );
        assert_eq!(
            found(&[package("once", "1.0.0", mit), package("once", "2.0.0", mit)]),
            ["once is there in 2 versions (1.0.0, 2.0.0): they do not mix"]
        );
    }

    #[test]
    fn an_unknown_registry_or_repository_is_refused_and_our_own_crates_are_not() {
        let mut package = package("a", "1.0.0", Some("MIT"));
        for (source, faults) in [
            (None, 0),
            (Some("registry+https://example.com/index"), 1),
            (Some("git+https://example.org/a?branch=b#0123"), 1),
        ] {
            package.source = source.map(str::to_owned);
            assert_eq!(
                found(std::slice::from_ref(&package)).len(),
                faults,
                "{source:?}"
            );
        }
    }
}
