//! `/conversations`: the inbox.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use conversations::conversation::MessageOrder;
use conversations::error::MarkReadError;
use conversations::message::{MessageError, Side};
use conversations::{
    Content, ConversationFilter, ConversationStatus, ConversationSummary, Inbox, Message,
};
use kernel::{ChannelId, ContactId, ConversationId, MessageId, Toolkit, TypedId as _};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use crate::channels::page_limit;
use crate::id::Id;
use crate::kept::{ConversationList, ConversationRead, Finished, MessageList, Reader};
use crate::problem::{Problem, ProblemDocument};
use crate::{Body, EntityTag, PageAnswer, ProblemCode, Query, Tenant};

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list)
        .service(read)
        .service(list_messages)
        .service(mark_read);
}

/// Which conversations.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct ListConversationsQuery {
    /// Rows of a page, 1 to 100; 20 when not given.
    #[param(minimum = 1, maximum = 100, example = 20)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// `open`, `pending`, `snoozed` or `resolved`.
    #[param(example = "open")]
    status: Option<String>,
    /// On this channel.
    #[param(value_type = Option<uuid::Uuid>)]
    channel_id: Option<ChannelId>,
    /// With this contact.
    #[param(value_type = Option<uuid::Uuid>)]
    contact_id: Option<ContactId>,
    /// Only those with (`true`) or without (`false`) unread messages.
    unread: Option<bool>,
}

/// Which messages.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct ListMessagesQuery {
    /// Rows of a page, 1 to 100; 20 when not given.
    #[param(minimum = 1, maximum = 100, example = 20)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// `-sentAt`, newest first, or `sentAt`; `-sentAt` when not given.
    #[param(example = "-sentAt")]
    sort: Option<String>,
}

/// Up to where a conversation was read.
#[derive(Debug, Default, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = MarkConversationRead)]
struct MarkReadRequest {
    /// The last message that was seen; all there are when not given.
    #[schema(value_type = Option<uuid::Uuid>)]
    through_message_id: Option<MessageId>,
}

/// The latest message, in short.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessagePreview)]
struct PreviewAnswer {
    id: uuid::Uuid,
    /// `inbound` or `outbound`.
    #[schema(example = "inbound")]
    direction: &'static str,
    /// As of a message.
    #[schema(example = "text")]
    #[serde(rename = "type")]
    kind: &'static str,
    /// Up to 160 characters; null when it has none or was taken back.
    body: Option<String>,
}

/// A conversation: the one thread between a contact and a channel.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Conversation)]
struct ConversationAnswer {
    id: uuid::Uuid,
    channel_id: uuid::Uuid,
    contact_id: uuid::Uuid,
    #[schema(example = "Helena Nakamura Dias")]
    contact_name: String,
    /// The contact's primary phone, in E.164.
    #[schema(example = "+5511987654321")]
    contact_phone_number: Option<String>,
    /// The address the contact wrote from last: where an answer goes.
    #[schema(example = "5511987654321")]
    remote_jid: String,
    /// `open`, `pending`, `snoozed` or `resolved`; more may be added.
    #[schema(example = "open")]
    status: &'static str,
    assignee_id: Option<uuid::Uuid>,
    /// Whether the assistant keeps silent.
    is_paused: bool,
    /// Inbound messages nobody has read.
    unread_count: u32,
    last_inbound_at: Option<DateTime<Utc>>,
    /// Until then free-form answers are accepted; afterwards templates only.
    window_expires_at: Option<DateTime<Utc>>,
    last_message_at: DateTime<Utc>,
    last_message: Option<PreviewAnswer>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A conversation for the OpenAPI document's examples.
fn example() -> serde_json::Value {
    serde_json::json!({
        "id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e",
        "channelId": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0f",
        "contactId": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d10",
        "contactName": "Helena Nakamura Dias", "contactPhoneNumber": "+5511987654321",
        "remoteJid": "5511987654321", "status": "open", "assigneeId": null,
        "isPaused": false, "unreadCount": 1, "lastInboundAt": "2026-11-03T12:30:00Z",
        "windowExpiresAt": "2026-11-04T12:30:00Z", "lastMessageAt": "2026-11-03T12:30:00Z",
        "lastMessage": {"id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d11",
            "direction": "inbound", "type": "text", "body": "Bom dia!"},
        "createdAt": "2026-11-03T12:30:00Z", "updatedAt": "2026-11-03T12:30:00Z",
    })
}

const fn direction(from_me: bool) -> &'static str {
    if from_me { "outbound" } else { "inbound" }
}

