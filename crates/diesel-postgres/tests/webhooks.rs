//! Deliveries take effect, and end in one state however they come: in order, shuffled, doubled,
//! split, one by one or many at the same time.

#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use test_support::webhooks::SECRET;
use test_support::{TestDatabase, TwoClinics, WebhookBench, two_clinics};

const NUMBER_A: &str = "710000000000001";
const NUMBER_B: &str = "710000000000002";

async fn bench() -> (TestDatabase, TwoClinics, WebhookBench) {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let bench = WebhookBench::new(&base).await;
    bench.bind(&clinics.a, NUMBER_A).await;
    bench.bind(&clinics.b, NUMBER_B).await;
    (base, clinics, bench)
}

/// A small generator: tests need variety, not chance.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.roll(at + 1));
        }
    }
}

/// The same facts in deliveries of one message or status each, written anew.
fn split(delivery: &Value) -> Vec<Value> {
    let mut parts = Vec::new();
    for entry in delivery["entry"].as_array().into_iter().flatten() {
        for change in entry["changes"].as_array().into_iter().flatten() {
            let mut made = 0;
            for list in ["messages", "message_echoes", "statuses"] {
                for item in change["value"][list].as_array().into_iter().flatten() {
                    let mut part = change.clone();
                    for other in ["messages", "message_echoes", "statuses"] {
                        part["value"].as_object_mut().unwrap().remove(other);
                    }
                    part["value"][list] = json!([item]);
                    parts.push(json!({"entry": [{"id": entry["id"], "changes": [part]}]}));
                    made += 1;
                }
            }
            if made == 0 {
                parts.push(json!({"entry": [{"id": entry["id"], "changes": [change]}]}));
            }
        }
    }
    parts
}

/// Delivers all in this order, running the jobs after every few, and tells both clinics' states.
async fn outcome(deliveries: &[Value], every: usize, at_once: u16) -> (Value, Value) {
    let (_base, clinics, bench) = bench().await;
    for (at, delivery) in deliveries.iter().enumerate() {
        bench.receive(delivery.to_string()).await.unwrap();
        if at % every == every - 1 {
            bench.run_jobs(at_once).await;
        }
    }
    bench.run_jobs(at_once).await;
    assert_eq!(bench.count("app.jobs WHERE state <> 'completed'").await, 0);
    (bench.state(&clinics.a).await, bench.state(&clinics.b).await)
}

fn differ(a: &Value, b: &Value, path: &str, found: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let mut keys: Vec<_> = x.keys().chain(y.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let none = Value::Null;
                differ(
                    x.get(key).unwrap_or(&none),
                    y.get(key).unwrap_or(&none),
                    &format!("{path}.{key}"),
                    found,
                );
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            for (at, (x, y)) in x.iter().zip(y).enumerate() {
                differ(x, y, &format!("{path}[{at}]"), found);
            }
        }
        _ if a != b => found.push(format!("{path}: {a} != {b}")),
        _ => {}
    }
}

fn assert_same(expected: &(Value, Value), found: &(Value, Value), how: &str) {
    let mut differences = Vec::new();
    differ(&expected.0, &found.0, "a", &mut differences);
    differ(&expected.1, &found.1, "b", &mut differences);
    assert!(
        differences.is_empty(),
        "{how}:\n{}",
        differences
            .iter()
            .take(20)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
}

/// In order, then shuffled, doubled, split, one by one and at the same time.
async fn ends_in_one_state(deliveries: &[Value], rounds: u64) -> (Value, Value) {
    let expected = outcome(deliveries, 1, 1).await;
    for round in 1..=rounds {
        let mut dice = Dice(round);
        let mut other: Vec<Value> = deliveries.to_vec();
        if round % 2 == 0 {
            other = other.iter().flat_map(split).collect();
        }
        if round % 3 != 0 {
            other.extend(deliveries.iter().cloned());
        }
        dice.shuffle(&mut other);
        let every = 1 + dice.roll(other.len());
        let at_once = [1, 8][dice.roll(2)];
        let found = outcome(&other, every, at_once).await;
        assert_same(
            &expected,
            &found,
            &format!("round {round}, jobs after every {every}, {at_once} at once"),
        );
    }
    expected
}

#[tokio::test]
async fn our_fixtures_end_in_one_state_in_any_order_doubled_and_split() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../whatsapp/fixtures/cloud");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            // This one is no good JSON for the test's own reader.
            name.ends_with("json")
                && !name.contains(".expected.")
                && !name.starts_with("odd_")
                && name != "text_without_time.json"
        })
        .collect();
    files.sort();
    let deliveries: Vec<Value> = files
        .iter()
        .map(|file| serde_json::from_slice(&fs::read(file).unwrap()).unwrap())
        .collect();
    let (a, b) = ends_in_one_state(&deliveries, 6).await;
    assert_eq!(b["contacts"].as_array().unwrap().len(), 1);
    let people = a["contacts"].as_array().unwrap();
    let names: Vec<&str> = people
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"Maria Aparecida Souza"), "{names:?}");
    assert!(names.contains(&"João Conceição"), "{names:?}");
    assert!(names.contains(&"bia_1990"), "{names:?}");
}

