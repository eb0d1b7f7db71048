//! The inbox: list conversations, read one, its messages, mark read.

use std::fmt;
use std::sync::Arc;

use kernel::cursor::{ListIdentity, Position, SortValue, open_cursor, seal_cursor};
use kernel::{
    Action, ConversationId, Denied, Gate, MessageId, Page, PageLimit, Resource, TenantContext,
    Toolkit, TypedId as _,
};

use crate::conversation::{ConversationFilter, ConversationSummary, MessageOrder};
use crate::error::{AccessError, ListError, MarkReadError};
use crate::message::Message;
use crate::ports::ConversationStore;

const RESOURCE: &str = "conversation";

/// What the people of a clinic do with its conversations.
#[derive(Clone)]
pub struct Inbox {
    store: Arc<dyn ConversationStore>,
    gate: Gate,
    tools: Toolkit,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

impl Inbox {
    /// The service over its store.
    pub fn new(store: Arc<dyn ConversationStore>, gate: Gate, tools: Toolkit) -> Self {
        Self { store, gate, tools }
    }

    /// The conversations of a filter, the latest active first.
    pub async fn list(
        &self,
        cx: &TenantContext,
        filter: &ConversationFilter,
        cursor: Option<&str>,
        limit: PageLimit,
    ) -> Result<Page<ConversationSummary>, ListError> {
        self.gate
            .authorize(cx, Action::ConversationRead, Resource::any(RESOURCE))
            .await?;
        let bytes = filter.canonical_bytes();
        let list = ListIdentity {
            list: "conversations",
            sort: "-lastMessageAt",
            filter: &bytes,
        };
        let after = cursor
            .map(|cursor| open_cursor(cx, self.tools.keys(), &list, cursor))
            .transpose()?;
        let mut items = self.store.list(cx, filter, after, limit).await?;
        let more = items.len() > limit.rows();
        items.truncate(limit.rows());
        let next_cursor = items.last().filter(|_| more).map(|last| {
            let position = Position {
                sort: SortValue::Instant(last.conversation.last_message_at),
                id: last.conversation.id.as_uuid(),
                tie: None,
            };
            seal_cursor(cx, self.tools.keys(), &list, &position)
        });
        Ok(Page { items, next_cursor })
    }

    /// Decides as [`Self::list`] does, for whoever keeps finished answers.
    pub async fn prepare_list(&self, cx: &TenantContext) -> Result<(), Denied> {
        self.gate
            .authorize(cx, Action::ConversationRead, Resource::any(RESOURCE))
            .await
    }

    /// Decides as [`Self::read`] and [`Self::list_messages`] do, for whoever keeps finished answers.
    pub async fn prepare_read(&self, cx: &TenantContext, id: ConversationId) -> Result<(), Denied> {
        self.gate
            .authorize(cx, Action::ConversationRead, Resource::one(RESOURCE, id))
            .await
    }

    /// One conversation.
    pub async fn read(
        &self,
        cx: &TenantContext,
        id: ConversationId,
    ) -> Result<ConversationSummary, AccessError> {
        self.gate
            .authorize(cx, Action::ConversationRead, Resource::one(RESOURCE, id))
            .await?;
        let conversation = self.store.find(cx, id).await?;
        conversation.ok_or(AccessError::NotFound)
    }

    /// A conversation's messages.
    pub async fn list_messages(
        &self,
        cx: &TenantContext,
        id: ConversationId,
        order: MessageOrder,
        cursor: Option<&str>,
        limit: PageLimit,
    ) -> Result<Page<Message>, ListError> {
        self.gate
            .authorize(cx, Action::ConversationRead, Resource::one(RESOURCE, id))
            .await?;
        let conversation = id.as_uuid();
        let list = ListIdentity {
            list: "messages",
            sort: order.name(),
            filter: conversation.as_bytes(),
        };
        let after = cursor
            .map(|cursor| open_cursor(cx, self.tools.keys(), &list, cursor))
            .transpose()?;
        let found = self
            .store
            .list_messages(cx, id, order, after, limit)
            .await?;
        let mut items = found.ok_or(ListError::NotFound)?;
        let more = items.len() > limit.rows();
        items.truncate(limit.rows());
        let next_cursor = items.last().filter(|_| more).map(|last| {
            let position = Position {
                sort: SortValue::Instant(last.order.sent_at),
                id: last.id.as_uuid(),
                tie: Some(last.order.provider_id.clone()),
            };
            seal_cursor(cx, self.tools.keys(), &list, &position)
        });
        Ok(Page { items, next_cursor })
    }

    /// Decides as [`Self::mark_read`] does, so that whoever may not learns that first, and learns
    /// nothing else.
    pub async fn prepare_mark_read(
        &self,
        cx: &TenantContext,
        id: ConversationId,
    ) -> Result<(), Denied> {
        self.gate
            .authorize(cx, Action::ConversationWrite, Resource::one(RESOURCE, id))
            .await
    }

    /// Marks as read all up to `through`, or all there is.
    pub async fn mark_read(
        &self,
        cx: &TenantContext,
        id: ConversationId,
        through: Option<MessageId>,
    ) -> Result<ConversationSummary, MarkReadError> {
        self.gate
            .authorize(cx, Action::ConversationWrite, Resource::one(RESOURCE, id))
            .await?;
        self.store.mark_read(cx, id, through).await
    }
}
