//! The collector's configuration: its own program is not to be had without a container engine, so
//! what it would refuse, and what it would not but should, is looked for here.

use std::{collections::BTreeSet, path::Path};

use yaml_rust2::Yaml;

use super::yaml::{self, entries, texts};

const FILE: &str = "deploy/collector/config.yaml";

pub(super) fn faults(root: &Path) -> anyhow::Result<Vec<String>> {
    Ok(faults_of(&yaml::read(root, FILE)?)
        .into_iter()
        .map(|fault| format!("{FILE}: {fault}"))
        .collect())
}

fn faults_of(config: &Yaml) -> Vec<String> {
    let mut faults = Vec::new();
    let named = |section: &str| -> BTreeSet<&str> {
        entries(&config[section])
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    };
    let connectors = named("connectors");
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (pipeline, stages) in entries(&config["service"]["pipelines"]) {
        for stage in ["receivers", "processors", "exporters"] {
            let defined = named(stage);
            for name in texts(&stages[stage]) {
                let is_connector = stage != "processors" && connectors.contains(name);
                if !defined.contains(name) && !is_connector {
                    faults.push(format!(
                        "pipeline {pipeline} names {name}, which is none of the {stage}"
                    ));
                }
                used.insert((if is_connector { "connectors" } else { stage }, name));
            }
        }
        let processors = texts(&stages["processors"]);
        // Behind the forward connector everything has been through it already.
        let from_outside = !texts(&stages["receivers"])
            .iter()
            .any(|name| name.starts_with("forward/"));
        let redacts = processors.iter().any(|name| name.starts_with("redaction/"));
        if from_outside && !redacts {
            faults.push(format!("pipeline {pipeline} redacts nothing"));
        }
        if from_outside && processors.first() != Some(&"memory_limiter") {
            faults.push(format!(
                "pipeline {pipeline} does not begin with memory_limiter"
            ));
        }
        let samples = processors.contains(&"tail_sampling");
        let counts_spans = texts(&stages["exporters"]).contains(&"spanmetrics");
        if samples && counts_spans {
            faults.push(format!(
                "pipeline {pipeline} counts spans after it has sampled"
            ));
        }
    }
    for section in ["receivers", "processors", "exporters", "connectors"] {
        for name in named(section) {
            if !used.contains(&(section, name)) {
                faults.push(format!("{name} of the {section} is used by no pipeline"));
            }
        }
    }
    for extension in texts(&config["service"]["extensions"]) {
        if !named("extensions").contains(extension) {
            faults.push(format!(
                "the service names {extension}, which is none of the extensions"
            ));
        }
    }
    for (name, processor) in entries(&config["processors"]) {
        if name.starts_with("redaction/") {
            faults.extend(redaction(name, processor));
        }
    }
    faults
}

