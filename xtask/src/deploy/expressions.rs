//! Names, labels and values in PromQL, held against what the servers tell
//! (`deploy/prometheus/metrics.txt`, generated). Whether an expression is PromQL at all is for
//! promtool to say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context;

const METRICS: &str = "deploy/prometheus/metrics.txt";

/// An expression, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    pub(super) place: String,
    /// The name under which a rule keeps its result.
    pub(super) recorded: Option<String>,
    pub(super) text: String,
}

/// What may be asked for.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Every series' name with its labels, and a label's values where they are listed.
    series: BTreeMap<String, BTreeMap<String, Option<BTreeSet<String>>>>,
    /// What rules record.
    recorded: BTreeSet<String>,
}

/// Labels that Prometheus, the collector or a rule adds.
const ADDED: &[&str] = &[
    "instance",
    "job",
    "le",
    "alertname",
    "alertstate",
    "severity",
    "promise",
];

/// Told by others than our servers: begins with one of these.
const OTHERS: &[&str] = &["ALERTS", "otelcol_", "traces_span_metrics_", "up"];

/// What is neither a metric nor a function though it looks like one.
const WORDS: &[&str] = &[
    "and",
    "atan2",
    "bool",
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "inf",
    "nan",
    "offset",
    "on",
    "or",
    "unless",
    "without",
];

impl Known {
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(root.join(METRICS)).with_context(|| {
            format!("cannot read {METRICS}: write it with `cargo xtask openapi`")
        })?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut known = Self::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            let (Some(name), Some(kind)) = (words.next(), words.next()) else {
                continue;
            };
            let labels: BTreeMap<_, _> = words
                .map(|word| match word.split_once('=') {
                    Some((label, values)) => {
                        let values = values.split('|').map(str::to_owned).collect();
                        (label.to_owned(), Some(values))
                    }
                    None => (word.to_owned(), None),
                })
                .collect();
            let suffixes: &[&str] = match kind {
                "histogram" => &["_bucket", "_count", "_sum"],
                _ => &[""],
            };
            for suffix in suffixes {
                known
                    .series
                    .insert(format!("{name}{suffix}"), labels.clone());
            }
        }
        known
    }

    /// Takes the names under which rules keep their results.
    pub(super) fn learn(&mut self, rules: &[Expression]) {
        self.recorded
            .extend(rules.iter().filter_map(|rule| rule.recorded.clone()));
    }

    /// What these expressions ask for and nobody tells.
    pub(super) fn faults_in(&self, expressions: &[Expression]) -> Vec<String> {
        let mut faults = Vec::new();
        for expression in expressions {
            for fault in self.faults_of(&expression.text) {
                faults.push(format!("{}: {fault}", expression.place));
            }
        }
        faults
    }

    fn faults_of(&self, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        for selector in selectors(text) {
            let name = selector.name.as_str();
            if self.recorded.contains(name) || OTHERS.iter().any(|other| name.starts_with(other)) {
                continue;
            }
            let Some(labels) = self.series.get(name) else {
                faults.push(format!("{name} is told by no server (see {METRICS})"));
                continue;
            };
            for (label, values) in &selector.matchers {
                match labels.get(label) {
                    None if ADDED.contains(&label.as_str()) => {}
                    None => faults.push(format!("{name} has no label {label}")),
                    Some(None) => {}
                    Some(Some(listed)) => faults.extend(
                        values
                            .iter()
                            .filter(|value| !value.is_empty() && !listed.contains(*value))
                            .map(|value| format!("{label} of {name} is never {value:?}")),
                    ),
                }
            }
        }
        for label in grouped(text) {
            let told = self
                .series
                .values()
                .any(|labels| labels.contains_key(&label));
            let others = ["exporter", "receiver", "span_name"].contains(&label.as_str());
            if !told && !others && !ADDED.contains(&label.as_str()) {
                faults.push(format!("no metric has the label {label}"));
            }
        }
        faults
    }
}

