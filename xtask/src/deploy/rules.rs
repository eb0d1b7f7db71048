//! Prometheus' rules and their tests: every alert is told right, and proven to fire.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::Context;
use yaml_rust2::Yaml;

use super::{
    expressions::Expression,
    yaml::{self, entries, items},
};

const RULES: &str = "deploy/prometheus/rules";
const TESTS: &str = "deploy/prometheus/tests";

/// Every expression of every rule, and how many alerts there are.
pub(super) fn read(
    root: &Path,
    faults: &mut Vec<String>,
) -> anyhow::Result<(Vec<Expression>, usize)> {
    let mut expressions = Vec::new();
    let mut alerts = BTreeSet::new();
    for file in files(root, RULES)? {
        let rules = yaml::read(root, &file)?;
        for rule in items(&rules["groups"])
            .iter()
            .flat_map(|group| items(&group["rules"]))
        {
            let name = rule["alert"].as_str().or_else(|| rule["record"].as_str());
            let name = name.unwrap_or("a rule without a name").to_owned();
            if !rule["alert"].is_badvalue() {
                faults.extend(alert_faults(&file, &name, rule));
                if !alerts.insert(name.clone()) {
                    faults.push(format!("{file}: {name} is there twice"));
                }
            }
            expressions.push(Expression {
                place: format!("{file}: {name}"),
                recorded: rule["record"].as_str().map(str::to_owned),
                text: rule["expr"].as_str().unwrap_or_default().to_owned(),
            });
        }
    }
    let mut fired = BTreeSet::new();
    for file in files(root, TESTS)? {
        fired.extend(firing(&yaml::read(root, &file)?));
    }
    for alert in alerts.difference(&fired) {
        faults.push(format!("{alert} fires in no test: write one in {TESTS}"));
    }
    for alert in fired.difference(&alerts) {
        faults.push(format!("{TESTS}: {alert} is no alert"));
    }
    Ok((expressions, alerts.len()))
}

/// The YAML files of a folder, from the root, in order.
pub(super) fn files(root: &Path, folder: &str) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(root.join(folder)).with_context(|| format!("cannot read {folder}"))?;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if Path::new(&name)
            .extension()
            .is_some_and(|ending| ending == "yml")
        {
            files.push(format!("{folder}/{name}"));
        }
    }
    files.sort();
    Ok(files)
}

fn alert_faults(file: &str, name: &str, rule: &Yaml) -> Vec<String> {
    let mut faults = Vec::new();
    let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
    if !["page", "ticket"].contains(&severity) {
        faults.push(format!("{file}: {name} is neither a page nor a ticket"));
    }
    for annotation in ["summary", "description"] {
        if !rule["annotations"][annotation]
            .as_str()
            .is_some_and(|text| text.ends_with(['.', '?']))
        {
            faults.push(format!(
                "{file}: {name} has no {annotation} that is a sentence"
            ));
        }
    }
    faults
}

/// The alerts that a test file expects to fire: in `exp_alerts`, or as samples of `ALERTS`.
fn firing(tests: &Yaml) -> BTreeSet<String> {
    let mut fired = BTreeSet::new();
    for test in items(&tests["tests"]) {
        for case in items(&test["alert_rule_test"]) {
            if !items(&case["exp_alerts"]).is_empty() {
                fired.extend(case["alertname"].as_str().map(str::to_owned));
            }
        }
        for case in items(&test["promql_expr_test"]) {
            let of_firing = case["expr"].as_str().is_some_and(|text| {
                text.contains("ALERTS{") && text.contains("alertstate=\"firing\"")
            });
            for sample in items(&case["exp_samples"]).iter().filter(|_| of_firing) {
                fired.extend(sample["labels"].as_str().and_then(alert_name));
            }
        }
    }
    fired
}

fn alert_name(labels: &str) -> Option<String> {
    let (_, rest) = labels.split_once("alertname=\"")?;
    rest.split_once('"').map(|(name, _)| name.to_owned())
}

/// The uids of the data sources that Grafana is given.
pub(super) fn data_sources(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let file = "deploy/grafana/provisioning/datasources/acolhe.yaml";
    let sources = yaml::read(root, file)?;
    let mut uids = BTreeSet::new();
    for source in items(&sources["datasources"]) {
        let keys: Vec<_> = entries(source).into_iter().map(|(key, _)| key).collect();
        anyhow::ensure!(keys.contains(&"uid"), "{file}: a data source without a uid");
        uids.extend(source["uid"].as_str().map(str::to_owned));
    }
    Ok(uids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_alerts_that_are_expected_to_fire_count() {
        let tests = r#"
tests:
  - alert_rule_test:
      - {alertname: Told, exp_alerts: [{exp_labels: {severity: page}}]}
      - {alertname: Silent, exp_alerts: []}
    promql_expr_test:
      - expr: count by (alertname) (ALERTS{alertstate="firing"})
        exp_samples: [{labels: '{alertname="Counted"}', value: 1}]
      - expr: ALERTS{alertstate="pending"}
        exp_samples: [{labels: '{alertname="Pending"}', value: 1}]
"#;
        let fired = firing(&yaml::parse(tests).unwrap());
        assert_eq!(fired.into_iter().collect::<Vec<_>>(), ["Counted", "Told"]);
    }

    #[test]
    fn an_alert_says_whom_it_wakes_and_why() {
        let rule =
            yaml::parse("{alert: A, labels: {severity: urgent}, annotations: {summary: Yes.}}");
        let told = alert_faults("f", "A", &rule.unwrap()).join("; ");
        assert!(told.contains("neither a page nor a ticket"), "{told}");
        assert!(
            told.contains("no description") && !told.contains("no summary"),
            "{told}"
        );
    }
}
