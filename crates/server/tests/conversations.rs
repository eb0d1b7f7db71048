//! The inbox through HTTP on a real database: what a provider delivers under a signature becomes
//! conversations that are listed, read and marked read; what is not signed right becomes nothing.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use common::{Answer, Stage, broken, code};
use serde_json::{Value, json};
use test_support::WebhookBench;
use test_support::webhooks::sign;

const CONVERSATIONS: &str = "/api/v1/conversations";
const FIRST: &str = "first-secret-1";
const SECOND: &str = "second-secret-2";
const THIRD: &str = "third-secret-3";
const MARIA: &str = "5511987650001";
const JOAO: &str = "5521976540002";

/// A server, a channel of clinic A for each of two numbers, and who runs the jobs.
struct Scene {
    stage: Stage,
    bench: WebhookBench,
    channels: Vec<Value>,
}

fn text(phone: &str, id: &str, second: i64) -> Value {
    json!({"from": phone, "id": id, "timestamp": (1_760_000_000 + second).to_string(),
        "type": "text", "text": {"body": format!("mensagem {id}")}})
}

fn delivery(number: &str, messages: &[Value]) -> String {
    let contacts = [(MARIA, "Maria"), (JOAO, "João")]
        .map(|(phone, name)| json!({"wa_id": phone, "profile": {"name": name}}));
    let value = json!({
        "messaging_product": "whatsapp", "metadata": {"phone_number_id": number},
        "contacts": contacts, "messages": messages,
    });
    json!({"object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]})
    .to_string()
}

fn rows(answer: &Answer) -> &Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["data"].as_array().unwrap()
}

impl Scene {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let bench = WebhookBench::new(&stage.base).await;
        let mut channels = Vec::new();
        for number in ["111", "112"] {
            let body = json!({"name": "Recepção", "provider": "whatsapp-cloud",
                "phoneNumberId": number, "appSecret": FIRST});
            let ask = stage.owner(&stage.clinics.a, "post", "/api/v1/channels");
            let created = ask.json(&body).answer().await;
            assert_eq!(created.status, 201, "{}", created.body);
            channels.push(created.body);
        }
        Self {
            stage,
            bench,
            channels,
        }
    }

    /// Delivers to the first channel, with any proof.
    async fn post(&self, proof: Option<&str>, body: &str) -> Answer {
        self.post_to(0, proof, body).await
    }

    async fn post_to(&self, channel: usize, proof: Option<&str>, body: &str) -> Answer {
        let path = self.channels[channel]["webhookPath"].as_str().unwrap();
        let mut ask = self.stage.ask("post", path).raw(body);
        if let Some(proof) = proof {
            ask = ask.header("X-Hub-Signature-256", proof);
        }
        ask.answer().await
    }

    /// Delivers messages under the first secret and runs their jobs.
    async fn take(&self, channel: usize, messages: &[Value]) {
        let body = delivery(["111", "112"][channel], messages);
        let proof = sign(FIRST, body.as_bytes());
        let answer = self.post_to(channel, Some(&proof), &body).await;
        assert_eq!((answer.status, &answer.body), (200, &json!({})));
        assert_eq!(self.bench.run_jobs(1).await, 1);
    }

    async fn get(&self, path: &str) -> Answer {
        let ask = self.stage.owner(&self.stage.clinics.a, "get", path);
        ask.answer().await
    }

    /// The same page again, where it is another than the one with this tag.
    async fn get_unless(&self, path: &str, tag: &str) -> Answer {
        let ask = self.stage.owner(&self.stage.clinics.a, "get", path);
        ask.header("If-None-Match", tag).answer().await
    }

    /// The rows of a list, page by page.
    async fn paged(&self, path: &str, limit: usize) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("{path}limit={limit}{cursor}")).await;
            let page_rows = rows(&page);
            all.extend(page_rows.iter().cloned());
            let next = page.body["nextCursor"].as_str();
            assert_eq!(page.body["hasMore"], next.is_some());
            let Some(next) = next else {
                return all;
            };
            assert_eq!(page_rows.len(), limit, "a page that goes on is full");
            cursor = format!("&cursor={next}");
        }
    }

    async fn stored(&self) -> [i64; 3] {
        [
            self.bench.count("app.webhook_inbox").await,
            self.bench.count("app.jobs").await,
            self.bench.count("app.messages").await,
        ]
    }
}