impl From<ConversationSummary> for ConversationAnswer {
    fn from(summary: ConversationSummary) -> Self {
        let conversation = summary.conversation;
        Self {
            id: conversation.id.into(),
            channel_id: conversation.channel.into(),
            contact_id: conversation.contact.into(),
            contact_name: summary.contact_name,
            contact_phone_number: summary.contact_phone,
            window_expires_at: conversation.window_expires_at(),
            remote_jid: conversation.remote_jid,
            status: conversation.status.name(),
            assignee_id: conversation.assignee.map(Into::into),
            is_paused: conversation.is_paused,
            unread_count: conversation.unread_count,
            last_inbound_at: conversation.last_inbound_at,
            last_message_at: conversation.last_message_at,
            last_message: summary.last_message.map(|preview| PreviewAnswer {
                id: preview.id.into(),
                direction: direction(preview.from_me),
                kind: preview.kind.name(),
                body: preview.body,
            }),
            created_at: conversation.created_at,
            updated_at: conversation.updated_at,
        }
    }
}

/// A reaction that stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Reaction)]
struct ReactionAnswer {
    /// `contact` or `clinic`.
    #[schema(example = "contact")]
    by: &'static str,
    #[schema(example = "👍")]
    emoji: String,
    at: DateTime<Utc>,
}

/// Why the provider could not deliver or show a message.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageError)]
struct ErrorAnswer {
    /// The provider's code: decide by it.
    #[schema(example = 131_047)]
    code: Option<i64>,
    /// The provider's words: they change.
    title: Option<String>,
    details: Option<String>,
}

impl From<MessageError> for ErrorAnswer {
    fn from(error: MessageError) -> Self {
        Self {
            code: error.code,
            title: error.title,
            details: error.details,
        }
    }
}

/// A message of a conversation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Message)]
struct MessageAnswer {
    id: uuid::Uuid,
    conversation_id: uuid::Uuid,
    /// `inbound` or `outbound`.
    #[schema(example = "inbound")]
    direction: &'static str,
    /// `text`, `image`, `audio`, `video`, `document`, `sticker`, `location`, `contacts`,
    /// `interactive`, `button`, `reaction`, `template`, `system` or `unsupported`; more may be
    /// added.
    #[schema(example = "text")]
    #[serde(rename = "type")]
    kind: &'static str,
    /// Its words: of a text, a caption, a button.
    #[schema(example = "Bom dia! Tem horário na quinta?")]
    body: Option<String>,
    /// What it brings beside the words, each part only where there is one: `media` (reference to
    /// the provider's file), `location`, `contacts`, `choice`, `form`, `referral`, `notice`,
    /// `frequentlyForwarded`, and `raw` for what is not understood yet.
    #[schema(value_type = Object)]
    content: Content,
    /// The message it answers, where that one is here.
    reply_to_id: Option<uuid::Uuid>,
    forwarded: bool,
    /// When it was sent, by the provider's clock, which has whole seconds.
    sent_at: DateTime<Utc>,
    /// `received` for inbound messages; `queued`, `sending`, `unknown`, `sent`, `failed`,
    /// `delivered`, `read` or `played` otherwise; more may be added. Only moves forward.
    #[schema(example = "received")]
    status: &'static str,
    /// When each stage was reached first.
    #[schema(value_type = BTreeMap<String, DateTime<Utc>>, example = json!({}))]
    status_times: BTreeMap<String, DateTime<Utc>>,
    error: Option<ErrorAnswer>,
    edited_at: Option<DateTime<Utc>>,
    /// The words after the latest edit.
    edited_body: Option<String>,
    /// When the author took it back; what was said stays on record.
    revoked_at: Option<DateTime<Utc>>,
    reactions: Vec<ReactionAnswer>,
    created_at: DateTime<Utc>,
}

