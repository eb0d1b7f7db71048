//! What `cargo metadata` says of our crates and all they are built from.

use std::collections::HashMap;

use anyhow::Context;
use serde::Deserialize;

use crate::{checkout::Checkout, process};

#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    /// `None` for our own.
    pub(super) source: Option<String>,
    pub(super) license: Option<String>,
    pub(super) dependencies: Vec<Dependency>,
}

/// As a manifest declares it.
#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// `None` is a normal one; else `dev` or `build`.
    pub(super) kind: Option<String>,
}

impl Dependency {
    pub(super) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Debug, Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Metadata {
    /// Reads it as the lock file has it. `targets` narrows it to what these platforms build.
    pub(super) fn load(checkout: &Checkout, targets: &[String]) -> anyhow::Result<Self> {
        let mut command = checkout.cargo();
        command.args(["metadata", "--format-version", "1", "--locked"]);
        for target in targets {
            command.args(["--filter-platform", target]);
        }
        let text = process::hushed(&mut command)
            .context("is Cargo.lock behind the manifests? Then run: cargo update --workspace")?;
        serde_json::from_str(&text).context("cannot read what cargo metadata printed")
    }

    /// Our own packages.
    pub(super) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The names of all that a package is built from, itself and what its tests need left out.
    pub(super) fn reach(&self, package: &Package) -> Vec<&str> {
        let nodes: HashMap<&str, &Node> = self
            .resolve
            .nodes
            .iter()
            .map(|node| (node.id.as_str(), node))
            .collect();
        let names: HashMap<&str, &str> = self
            .packages
            .iter()
            .map(|package| (package.id.as_str(), package.name.as_str()))
            .collect();
        let mut reached = vec![package.id.as_str()];
        let mut next = 0;
        while let Some(id) = reached.get(next) {
            next += 1;
            for edge in nodes.get(id).into_iter().flat_map(|node| &node.deps) {
                let built = edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
                if built && !reached.contains(&edge.pkg.as_str()) {
                    reached.push(&edge.pkg);
                }
            }
        }
        reached
            .iter()
            .skip(1)
            .filter_map(|id| names.get(id).copied())
            .collect()
    }
}
