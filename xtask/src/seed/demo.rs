//! `.acolhe/demo.json`: what scripts need to know of the demo.

use std::{fs, path::Path};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::talk::Number;

/// The demo: where it is served, and who may log in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Demo {
    pub(crate) base_url: String,
    pub(crate) clinics: Vec<Clinic>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Clinic {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) users: Vec<User>,
    pub(crate) channels: Vec<Channel>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    pub(crate) email: String,
    pub(crate) password: String,
    pub(crate) role: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Channel {
    pub(crate) id: String,
    pub(crate) provider: String,
    pub(crate) webhook_path: String,
    pub(crate) phone_number_id: String,
    pub(crate) app_secret: String,
    pub(crate) verify_token: String,
}

impl Channel {
    /// The number that messages are sent to.
    pub(crate) fn number(&self) -> Number {
        Number {
            phone_number_id: self.phone_number_id.clone(),
            display: "551130034000".to_owned(),
        }
    }
}

impl Demo {
    /// The demo of an earlier run; `None` when there is none that can be read.
    pub(crate) fn read(file: &Path) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(file).ok()?).ok()
    }

    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}