impl From<Message> for MessageAnswer {
    fn from(message: Message) -> Self {
        Self {
            id: message.id.into(),
            conversation_id: message.conversation.into(),
            direction: direction(message.from_me),
            kind: message.kind.name(),
            body: message.body,
            content: message.content,
            reply_to_id: message.reply_to_id.map(Into::into),
            forwarded: message.forwarded,
            sent_at: message.order.sent_at,
            status: message.status.name(),
            status_times: message.status_times,
            error: message.error.map(Into::into),
            edited_at: message.edited_at,
            edited_body: message.edited_body,
            revoked_at: message.revoked_at,
            reactions: message
                .reactions
                .into_iter()
                .map(|reaction| ReactionAnswer {
                    by: match reaction.by {
                        Side::Contact => "contact",
                        Side::Clinic => "clinic",
                    },
                    emoji: reaction.emoji,
                    at: reaction.at,
                })
                .collect(),
            created_at: message.created_at,
        }
    }
}

/// List conversations
///
/// The latest active first. Filters are joined by *and*.
#[utoipa::path(
    operation_id = "conversation_list",
    tag = "conversations",
    params(ListConversationsQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a page you have.")),
    extensions(("x-permission" = json!("conversation.read"))),
    responses(
        (status = 200, description = "A page of conversations.",
            body = PageAnswer<ConversationAnswer>,
            headers(("ETag" = String, description = "Of this page.")),
            example = json!({"data": [example()], "nextCursor": null, "hasMore": false})),
        (status = 304, description = "The page is the one you have."),
    )
)]
#[get("/conversations")]
async fn list(
    tenant: Tenant,
    query: Query<ListConversationsQuery>,
    reader: Reader,
    tools: web::Data<Toolkit>,
    inbox: web::Data<Inbox>,
) -> Result<HttpResponse, Problem> {
    inbox.prepare_list(&tenant).await?;
    reader
        .answer::<ConversationList, _>(&tenant, b"", async || {
            let status = query
                .status
                .as_deref()
                .map(str::parse::<ConversationStatus>)
                .transpose();
            let filter = ConversationFilter {
                status: status.map_err(|_| {
                    let reason = "must be open, pending, snoozed or resolved";
                    Problem::invalid_query("status", "unknown-value", reason)
                })?,
                channel: query.channel_id,
                contact: query.contact_id,
                unread: query.unread,
            };
            let limit = page_limit(query.limit)?;
            let page = inbox
                .list(&tenant, &filter, query.cursor.as_deref(), limit)
                .await?;
            let page = PageAnswer::of(page, ConversationAnswer::from);
            Finished::of_content(&tools, &tenant, &page)
        })
        .await
}

/// Read a conversation
///
/// With its contact's name and its latest message.
#[utoipa::path(
    operation_id = "conversation_read",
    tag = "conversations",
    params(
        ("id" = uuid::Uuid, Path, description = "The conversation.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` you have.")),
    extensions(("x-permission" = json!("conversation.read"))),
    responses(
        (status = 200, description = "The conversation.", body = ConversationAnswer,
            headers(("ETag" = String, description = "Of what is shown.")),
            example = json!(example())),
        (status = 304, description = "It is as you have it."),
    )
)]
#[get("/conversations/{id}")]
async fn read(
    tenant: Tenant,
    id: Id<ConversationId>,
    reader: Reader,
    tools: web::Data<Toolkit>,
    inbox: web::Data<Inbox>,
) -> Result<HttpResponse, Problem> {
    inbox.prepare_read(&tenant, id.0).await?;
    reader
        .answer::<ConversationRead, _>(&tenant, id.0.as_uuid().as_bytes(), async || {
            let summary = inbox.read(&tenant, id.0).await?;
            // The contact's name and the latest message are part of it and have no version of its
            // own, so that the tag is the content's.
            Finished::of_content(&tools, &tenant, &ConversationAnswer::from(summary))
        })
        .await
}

