//! The inbox on PostgreSQL: conversations in the order of their latest message, filters, cursors,
//! messages both ways, and marking read.

#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

use std::sync::Arc;

use conversations::conversation::{ConversationFilter, ConversationSummary, MessageOrder};
use conversations::error::{AccessError, ListError, MarkReadError};
use conversations::message::Message;
use conversations::{ConversationStatus, Inbox, MessageStatus};
use diesel_postgres::audit::PgAuditTrail;
use diesel_postgres::conversations::PgConversationStore;
use kernel::{Gate, PageLimit};
use serde_json::{Value, json};
use test_support::{Clinic, TestDatabase, TwoClinics, WebhookBench, two_clinics};
use uuid::Uuid;

struct Scene {
    base: TestDatabase,
    clinics: TwoClinics,
    bench: WebhookBench,
    inbox: Inbox,
}

const MARIA: &str = "5511987650001";
const JOAO: &str = "5521976540002";

async fn scene() -> Scene {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let bench = WebhookBench::new(&base).await;
    bench.bind(&clinics.a, "111").await;
    bench.bind(&clinics.a, "112").await;
    bench.bind(&clinics.b, "222").await;
    let store = PgConversationStore::new(bench.database.clone(), bench.tools.clone());
    let trail = Arc::new(PgAuditTrail::new(bench.database.clone()));
    let inbox = Inbox::new(
        Arc::new(store),
        Gate::new(trail, bench.tools.clone()),
        bench.tools.clone(),
    );
    Scene {
        base,
        clinics,
        bench,
        inbox,
    }
}

fn text(phone: &str, id: &str, second: i64) -> Value {
    json!({"from": phone, "id": id, "timestamp": (1_760_000_000 + second).to_string(),
        "type": "text", "text": {"body": format!("mensagem {id}")}})
}

impl Scene {
    async fn take(&self, number: &str, list: &str, items: Value) {
        let body = json!({"entry": [{"id": "1", "changes": [{"value": {
            "metadata": {"phone_number_id": number},
            "contacts": [{"wa_id": MARIA, "profile": {"name": "Maria"}},
                {"wa_id": JOAO, "profile": {"name": "João"}}],
            list: items}}]}]});
        self.bench.receive(body.to_string()).await.unwrap();
        self.bench.run_jobs(4).await;
    }

    async fn list(&self, clinic: &Clinic, filter: ConversationFilter) -> Vec<ConversationSummary> {
        let limit = PageLimit::default();
        let page = self.inbox.list(&clinic.cx, &filter, None, limit).await;
        page.unwrap().items
    }

    async fn messages(&self, of: &ConversationSummary, order: MessageOrder) -> Vec<Message> {
        let id = of.conversation.id;
        let limit = PageLimit::new(100).unwrap();
        let cx = &self.clinics.a.cx;
        let page = self.inbox.list_messages(cx, id, order, None, limit).await;
        page.unwrap().items
    }
}

