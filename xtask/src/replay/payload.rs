//! What replay does to one payload of the Cloud API: ids of its own, a number, splitting.

use serde_json::{Value, json};

/// Lists whose entries are delivered together or apart.
const LISTS: &[&str] = &["messages", "statuses", "message_echoes"];

/// `Ok` for the Cloud API; otherwise what it is instead.
pub(super) fn provider(delivery: &Value) -> Result<(), &'static str> {
    if delivery["object"] == "whatsapp_business_account" {
        Ok(())
    } else if delivery["event"].is_string() && !delivery["instance"].is_null() {
        Err("Evolution API, not supported yet")
    } else {
        Err("no delivery of a known provider")
    }
}

fn changes(delivery: &Value) -> impl Iterator<Item = &Value> {
    delivery["entry"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["changes"].as_array())
        .flatten()
}

/// Makes the ids of one file's messages its own, and what refers to them likewise: examples share
/// placeholder ids that would fall together.
pub(super) fn own_ids(delivery: &mut Value, file: usize) {
    let suffix = format!(".f{file}");
    let rename = |value: &mut Value| {
        if let Value::String(id) = value {
            id.push_str(&suffix);
        }
    };
    let entries = delivery["entry"].as_array_mut().into_iter().flatten();
    let changes = entries
        .filter_map(|entry| entry.get_mut("changes")?.as_array_mut())
        .flatten();
    for value in changes.filter_map(|change| change.get_mut("value")) {
        for list in LISTS {
            for item in value
                .get_mut(*list)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                // Without a time of its own a message gets that of its arrival, which differs.
                if item.get("timestamp").is_none_or(|time| !is_time(time)) {
                    item["timestamp"] = json!("1700000000");
                }
                for path in [
                    "/id",
                    "/context/id",
                    "/reaction/message_id",
                    "/edit/original_message_id",
                    "/revoke/original_message_id",
                ] {
                    if let Some(id) = item.pointer_mut(path) {
                        rename(id);
                    }
                }
            }
        }
    }
}

fn is_time(value: &Value) -> bool {
    let seconds = match value {
        Value::String(text) => text.parse::<i64>().ok(),
        other => other.as_i64(),
    };
    seconds.is_some_and(|seconds| seconds > 0)
}

/// The numbers that a delivery's changes are for.
pub(super) fn numbers(delivery: &Value) -> Vec<String> {
    changes(delivery)
        .filter_map(|change| change["value"]["metadata"]["phone_number_id"].as_str())
        .map(str::to_owned)
        .collect()
}

/// Gives changes that hold messages and name no number this one; answers how many.
pub(super) fn give_number(delivery: &mut Value, number: &str) -> usize {
    let mut given = 0;
    let entries = delivery["entry"].as_array_mut().into_iter().flatten();
    let changes = entries
        .filter_map(|entry| entry.get_mut("changes")?.as_array_mut())
        .flatten();
    for value in changes.filter_map(|change| change.get_mut("value")) {
        let holds = LISTS.iter().any(|list| value.get(list).is_some());
        if holds && value["metadata"]["phone_number_id"].is_null() {
            value["metadata"] = json!({ "phone_number_id": number });
            given += 1;
        }
    }
    given
}

/// Each message, status and echo in a delivery of its own, with what stands beside it.
pub(super) fn split(delivery: &Value) -> Vec<Value> {
    let mut parts = Vec::new();
    for entry in delivery["entry"].as_array().into_iter().flatten() {
        for change in entry["changes"].as_array().into_iter().flatten() {
            let mut alone = Vec::new();
            for list in LISTS {
                for item in change["value"][*list].as_array().into_iter().flatten() {
                    let mut part = change.clone();
                    if let Some(value) = part["value"].as_object_mut() {
                        for other in LISTS {
                            value.remove(*other);
                        }
                        value.insert((*list).to_owned(), json!([item]));
                    }
                    alone.push(part);
                }
            }
            if alone.is_empty() {
                alone.push(change.clone());
            }
            for part in alone {
                let mut entry = entry.clone();
                entry["changes"] = json!([part]);
                let mut whole = delivery.clone();
                whole["entry"] = json!([entry]);
                parts.push(whole);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Value {
        json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [
            {"field": "messages", "value": {"metadata": {"phone_number_id": "7"},
                "messages": [{"id": "a", "context": {"id": "z"}}, {"id": "b"}],
                "statuses": [{"id": "a"}]}},
            {"field": "account_update", "value": {"event": "x"}},
        ]}]})
    }

    #[test]
    fn ids_become_the_files_own_with_what_refers_to_them() {
        let mut one = delivery();
        own_ids(&mut one, 3);
        let value = &one["entry"][0]["changes"][0]["value"];
        assert_eq!(value["messages"][0]["id"], "a.f3");
        assert_eq!(value["messages"][0]["context"]["id"], "z.f3");
        assert_eq!(value["statuses"][0]["id"], "a.f3");
        assert_eq!(value["metadata"]["phone_number_id"], "7");
    }

    #[test]
    fn a_split_delivery_loses_nothing() {
        let parts = split(&delivery());
        assert_eq!(parts.len(), 4);
        assert!(parts.iter().all(|part| changes(part).count() == 1));
        let messages: usize = parts
            .iter()
            .flat_map(changes)
            .filter_map(|change| change["value"]["messages"].as_array())
            .map(Vec::len)
            .sum();
        assert_eq!(messages, 2);
    }
}