#[actix_web::test]
async fn a_signed_delivery_becomes_a_conversation_once_its_job_ran() {
    let scene = Scene::new().await;
    let body = delivery("111", &[text(MARIA, "w.1", 1)]);
    let proof = sign(FIRST, body.as_bytes());
    let received = scene.post(Some(&proof), &body).await;
    assert_eq!((received.status, &received.body), (200, &json!({})));
    assert!(rows(&scene.get(CONVERSATIONS).await).is_empty());
    assert_eq!(scene.bench.run_jobs(1).await, 1);

    let list = scene.get(CONVERSATIONS).await;
    let [row] = rows(&list).as_slice() else {
        panic!("one conversation: {}", list.body);
    };
    for (field, expected) in [
        ("channelId", scene.channels[0]["id"].clone()),
        ("contactName", json!("Maria")),
        ("contactPhoneNumber", json!("+5511987650001")),
        ("status", json!("open")),
        ("unreadCount", json!(1)),
        ("lastMessageAt", json!("2025-10-09T08:53:21Z")),
        ("windowExpiresAt", json!("2025-10-10T08:53:21Z")),
    ] {
        assert_eq!(row[field], expected, "{field}");
    }
    assert_eq!(row["lastMessage"]["body"], "mensagem w.1");
    assert_eq!(row["lastMessage"]["direction"], "inbound");
    assert_eq!(row["lastMessage"]["type"], "text");
    let path = format!("{CONVERSATIONS}/{}", row["id"].as_str().unwrap());
    assert_eq!(scene.get(&path).await.body, *row);

    // Of this clinic alone.
    for path in [path.clone(), format!("{path}/messages")] {
        let foreign = scene.stage.owner(&scene.stage.clinics.b, "get", &path);
        assert_eq!(code(&foreign.answer().await), (404, "not-found"));
    }
    let foreign = scene.stage.clinics.b.clone();
    let foreign = scene.stage.owner(&foreign, "get", CONVERSATIONS);
    assert!(rows(&foreign.answer().await).is_empty());
}