/// A list that lets pass what it should not is worse than none: it looks safe.
fn redaction(name: &str, processor: &Yaml) -> Vec<String> {
    let mut faults = Vec::new();
    let allowed = texts(&processor["allowed_keys"]);
    if processor["allow_all_keys"].as_bool() != Some(false) {
        faults.push(format!("{name} must say allow_all_keys: false"));
    }
    if allowed.len() < 10 {
        faults.push(format!(
            "{name} allows {} keys: was it generated?",
            allowed.len()
        ));
    }
    if !processor["allowed_values"].is_badvalue() {
        faults.push(format!(
            "{name} has allowed_values, which win over blocked_values"
        ));
    }
    if processor["summary"].as_str() != Some("silent") {
        faults.push(format!(
            "{name} must be silent: a list of what was dropped says too much"
        ));
    }
    if texts(&processor["blocked_values"]).is_empty() {
        faults.push(format!("{name} blocks no values"));
    }
    for key in texts(&processor["ignored_keys"]) {
        if !key.ends_with("_id") || !allowed.contains(&key) {
            faults.push(format!(
                "{name} ignores {key}, which is no id among its allowed_keys"
            ));
        }
    }
    if name == "redaction/metrics" {
        for key in allowed {
            if key.contains("clinic") || key.contains("request_id") {
                faults.push(format!(
                    "{name} lets {key} pass: a metric has no clinic and no request"
                ));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
receivers: {otlp: {}}
processors:
  memory_limiter: {}
  tail_sampling: {}
  redaction/records:
    allow_all_keys: false
    allowed_keys: [a, b, c, d, e, f, g, h, i, x_id]
    ignored_keys: [x_id]
    blocked_values: ['[0-9]{11}']
    summary: silent
connectors: {spanmetrics: {}, forward/sampling: {}}
exporters: {store: {}}
service:
  pipelines:
    traces/all: {receivers: [otlp], processors: [memory_limiter, redaction/records], exporters: [spanmetrics, forward/sampling]}
    traces/kept: {receivers: [forward/sampling], processors: [tail_sampling], exporters: [store]}
    metrics: {receivers: [spanmetrics], processors: [memory_limiter, redaction/records], exporters: [store]}
";

    fn told(from: &str, to: &str) -> Vec<String> {
        assert!(GOOD.contains(from), "{from}");
        faults_of(&yaml::parse(&GOOD.replace(from, to)).unwrap())
    }

    #[test]
    fn a_good_one_passes() {
        assert_eq!(told("", ""), Vec::<String>::new());
    }

    #[test]
    fn whatever_would_let_personal_data_pass_is_told() {
        for (from, to, fault) in [
            (
                "allow_all_keys: false",
                "allow_all_keys: true",
                "must say allow_all_keys: false",
            ),
            (
                "    summary: silent",
                "    summary: debug",
                "must be silent",
            ),
            (
                "    summary: silent",
                "    summary: silent\n    allowed_values: ['.*']",
                "win over",
            ),
            (
                "blocked_values: ['[0-9]{11}']",
                "blocked_values: []",
                "blocks no values",
            ),
            ("ignored_keys: [x_id]", "ignored_keys: [a]", "ignores a,"),
            (
                "receivers: [otlp], processors: [memory_limiter, redaction/records]",
                "receivers: [otlp], processors: [memory_limiter]",
                "traces/all redacts nothing",
            ),
        ] {
            let told = told(from, to);
            assert!(
                told.iter().any(|line| line.contains(fault)),
                "{fault}: {told:?}"
            );
        }
    }

    #[test]
    fn what_the_collector_would_refuse_is_told() {
        for (from, to, fault) in [
            (
                "exporters: [store]}\n    metrics",
                "exporters: [stroe]}\n    metrics",
                "names stroe",
            ),
            (
                "exporters: {store: {}}",
                "exporters: {store: {}, other: {}}",
                "other of the exporters is used by no",
            ),
            (
                "processors: [tail_sampling], exporters: [store]",
                "processors: [tail_sampling], exporters: [store, spanmetrics]",
                "after it has sampled",
            ),
        ] {
            let told = told(from, to);
            assert!(
                told.iter().any(|line| line.contains(fault)),
                "{fault}: {told:?}"
            );
        }
    }

    /// The patterns are RE2's; what they use of it means the same here.
    #[test]
    fn personal_data_is_blocked_and_ids_and_names_are_not() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let config = yaml::read(root, FILE).unwrap();
        for processor in ["redaction/records", "redaction/metrics"] {
            let patterns: Vec<_> = texts(&config["processors"][processor]["blocked_values"])
                .into_iter()
                .map(|pattern| regex::Regex::new(pattern).unwrap())
                .collect();
            let blocked = |text: &str| patterns.iter().any(|pattern| pattern.is_match(text));
            for personal in [
                "cpf 529.982.247-25 refused",
                "cpf=52998224725",
                "12.345.678/0001-95",
                "12.ABC.345/01DE-35",
                "12345678000195",
                "to +55 11 98765-4321",
                "5511987654321",
                "5511987654321@s.whatsapp.net",
                "(11) 98765-4321",
                "tel 11 98765-4321.",
                "1134567890",
                "user <ana.silva@example.com> failed",
            ] {
                assert!(blocked(personal), "{processor} lets {personal} pass");
            }
            for harmless in [
                "clinic 01976543-2109-7654-8210-012345678901 unknown",
                "0197f0a1-0000-7000-8000-00000000000a",
                "/api/v1/contacts/{id}",
                "SELECT contacts",
                "23505",
                "cannot bind 127.0.0.1:8080",
                "4bf92f3577b34da6a3ce929d0e0e4736",
                "message-worker",
                "at @ nothing",
                "took 1500 ms, 20 of 2000 rows",
            ] {
                assert!(!blocked(harmless), "{processor} blocks {harmless}");
            }
        }
    }
}