/// A metric's name with the labels that are asked for, each with its plain values.
#[derive(Debug, PartialEq, Eq)]
struct Selector {
    name: String,
    matchers: Vec<(String, Vec<String>)>,
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// The text with the contents of strings blanked, so that nothing in them is taken for a name.
fn blanked(text: &str) -> String {
    let mut inside = None;
    text.chars()
        .map(|c| match inside {
            Some(quote) if c == quote => {
                inside = None;
                c
            }
            Some(_) => ' ',
            None => {
                if c == '"' || c == '\'' {
                    inside = Some(c);
                }
                // One byte for each, so that places stay the same.
                if c.is_ascii() { c } else { ' ' }
            }
        })
        .collect()
}

/// Every selector. Expressions are ASCII; others are read as far as they are.
fn selectors(text: &str) -> Vec<Selector> {
    let text: String = text
        .chars()
        .map(|c| if c.is_ascii() { c } else { ' ' })
        .collect();
    let plain = blanked(&text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < plain.len() {
        let rest = &plain[at..];
        let Some(c) = rest.chars().next() else { break };
        if c == '{' || c == '[' {
            let close = if c == '{' { '}' } else { ']' };
            at += rest.find(close).unwrap_or(rest.len() - 1) + 1;
            continue;
        }
        if !(c.is_ascii_alphabetic() || c == '_' || c == ':') {
            // A number's letters (`1e3`, `5m`) belong to it.
            let number = c.is_ascii_digit();
            let end = rest.find(|c: char| !(number && (is_name(c) || c == '.')));
            at += end.unwrap_or(rest.len()).max(1);
            continue;
        }
        let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        let name = &rest[..end];
        at += end;
        let after = plain[at..].trim_start();
        let lists_labels = [
            "by",
            "without",
            "on",
            "ignoring",
            "group_left",
            "group_right",
        ];
        if lists_labels.contains(&name) {
            if after.starts_with('(') {
                at += plain[at..].find(')').map_or(0, |end| end + 1);
            }
            continue;
        }
        if WORDS.contains(&name.to_ascii_lowercase().as_str()) {
            continue;
        }
        // A function, or an aggregation with its labels before what it sums.
        let groups = ["by ", "by(", "without ", "without("];
        if after.starts_with('(') || groups.iter().any(|word| after.starts_with(word)) {
            continue;
        }
        let matchers = if plain[at..].starts_with('{') {
            let close = plain[at..].find('}').map_or(plain.len(), |end| at + end);
            matchers(&text[at + 1..close])
        } else {
            Vec::new()
        };
        found.push(Selector {
            name: name.to_owned(),
            matchers,
        });
    }
    found
}

/// `a="x",b=~"y|z"`: the values of a regular expression are those of its plain alternatives.
fn matchers(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(quote) = rest.find('"') {
        let head = rest[..quote].trim_start_matches([',', ' ', '\n']);
        let label: String = head.chars().take_while(|c| is_name(*c)).collect();
        let regex = head.contains('~');
        let Some(end) = rest[quote + 1..].find('"') else {
            break;
        };
        let value = &rest[quote + 1..quote + 1 + end];
        rest = &rest[quote + 2 + end..];
        let plain = |part: &&str| {
            part.chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        let values = if regex {
            value.split('|').filter(plain).map(str::to_owned).collect()
        } else {
            vec![value.to_owned()]
        };
        found.push((label, values));
    }
    found
}

/// The labels that are grouped by or matched on.
fn grouped(text: &str) -> BTreeSet<String> {
    let plain = blanked(text);
    let mut found = BTreeSet::new();
    for word in ["by", "without", "on", "ignoring"] {
        for (at, _) in plain.match_indices(word) {
            let before = plain[..at].chars().next_back();
            let after = plain[at + word.len()..].trim_start();
            if before.is_some_and(is_name) || !after.starts_with('(') {
                continue;
            }
            let list = after[1..].split(')').next().unwrap_or_default();
            found.extend(list.split(',').map(|label| label.trim().to_owned()));
        }
    }
    found.remove("");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "\
acolhe_job_count gauge messaging_destination_name acolhe_job_state=waiting|dead
http_server_request_duration_seconds histogram http_route http_response_status_code
process_uptime_seconds gauge
";

    fn faults(text: &str) -> Vec<String> {
        let mut known = Known::parse(TOLD);
        known.learn(&[Expression {
            place: String::new(),
            recorded: Some("acolhe:jobs_due:count".to_owned()),
            text: String::new(),
        }]);
        known.faults_of(text)
    }

    #[test]
    fn what_servers_tell_may_be_asked_for_in_every_form() {
        for text in [
            "max by (messaging_destination_name) (acolhe_job_count{acolhe_job_state=\"waiting\"}) > 100",
            "(sum(rate(http_server_request_duration_seconds_count{http_response_status_code=~\"5..\"}[5m])) or vector(0)) / 1e3",
            "histogram_quantile(0.95, sum by (le, http_route) (rate(http_server_request_duration_seconds_bucket[$__rate_interval])))",
            "process_uptime_seconds > on (instance, job) (process_uptime_seconds > 0)",
            "acolhe:jobs_due:count and otelcol_x and up == 0 and ALERTS{alertstate=\"firing\"}",
            "acolhe_job_count{acolhe_job_state=~\"waiting|dead\", job!=\"x\"} offset 5m",
            "absent(process_uptime_seconds) unless acolhe_job_count{acolhe_job_state!=\"\"}",
        ] {
            assert_eq!(faults(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_nobody_tells_is_named() {
        for (text, fault) in [
            (
                "rate(acolhe_jobs_total[5m])",
                "acolhe_jobs_total is told by no server",
            ),
            (
                "http_server_request_duration_seconds > 1",
                "is told by no server",
            ),
            (
                "process_uptime_seconds{clinic=\"x\"}",
                "has no label clinic",
            ),
            (
                "acolhe_job_count{acolhe_job_state=\"wating\"}",
                "is never \"wating\"",
            ),
            (
                "acolhe_job_count{acolhe_job_state=~\"dead|wating\"}",
                "is never \"wating\"",
            ),
            (
                "sum by (queue) (acolhe_job_count)",
                "no metric has the label queue",
            ),
        ] {
            let told = faults(text);
            assert!(
                told.iter().any(|line| line.contains(fault)),
                "{text}: {told:?}"
            );
        }
    }

    #[test]
    fn a_selector_is_read_with_its_labels() {
        assert_eq!(
            selectors("sum(rate(a_total{b=\"c{d\", e=~\"f|g.*\"}[5m])) by (h) * i"),
            [
                Selector {
                    name: "a_total".to_owned(),
                    matchers: vec![
                        ("b".to_owned(), vec!["c{d".to_owned()]),
                        ("e".to_owned(), vec!["f".to_owned()]),
                    ],
                },
                Selector {
                    name: "i".to_owned(),
                    matchers: Vec::new(),
                },
            ]
        );
    }
}
