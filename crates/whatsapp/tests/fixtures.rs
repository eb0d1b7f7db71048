//! Every shape of the Cloud API that is known, as facts: `fixtures/cloud/NAME.json` is a delivery
//! of our own writing, `NAME.expected.json` what it means. After a wanted change, run with
//! `ACOLHE_BLESS=1` and read the difference.

#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use conversations::InboundChange;
use conversations::channel::{Provider, Secret};
use conversations::inbound::{Amend, Remote};
use conversations::ports::{RawChange, StoredChange, WebhookDecoder as _};
use serde_json::{Value, json};
use whatsapp::CloudDecoder;

fn received_at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

fn decode(raw: &RawChange) -> InboundChange {
    CloudDecoder.decode(&StoredChange {
        id: uuid::Uuid::nil().into(),
        channel: uuid::Uuid::nil().into(),
        provider: Provider::WhatsappCloud,
        received_at: received_at(),
        body: raw.body.clone(),
    })
}

fn deliveries(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            path.extension().is_some_and(|it| it == "json") && !name.ends_with(".expected.json")
        })
        .collect();
    files.sort();
    files
}

fn remote(remote: &Remote) -> Value {
    json!({
        "jid": remote.jid, "phone": remote.phone.as_ref().map(kernel::phone::Phone::as_e164),
        "userId": remote.user_id.as_ref().map(kernel::identity::WhatsAppUserId::as_str),
        "lid": remote.lid.as_ref().map(kernel::identity::WhatsAppLid::as_str), "name": remote.name,
    })
}

fn describe(change: &InboundChange) -> Value {
    let messages: Vec<Value> = change
        .messages
        .iter()
        .map(|message| {
            json!({
                "id": message.order.provider_id, "at": message.order.sent_at,
                "fromMe": message.from_me, "remote": remote(&message.remote),
                "kind": message.kind.name(), "body": message.body, "content": message.content,
                "replyTo": message.reply_to, "forwarded": message.forwarded,
                "error": message.error,
            })
        })
        .collect();
    let receipts: Vec<Value> = change
        .receipts
        .iter()
        .map(|receipt| {
            json!({
                "id": receipt.provider_id, "status": receipt.status.name(), "at": receipt.at,
                "error": receipt.error, "pricing": receipt.pricing,
            })
        })
        .collect();
    let amendments: Vec<Value> = change
        .amendments
        .iter()
        .map(|amendment| {
            let (kind, value) = match &amendment.amend {
                Amend::Edit { body } => ("edit", body),
                Amend::Revoke => ("revoke", &None),
                Amend::React { emoji } => ("reaction", emoji),
            };
            json!({
                "target": amendment.target, "id": amendment.order.provider_id,
                "at": amendment.order.sent_at, "fromMe": amendment.from_me,
                "remote": remote(&amendment.remote), "kind": kind, "value": value,
            })
        })
        .collect();
    let moves: Vec<Value> = change
        .number_changes
        .iter()
        .map(|change| {
            json!({
                "before": remote(&change.before), "after": remote(&change.after),
                "at": change.order.sent_at, "id": change.order.provider_id,
            })
        })
        .collect();
    let skipped: Vec<&str> = change
        .skipped
        .iter()
        .map(|skipped| skipped.name())
        .collect();
    json!({
        "messages": messages, "receipts": receipts, "amendments": amendments,
        "numberChanges": moves, "skipped": skipped,
    })
}

#[test]
fn every_known_shape_means_what_is_written_beside_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cloud");
    let files = deliveries(&folder);
    assert!(files.len() > 50, "fixtures are missing");
    #[expect(
        clippy::disallowed_methods,
        reason = "a developer's switch of this test alone"
    )]
    let bless = std::env::var("ACOLHE_BLESS").is_ok();
    for file in files {
        let changes: Vec<Value> = CloudDecoder
            .split(&Bytes::from(fs::read(&file).unwrap()))
            .iter()
            .map(|raw| json!({ "route": raw.route, "facts": describe(&decode(raw)) }))
            .collect();
        let found = serde_json::to_string_pretty(&changes).unwrap() + "\n";
        let beside = file.with_extension("expected.json");
        if bless {
            fs::write(&beside, &found).unwrap();
        }
        let expected = fs::read_to_string(&beside)
            .unwrap_or_else(|_| panic!("{} has nothing beside it", file.display()));
        assert_eq!(found, expected, "{}", file.display());
    }
}

/// Known answers: `{name, app_secret, body_utf8, header, valid}`.
fn check_signatures(vectors: &[Value]) {
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let secret = Secret::new(text("app_secret")).unwrap();
        let valid = CloudDecoder.is_authentic(
            Some(text("header").as_bytes()),
            text("body_utf8").as_bytes(),
            &[secret],
        );
        assert_eq!(valid, vector["valid"], "{}", text("name"));
    }
}

/// Decodes the deliveries of a folder that lies elsewhere, where `ACOLHE_REPLAY_DIR` names one:
/// public examples that are not ours to copy.
#[test]
fn nothing_of_a_folder_elsewhere_is_lost() {
    #[expect(
        clippy::disallowed_methods,
        reason = "names a folder outside the repository"
    )]
    let Ok(folder) = std::env::var("ACOLHE_REPLAY_DIR") else {
        println!("ACOLHE_REPLAY_DIR is not set: only our own fixtures were decoded");
        return;
    };
    let mut files = 0;
    for file in deliveries(Path::new(&folder)) {
        let bytes = fs::read(&file).unwrap();
        let Ok(delivery) = serde_json::from_slice::<Value>(&bytes) else {
            panic!("{} is no JSON", file.display());
        };
        if let Some(vectors) = delivery.as_array() {
            check_signatures(vectors);
            continue;
        }
        if delivery["object"] != "whatsapp_business_account" {
            println!("{}: not of the Cloud API", file.display());
            continue;
        }
        files += 1;
        let mut expected = 0;
        for change in delivery["entry"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|entry| entry["changes"].as_array().into_iter().flatten())
        {
            for list in ["messages", "message_echoes", "statuses"] {
                expected += change["value"][list].as_array().map_or(0, Vec::len);
            }
        }
        let mut found = 0;
        for raw in CloudDecoder.split(&Bytes::from(bytes)) {
            let change = decode(&raw);
            // A reaction is a message and an amendment; an edit is an amendment alone.
            let amendments_alone = change
                .amendments
                .iter()
                .filter(|amendment| !matches!(amendment.amend, Amend::React { .. }))
                .count();
            found += change.messages.len() + change.receipts.len() + amendments_alone;
            for skipped in &change.skipped {
                println!("{}: {}", file.display(), skipped.name());
                assert_eq!(skipped.name(), "other-field", "{}", file.display());
            }
        }
        assert_eq!(found, expected, "{}", file.display());
    }
    assert!(files > 0, "no delivery of the Cloud API in {folder}");
    println!("{files} files decoded");
}
