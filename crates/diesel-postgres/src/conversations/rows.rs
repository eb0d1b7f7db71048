//! Rows of conversations and messages, and what they mean.

use chrono::{DateTime, Utc};
use conversations::content::Content;
use conversations::conversation::{Conversation, ConversationSummary, MessagePreview};
use conversations::message::{Message, MessageError, OrderKey, Reaction, StatusTimes};
use diesel::prelude::Queryable;
use diesel::sql_types::{
    BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};
use kernel::StoreError;
use serde_json::Value;
use uuid::Uuid;

/// SQL types of [`SummaryRow`].
pub(super) type SummaryColumns = (
    SqlUuid,
    SqlUuid,
    SqlUuid,
    Text,
    Text,
    Nullable<SqlUuid>,
    Bool,
    Integer,
    Nullable<Timestamptz>,
    Timestamptz,
    BigInt,
    Timestamptz,
    Timestamptz,
    Text,
    Nullable<Text>,
    Nullable<SqlUuid>,
    Nullable<Bool>,
    Nullable<Text>,
    Nullable<Text>,
);

/// A conversation with its contact's name and its latest message.
#[derive(Queryable)]
pub(super) struct SummaryRow {
    id: Uuid,
    channel_id: Uuid,
    contact_id: Uuid,
    remote_jid: String,
    status: String,
    assignee_id: Option<Uuid>,
    is_paused: bool,
    unread_count: i32,
    last_inbound_at: Option<DateTime<Utc>>,
    last_message_at: DateTime<Utc>,
    row_version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    contact_name: String,
    contact_phone: Option<String>,
    message_id: Option<Uuid>,
    message_from_me: Option<bool>,
    message_kind: Option<String>,
    message_body: Option<String>,
}

impl TryFrom<SummaryRow> for ConversationSummary {
    type Error = StoreError;

    fn try_from(row: SummaryRow) -> Result<Self, StoreError> {
        let last_message = match (row.message_id, row.message_from_me, row.message_kind) {
            (Some(id), Some(from_me), Some(kind)) => Some(MessagePreview {
                id: id.into(),
                from_me,
                kind: kind
                    .parse()
                    .map_err(|_| StoreError::Corrupt("messages.kind"))?,
                body: row.message_body,
            }),
            _ => None,
        };
        Ok(Self {
            conversation: Conversation {
                id: row.id.into(),
                channel: row.channel_id.into(),
                contact: row.contact_id.into(),
                remote_jid: row.remote_jid,
                status: row
                    .status
                    .parse()
                    .map_err(|_| StoreError::Corrupt("conversations.status"))?,
                assignee: row.assignee_id.map(Into::into),
                is_paused: row.is_paused,
                unread_count: u32::try_from(row.unread_count)
                    .map_err(|_| StoreError::Corrupt("conversations.unread_count"))?,
                last_inbound_at: row.last_inbound_at,
                last_message_at: row.last_message_at,
                row_version: row.row_version,
                created_at: row.created_at,
                updated_at: row.updated_at,
            },
            contact_name: row.contact_name,
            contact_phone: row.contact_phone,
            last_message,
        })
    }
}

/// SQL types of [`MessageRow`].
pub(super) type MessageColumns = (
    SqlUuid,
    SqlUuid,
    Timestamptz,
    Text,
    Bool,
    Text,
    Nullable<Text>,
    Nullable<Jsonb>,
    Nullable<Text>,
    Nullable<SqlUuid>,
    Bool,
    Text,
    Jsonb,
    Nullable<Jsonb>,
    Nullable<Timestamptz>,
    Nullable<Text>,
    Nullable<Timestamptz>,
    Jsonb,
    Timestamptz,
);

/// A message.
#[derive(Queryable)]
pub(super) struct MessageRow {
    id: Uuid,
    conversation_id: Uuid,
    sent_at: DateTime<Utc>,
    order_key: String,
    from_me: bool,
    kind: String,
    body: Option<String>,
    content: Option<Value>,
    reply_to: Option<String>,
    reply_to_id: Option<Uuid>,
    forwarded: bool,
    status: String,
    status_times: Value,
    error: Option<Value>,
    edited_at: Option<DateTime<Utc>>,
    edited_body: Option<String>,
    revoked_at: Option<DateTime<Utc>>,
    reactions: Value,
    created_at: DateTime<Utc>,
}

fn read<T: serde::de::DeserializeOwned>(
    value: Value,
    column: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|_| StoreError::Corrupt(column))
}

impl TryFrom<MessageRow> for Message {
    type Error = StoreError;

    fn try_from(row: MessageRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.into(),
            conversation: row.conversation_id.into(),
            order: OrderKey {
                sent_at: row.sent_at,
                provider_id: row.order_key,
            },
            from_me: row.from_me,
            kind: row
                .kind
                .parse()
                .map_err(|_| StoreError::Corrupt("messages.kind"))?,
            body: row.body,
            content: row
                .content
                .map(|content| read::<Content>(content, "messages.content"))
                .transpose()?
                .unwrap_or_default(),
            reply_to: row.reply_to,
            reply_to_id: row.reply_to_id.map(Into::into),
            forwarded: row.forwarded,
            status: row
                .status
                .parse()
                .map_err(|_| StoreError::Corrupt("messages.status"))?,
            status_times: read::<StatusTimes>(row.status_times, "messages.status_times")?,
            error: row
                .error
                .map(|error| read::<MessageError>(error, "messages.error"))
                .transpose()?,
            edited_at: row.edited_at,
            edited_body: row.edited_body,
            revoked_at: row.revoked_at,
            reactions: read::<Vec<Reaction>>(row.reactions, "messages.reactions")?,
            created_at: row.created_at,
        })
    }
}
