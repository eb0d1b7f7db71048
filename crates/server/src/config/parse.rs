//! From text to values. Every fault is collected, so that one start tells them all.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kernel::Sensitive;

use super::source::Values;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    name: String,
    rule: String,
}

impl Fault {
    /// `name` breaks `rule`, which says what would be right and nothing of the value.
    pub(crate) fn new(name: String, rule: String) -> Self {
        Self { name, rule }
    }
}

/// All that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError(Vec<Fault>);

impl ConfigError {
    pub(crate) fn one(fault: Fault) -> Self {
        Self(vec![fault])
    }

    /// A key that this command needs and nobody gave.
    pub(crate) fn missing(name: &str) -> Self {
        let variable = super::keys::find(name).map(super::keys::Key::variable);
        let rule = format!("is needed: set {}", variable.unwrap_or_default());
        Self::one(Fault::new(name.to_owned(), rule))
    }

    /// A key whose value another part refuses.
    pub(crate) fn refused(name: &str, rule: &dyn fmt::Display) -> Self {
        Self::one(Fault::new(name.to_owned(), rule.to_string()))
    }

    pub(crate) fn unless_empty(faults: Vec<Fault>) -> Option<Self> {
        (!faults.is_empty()).then_some(Self(faults))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable:")?;
        for fault in &self.0 {
            write!(f, "\n  {} {}", fault.name, fault.rule)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads keys into values and remembers what was wrong. A wrong value is replaced by any right
/// one: [`Reader::finish`] refuses the whole then.
pub(crate) struct Reader<'a> {
    values: &'a Values,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(values: &'a Values) -> Self {
        Self {
            values,
            faults: Vec::new(),
        }
    }

    pub(crate) fn finish<T>(self, config: T) -> Result<T, ConfigError> {
        ConfigError::unless_empty(self.faults).map_or(Ok(config), Err)
    }

    fn fault(&mut self, name: &str, rule: impl Into<String>) {
        self.faults.push(Fault::new(name.to_owned(), rule.into()));
    }

    /// The text of a key that has a default.
    pub(crate) fn text(&mut self, name: &str) -> String {
        self.values.get(name).unwrap_or_default().to_owned()
    }

    /// A secret, where it is given and not empty.
    pub(crate) fn secret(&mut self, name: &str) -> Option<Sensitive<String>> {
        let value = self.values.get(name)?;
        (!value.is_empty()).then(|| Sensitive::new(value.to_owned()))
    }

    /// A value that may be missing; an empty text is none.
    pub(crate) fn optional<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let value = self.values.get(name)?;
        if value.is_empty() {
            return None;
        }
        let parsed = value.parse().ok();
        if parsed.is_none() {
            self.fault(name, kind_of::<T>());
        }
        parsed
    }

    /// Values with spaces or commas between; none where nothing is given.
    pub(crate) fn list<T: FromStr>(&mut self, name: &str, rule: &'static str) -> Vec<T> {
        let text = self.values.get(name).unwrap_or_default();
        let parts = text
            .split([' ', ',', '\n', '\t'])
            .filter(|part| !part.is_empty());
        let parsed: Option<Vec<T>> = parts.map(|part| part.parse().ok()).collect();
        parsed.unwrap_or_else(|| {
            self.fault(name, rule);
            Vec::new()
        })
    }

    /// A value of a key that has a default.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str, otherwise: T) -> T {
        let parsed = self.values.get(name).and_then(|value| value.parse().ok());
        parsed.unwrap_or_else(|| {
            self.fault(name, kind_of::<T>());
            otherwise
        })
    }

    /// One of a few words.
    pub(crate) fn choice<T: FromStr + Default>(&mut self, name: &str, choices: &str) -> T {
        let parsed = self.values.get(name).and_then(|value| value.parse().ok());
        parsed.unwrap_or_else(|| {
            self.fault(name, format!("must be {choices}"));
            T::default()
        })
    }

    /// A whole number within bounds.
    pub(crate) fn within(&mut self, name: &str, least: usize, most: usize) -> usize {
        let parsed = self.values.get(name).and_then(|value| value.parse().ok());
        parsed
            .filter(|number| (least..=most).contains(number))
            .unwrap_or_else(|| {
                self.fault(
                    name,
                    format!("must be a whole number from {least} to {most}"),
                );
                least
            })
    }

    /// A whole number from 1 on.
    pub(crate) fn count(&mut self, name: &str, most: usize) -> u32 {
        u32::try_from(self.within(name, 1, most)).unwrap_or(u32::MAX)
    }

    /// A number from 0 to 1.
    pub(crate) fn ratio(&mut self, name: &str) -> f64 {
        let parsed = self.values.get(name).and_then(|value| value.parse().ok());
        parsed
            .filter(|ratio| (0.0..=1.0).contains(ratio))
            .unwrap_or_else(|| {
                self.fault(name, "must be a number from 0 to 1");
                0.0
            })
    }

    /// A duration longer than nothing.
    pub(crate) fn duration(&mut self, name: &str) -> Duration {
        let parsed = self.values.get(name).and_then(duration);
        parsed
            .filter(|duration| !duration.is_zero())
            .unwrap_or_else(|| {
                self.fault(name, "must be a duration such as 500ms, 10s, 15m or 1h");
                Duration::from_secs(1)
            })
    }

    /// A duration that may be days long.
    pub(crate) fn span(&mut self, name: &str) -> Duration {
        let parsed = self.values.get(name).and_then(span);
        parsed.filter(|span| !span.is_zero()).unwrap_or_else(|| {
            self.fault(
                name,
                "must be a duration such as 15m, 1h or 14d, of 400 days at most",
            );
            Duration::from_secs(1)
        })
    }
}

/// `14d`, 400 of them at most, or what [`duration`] reads.
pub(crate) fn span(text: &str) -> Option<Duration> {
    let Some(days) = text.trim().strip_suffix('d') else {
        return duration(text);
    };
    let days: u64 = days.parse().ok()?;
    (days <= 400).then(|| Duration::from_hours(24 * days))
}

/// `500ms`, `10s`, `15m`, `1h`; a day at most.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let millis = number.checked_mul(millis)?;
    (millis <= 86_400_000).then(|| Duration::from_millis(millis))
}

fn kind_of<T>() -> &'static str {
    // The names are the compiler's and stable enough for a text.
    match std::any::type_name::<T>() {
        "core::net::ip_addr::IpAddr" => "must be an IP address, such as 127.0.0.1 or ::1",
        "u16" => "must be a whole number from 0 to 65535",
        "bool" => "must be true or false",
        _ => "is not valid",
    }
}