/// List a conversation's messages
///
/// By the provider's time; within one second by the provider's id.
#[utoipa::path(
    operation_id = "message_list",
    tag = "conversations",
    params(ListMessagesQuery,
        ("id" = uuid::Uuid, Path, description = "The conversation.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a page you have.")),
    extensions(("x-permission" = json!("conversation.read"))),
    responses(
        (status = 200, description = "A page of messages.", body = PageAnswer<MessageAnswer>,
            headers(("ETag" = String, description = "Of this page.")),
            example = json!({"data": [{
                "id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d11",
                "conversationId": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e",
                "direction": "inbound", "type": "text", "body": "Bom dia!", "content": {},
                "replyToId": null, "forwarded": false, "sentAt": "2026-11-03T12:30:00Z",
                "status": "received", "statusTimes": {}, "error": null, "editedAt": null,
                "editedBody": null, "revokedAt": null,
                "reactions": [{"by": "clinic", "emoji": "👍", "at": "2026-11-03T12:31:00Z"}],
                "createdAt": "2026-11-03T12:30:01Z",
            }], "nextCursor": null, "hasMore": false})),
        (status = 304, description = "The page is the one you have."),
    )
)]
#[get("/conversations/{id}/messages")]
async fn list_messages(
    tenant: Tenant,
    id: Id<ConversationId>,
    query: Query<ListMessagesQuery>,
    reader: Reader,
    tools: web::Data<Toolkit>,
    inbox: web::Data<Inbox>,
) -> Result<HttpResponse, Problem> {
    inbox.prepare_read(&tenant, id.0).await?;
    reader
        .answer::<MessageList, _>(&tenant, id.0.as_uuid().as_bytes(), async || {
            let order = match query.sort.as_deref() {
                None | Some("-sentAt") => MessageOrder::NewestFirst,
                Some("sentAt") => MessageOrder::OldestFirst,
                Some(_) => {
                    let reason = "must be sentAt or -sentAt";
                    return Err(Problem::invalid_query("sort", "unknown-value", reason));
                }
            };
            let limit = page_limit(query.limit)?;
            let page = inbox
                .list_messages(&tenant, id.0, order, query.cursor.as_deref(), limit)
                .await?;
            let page = PageAnswer::of(page, MessageAnswer::from);
            Finished::of_content(&tools, &tenant, &page)
        })
        .await
}

/// Mark a conversation read
///
/// All there is, or all up to a message. What was read already stays so.
#[utoipa::path(
    operation_id = "conversation_mark_read",
    tag = "conversations",
    params(("id" = uuid::Uuid, Path, description = "The conversation.",
        example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")),
    request_body(content = MarkReadRequest, example = json!({
        "throughMessageId": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d11",
    })),
    extensions(("x-permission" = json!("conversation.write"))),
    responses(
        (status = 200, description = "The conversation as it is now.", body = ConversationAnswer,
            headers(("ETag" = String, description = "Of what is shown.")),
            example = json!(example())),
        (status = 422, description = "The message is not of this conversation.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/conversations/{id}/read")]
async fn mark_read(
    tenant: Tenant,
    id: Id<ConversationId>,
    body: Body<MarkReadRequest>,
    tools: web::Data<Toolkit>,
    inbox: web::Data<Inbox>,
) -> Result<HttpResponse, Problem> {
    inbox.prepare_mark_read(&tenant, id.0).await?;
    let through = body.read()?.through_message_id;
    let summary = inbox.mark_read(&tenant, id.0, through).await?;
    let answer = ConversationAnswer::from(summary);
    let bytes = serde_json::to_vec(&answer).unwrap_or_default();
    let tag = EntityTag::of_content(&tools, &tenant, &bytes);
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, tag.to_string()))
        .content_type(header::ContentType::json())
        .body(bytes))
}

impl From<MarkReadError> for Problem {
    fn from(error: MarkReadError) -> Self {
        match error {
            MarkReadError::Denied(denied) => denied.into(),
            MarkReadError::NotFound => Self::not_found(),
            MarkReadError::MessageNotFound => Self::new(ProblemCode::RuleViolated)
                .detail("The message is not of this conversation.")
                .param(
                    "throughMessageId",
                    "unknown",
                    "must be a message of this conversation",
                ),
            MarkReadError::Store(error) => error.into(),
        }
    }
}
