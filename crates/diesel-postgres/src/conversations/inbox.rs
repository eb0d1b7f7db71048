//! [`ConversationStore`] on PostgreSQL.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use conversations::conversation::{ConversationFilter, ConversationSummary, MessageOrder};
use conversations::error::MarkReadError;
use conversations::message::Message;
use conversations::ports::ConversationStore;
use conversations::{ConversationStatus, events};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Timestamptz, Untyped, Uuid as SqlUuid};
use kernel::cursor::{Position, SortValue};
use kernel::{
    AuditEntry, ConversationId, MessageId, PageLimit, Resource, StoreError, TenantContext, Toolkit,
};
use uuid::Uuid;

use crate::conversations::rows::{MessageColumns, MessageRow, SummaryColumns, SummaryRow};
use crate::{Database, QueryName, TenantSelect, query_name, statement, tenant_select};

const LIST: QueryName = query_name!("conversation.list", "SELECT", "conversations");
const FIND: QueryName = query_name!("conversation.find", "SELECT", "conversations");
const LIST_MESSAGES: QueryName = query_name!("conversation.list_messages", "SELECT", "messages");
const MARK_READ: QueryName = query_name!("conversation.mark_read", "UPDATE", "conversations");

/// The columns of a summary. A preview has 160 characters (`PREVIEW_LENGTH`), and none of what
/// was taken back.
macro_rules! summary_columns {
    ($clinic:literal) => {
        concat!(
            "SELECT v.id, v.channel_id, v.contact_id, v.remote_jid, v.status, v.assignee_id,
                v.is_paused, v.unread_count, v.last_inbound_at, v.last_message_at, v.row_version,
                v.created_at, v.updated_at, c.name, c.primary_phone, m.id, m.from_me, m.kind,
                CASE WHEN m.revoked_at IS NULL
                     THEN left(coalesce(m.edited_body, m.body), 160) END
            FROM app.conversations v
            JOIN app.contacts c ON c.clinic_id = ",
            $clinic,
            " AND c.id = v.contact_id
            LEFT JOIN app.messages m ON m.clinic_id = ",
            $clinic,
            " AND m.id = v.last_message_id
            WHERE v.clinic_id = ",
            $clinic
        )
    };
}

tenant_select! {
    struct FindConversation { id: Uuid => SqlUuid } -> SummaryColumns =
        concat!(summary_columns!("s.t"), " AND v.id = ?")
}

statement! {
    struct ReadConversation { id: Uuid => SqlUuid } -> SummaryColumns =
        concat!(summary_columns!("app.current_clinic()"), " AND v.id = ?")
}

/// The list of conversations: its text varies with the filter, and comes from constants alone.
#[derive(Debug)]
struct ListConversations {
    status: Option<&'static str>,
    channel: Option<Uuid>,
    contact: Option<Uuid>,
    unread: Option<bool>,
    after: Option<(DateTime<Utc>, Uuid)>,
    rows: i64,
}

