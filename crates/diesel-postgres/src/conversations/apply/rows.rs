//! Rows that a change is worked out from.

use chrono::{DateTime, Utc};
use conversations::message::{
    Amended, AmendmentKind, MessageError, OrderKey, Reaction, StatusTimes, StoredAmendment,
    StoredReceipt,
};
use conversations::status::{MessageStatus, ReceiptStatus};
use diesel::prelude::Queryable;
use diesel::sql_types::{
    Bool, Integer, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid,
};
use kernel::StoreError;
use kernel::identity::{IdentityKey, IdentityKind, SeenAt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

/// An identity's key out of its two columns.
pub(super) fn identity_key(kind: &str, key: String) -> Result<IdentityKey, StoreError> {
    let kind = IdentityKind::parse(kind).ok_or(StoreError::Corrupt("kind of an identity"))?;
    Ok(IdentityKey { kind, key })
}

fn read<T: DeserializeOwned>(value: Value, column: &'static str) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|_| StoreError::Corrupt(column))
}

fn seen(at: Option<DateTime<Utc>>, order_key: Option<String>) -> Option<SeenAt> {
    Some(SeenAt {
        at: at?,
        order_key: order_key?,
    })
}

pub(super) type KnownMessageColumns = (
    Text,
    Bool,
    Text,
    SqlUuid,
    SqlUuid,
    SqlUuid,
    Text,
    Text,
    Text,
    Jsonb,
    Nullable<Jsonb>,
    Nullable<Timestamptz>,
    Nullable<Text>,
    Nullable<Timestamptz>,
    Jsonb,
);

#[derive(Queryable)]
pub(super) struct KnownMessageRow {
    provider_id: String,
    from_me: bool,
    remote_jid: String,
    id: Uuid,
    conversation: Uuid,
    contact: Uuid,
    person_kind: String,
    person_key: String,
    status: String,
    status_times: Value,
    error: Option<Value>,
    edited_at: Option<DateTime<Utc>>,
    edited_body: Option<String>,
    revoked_at: Option<DateTime<Utc>>,
    reactions: Value,
}

/// A message that is stored already, as far as receipts and amendments change it.
pub(super) struct KnownMessage {
    pub(super) provider_id: String,
    pub(super) from_me: bool,
    pub(super) remote_jid: String,
    pub(super) id: Uuid,
    pub(super) conversation: Uuid,
    pub(super) contact: Uuid,
    pub(super) person: IdentityKey,
    pub(super) status: MessageStatus,
    pub(super) times: StatusTimes,
    pub(super) error: Option<MessageError>,
    pub(super) amended: Amended,
}

impl TryFrom<KnownMessageRow> for KnownMessage {
    type Error = StoreError;

    fn try_from(row: KnownMessageRow) -> Result<Self, StoreError> {
        Ok(Self {
            provider_id: row.provider_id,
            from_me: row.from_me,
            remote_jid: row.remote_jid,
            id: row.id,
            conversation: row.conversation,
            contact: row.contact,
            person: identity_key(&row.person_kind, row.person_key)?,
            status: row
                .status
                .parse()
                .map_err(|_| StoreError::Corrupt("messages.status"))?,
            times: read(row.status_times, "messages.status_times")?,
            error: row
                .error
                .map(|error| read(error, "messages.error"))
                .transpose()?,
            amended: Amended {
                edited_at: row.edited_at,
                edited_body: row.edited_body,
                revoked_at: row.revoked_at,
                reactions: read::<Vec<Reaction>>(row.reactions, "messages.reactions")?,
            },
        })
    }
}

/// Message's id, status, time, error, pricing.
pub(super) type ReceiptRow = (String, String, DateTime<Utc>, Option<Value>, Option<Value>);

/// A receipt as it is stored or to be stored.
#[derive(Clone, PartialEq)]
pub(super) struct KnownReceipt {
    pub(super) status: ReceiptStatus,
    pub(super) at: DateTime<Utc>,
    pub(super) error: Option<Value>,
    pub(super) pricing: Option<Value>,
}

impl KnownReceipt {
    /// The message's id and its receipt.
    pub(super) fn of_row(row: ReceiptRow) -> Result<(String, Self), StoreError> {
        let (provider_id, status, at, error, pricing) = row;
        let status = status
            .parse()
            .map_err(|_| StoreError::Corrupt("message_receipts.status"))?;
        Ok((
            provider_id,
            Self {
                status,
                at,
                error,
                pricing,
            },
        ))
    }

    /// Which of two receipts that say the same is kept: the earlier, by its texts where the
    /// instants are equal. Any order of arrival gives the same one.
    pub(super) fn precedes(&self, other: &Self) -> bool {
        let texts = |one: &Self| {
            let text = |value: &Option<Value>| value.as_ref().map(Value::to_string);
            (text(&one.error), text(&one.pricing))
        };
        self.at < other.at || (self.at == other.at && texts(self) < texts(other))
    }

    pub(super) fn stored(&self) -> StoredReceipt {
        StoredReceipt {
            status: self.status,
            at: self.at,
            error: self
                .error
                .clone()
                .and_then(|error| serde_json::from_value(error).ok()),
        }
    }
}

pub(super) type KnownAmendmentColumns = (
    Text,
    Text,
    Text,
    Bool,
    Timestamptz,
    Nullable<Text>,
    Text,
    Text,
    Nullable<SqlUuid>,
);

#[derive(Queryable)]
pub(super) struct KnownAmendmentRow {
    target: String,
    kind: String,
    provider_id: String,
    from_me: bool,
    at: DateTime<Utc>,
    value: Option<String>,
    person_kind: String,
    person_key: String,
    holder: Option<Uuid>,
}

/// An amendment with the identity it came from and the contact that holds it.
#[derive(Clone)]
pub(super) struct KnownAmendment {
    pub(super) target: String,
    pub(super) kind: AmendmentKind,
    pub(super) order: OrderKey,
    pub(super) from_me: bool,
    pub(super) value: Option<String>,
    pub(super) person: IdentityKey,
    pub(super) holder: Option<Uuid>,
}

impl TryFrom<KnownAmendmentRow> for KnownAmendment {
    type Error = StoreError;

    fn try_from(row: KnownAmendmentRow) -> Result<Self, StoreError> {
        Ok(Self {
            target: row.target,
            kind: row
                .kind
                .parse()
                .map_err(|_| StoreError::Corrupt("message_amendments.kind"))?,
            order: OrderKey {
                sent_at: row.at,
                provider_id: row.provider_id,
            },
            from_me: row.from_me,
            value: row.value,
            person: identity_key(&row.person_kind, row.person_key)?,
            holder: row.holder,
        })
    }
}

impl KnownAmendment {
    /// As the domain judges it, for a message of this person and contact.
    pub(super) fn for_message(&self, person: &IdentityKey, contact: Uuid) -> StoredAmendment {
        StoredAmendment {
            kind: self.kind,
            order: self.order.clone(),
            from_me: self.from_me,
            same_contact: self.person == *person || self.holder == Some(contact),
            value: self.value.clone(),
        }
    }
}

pub(super) type ContactStateColumns =
    (SqlUuid, Nullable<SqlUuid>, Bool, Text, Text, Nullable<Text>);

#[derive(Queryable)]
pub(super) struct ContactStateRow {
    pub(super) id: Uuid,
    pub(super) merged_into: Option<Uuid>,
    pub(super) curated: bool,
    pub(super) name: String,
    name_source: String,
    pub(super) primary_phone: Option<String>,
}

impl ContactStateRow {
    /// Whether somebody of the clinic gave the name.
    pub(super) fn is_named(&self) -> bool {
        self.name_source == "person"
    }
}

pub(super) type IdentityStateColumns = (
    SqlUuid,
    Text,
    Text,
    Text,
    SmallInt,
    Nullable<Timestamptz>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Timestamptz>,
    Nullable<Text>,
);

#[derive(Queryable)]
pub(super) struct IdentityStateRow {
    contact: Uuid,
    kind: String,
    key: String,
    value: String,
    rank: i16,
    proven_at: Option<DateTime<Utc>>,
    proven_order: Option<String>,
    name: Option<String>,
    named_at: Option<DateTime<Utc>>,
    named_order: Option<String>,
}

/// An identity of a contact, with the name that came with it.
#[derive(Clone, PartialEq)]
pub(super) struct IdentityState {
    pub(super) contact: Uuid,
    pub(super) key: IdentityKey,
    pub(super) value: String,
    pub(super) rank: i16,
    pub(super) proven: Option<SeenAt>,
    pub(super) name: Option<(SeenAt, String)>,
}

impl TryFrom<IdentityStateRow> for IdentityState {
    type Error = StoreError;

    fn try_from(row: IdentityStateRow) -> Result<Self, StoreError> {
        Ok(Self {
            contact: row.contact,
            key: identity_key(&row.kind, row.key)?,
            value: row.value,
            rank: row.rank,
            proven: seen(row.proven_at, row.proven_order),
            name: seen(row.named_at, row.named_order).zip(row.name),
        })
    }
}

pub(super) type ConversationStateColumns = (
    SqlUuid,
    SqlUuid,
    SqlUuid,
    Text,
    Nullable<Timestamptz>,
    Nullable<Text>,
    Text,
    Nullable<SqlUuid>,
    Bool,
    Integer,
    Nullable<Timestamptz>,
    Nullable<Text>,
    Nullable<Timestamptz>,
    Timestamptz,
    Text,
    Nullable<SqlUuid>,
    Timestamptz,
);

/// A conversation's row.
#[derive(Debug, Clone, PartialEq, Queryable)]
pub(super) struct ConversationState {
    pub(super) id: Uuid,
    pub(super) channel: Uuid,
    pub(super) contact: Uuid,
    pub(super) remote_jid: String,
    pub(super) remote_proven_at: Option<DateTime<Utc>>,
    pub(super) remote_proven_order: Option<String>,
    pub(super) status: String,
    pub(super) assignee: Option<Uuid>,
    pub(super) is_paused: bool,
    pub(super) unread: i32,
    pub(super) read_through_at: Option<DateTime<Utc>>,
    pub(super) read_through_order: Option<String>,
    pub(super) last_inbound_at: Option<DateTime<Utc>>,
    pub(super) last_message_at: DateTime<Utc>,
    pub(super) last_message_order: String,
    pub(super) last_message_id: Option<Uuid>,
    pub(super) created_at: DateTime<Utc>,
}
