//! `acolhe-server telemetry`: what this server may tell, as lists that the files under `deploy/` are
//! generated from and held against.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::ValueEnum;
use kernel::metrics::{CATALOGUE, Kind, Spec, Values};

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum List {
    /// The fields of spans and log lines, as items of a YAML list.
    Fields,
    /// The labels of metrics, as items of a YAML list.
    Labels,
    /// The metrics as Prometheus shows them: kind, name, labels with their values where these are
    /// a closed list.
    Metrics,
    /// The metrics as a table for people.
    Page,
}

impl List {
    pub(crate) fn text(self) -> String {
        match self {
            Self::Fields => items(otel_telemetry::fields::FIELDS.iter().map(|(name, _)| *name)),
            Self::Labels => {
                let labels = CATALOGUE.iter().flat_map(|spec| spec.labels);
                items(labels.map(|label| label.name).collect::<BTreeSet<_>>())
            }
            Self::Metrics => metrics(),
            Self::Page => page(),
        }
    }
}

fn items<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for name in names {
        let _infallible = writeln!(text, "- {name}");
    }
    text
}

/// The catalogue as a table in Markdown.
fn page() -> String {
    let mut text =
        String::from("| metric | kind, unit | what it says | labels |\n|---|---|---|---|\n");
    for spec in CATALOGUE {
        let labels: Vec<String> = spec
            .labels
            .iter()
            .map(|label| match label.values {
                Values::Listed(values) => format!("`{}`: {}", label.name, values.join(", ")),
                Values::OfTheSource(sort) => format!("`{}`: {sort}", label.name),
            })
            .collect();
        let (name, kind, unit) = (spec.name, spec.kind.name(), spec.unit);
        let _infallible = writeln!(
            text,
            "| `{name}` | {kind}, {unit} | {} | {} |",
            spec.description,
            labels.join("<br>")
        );
    }
    text
}

fn metrics() -> String {
    let mut lines = BTreeSet::new();
    for spec in CATALOGUE {
        let kind = match spec.kind {
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
            Kind::UpDownCounter | Kind::Gauge => "gauge",
        };
        let mut line = format!("{} {kind}", prometheus_name(spec));
        for label in spec.labels {
            let _infallible = write!(line, " {}", escaped(label.name));
            if let Values::Listed(values) = label.values {
                let _infallible = write!(line, "={}", values.join("|"));
            }
        }
        lines.insert(line);
    }
    lines
        .into_iter()
        .fold(String::new(), |text, line| text + &line + "\n")
}

/// The name that the collector's Prometheus exporter gives: escaped, with the unit, and `_total`
/// for what only grows (OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility").
fn prometheus_name(spec: &Spec) -> String {
    let mut name = escaped(spec.name);
    let unit = match spec.unit {
        "s" => "_seconds",
        "By" => "_bytes",
        "1" if matches!(spec.kind, Kind::Gauge) => "_ratio",
        _ => "",
    };
    if !name.ends_with(unit) {
        name.push_str(unit);
    }
    if matches!(spec.kind, Kind::Counter) {
        name.push_str("_total");
    }
    name
}

fn escaped(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(legal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_named_as_prometheus_names_them() {
        let text = List::Metrics.text();
        for line in [
            "http_server_request_duration_seconds histogram ",
            "db_client_connection_timeouts_total counter ",
            "process_cpu_time_seconds_total counter cpu_mode=user|system\n",
            "process_memory_usage_bytes gauge\n",
            "http_server_active_requests gauge ",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn every_unit_has_a_name() {
        for spec in CATALOGUE {
            let known = ["s", "By", "1"].contains(&spec.unit) || spec.unit.starts_with('{');
            assert!(
                known,
                "{}: say what Prometheus makes of {:?}",
                spec.name, spec.unit
            );
        }
    }

    #[test]
    fn lists_are_items_in_order_and_name_nothing_twice() {
        for list in [List::Fields, List::Labels] {
            let text = list.text();
            let lines: Vec<_> = text.lines().collect();
            assert!(lines.iter().all(|line| line.starts_with("- ")));
            assert!(lines.windows(2).all(|pair| pair[0] < pair[1]), "{text}");
        }
    }
}
