//! Which crate may use what: the table of `docs/architecture.md`, held against `cargo metadata`.
//!
//! Four floors, each above what it uses: `server`; the calling sides and the adapters; the domains;
//! `kernel`. Cargo itself keeps a crate from naming what its manifest does not list; this keeps the
//! manifests.

use super::{
    metadata::{Metadata, Package},
    verdict,
};
use crate::checkout::Checkout;

/// A crate of ours and those of ours that it may use.
struct Rule {
    name: &'static str,
    ours: &'static [&'static str],
    floor: Floor,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Floor {
    /// No I/O: only the libraries of [`PURE_LIBRARIES`].
    Pure,
    /// What is confined by [`CONFINED`] apart, any library.
    Free,
    /// May be used by tests alone, and may use what it likes.
    TestsOnly,
}

const fn pure(name: &'static str, ours: &'static [&'static str]) -> Rule {
    Rule {
        name,
        ours,
        floor: Floor::Pure,
    }
}

const fn free(name: &'static str, ours: &'static [&'static str]) -> Rule {
    Rule {
        name,
        ours,
        floor: Floor::Free,
    }
}

/// A domain names no sibling. A calling side names no adapter. An adapter names no other adapter
/// and only the domains whose ports it implements.
const RULES: &[Rule] = &[
    pure("kernel", &[]),
    pure("clinics", &["kernel"]),
    pure("contacts", &["kernel"]),
    pure("conversations", &["kernel"]),
    free(
        "diesel-postgres",
        &["kernel", "clinics", "contacts", "conversations"],
    ),
    free("security", &["kernel", "clinics"]),
    free("smtp-mail", &["kernel"]),
    free("whatsapp", &["kernel", "conversations"]),
    free("otel-telemetry", &["kernel"]),
    free(
        "redis-cache",
        &["kernel", "clinics", "contacts", "conversations"],
    ),
    free(
        "http-api",
        &["kernel", "clinics", "contacts", "conversations"],
    ),
    free(
        "job-workers",
        &["kernel", "clinics", "contacts", "conversations"],
    ),
    free(
        "server",
        &[
            "kernel",
            "clinics",
            "contacts",
            "conversations",
            "diesel-postgres",
            "security",
            "smtp-mail",
            "whatsapp",
            "otel-telemetry",
            "redis-cache",
            "http-api",
            "job-workers",
        ],
    ),
    Rule {
        name: "test-support",
        ours: &[
            "kernel",
            "clinics",
            "contacts",
            "conversations",
            "diesel-postgres",
            "security",
            "smtp-mail",
            "whatsapp",
            "otel-telemetry",
            "redis-cache",
            "http-api",
            "job-workers",
        ],
        floor: Floor::TestsOnly,
    },
    free("xtask", &["test-support"]),
];

/// What `kernel` and the domains may name: libraries without I/O.
const PURE_LIBRARIES: &[&str] = &[
    "async-trait",
    "base64",
    "bytes",
    "chrono",
    "chrono-tz",
    "serde",
    "serde_json",
    "subtle",
    "thiserror",
    "unicode-normalization",
    "uuid",
    "validator",
];

/// What must not even be reached from the pure floors, through however many libraries.
const IMPURE: &[&str] = &[
    "actix-web",
    "async-std",
    "diesel",
    "diesel-async",
    "hyper",
    "mio",
    "redis",
    "reqwest",
    "smol",
    "socket2",
    "tokio",
    "tokio-postgres",
    "tracing",
];

/// Libraries that one adapter stands for, and the crates that may name them. Tests may name any.
const CONFINED: &[(&str, &[&str])] = &[
    ("actix-web", &["http-api", "server"]),
    ("argon2", &["security"]),
    ("diesel", &["diesel-postgres"]),
    ("diesel-async", &["diesel-postgres"]),
    ("jsonwebtoken", &["security"]),
    ("lettre", &["smtp-mail"]),
    ("opentelemetry", &["otel-telemetry"]),
    ("opentelemetry-otlp", &["otel-telemetry"]),
    ("opentelemetry_sdk", &["otel-telemetry"]),
    ("bb8-redis", &["redis-cache"]),
    ("moka", &["redis-cache"]),
    ("redis", &["redis-cache"]),
    ("reqwest", &["whatsapp", "xtask"]),
    ("tokio-postgres", &["diesel-postgres"]),
    ("utoipa", &["http-api", "server"]),
];

pub(super) fn check(checkout: &Checkout) -> anyhow::Result<String> {
    let metadata = Metadata::load(checkout, &[])?;
    let seen = format!("{} crates", metadata.members().count());
    verdict(
        &faults(&metadata),
        "The rules are in docs/architecture.md; their table is in xtask/src/check/dependencies.rs.",
        seen,
    )
}

fn faults(metadata: &Metadata) -> Vec<String> {
    let ours: Vec<&str> = metadata
        .members()
        .map(|package| package.name.as_str())
        .collect();
    let mut faults = Vec::new();
    for package in metadata.members() {
        match RULES.iter().find(|rule| rule.name == package.name) {
            Some(rule) => faults.extend(faults_of(metadata, &ours, package, rule)),
            None => faults.push(format!(
                "{} is not in the table: say what it may use",
                package.name
            )),
        }
    }
    for rule in RULES {
        if !ours.contains(&rule.name) {
            faults.push(format!(
                "{} is in the table but not in the workspace",
                rule.name
            ));
        }
    }
    faults
}

fn faults_of(metadata: &Metadata, ours: &[&str], package: &Package, rule: &Rule) -> Vec<String> {
    let mut faults = Vec::new();
    for dependency in &package.dependencies {
        let name = dependency.name.as_str();
        if ours.contains(&name) {
            // A domain's tests need no sibling either; an adapter's or a calling side's may wire up
            // whatever stands below the server.
            let in_tests = dependency.is_dev()
                && (name == package.name || (rule.floor == Floor::Free && name != "server"));
            if is_tests_only(name) && !dependency.is_dev() && package.name != "xtask" {
                faults.push(format!(
                    "{}: {name} is for [dev-dependencies] alone",
                    package.name
                ));
            } else if !rule.ours.contains(&name) && !is_tests_only(name) && !in_tests {
                faults.push(format!("{} must not use {name}", package.name));
            }
            continue;
        }
        if dependency.is_dev() || rule.floor == Floor::TestsOnly {
            continue;
        }
        if rule.floor == Floor::Pure && !PURE_LIBRARIES.contains(&name) {
            faults.push(format!(
                "{} must not use {name}: it is no library known to be without I/O",
                package.name
            ));
        }
        let confined = CONFINED.iter().find(|(library, _)| *library == name);
        if let Some((_, users)) = confined
            && !users.contains(&package.name.as_str())
        {
            faults.push(format!(
                "{} must not use {name}, which belongs to {}",
                package.name,
                users.join(" and ")
            ));
        }
    }
    if rule.floor == Floor::Pure {
        for name in metadata.reach(package) {
            if IMPURE.contains(&name) {
                faults.push(format!(
                    "{} reaches {name} through what it uses",
                    package.name
                ));
            }
        }
    }
    faults
}

fn is_tests_only(name: &str) -> bool {
    RULES
        .iter()
        .any(|rule| rule.name == name && rule.floor == Floor::TestsOnly)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A workspace of all the crates in the table, each with only the dependencies given here as
    /// `(crate, dependency, kind)`.
    fn workspace(edges: &[(&str, &str, Option<&str>)]) -> Metadata {
        let mut names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
        let members = names.clone();
        for (_, to, _) in edges {
            if !names.contains(to) {
                names.push(to);
            }
        }
        let of = |name: &str| {
            edges
                .iter()
                .filter(move |(from, _, _)| *from == name)
                .collect::<Vec<_>>()
        };
        let packages: Vec<Value> = names
            .iter()
            .map(|name| {
                let dependencies: Vec<Value> = of(name)
                    .iter()
                    .map(|(_, to, kind)| json!({"name": to, "kind": kind}))
                    .collect();
                json!({"id": name, "name": name, "version": "1.0.0", "source": null,
                       "license": "MIT", "dependencies": dependencies})
            })
            .collect();
        let nodes: Vec<Value> = names
            .iter()
            .map(|name| {
                let deps: Vec<Value> = of(name)
                    .iter()
                    .map(|(_, to, kind)| json!({"pkg": to, "dep_kinds": [{"kind": kind}]}))
                    .collect();
                json!({"id": name, "deps": deps})
            })
            .collect();
        serde_json::from_value(json!({
            "packages": packages, "workspace_members": members, "resolve": {"nodes": nodes}
        }))
        .unwrap()
    }

    #[test]
    fn a_workspace_that_keeps_the_rules_has_no_faults() {
        let good = workspace(&[
            ("contacts", "kernel", None),
            ("contacts", "serde", None),
            ("contacts", "proptest", Some("dev")),
            ("contacts", "contacts", Some("dev")),
            ("http-api", "contacts", None),
            ("http-api", "test-support", Some("dev")),
            ("http-api", "diesel-postgres", Some("dev")),
            ("diesel-postgres", "diesel", None),
            ("test-support", "diesel-postgres", None),
            ("test-support", "tokio-postgres", None),
            ("xtask", "test-support", None),
        ]);
        assert_eq!(faults(&good), Vec::<String>::new());
    }

    #[test]
    fn each_rule_is_held() {
        for (from, to, kind, expected) in [
            (
                "contacts",
                "conversations",
                None,
                "contacts must not use conversations",
            ),
            (
                "contacts",
                "clinics",
                Some("dev"),
                "contacts must not use clinics",
            ),
            ("kernel", "contacts", None, "kernel must not use contacts"),
            (
                "http-api",
                "diesel-postgres",
                None,
                "http-api must not use diesel-postgres",
            ),
            (
                "job-workers",
                "whatsapp",
                None,
                "job-workers must not use whatsapp",
            ),
            (
                "diesel-postgres",
                "security",
                None,
                "diesel-postgres must not use security",
            ),
            (
                "http-api",
                "server",
                Some("dev"),
                "http-api must not use server",
            ),
            (
                "test-support",
                "server",
                None,
                "test-support must not use server",
            ),
            (
                "server",
                "test-support",
                None,
                "server: test-support is for [dev-dependencies] alone",
            ),
            ("xtask", "kernel", None, "xtask must not use kernel"),
            (
                "kernel",
                "rand",
                None,
                "kernel must not use rand: it is no library known to be without I/O",
            ),
            (
                "http-api",
                "diesel",
                None,
                "http-api must not use diesel, which belongs to diesel-postgres",
            ),
        ] {
            assert_eq!(
                faults(&workspace(&[(from, to, kind)])),
                [expected],
                "{from} -> {to}"
            );
        }
    }

    #[test]
    fn a_pure_crate_does_not_reach_io_through_a_library() {
        let found = faults(&workspace(&[
            ("kernel", "serde", None),
            ("serde", "tokio", None),
        ]));
        assert_eq!(found, ["kernel reaches tokio through what it uses"]);
        let tests_only = workspace(&[
            ("kernel", "proptest", Some("dev")),
            ("proptest", "tokio", None),
        ]);
        assert_eq!(faults(&tests_only), Vec::<String>::new());
    }
}