#[tokio::test]
async fn conversations_are_listed_by_their_latest_message_with_who_and_what() {
    let scene = scene().await;
    scene
        .take(
            "111",
            "messages",
            json!([text(MARIA, "w.1", 1), text(JOAO, "w.2", 2)]),
        )
        .await;
    scene
        .take("111", "messages", json!([text(MARIA, "w.3", 3)]))
        .await;
    let rows = scene
        .list(&scene.clinics.a, ConversationFilter::default())
        .await;
    let shown: Vec<_> = rows
        .iter()
        .map(|row| {
            let last = row.last_message.as_ref().unwrap();
            (
                row.contact_name.as_str(),
                row.contact_phone.as_deref().unwrap(),
                last.body.as_deref().unwrap(),
                row.conversation.unread_count,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("Maria", "+5511987650001", "mensagem w.3", 2),
            ("João", "+5521976540002", "mensagem w.2", 1),
        ]
    );
    let maria = &rows[0].conversation;
    let expires = maria.window_expires_at().unwrap();
    assert_eq!(expires.timestamp(), 1_760_000_003 + 86_400);
    assert_eq!(maria.status, ConversationStatus::Open);
    assert!(
        scene
            .list(&scene.clinics.b, ConversationFilter::default())
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn filters_hold_together_and_pages_neither_skip_nor_repeat() {
    let scene = scene().await;
    // All in one second: only the id tells them apart.
    for number in 0..7 {
        let phone = format!("551198765100{number}");
        let message = text(&phone, &format!("w.{number}"), 0);
        scene
            .take(["111", "112"][number % 2], "messages", json!([message]))
            .await;
    }
    let all = scene
        .list(&scene.clinics.a, ConversationFilter::default())
        .await;
    assert_eq!(all.len(), 7);
    let cx = &scene.clinics.a.cx;
    let (mut cursor, mut paged) = (None, Vec::new());
    loop {
        let page = scene
            .inbox
            .list(
                cx,
                &ConversationFilter::default(),
                cursor.as_deref(),
                PageLimit::new(3).unwrap(),
            )
            .await
            .unwrap();
        paged.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(paged, all);
    let channel = all[0].conversation.channel;
    let filter = ConversationFilter {
        channel: Some(channel),
        unread: Some(true),
        status: Some(ConversationStatus::Open),
        ..Default::default()
    };
    let of_channel = scene.list(&scene.clinics.a, filter).await;
    assert!(
        of_channel
            .iter()
            .all(|row| row.conversation.channel == channel)
    );
    assert_eq!(
        of_channel.len(),
        all.iter()
            .filter(|row| row.conversation.channel == channel)
            .count()
    );
    let contact = ConversationFilter {
        contact: Some(all[3].conversation.contact),
        ..Default::default()
    };
    assert_eq!(
        scene.list(&scene.clinics.a, contact).await,
        [all[3].clone()]
    );
    let none = ConversationFilter {
        unread: Some(false),
        ..Default::default()
    };
    assert!(scene.list(&scene.clinics.a, none).await.is_empty());
    // A cursor is of its own filter, list and clinic.
    let page = scene
        .inbox
        .list(
            cx,
            &ConversationFilter::default(),
            None,
            PageLimit::new(3).unwrap(),
        )
        .await
        .unwrap();
    let cursor = page.next_cursor.unwrap();
    let limit = PageLimit::default();
    for (cx, filter) in [
        (cx, none),
        (&scene.clinics.b.cx, ConversationFilter::default()),
    ] {
        let refused = scene.inbox.list(cx, &filter, Some(&cursor), limit).await;
        assert!(matches!(refused, Err(ListError::Cursor(_))));
    }
}

#[tokio::test]
async fn messages_are_read_in_both_orders_with_statuses_and_amendments() {
    let scene = scene().await;
    let echo = json!({"from": "551140020001", "to": MARIA, "id": "w.2",
        "timestamp": "1760000002", "type": "text", "text": {"body": "Bom dia"}});
    scene
        .take("111", "messages", json!([text(MARIA, "w.1", 1)]))
        .await;
    scene
        .take(
            "111",
            "statuses",
            json!([{"id": "w.2", "status": "read", "timestamp": "1760000009"}]),
        )
        .await;
    scene.take("111", "message_echoes", json!([echo])).await;
    let edit = json!({"from": MARIA, "id": "w.3", "timestamp": "1760000003", "type": "edit",
        "edit": {"original_message_id": "w.1", "message": {"type": "text", "text": {"body": "corrigida"}}}});
    let reaction = json!({"from": MARIA, "id": "w.4", "timestamp": "1760000004",
        "type": "reaction", "reaction": {"message_id": "w.2", "emoji": "🙏"}});
    scene.take("111", "messages", json!([edit, reaction])).await;
    let rows = scene
        .list(&scene.clinics.a, ConversationFilter::default())
        .await;
    let newest = scene.messages(&rows[0], MessageOrder::NewestFirst).await;
    let ids: Vec<&str> = newest
        .iter()
        .map(|it| it.order.provider_id.as_str())
        .collect();
    assert_eq!(ids, ["w.4", "w.2", "w.1"]);
    assert_eq!(newest[0].reply_to_id, Some(newest[1].id));
    assert_eq!(newest[1].status, MessageStatus::Read);
    assert!(newest[1].from_me);
    assert_eq!(newest[1].reactions[0].emoji, "🙏");
    assert_eq!(newest[2].edited_body.as_deref(), Some("corrigida"));
    assert_eq!(newest[2].body.as_deref(), Some("mensagem w.1"));
    let mut oldest = scene.messages(&rows[0], MessageOrder::OldestFirst).await;
    oldest.reverse();
    assert_eq!(oldest, newest);
    let revoke = json!({"from": MARIA, "id": "w.5", "timestamp": "1760000005", "type": "revoke",
        "revoke": {"original_message_id": "w.4"}});
    scene.take("111", "messages", json!([revoke])).await;
    let rows = scene
        .list(&scene.clinics.a, ConversationFilter::default())
        .await;
    assert_eq!(rows[0].last_message.as_ref().unwrap().body, None);
}

#[tokio::test]
async fn a_page_of_messages_goes_on_where_it_ended_though_seconds_are_the_same() {
    let scene = scene().await;
    let messages: Vec<Value> = (0..9)
        .map(|n| text(MARIA, &format!("w.{n}"), n / 4))
        .collect();
    scene.take("111", "messages", json!(messages)).await;
    let rows = scene
        .list(&scene.clinics.a, ConversationFilter::default())
        .await;
    let (cx, id) = (&scene.clinics.a.cx, rows[0].conversation.id);
    for order in [MessageOrder::NewestFirst, MessageOrder::OldestFirst] {
        let all = scene.messages(&rows[0], order).await;
        assert_eq!(all.len(), 9);
        let (mut cursor, mut paged) = (None, Vec::new());
        loop {
            let page = scene
                .inbox
                .list_messages(cx, id, order, cursor.as_deref(), PageLimit::new(2).unwrap())
                .await
                .unwrap();
            paged.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(paged, all);
    }
}

#[tokio::test]
async fn marking_read_counts_what_lies_beyond_and_is_told_once() {
    let scene = scene().await;
    let messages: Vec<Value> = (0..5).map(|n| text(MARIA, &format!("w.{n}"), n)).collect();
    scene.take("111", "messages", json!(messages)).await;
    let rows = scene
        .list(&scene.clinics.a, ConversationFilter::default())
        .await;
    let (cx, id) = (&scene.clinics.a.cx, rows[0].conversation.id);
    assert_eq!(rows[0].conversation.unread_count, 5);
    let oldest = scene.messages(&rows[0], MessageOrder::OldestFirst).await;
    let through = |at: usize| Some(oldest[at].id);
    let unread = async |message| {
        let marked = scene.inbox.mark_read(cx, id, message).await;
        marked.unwrap().conversation.unread_count
    };
    assert_eq!(unread(through(2)).await, 2);
    // What was read stays read.
    assert_eq!(unread(through(0)).await, 2);
    // A message that came late lies before the mark and is unread all the same, until it is seen.
    scene
        .take("111", "messages", json!([text(MARIA, "w.late", 1)]))
        .await;
    let rows = scene
        .list(&scene.clinics.a, ConversationFilter::default())
        .await;
    assert_eq!(rows[0].conversation.unread_count, 3);
    assert_eq!(unread(through(2)).await, 2);
    assert_eq!(unread(None).await, 0);
    let events = scene
        .bench
        .count("app.outbox WHERE name = 'conversation.read'")
        .await;
    assert_eq!(unread(None).await, 0);
    assert_eq!(
        scene
            .bench
            .count("app.outbox WHERE name = 'conversation.read'")
            .await,
        events
    );
    let stranger = scene
        .inbox
        .mark_read(cx, id, Some(Uuid::from_u128(1).into()))
        .await;
    assert!(matches!(stranger, Err(MarkReadError::MessageNotFound)));
}

#[tokio::test]
async fn a_foreign_conversation_is_as_absent_as_a_random_one() {
    let scene = scene().await;
    scene
        .take("111", "messages", json!([text(MARIA, "w.1", 1)]))
        .await;
    let rows = scene
        .list(&scene.clinics.a, ConversationFilter::default())
        .await;
    let cx = &scene.clinics.b.cx;
    for id in [rows[0].conversation.id, Uuid::from_u128(9).into()] {
        let read = scene.inbox.read(cx, id).await;
        assert!(matches!(read, Err(AccessError::NotFound)));
        let order = MessageOrder::NewestFirst;
        let limit = PageLimit::default();
        let messages = scene.inbox.list_messages(cx, id, order, None, limit).await;
        assert!(matches!(messages, Err(ListError::NotFound)));
        let marked = scene.inbox.mark_read(cx, id, None).await;
        assert!(matches!(marked, Err(MarkReadError::NotFound)));
    }
}

#[tokio::test]
async fn each_list_is_read_from_an_index_in_its_order() {
    let scene = scene().await;
    let app = scene.base.app().await;
    let clinic = scene.clinics.a.id.to_string();
    for (text, index) in [
        ("v.clinic_id = s.t", "conversations_by_activity"),
        (
            "v.clinic_id = s.t AND v.status = 'open'",
            "conversations_by_status",
        ),
        (
            "v.clinic_id = s.t AND v.channel_id = '00000000-0000-0000-0000-000000000001'",
            "conversations_by_channel",
        ),
        (
            "v.clinic_id = s.t AND v.contact_id = '00000000-0000-0000-0000-000000000001'",
            "conversations_by_contact",
        ),
        (
            "v.clinic_id = s.t AND v.unread_count > 0",
            "conversations_unread",
        ),
    ] {
        let plan = app
            .query(
                &format!(
                    "EXPLAIN WITH s AS MATERIALIZED (SELECT set_config('app.clinic_id', '{clinic}',
                        true)::uuid AS t) SELECT c.* FROM s, LATERAL (SELECT v.id
                        FROM app.conversations v WHERE {text}
                        ORDER BY v.last_message_at DESC, v.id DESC LIMIT 21 OFFSET 0) c"
                ),
                &[],
            )
            .await
            .unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        assert!(plan.contains(index), "{text}:\n{plan}");
    }
}
