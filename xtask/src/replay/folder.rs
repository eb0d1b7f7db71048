//! A folder of deliveries, and the ways to deliver it.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, bail};
use fastrand::Rng;
use serde_json::Value;

use super::payload;
use crate::terminal;

/// The deliveries of a folder that can be replayed, and what cannot.
pub(crate) struct Folder {
    shown: String,
    /// One for each file, in the order of names, with ids of their own.
    pub(crate) deliveries: Vec<Value>,
    /// The providers' ids of the numbers that are written to.
    pub(crate) numbers: Vec<String>,
    unsupported: BTreeMap<&'static str, Vec<String>>,
    given_a_number: usize,
}

impl Folder {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let entries = fs::read_dir(path).with_context(|| {
            format!(
                "cannot read {}: name a folder of JSON files",
                path.display()
            )
        })?;
        let mut files: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|file| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                // What a decoder's test expects of the file beside it is no delivery.
                name.ends_with(".json") && !name.ends_with(".expected.json")
            })
            .collect();
        files.sort();
        if files.is_empty() {
            bail!("{} holds no JSON file", path.display());
        }
        let mut folder = Self {
            shown: path.display().to_string(),
            deliveries: Vec::new(),
            numbers: Vec::new(),
            unsupported: BTreeMap::new(),
            given_a_number: 0,
        };
        for (index, file) in files.iter().enumerate() {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
            let Ok(mut delivery) = serde_json::from_str::<Value>(&text) else {
                folder.unsupported.entry("not JSON").or_default().push(name);
                continue;
            };
            match payload::provider(&delivery) {
                Ok(()) => {
                    payload::own_ids(&mut delivery, index);
                    folder.deliveries.push(delivery);
                }
                Err(other) => folder.unsupported.entry(other).or_default().push(name),
            }
        }
        for delivery in &folder.deliveries {
            folder.numbers.extend(payload::numbers(delivery));
        }
        folder.numbers.sort();
        folder.numbers.dedup();
        if folder.numbers.is_empty() {
            folder.numbers.push("100000000000001".to_owned());
        }
        let first = folder.numbers[0].clone();
        for delivery in &mut folder.deliveries {
            folder.given_a_number += payload::give_number(delivery, &first);
        }
        Ok(folder)
    }

    pub(crate) fn describe(&self) {
        terminal::note(format!(
            "{}: {} deliveries to {} numbers.",
            self.shown,
            self.deliveries.len(),
            self.numbers.len()
        ));
        if self.given_a_number > 0 {
            terminal::note(format!(
                "  {} changes name no number: they are given the first one.",
                self.given_a_number
            ));
        }
        for (what, names) in &self.unsupported {
            terminal::note(format!(
                "  left out, {what}: {} ({})",
                names.len(),
                names.join(", ")
            ));
        }
    }

    pub(crate) fn in_order(&self) -> Vec<Value> {
        self.deliveries.clone()
    }

    pub(crate) fn shuffled(&self, rng: &mut Rng) -> Vec<Value> {
        let mut all = self.deliveries.clone();
        rng.shuffle(&mut all);
        all
    }

    pub(crate) fn doubled(&self, rng: &mut Rng) -> Vec<Value> {
        let mut all = [self.deliveries.clone(), self.deliveries.clone()].concat();
        rng.shuffle(&mut all);
        all
    }

    pub(crate) fn split(&self, rng: &mut Rng) -> Vec<Value> {
        let mut all: Vec<_> = self.deliveries.iter().flat_map(payload::split).collect();
        rng.shuffle(&mut all);
        all
    }
}