#[actix_web::test]
async fn the_list_is_paged_without_loss_or_repeat_and_its_filters_hold_together() {
    let scene = Scene::new().await;
    // Some in the same second: only the id tells them apart.
    for number in 0..7 {
        let phone = format!("551198765100{number}");
        let message = text(&phone, &format!("w.{number}"), i64::from(number) / 3);
        scene.take(usize::from(number % 2 == 1), &[message]).await;
    }
    let all = scene.get(CONVERSATIONS).await;
    let all = rows(&all);
    assert_eq!(all.len(), 7);
    let times: Vec<&str> = all
        .iter()
        .map(|row| row["lastMessageAt"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    for limit in [1, 2, 3, 7, 100] {
        let paged = scene.paged(&format!("{CONVERSATIONS}?"), limit).await;
        assert_eq!(&paged, all, "{limit} at a time");
    }

    let read = format!("{CONVERSATIONS}/{}/read", all[2]["id"].as_str().unwrap());
    let read = scene.stage.owner(&scene.stage.clinics.a, "post", &read);
    assert_eq!(read.json(&json!({})).answer().await.status, 200);
    let all = scene.get(CONVERSATIONS).await;
    let all = rows(&all);
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    let (channel, contact) = (text(&all[2], "channelId"), text(&all[2], "contactId"));
    let of_channel = |row: &&Value| row["channelId"] == *channel;
    let is_unread = |row: &&Value| row["unreadCount"] != 0;
    let every: Vec<&Value> = all.iter().collect();
    let kept = |keep: &dyn Fn(&&Value) -> bool| {
        let kept = every.iter().copied().filter(|row| keep(row));
        kept.collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("status=open".to_owned(), every.clone()),
        ("status=resolved".to_owned(), vec![]),
        ("unread=false".to_owned(), vec![&all[2]]),
        ("unread=true".to_owned(), kept(&is_unread)),
        (format!("channelId={channel}"), kept(&of_channel)),
        (
            format!("channelId={channel}&unread=true&status=open"),
            kept(&|row| of_channel(row) && is_unread(row)),
        ),
        (format!("contactId={contact}"), vec![&all[2]]),
        (format!("contactId={contact}&unread=true"), vec![]),
    ] {
        let paged = scene.paged(&format!("{CONVERSATIONS}?{query}&"), 2).await;
        assert_eq!(paged.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    for (query, field) in [
        ("status=closed", "status"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("unread=maybe", "unread"),
        ("channelId=x", "channelId"),
        ("assignee=x", "assignee"),
    ] {
        let refused = scene.get(&format!("{CONVERSATIONS}?{query}")).await;
        assert_eq!(broken(&refused), [field], "{query}");
    }
    // A cursor is of its own filter.
    let page = scene.get(&format!("{CONVERSATIONS}?limit=2")).await;
    let cursor = page.body["nextCursor"].as_str().unwrap();
    for query in [format!("unread=true&cursor={cursor}"), "cursor=x".into()] {
        let refused = scene.get(&format!("{CONVERSATIONS}?{query}")).await;
        assert_eq!(code(&refused), (400, "invalid-cursor"));
    }
}

#[actix_web::test]
async fn what_the_caller_has_is_not_sent_again_until_something_changes() {
    let scene = Scene::new().await;
    scene.take(0, &[text(MARIA, "w.1", 1)]).await;
    let list = scene.get(CONVERSATIONS).await;
    let id = rows(&list)[0]["id"].as_str().unwrap();
    let path = format!("{CONVERSATIONS}/{id}");
    let messages = format!("{path}/messages");
    let mut tags = Vec::new();
    for path in [CONVERSATIONS, &path, &messages] {
        let tag = scene.get(path).await.header("ETag").to_owned();
        let same = scene.get_unless(path, &tag).await;
        assert_eq!((same.status, &same.body), (304, &Value::Null), "{path}");
        assert_eq!(same.header("ETag"), tag);
        let other = scene.get_unless(path, "\"another\"").await;
        assert_eq!(other.status, 200, "{path}");
        tags.push(tag);
    }
    scene.take(0, &[text(MARIA, "w.2", 2)]).await;
    for (path, tag) in [CONVERSATIONS, &path, &messages].iter().zip(&tags) {
        let changed = scene.get_unless(path, tag).await;
        assert_eq!(changed.status, 200, "{path}");
        assert_ne!(changed.header("ETag"), tag);
    }
}

#[actix_web::test]
async fn messages_are_paged_in_both_orders_though_seconds_are_the_same() {
    let scene = Scene::new().await;
    let sent: Vec<Value> = (0..9)
        .map(|n| text(MARIA, &format!("w.{n}"), n / 4))
        .collect();
    scene.take(0, &sent).await;
    scene.take(0, &[text(JOAO, "w.other", 1)]).await;
    let list = scene.get(CONVERSATIONS).await;
    let maria = rows(&list)
        .iter()
        .find(|row| row["contactName"] == "Maria")
        .unwrap();
    let path = format!("{CONVERSATIONS}/{}/messages", maria["id"].as_str().unwrap());
    let mut expected: Vec<String> = (0..9).map(|n| format!("mensagem w.{n}")).collect();
    for (query, newest_first) in [("sort=sentAt&", false), ("", true), ("sort=-sentAt&", true)] {
        if newest_first == expected[0].ends_with("w.0") {
            expected.reverse();
        }
        for limit in [1, 2, 9, 100] {
            let paged = scene.paged(&format!("{path}?{query}"), limit).await;
            let bodies: Vec<&str> = paged
                .iter()
                .map(|row| row["body"].as_str().unwrap())
                .collect();
            assert_eq!(bodies, expected, "{query}, {limit} at a time");
        }
    }
    let refused = scene.get(&format!("{path}?sort=body")).await;
    assert_eq!(broken(&refused), ["sort"]);
}

#[actix_web::test]
async fn marking_read_lowers_the_count_and_again_changes_nothing() {
    let scene = Scene::new().await;
    let sent: Vec<Value> = (0..5).map(|n| text(MARIA, &format!("w.{n}"), n)).collect();
    scene.take(0, &sent).await;
    scene.take(0, &[text(JOAO, "w.other", 9)]).await;
    let list = scene.get(CONVERSATIONS).await;
    let (joao, maria) = (&rows(&list)[0], &rows(&list)[1]);
    assert_eq!(maria["unreadCount"], 5);
    let path = format!("{CONVERSATIONS}/{}", maria["id"].as_str().unwrap());
    let messages = scene.get(&format!("{path}/messages?sort=sentAt")).await;
    let through = |n: usize| json!({"throughMessageId": rows(&messages)[n]["id"]});
    let mark = async |body: &Value| {
        let ask = scene
            .stage
            .owner(&scene.stage.clinics.a, "post", &format!("{path}/read"));
        ask.json(body).answer().await
    };
    for (body, unread) in [
        (through(2), 2),
        (through(2), 2),
        // What was read stays read.
        (through(0), 2),
        (json!({}), 0),
        (json!({}), 0),
        (through(4), 0),
    ] {
        let marked = mark(&body).await;
        assert_eq!(
            (marked.status, &marked.body["unreadCount"]),
            (200, &json!(unread))
        );
        let read = scene.get(&path).await;
        assert_eq!(
            (&read.body, read.header("ETag")),
            (&marked.body, marked.header("ETag"))
        );
    }
    let told = scene
        .bench
        .count("app.outbox WHERE name = 'conversation.read'");
    assert_eq!(told.await, 2, "each time the count became less");

    let before = scene.get(CONVERSATIONS).await.comparable();
    let other = format!("{CONVERSATIONS}/{}/messages", joao["id"].as_str().unwrap());
    let foreign = scene.get(&other);
    let foreign = json!({"throughMessageId": rows(&foreign.await)[0]["id"]});
    assert_eq!(code(&mark(&foreign).await), (422, "rule-violated"));
    assert_eq!(
        broken(&mark(&json!({"throughMessageId": "x"})).await),
        ["throughMessageId"]
    );
    assert_eq!(scene.get(CONVERSATIONS).await.comparable(), before);
}

#[actix_web::test]
async fn a_delivery_that_is_not_signed_right_is_refused_and_stores_nothing() {
    let scene = Scene::new().await;
    let body = delivery("111", &[text(MARIA, "w.1", 1)]);
    let right = sign(FIRST, body.as_bytes());
    let other = delivery("111", &[text(MARIA, "w.2", 1)]);
    for proof in [
        None,
        Some(String::new()),
        Some("sha256=".into()),
        Some(right.replace("sha256=", "")),
        Some(right.replace("sha256=", "sha1=")),
        Some(right[..right.len() - 2].to_owned()),
        Some(sign(SECOND, body.as_bytes())),
        Some(sign(FIRST, other.as_bytes())),
    ] {
        let refused = scene.post(proof.as_deref(), &body).await;
        assert_eq!(code(&refused), (401, "invalid-signature"), "{proof:?}");
    }
    assert_eq!(scene.stored().await, [0, 0, 0]);
    // The other channel has an endpoint of its own, and no path leads to a third.
    let nowhere = "/api/v1/webhooks/whatsapp-cloud/AAAAAAAAAAAAAAAAAAAAAA";
    let nowhere = scene.stage.ask("post", nowhere).raw(&body);
    let nowhere = nowhere.header("X-Hub-Signature-256", &right).answer().await;
    assert_eq!(nowhere.status, 404, "{}", nowhere.body);
    assert_eq!(scene.stored().await, [0, 0, 0]);
}

#[actix_web::test]
async fn a_delivery_that_comes_again_is_stored_once() {
    let scene = Scene::new().await;
    scene.take(0, &[text(MARIA, "w.1", 1)]).await;
    assert_eq!(scene.stored().await, [1, 1, 1]);
    let before = scene.get(CONVERSATIONS).await.comparable();
    let body = delivery("111", &[text(MARIA, "w.1", 1)]);
    let proof = sign(FIRST, body.as_bytes());
    for _ in 0..2 {
        assert_eq!(scene.post(Some(&proof), &body).await.status, 200);
        assert_eq!(scene.bench.run_jobs(1).await, 0);
    }
    assert_eq!(scene.stored().await, [1, 1, 1]);
    // The same message in another delivery is another change, and still one message.
    scene
        .take(0, &[text(MARIA, "w.1", 1), text(MARIA, "w.2", 2)])
        .await;
    assert_eq!(scene.stored().await, [2, 2, 2]);
    assert_ne!(scene.get(CONVERSATIONS).await.comparable(), before);
}

#[actix_web::test]
async fn an_older_secret_is_good_during_the_overlap_and_refused_after_it() {
    let scene = Scene::new().await;
    let path = format!(
        "/api/v1/channels/{}",
        scene.channels[0]["id"].as_str().unwrap()
    );
    let rotate = async |body: Value| {
        let path = format!("{path}/rotate-secret");
        let ask = scene.stage.owner(&scene.stage.clinics.a, "post", &path);
        ask.json(&body).answer().await
    };
    let statuses = async |round: &str| {
        let mut statuses = Vec::new();
        for secret in [FIRST, SECOND, THIRD] {
            let body = delivery("111", &[text(MARIA, &format!("{round}.{secret}"), 1)]);
            let proof = sign(secret, body.as_bytes());
            statuses.push(scene.post(Some(&proof), &body).await.status);
        }
        statuses
    };
    assert_eq!(statuses("created").await, [200, 401, 401]);
    for seconds in [-1, 604_801] {
        let body = json!({"appSecret": SECOND, "overlapSeconds": seconds});
        assert_eq!(broken(&rotate(body).await), ["overlapSeconds"]);
    }
    assert_eq!(statuses("refused").await, [200, 401, 401]);
    let rotated = rotate(json!({"appSecret": SECOND, "overlapSeconds": 3600})).await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    assert_eq!(statuses("overlap").await, [200, 200, 401]);
    let rotated = rotate(json!({"appSecret": THIRD, "overlapSeconds": 0})).await;
    assert_eq!(rotated.status, 200, "{}", rotated.body);
    assert_eq!(statuses("after").await, [401, 401, 200]);
    // The other channel's secret is its own.
    let body = delivery("112", &[text(JOAO, "w.other", 1)]);
    let proof = sign(FIRST, body.as_bytes());
    assert_eq!(scene.post_to(1, Some(&proof), &body).await.status, 200);
}