const PEOPLE: [(&str, &str); 5] = [
    // A number that changed hands.
    ("5521976540002", "BR.9"),
    ("5511987650001", "BR.1"),
    ("5521976540002", "BR.2"),
    ("551187650001", "BR.1"),
    ("553133334444", "BR.4"),
];

/// A delivery about few people and few messages, so that all sorts of facts meet.
fn any_delivery(dice: &mut Dice, n: usize) -> Value {
    let (phone, user) = PEOPLE[dice.roll(PEOPLE.len())];
    let number = [NUMBER_A, NUMBER_A, NUMBER_A, NUMBER_B][dice.roll(4)];
    let at = (1_789_000_000 + dice.roll(50)).to_string();
    let id = format!("wamid.{n}");
    let target = format!("wamid.{}", dice.roll(40));
    let names = ["Ana", "Ana Lima", "Aninha"];
    let how = dice.roll(3);
    let mut contact = json!({"profile": {"name": names[dice.roll(3)]}});
    let mut message = json!({"id": id, "timestamp": at});
    if how != 1 {
        contact["wa_id"] = json!(phone);
        message["from"] = json!(phone);
    }
    if how != 0 {
        contact["user_id"] = json!(user);
        message["from_user_id"] = json!(user);
    }
    let mut list = "messages";
    match dice.roll(10) {
        9 => {
            let (next, _) = PEOPLE[dice.roll(PEOPLE.len())];
            message["type"] = json!("system");
            message["system"] =
                json!({"type": "user_changed_number", "body": "changed", "wa_id": next});
        }
        0 => {
            let emoji = ["👍", "❤️", ""][dice.roll(3)];
            message["type"] = json!("reaction");
            message["reaction"] = json!({"message_id": target, "emoji": emoji});
        }
        1 => {
            message["type"] = json!("edit");
            message["edit"] = json!({"original_message_id": target,
                "message": {"type": "text", "text": {"body": format!("edited {n}")}}});
        }
        2 => {
            message["type"] = json!("revoke");
            message["revoke"] = json!({"original_message_id": target});
        }
        3 | 4 => {
            let status = ["sent", "delivered", "read", "failed", "played"][dice.roll(5)];
            let mut status =
                json!({"id": target, "status": status, "timestamp": at, "recipient_id": phone});
            if status["status"] == "failed" {
                status["errors"] = json!([{"code": 131_000 + dice.roll(3), "title": "t"}]);
            }
            return json!({"entry": [{"id": "1", "changes": [{"field": "messages", "value": {
                "metadata": {"phone_number_id": number}, "statuses": [status]}}]}]});
        }
        5 => {
            list = "message_echoes";
            let mut echo = json!({"id": id, "timestamp": at, "from": "551140020001",
                "type": "text", "text": {"body": format!("echo {n}")}});
            if how != 1 {
                echo["to"] = json!(phone);
            }
            if how != 0 {
                echo["to_user_id"] = json!(user);
            }
            message = echo;
        }
        6 => {
            message["type"] = json!("text");
            message["context"] = json!({"id": target});
            message["text"] = json!({"body": format!("reply {n}")});
        }
        _ => {
            message["type"] = json!("text");
            message["text"] = json!({"body": format!("text {n}")});
        }
    }
    let field = if list == "messages" {
        "messages"
    } else {
        "smb_message_echoes"
    };
    json!({"entry": [{"id": "1", "changes": [{"field": field, "value": {
        "metadata": {"phone_number_id": number}, "contacts": [contact], list: [message]}}]}]})
}

#[tokio::test]
async fn any_facts_end_in_one_state_in_any_order_doubled_and_split() {
    for seed in 1..=4 {
        let mut dice = Dice(seed * 7919);
        let deliveries: Vec<Value> = (0..40).map(|n| any_delivery(&mut dice, n)).collect();
        let (a, _) = ends_in_one_state(&deliveries, 4).await;
        assert!(!a["contacts"].as_array().unwrap().is_empty());
    }
}

const MARIA: &str = "5511987650001";
const MARIAS_NEXT: &str = "5511987650031";

