//! Reading YAML.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use yaml_rust2::{Yaml, YamlLoader};

/// The one document of a file.
pub(super) fn read(root: &Path, file: &str) -> anyhow::Result<Yaml> {
    let text =
        fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
    parse(&text).with_context(|| format!("{file} is not YAML"))
}

pub(super) fn parse(text: &str) -> anyhow::Result<Yaml> {
    let mut documents = YamlLoader::load_from_str(text)?;
    ensure!(
        documents.len() == 1,
        "it holds {} documents",
        documents.len()
    );
    Ok(documents.remove(0))
}

/// The keys and values of a mapping whose keys are texts; nothing where it is none.
pub(super) fn entries(yaml: &Yaml) -> Vec<(&str, &Yaml)> {
    yaml.as_hash()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str()?, value)))
        .collect()
}

/// The items of a list; nothing where it is none.
pub(super) fn items(yaml: &Yaml) -> &[Yaml] {
    yaml.as_vec().map_or(&[], Vec::as_slice)
}

/// The texts of a list.
pub(super) fn texts(yaml: &Yaml) -> Vec<&str> {
    items(yaml).iter().filter_map(Yaml::as_str).collect()
}