impl QueryId for ListConversations {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for ListConversations {
    type SqlType = SummaryColumns;
}

impl TenantSelect for ListConversations {}

impl QueryFragment<Pg> for ListConversations {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(summary_columns!("s.t"));
        if let Some(status) = &self.status {
            out.push_sql(" AND v.status = ");
            out.push_bind_param::<Text, _>(status)?;
        }
        if let Some(channel) = &self.channel {
            out.push_sql(" AND v.channel_id = ");
            out.push_bind_param::<SqlUuid, _>(channel)?;
        }
        if let Some(contact) = &self.contact {
            out.push_sql(" AND v.contact_id = ");
            out.push_bind_param::<SqlUuid, _>(contact)?;
        }
        match self.unread {
            Some(true) => out.push_sql(" AND v.unread_count > 0"),
            Some(false) => out.push_sql(" AND v.unread_count = 0"),
            None => {}
        }
        if let Some((at, id)) = &self.after {
            out.push_sql(" AND (v.last_message_at, v.id) < (");
            out.push_bind_param::<Timestamptz, _>(at)?;
            out.push_sql(", ");
            out.push_bind_param::<SqlUuid, _>(id)?;
            out.push_sql(")");
        }
        out.push_sql(" ORDER BY v.last_message_at DESC, v.id DESC LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.rows)
    }
}

/// One page of a conversation's messages.
#[derive(Debug)]
struct ListMessages {
    conversation: Uuid,
    order: MessageOrder,
    after: Option<(DateTime<Utc>, String)>,
    rows: i64,
}

impl QueryId for ListMessages {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for ListMessages {
    type SqlType = MessageColumns;
}

impl TenantSelect for ListMessages {}

impl QueryFragment<Pg> for ListMessages {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // The answered message lies in the same conversation, whichever side wrote it.
        out.push_sql(
            "SELECT m.id, m.conversation_id, m.sent_at, m.order_key, m.from_me, m.kind, m.body, \
             m.content, m.reply_to, (SELECT k.message_id FROM app.message_keys k \
             WHERE k.clinic_id = s.t AND k.channel_id = m.channel_id \
             AND k.provider_id = m.reply_to AND k.conversation_id = m.conversation_id \
             ORDER BY k.message_id LIMIT 1), m.forwarded, m.status, m.status_times, m.error, \
             m.edited_at, m.edited_body, m.revoked_at, m.reactions, m.created_at \
             FROM app.messages m WHERE m.clinic_id = s.t AND m.conversation_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.conversation)?;
        let (comparison, direction) = match self.order {
            MessageOrder::NewestFirst => ("<", "DESC"),
            MessageOrder::OldestFirst => (">", "ASC"),
        };
        if let Some((at, key)) = &self.after {
            out.push_sql(" AND (m.sent_at, m.order_key) ");
            out.push_sql(comparison);
            out.push_sql(" (");
            out.push_bind_param::<Timestamptz, _>(at)?;
            out.push_sql(", ");
            out.push_bind_param::<Text, _>(key)?;
            out.push_sql(" COLLATE \"C\")");
        }
        out.push_sql(" ORDER BY m.sent_at ");
        out.push_sql(direction);
        out.push_sql(", m.order_key ");
        out.push_sql(direction);
        out.push_sql(" LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.rows)
    }
}

tenant_select! {
    struct ConversationExists { id: Uuid => SqlUuid } -> Integer =
        "SELECT 1 FROM app.conversations v WHERE v.clinic_id = s.t AND v.id = ?"
}

type ReadMark = (
    SqlUuid,
    SqlUuid,
    Integer,
    Nullable<Timestamptz>,
    Nullable<Text>,
    Timestamptz,
    Text,
);
/// Channel, contact, unread, read through (time, key), last message (time, key).
type ReadMarkRow = (
    Uuid,
    Uuid,
    i32,
    Option<DateTime<Utc>>,
    Option<String>,
    DateTime<Utc>,
    String,
);

statement! {
    struct LockReadMark { id: Uuid => SqlUuid } -> ReadMark =
        "SELECT channel_id, contact_id, unread_count, read_through_at, read_through_order,
            last_message_at, last_message_order
        FROM app.conversations WHERE clinic_id = app.current_clinic() AND id = ?
        FOR NO KEY UPDATE"
}
statement! {
    struct PlaceOfMessage { id: Uuid => SqlUuid, conversation: Uuid => SqlUuid } -> (Timestamptz, Text) =
        "SELECT sent_at, order_key FROM app.messages
        WHERE clinic_id = app.current_clinic() AND id = ? AND conversation_id = ?"
}
statement! {
    /// Moves the mark and counts what lies beyond it. Touches no row where both are so already.
    struct MoveReadMark<'a> {
        through_at: DateTime<Utc> => Timestamptz,
        through_key: &'a str => Text,
        at: DateTime<Utc> => Timestamptz,
        id: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.conversations v
        SET read_through_at = t.at, read_through_order = t.key, unread_count = n.unread,
            updated_at = t.now, row_version = v.row_version + 1
        FROM (SELECT (?)::timestamptz AS at, (?)::text COLLATE \"C\" AS key,
                     (?)::timestamptz AS now, (?)::uuid AS id) t,
            LATERAL (SELECT count(*)::integer AS unread FROM app.messages m
                WHERE m.clinic_id = app.current_clinic() AND m.conversation_id = t.id
                  AND (m.sent_at, m.order_key) > (t.at, t.key) AND NOT m.from_me
                  AND m.kind NOT IN ('reaction', 'system')) n
        WHERE v.clinic_id = app.current_clinic() AND v.id = t.id
          AND (v.read_through_at, v.read_through_order, v.unread_count)
              IS DISTINCT FROM (t.at, t.key, n.unread)"
}

/// Conversations on PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgConversationStore {
    db: Database,
    tools: Toolkit,
}

impl PgConversationStore {
    /// Reads conversations from `db`.
    pub const fn new(db: Database, tools: Toolkit) -> Self {
        Self { db, tools }
    }
}

fn instant(position: &Position) -> Result<DateTime<Utc>, StoreError> {
    match position.sort {
        SortValue::Instant(at) => Ok(at),
        SortValue::Text(_) => Err(StoreError::Corrupt("a cursor of an instant")),
    }
}

#[async_trait]
impl ConversationStore for PgConversationStore {
    async fn list(
        &self,
        cx: &TenantContext,
        filter: &ConversationFilter,
        after: Option<Position>,
        limit: PageLimit,
    ) -> Result<Vec<ConversationSummary>, StoreError> {
        let after = match after {
            Some(position) => Some((instant(&position)?, position.id)),
            None => None,
        };
        let select = ListConversations {
            status: filter.status.map(ConversationStatus::name),
            channel: filter.channel.map(Into::into),
            contact: filter.contact.map(Into::into),
            unread: filter.unread,
            after,
            rows: limit.rows_to_fetch(),
        };
        let rows: Vec<SummaryRow> = self.db.read(cx, LIST, select).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn find(
        &self,
        cx: &TenantContext,
        id: ConversationId,
    ) -> Result<Option<ConversationSummary>, StoreError> {
        let row: Option<SummaryRow> = self
            .db
            .read_one(cx, FIND, FindConversation { id: id.into() })
            .await?;
        row.map(TryInto::try_into).transpose()
    }

    async fn list_messages(
        &self,
        cx: &TenantContext,
        id: ConversationId,
        order: MessageOrder,
        after: Option<Position>,
        limit: PageLimit,
    ) -> Result<Option<Vec<Message>>, StoreError> {
        let after = match after {
            Some(position) => Some((instant(&position)?, position.tie.unwrap_or_default())),
            None => None,
        };
        let select = ListMessages {
            conversation: id.into(),
            order,
            after,
            rows: limit.rows_to_fetch(),
        };
        let rows: Vec<MessageRow> = self.db.read(cx, LIST_MESSAGES, select).await?;
        if rows.is_empty() {
            // A page beyond the end, or no conversation at all.
            let exists: Option<i32> = self
                .db
                .read_one(cx, LIST_MESSAGES, ConversationExists { id: id.into() })
                .await?;
            return Ok(exists.map(|_| Vec::new()));
        }
        let messages = rows.into_iter().map(TryInto::try_into);
        messages.collect::<Result<_, _>>().map(Some)
    }

    async fn mark_read(
        &self,
        cx: &TenantContext,
        id: ConversationId,
        through: Option<MessageId>,
    ) -> Result<ConversationSummary, MarkReadError> {
        self.db
            .unit(cx, MARK_READ, async |tx| {
                let mark: Option<ReadMarkRow> = tx.optional(LockReadMark { id: id.into() }).await?;
                let Some((channel, contact, unread, read_at, read_key, last_at, last_key)) = mark
                else {
                    return Err(MarkReadError::NotFound);
                };
                let asked = match through {
                    None => (last_at, last_key),
                    Some(message) => tx
                        .optional(PlaceOfMessage {
                            id: message.into(),
                            conversation: id.into(),
                        })
                        .await?
                        .ok_or(MarkReadError::MessageNotFound)?,
                };
                let known = read_at.zip(read_key);
                // What was read stays read. What came late and lies before the mark is read now.
                let moves = known.as_ref().is_none_or(|known| asked > *known);
                if moves || unread > 0 {
                    let mark = known.filter(|_| !moves).unwrap_or(asked);
                    let moved = tx
                        .execute(MoveReadMark {
                            through_at: mark.0,
                            through_key: &mark.1,
                            at: self.tools.now(),
                            id: id.into(),
                        })
                        .await?;
                    if moved > 0 {
                        let resource = Resource::one("conversation", id).about(contact.into());
                        tx.audit(&AuditEntry::done(
                            &self.tools,
                            "conversation.mark-read",
                            resource,
                        ));
                        tx.emit(&events::conversation(
                            &self.tools,
                            events::CONVERSATION_READ,
                            id,
                            channel.into(),
                            contact.into(),
                        ));
                    }
                }
                let row: SummaryRow = tx.first(ReadConversation { id: id.into() }).await?;
                Ok(row.try_into()?)
            })
            .await
    }
}
