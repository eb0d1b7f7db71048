//! Where values come from: a TOML file and the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kernel::Sensitive;

use super::keys::{KEYS, find, nearest};
use super::parse::{ConfigError, Fault};

const PREFIX: &str = "ACOLHE_";
/// What of ours in the environment is no key.
const NOT_A_KEY: &[&str] = &["ACOLHE_CONFIG"];

/// Values by key, as text, the stronger source's. Every one may be a secret.
#[derive(Debug, Default, Clone)]
pub(crate) struct Values(BTreeMap<&'static str, Sensitive<String>>);

impl Values {
    /// The value of a key; its default where nobody gave one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(value) => Some(value.expose()),
            None => find(name).and_then(|key| key.default),
        }
    }

    /// Whether somebody gave a value.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// What there is to read.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The file, where one is named.
    pub(crate) file: Option<PathBuf>,
    /// The environment.
    pub(crate) environment: Vec<(String, String)>,
}

/// Reads every source. Unknown keys are refused, with the nearest known name.
pub(crate) fn load(sources: &Sources) -> Result<Values, ConfigError> {
    let mut faults = Vec::new();
    let mut given: BTreeMap<String, String> = BTreeMap::new();
    if let Some(path) = &sources.file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError::one(Fault::new(
                path.display().to_string(),
                format!("cannot be read ({})", error.kind()),
            ))
        })?;
        read_file(path, &text, &mut given, &mut faults);
    }
    read_environment(&sources.environment, &mut given, &mut faults);
    let mut values = Values::default();
    for (name, value) in given {
        take(&name, value, &mut values, &mut faults);
    }
    ConfigError::unless_empty(faults).map_or(Ok(values), Err)
}

/// Adds the file's keys, as `section.name`.
pub(crate) fn read_file(
    path: &Path,
    text: &str,
    given: &mut BTreeMap<String, String>,
    faults: &mut Vec<Fault>,
) {
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            // The parser's own text quotes the line, which may hold a secret.
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text
                .as_bytes()
                .iter()
                .take(at)
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            let name = format!("{}, line {line}", path.display());
            faults.push(Fault::new(name, "is not TOML".to_owned()));
            return;
        }
    };
    for (section, value) in table {
        let toml::Value::Table(entries) = value else {
            let rule = "must stand in a section, such as [http]".to_owned();
            faults.push(Fault::new(section, rule));
            continue;
        };
        for (entry, value) in entries {
            let name = format!("{section}.{entry}");
            match plain(value) {
                Some(value) => {
                    given.insert(name, value);
                }
                None => faults.push(Fault::new(name, "must be one plain value".to_owned())),
            }
        }
    }
}

fn plain(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(choice) => Some(choice.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<String>> = items.into_iter().map(plain).collect();
            items.map(|items| items.join(" "))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// Adds the environment's keys. A variable of ours in a known section that is no key is refused;
/// others with the prefix belong to other programs.
pub(crate) fn read_environment(
    environment: &[(String, String)],
    given: &mut BTreeMap<String, String>,
    faults: &mut Vec<Fault>,
) {
    for (variable, value) in environment {
        if NOT_A_KEY.contains(&variable.as_str()) {
            continue;
        }
        let Some(rest) = variable.strip_prefix(PREFIX) else {
            continue;
        };
        let lower = rest.to_lowercase();
        let Some((section, entry)) = lower.split_once('_') else {
            continue;
        };
        if !KEYS
            .iter()
            .any(|key| key.name.split('.').next() == Some(section))
        {
            continue;
        }
        let name = format!("{section}.{entry}");
        if known(&name) {
            given.insert(name, value.clone());
        } else {
            faults.push(Fault::new(variable.clone(), unknown(&name, true)));
        }
    }
}

fn known(name: &str) -> bool {
    find(name).is_some() || of_file(name).is_some()
}

/// The secret key that `…_file` stands for.
fn of_file(name: &str) -> Option<&'static str> {
    let key = find(name.strip_suffix("_file")?)?;
    key.secret.then_some(key.name)
}

fn unknown(name: &str, in_environment: bool) -> String {
    match nearest(name) {
        Some(near) if in_environment => {
            let variable = find(near).map(super::keys::Key::variable);
            format!(
                "is not a key; the nearest is {}",
                variable.unwrap_or_default()
            )
        }
        Some(near) => format!("is not a key; the nearest is {near}"),
        None => "is not a key; `acolhe-server config` lists them".to_owned(),
    }
}

fn take(name: &str, value: String, values: &mut Values, faults: &mut Vec<Fault>) {
    if let Some(key) = find(name) {
        values.0.insert(key.name, Sensitive::new(value));
    } else if let Some(key) = of_file(name) {
        // Said directly and as a file: the direct one would win unseen.
        if values.is_set(key) {
            faults.push(Fault::new(
                name.to_owned(),
                format!("is given beside {key}: give one"),
            ));
            return;
        }
        match std::fs::read_to_string(&value) {
            Ok(text) => {
                values.0.insert(key, Sensitive::new(text.trim().to_owned()));
            }
            Err(error) => {
                let rule = format!("names a file that cannot be read ({})", error.kind());
                faults.push(Fault::new(name.to_owned(), rule));
            }
        }
    } else {
        faults.push(Fault::new(name.to_owned(), unknown(name, false)));
    }
}