/// A text, or who else the number is told to have become, at a second.
fn from(phone: &str, user: Option<&str>, second: u32, becomes: Option<&str>) -> Value {
    let mut message = json!({"from": phone, "id": format!("wamid.{second}"),
        "timestamp": (1_789_000_000 + second).to_string()});
    let mut contact = json!({"wa_id": phone, "profile": {"name": format!("Name {second}")}});
    if let Some(user) = user {
        message["from_user_id"] = json!(user);
        contact["user_id"] = json!(user);
    }
    let mut contacts = json!([contact]);
    if let Some(next) = becomes {
        message["type"] = json!("system");
        message["system"] = json!({"type": "user_changed_number", "body": "changed",
            "wa_id": next});
        contacts = json!([]);
    } else {
        message["type"] = json!("text");
        message["text"] = json!({"body": format!("text {second}")});
    }
    json!({"entry": [{"id": "1", "changes": [{"field": "messages", "value": {
        "metadata": {"phone_number_id": NUMBER_A}, "contacts": contacts,
        "messages": [message]}}]}]})
}

/// Of each contact: its phones, the bodies of its messages, and where an answer goes.
fn threads(state: &Value) -> Vec<(Vec<String>, Vec<String>, String)> {
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    let list = |it: &Value| it.as_array().cloned().unwrap_or_default();
    list(&state["contacts"])
        .iter()
        .map(|contact| {
            let identities = list(&contact["identities"]);
            let phones = identities.iter().filter(|it| it["kind"] == "phone");
            let thread = &list(&contact["conversations"])[0];
            let messages = list(&thread["messages"]);
            (
                phones.map(|it| text(&it["key"])).collect(),
                messages.iter().map(|it| text(&it["body"])).collect(),
                text(&thread["remote_jid"]),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_changed_number_is_the_same_contact_and_thread_in_every_order() {
    let told = [
        from(MARIA, None, 1, None),
        from(MARIA, None, 5, Some(MARIAS_NEXT)),
        from(MARIAS_NEXT, None, 9, None),
    ];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        let deliveries = order.map(|place| told[place].clone());
        let (a, _) = outcome(&deliveries, 1, 1).await;
        let phones = [MARIA, MARIAS_NEXT].map(|it| format!("+{it}")).to_vec();
        let bodies = ["text 1", "changed", "text 9"].map(str::to_owned).to_vec();
        let expected = [(phones, bodies, MARIAS_NEXT.to_owned())];
        assert_eq!(threads(&a), expected, "{order:?}");
        assert_eq!(a["contacts"][0]["phone"], format!("+{MARIAS_NEXT}"));
    }
}

#[tokio::test]
async fn a_former_number_that_somebody_else_took_is_theirs_from_then_on_and_no_earlier() {
    for stranger in [None, Some("BR.7")] {
        let told = [
            from(MARIA, None, 1, None),
            from(MARIA, None, 3, None),
            from(MARIA, None, 5, Some(MARIAS_NEXT)),
            from(MARIAS_NEXT, None, 9, None),
            from(MARIA, stranger, 20, None),
            from(MARIA, None, 21, None),
        ];
        let (a, _) = ends_in_one_state(&told, 8).await;
        let of = |phone: &str, bodies: &[&str]| {
            let bodies = bodies.iter().map(ToString::to_string).collect();
            (vec![format!("+{phone}")], bodies, phone.to_owned())
        };
        let mut found = threads(&a);
        found.sort();
        let expected = [
            of(MARIA, &["text 20", "text 21"]),
            of(MARIAS_NEXT, &["text 1", "text 3", "changed", "text 9"]),
        ];
        assert_eq!(found, expected, "{stranger:?}");
    }
}

#[tokio::test]
async fn a_delivery_that_is_not_authentic_changes_nothing() {
    let (_base, clinics, bench) = bench().await;
    let body = text_from("5511987650001", "wamid.1", "oi").to_string();
    for proof in [None, Some("sha256="), Some("sha1=00"), Some("sha256=00")] {
        let refused = bench
            .receive_with(proof.map(str::as_bytes), body.clone().into())
            .await;
        assert!(matches!(
            refused,
            Err(conversations::error::ReceiveError::NotAuthentic)
        ));
    }
    let other = test_support::webhooks::sign(SECRET, b"another body");
    let refused = bench
        .receive_with(Some(other.as_bytes()), body.into())
        .await;
    assert!(refused.is_err());
    assert_eq!(bench.count("app.webhook_inbox").await, 0);
    assert_eq!(bench.count("app.jobs").await, 0);
    assert_eq!(bench.state(&clinics.a).await["contacts"], Value::Null);
}

fn text_from(phone: &str, id: &str, body: &str) -> Value {
    json!({"entry": [{"id": "1", "changes": [{"field": "messages", "value": {
        "metadata": {"phone_number_id": NUMBER_A},
        "contacts": [{"wa_id": phone, "profile": {"name": "Maria"}}],
        "messages": [{"from": phone, "id": id, "timestamp": "1789000000", "type": "text",
            "text": {"body": body}}]}}]}]})
}

#[tokio::test]
async fn what_is_known_already_writes_no_audit_entry_and_no_event() {
    let (_base, _clinics, bench) = bench().await;
    bench
        .receive(text_from("5511987650001", "wamid.1", "oi").to_string())
        .await
        .unwrap();
    assert_eq!(bench.run_jobs(1).await, 1);
    let before = (
        bench.count("app.audit_entries").await,
        bench.count("app.outbox").await,
    );
    // The same bytes are not even stored; other bytes with the same message are.
    let same = bench
        .receive(text_from("5511987650001", "wamid.1", "oi").to_string())
        .await
        .unwrap();
    assert_eq!(same.stored, 0);
    let mut other = text_from("5511987650001", "wamid.1", "oi");
    other["entry"][0]["changes"][0]["value"]["messaging_product"] = json!("whatsapp");
    assert_eq!(bench.receive(other.to_string()).await.unwrap().routed, 1);
    assert_eq!(bench.run_jobs(1).await, 1);
    let after = (
        bench.count("app.audit_entries").await,
        bench.count("app.outbox").await,
    );
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_change_of_an_unknown_number_waits_without_a_route() {
    let (_base, clinics, bench) = bench().await;
    let mut stray = text_from("5511987650001", "wamid.1", "oi");
    stray["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"] = json!("999");
    let stored = bench.receive(stray.to_string()).await.unwrap();
    assert_eq!((stored.stored, stored.routed), (1, 0));
    let garbage = bench.receive("no JSON at all").await.unwrap();
    assert_eq!((garbage.stored, garbage.routed), (1, 0));
    assert_eq!(bench.run_jobs(1).await, 0);
    assert_eq!(bench.state(&clinics.a).await["contacts"], Value::Null);
    assert_eq!(
        bench
            .count("app.webhook_inbox WHERE clinic_id IS NULL")
            .await,
        2
    );
}

#[tokio::test]
async fn a_lost_lease_writes_nothing() {
    let (_base, clinics, bench) = bench().await;
    bench
        .receive(text_from("5511987650001", "wamid.1", "oi").to_string())
        .await
        .unwrap();
    let mut job = bench.lease(1).await.remove(0);
    let good = job.clone();
    job.lease.token = uuid::Uuid::from_u128(1);
    assert!(bench.process(&job).await.is_err());
    assert_eq!(bench.state(&clinics.a).await["contacts"], Value::Null);
    assert_eq!(bench.process(&good).await.unwrap().applied.messages, 1);
}

#[tokio::test]
async fn a_poisoned_change_stops_no_other() {
    let (base, clinics, bench) = bench().await;
    let mut batch = text_from("5511987650001", "wamid.1", "oi");
    let good = batch["entry"][0]["changes"][0].clone();
    let mut poison = good.clone();
    poison["value"]["metadata"]["phone_number_id"] = json!(NUMBER_B);
    batch["entry"][0]["changes"] = json!([poison, good]);
    bench.receive(batch.to_string()).await.unwrap();
    // The other clinic's job names a change that is not there.
    let superuser = base.superuser().await;
    superuser
        .execute(
            "UPDATE app.jobs SET payload = '{\"inboxId\": \"00000000-0000-0000-0000-000000000000\"}'
             WHERE clinic_id = $1::text::uuid",
            &[&clinics.b.id.to_string()],
        )
        .await
        .unwrap();
    assert_eq!(bench.run_jobs(2).await, 1);
    assert_eq!(
        bench.state(&clinics.a).await["contacts"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(bench.count("app.jobs WHERE state = 'dead'").await, 1);
}

#[tokio::test]
async fn a_delivery_that_comes_in_while_its_number_is_bound_gets_its_route() {
    let (base, clinics, bench) = bench().await;
    // Somebody takes a delivery in, saw no channel, and has not committed yet.
    let mut superuser = base.superuser().await;
    let taking = superuser.transaction().await.unwrap();
    taking
        .batch_execute("SET LOCAL ROLE acolhe_app")
        .await
        .unwrap();
    let taken = taking
        .query_one(
            "SELECT stored, routed FROM sec.ingest($1::text::uuid, now(),
                 ARRAY[gen_random_uuid()], ARRAY['\\x01'::bytea], ARRAY['777'], ARRAY['{}'::bytea],
                 ARRAY[gen_random_uuid()])",
            &[&bench.endpoint().to_string()],
        )
        .await
        .unwrap();
    assert_eq!((taken.get::<_, i64>(0), taken.get::<_, i64>(1)), (1, 0));
    let commit = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        taking.commit().await.unwrap();
    };
    tokio::join!(bench.bind(&clinics.a, "777"), commit);
    let waiting = "app.webhook_inbox WHERE clinic_id IS NULL";
    assert_eq!(bench.count(waiting).await, 0);
    assert_eq!(bench.count("app.jobs WHERE state = 'waiting'").await, 1);
}
