//! The parts of `.deny.toml` that we read: the same file serves cargo-deny.

use std::fs;

use anyhow::Context;
use serde::Deserialize;

use crate::checkout::Checkout;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Deny {
    #[serde(default)]
    pub(super) graph: Graph,
    #[serde(default)]
    pub(super) licenses: Licenses,
    #[serde(default)]
    pub(super) bans: Bans,
    #[serde(default)]
    pub(super) sources: Sources,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Graph {
    /// The platforms we build for; all, when empty.
    #[serde(default)]
    pub(super) targets: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Licenses {
    /// SPDX names.
    #[serde(default)]
    pub(super) allow: Vec<String>,
    #[serde(default)]
    pub(super) exceptions: Vec<Exception>,
}

/// More licences for one crate.
#[derive(Debug, Deserialize)]
pub(super) struct Exception {
    #[serde(rename = "crate")]
    pub(super) name: String,
    pub(super) allow: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Bans {
    #[serde(default)]
    pub(super) deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Ban {
    #[serde(rename = "crate")]
    pub(super) name: String,
    #[serde(default)]
    pub(super) reason: String,
    /// The crate is welcome, but once only.
    #[serde(default)]
    pub(super) deny_multiple_versions: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Sources {
    #[serde(default)]
    pub(super) allow_registry: Vec<String>,
    #[serde(default)]
    pub(super) allow_git: Vec<String>,
}

impl Deny {
    pub(super) fn load(checkout: &Checkout) -> anyhow::Result<Self> {
        let file = checkout.root().join(".deny.toml");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot read {}", file.display()))
    }
}
