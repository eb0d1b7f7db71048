//! Records of another clinic, for the tests that go through every operation of the document.

use std::collections::BTreeMap;

use super::{Operation, Stage, operations};

/// An id that no record has.
pub(crate) const RANDOM: &str = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e";

/// Ids of clinic B's records, by the path segment before the id: made by the documented examples.
pub(crate) async fn foreign_records(stage: &Stage) -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::new();
    for kind in ["contacts", "contact-fields", "branches", "channels"] {
        let path = format!("/api/v1/{kind}");
        let operations = operations();
        let create = operations
            .iter()
            .find(|it| it.path == path && it.method == "post")
            .unwrap();
        let ask = stage.owner(&stage.clinics.b, "post", &path);
        let created = create.prepare(ask).answer().await;
        assert_eq!(created.status, 201, "{kind}: {}", created.body);
        found.insert(kind, created.body["id"].as_str().unwrap().to_owned());
    }
    let conversation = "01a23456-7000-7000-8000-0000000000cc";
    let insert = format!(
        "INSERT INTO app.conversations (clinic_id, id, channel_id, contact_id, remote_jid, status,
            is_paused, unread_count, last_message_at, last_message_order, row_version, created_at,
            updated_at)
         VALUES ('{}', '{conversation}', '{}', '{}', '5511987654321', 'open', false, 1, now(), 'a',
            1, now(), now())",
        stage.clinics.b.id, found["channels"], found["contacts"]
    );
    stage
        .base
        .superuser()
        .await
        .batch_execute(&insert)
        .await
        .unwrap();
    found.insert("conversations", conversation.to_owned());
    found.insert("users", stage.clinics.b.owner.to_string());
    let path = "/api/v1/users/invitations";
    let invite = operations();
    let invite = invite
        .iter()
        .find(|it| it.path == path && it.method == "post");
    let ask = stage.owner(&stage.clinics.b, "post", path);
    let invited = invite.unwrap().prepare(ask).answer().await;
    assert_eq!(invited.status, 202, "{}", invited.body);
    let id = invited.body["id"].as_str().unwrap();
    found.insert("invitations", id.to_owned());
    found
}

/// The operation's path with `id` for each of its parameters.
pub(crate) fn filled(operation: &Operation, id: &str) -> String {
    let parts: Vec<&str> = operation
        .path
        .split('/')
        .map(|part| if part.starts_with('{') { id } else { part })
        .collect();
    parts.join("/")
}

/// The segment before the first id.
pub(crate) fn kind(operation: &Operation) -> &str {
    let before = operation.path.split("/{").next().unwrap();
    before.rsplit('/').next().unwrap()
}
