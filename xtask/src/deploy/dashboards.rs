//! Grafana's dashboards: each can be read, its panels lie apart, its queries are collected.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::Context;
use serde_json::Value;

use super::{expressions::Expression, rules::data_sources};

const FOLDER: &str = "deploy/grafana/dashboards";

/// Every query of every panel.
pub(super) fn read(root: &Path, faults: &mut Vec<String>) -> anyhow::Result<Vec<Expression>> {
    let sources = data_sources(root)?;
    let mut uids = BTreeSet::new();
    let mut expressions = Vec::new();
    let mut names: Vec<String> = fs::read_dir(root.join(FOLDER))
        .with_context(|| format!("cannot read {FOLDER}"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    for name in names {
        let file = format!("{FOLDER}/{name}");
        let text = fs::read_to_string(root.join(&file))?;
        let board: Value =
            serde_json::from_str(&text).with_context(|| format!("{file} is not JSON"))?;
        let uid = board["uid"].as_str().unwrap_or_default();
        if name != format!("{uid}.json") {
            faults.push(format!("{file}: its uid is {uid:?}, not its name"));
        }
        if !uids.insert(uid.to_owned()) {
            faults.push(format!("{file}: another has the uid {uid}"));
        }
        faults.extend(
            layout(&board)
                .into_iter()
                .map(|fault| format!("{file}: {fault}")),
        );
        for panel in board["panels"].as_array().into_iter().flatten() {
            let title = panel["title"].as_str().unwrap_or_default();
            for target in panel["targets"].as_array().into_iter().flatten() {
                let source = target["datasource"]["uid"].as_str().unwrap_or_default();
                if !sources.contains(source) {
                    faults.push(format!(
                        "{file}: {title:?} asks {source:?}, which Grafana is not given"
                    ));
                }
                expressions.push(Expression {
                    place: format!("{file}: {title}"),
                    recorded: None,
                    text: target["expr"].as_str().unwrap_or_default().to_owned(),
                });
            }
        }
    }
    Ok(expressions)
}

/// Panels have names and ids of their own, lie within the 24 columns and not upon each other.
fn layout(board: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut ids = BTreeSet::new();
    let mut taken: Vec<(&str, [i64; 4])> = Vec::new();
    for panel in board["panels"].as_array().into_iter().flatten() {
        let title = panel["title"].as_str().unwrap_or_default();
        if title.is_empty() {
            faults.push("a panel has no title".to_owned());
        }
        if !ids.insert(panel["id"].as_i64()) {
            faults.push(format!("{title:?} has another panel's id"));
        }
        let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_i64().unwrap_or(-1));
        let [x, y, w, h] = place;
        if x < 0 || y < 0 || w < 1 || h < 1 || x + w > 24 {
            faults.push(format!("{title:?} lies outside"));
        }
        for (other, [ox, oy, ow, oh]) in &taken {
            if x < ox + ow && *ox < x + w && y < oy + oh && *oy < y + h {
                faults.push(format!("{title:?} lies upon {other:?}"));
            }
        }
        taken.push((title, place));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn panels_upon_each_other_and_outside_are_told() {
        let panel = |id: u32, title: &str, x: u32, y: u32| json!({"id": id, "title": title, "gridPos": {"x": x, "y": y, "w": 12, "h": 8}});
        let good =
            json!({"panels": [panel(1, "a", 0, 0), panel(2, "b", 12, 0), panel(3, "c", 0, 8)]});
        assert_eq!(layout(&good), Vec::<String>::new());
        let bad =
            json!({"panels": [panel(1, "a", 0, 0), panel(1, "b", 6, 4), panel(3, "c", 16, 40)]});
        let told = layout(&bad).join("; ");
        assert!(told.contains("\"b\" lies upon \"a\""), "{told}");
        assert!(told.contains("\"b\" has another panel's id"), "{told}");
        assert!(told.contains("\"c\" lies outside"), "{told}");
    }
}
