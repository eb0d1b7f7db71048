//! Conversations: what a new message makes of one, and how the threads of one person are joined.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use conversations::events;
use conversations::inbound::InboundMessage;
use kernel::identity::{IdentityKey, SeenAt, holder_at};
use kernel::{ContactId, ConversationId, TypedId};
use uuid::Uuid;

use super::rows::ConversationState;
use super::statements::{
    DeleteConversation, DeleteEmptyConversation, FindMessagesOfPerson, InsertConversation,
    LockConversationsOf, MoveMessageKeys, MoveMessages, MoveSomeMessageKeys, MoveSomeMessages,
    RecountConversation, UpdateConversation,
};
use super::{Apply, Stopped};

impl ConversationState {
    /// A conversation of its first message.
    pub(super) fn begun_by(
        id: Uuid,
        channel: Uuid,
        contact: Uuid,
        message: &InboundMessage,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            channel,
            contact,
            remote_jid: message.remote.jid.clone(),
            remote_proven_at: None,
            remote_proven_order: None,
            status: "open".to_owned(),
            assignee: None,
            is_paused: false,
            unread: 0,
            read_through_at: None,
            read_through_order: None,
            last_inbound_at: None,
            last_message_at: message.order.sent_at,
            last_message_order: message.order.provider_id.clone(),
            last_message_id: None,
            created_at: at,
        }
    }

    /// What a new message makes of it, wherever in the thread the message stands.
    pub(super) fn add(&mut self, id: Uuid, message: &InboundMessage) {
        let at = message.order.sent_at;
        let order = &message.order.provider_id;
        let is_last = self.last_message_id.is_none()
            || (at, order) > (self.last_message_at, &self.last_message_order);
        if is_last {
            self.last_message_at = at;
            self.last_message_order.clone_from(order);
            self.last_message_id = Some(id);
        }
        if (Some(at), Some(order)) > (self.remote_proven_at, self.remote_proven_order.as_ref()) {
            self.remote_jid.clone_from(&message.remote.jid);
            self.remote_proven_at = Some(at);
            self.remote_proven_order = Some(order.clone());
        }
        // A notice of the provider is no word of the contact.
        if !message.from_me && message.kind.opens_window() {
            self.last_inbound_at = self.last_inbound_at.max(Some(at));
            if message.kind.counts_as_unread() {
                self.unread += 1;
                // Somebody waits for an answer again.
                "open".clone_into(&mut self.status);
            }
        }
    }

    /// A new conversation of another contact on the same channel, for messages of this one. What
    /// the clinic did with this one is not done with that.
    fn apart(&self, id: Uuid, contact: Uuid) -> Self {
        Self {
            id,
            contact,
            status: "open".to_owned(),
            assignee: None,
            is_paused: false,
            unread: 0,
            read_through_at: None,
            read_through_order: None,
            ..self.clone()
        }
    }

    /// Takes over what another conversation of the same person on the same channel knows.
    fn take_over(&mut self, other: &Self) {
        let place = |it: &Self| (it.last_message_at, it.last_message_order.clone());
        if place(other) > place(self) {
            self.last_message_at = other.last_message_at;
            self.last_message_order
                .clone_from(&other.last_message_order);
            self.last_message_id = other.last_message_id;
        }
        let proven = |it: &Self| (it.remote_proven_at, it.remote_proven_order.clone());
        if proven(other) > proven(self) {
            self.remote_jid.clone_from(&other.remote_jid);
            self.remote_proven_at = other.remote_proven_at;
            self.remote_proven_order
                .clone_from(&other.remote_proven_order);
        }
        let read = |it: &Self| (it.read_through_at, it.read_through_order.clone());
        if read(other) > read(self) {
            self.read_through_at = other.read_through_at;
            self.read_through_order
                .clone_from(&other.read_through_order);
        }
        self.last_inbound_at = self.last_inbound_at.max(other.last_inbound_at);
        self.unread += other.unread;
        self.is_paused |= other.is_paused;
        self.assignee = self.assignee.or(other.assignee);
        self.created_at = self.created_at.min(other.created_at);
        if other.status == "open" {
            "open".clone_into(&mut self.status);
        }
    }
}

impl Apply<'_, '_> {
    /// The row of a new conversation.
    pub(super) fn insert_row<'a>(&self, state: &'a ConversationState) -> InsertConversation<'a> {
        InsertConversation {
            clinic: self.clinic,
            id: state.id,
            channel: state.channel,
            contact: state.contact,
            remote_jid: &state.remote_jid,
            remote_proven_at: state.remote_proven_at,
            remote_proven_order: state.remote_proven_order.as_deref(),
            status: &state.status,
            unread: state.unread,
            last_inbound_at: state.last_inbound_at,
            last_message_at: state.last_message_at,
            last_message_order: &state.last_message_order,
            last_message_id: state.last_message_id,
            at: state.created_at,
            updated_at: self.at,
        }
    }

    /// The row as it is to be.
    pub(super) fn update_conversation<'a>(
        &self,
        state: &'a ConversationState,
    ) -> UpdateConversation<'a> {
        UpdateConversation {
            contact: state.contact,
            remote_jid: &state.remote_jid,
            remote_proven_at: state.remote_proven_at,
            remote_proven_order: state.remote_proven_order.as_deref(),
            status: &state.status,
            assignee: state.assignee,
            is_paused: state.is_paused,
            unread: state.unread,
            read_through_at: state.read_through_at,
            read_through_order: state.read_through_order.as_deref(),
            last_inbound_at: state.last_inbound_at,
            last_message_at: state.last_message_at,
            last_message_order: &state.last_message_order,
            last_message_id: state.last_message_id,
            created_at: state.created_at,
            at: self.at,
            id: state.id,
        }
    }

    pub(super) fn emit_conversation(&self, name: &'static str, state: &ConversationState) {
        self.tx.emit(&events::conversation(
            self.tools,
            name,
            state.id.into(),
            state.channel.into(),
            state.contact.into(),
        ));
    }

    /// The threads of a contact that proved to be another one, joined with that one's.
    pub(super) async fn merge_threads(&self, from: Uuid, into: Uuid) -> Result<(), Stopped> {
        let contacts = vec![from, into];
        let threads: Vec<ConversationState> =
            self.tx.load(LockConversationsOf { contacts }).await?;
        let (going, staying): (Vec<_>, Vec<_>) =
            threads.into_iter().partition(|it| it.contact == from);
        for gone in going {
            let kept = staying.iter().find(|it| it.channel == gone.channel);
            let Some(kept) = kept else {
                let moved = ConversationState {
                    contact: into,
                    ..gone
                };
                self.tx.execute(self.update_conversation(&moved)).await?;
                self.emit_conversation(events::CONVERSATION_UPDATED, &moved);
                continue;
            };
            let mut kept = kept.clone();
            kept.take_over(&gone);
            let (from, to) = (gone.id, kept.id);
            self.tx
                .pipeline(|batch| {
                    batch.execute(MoveMessages { to, from });
                    batch.execute(MoveMessageKeys { to, from });
                    batch.execute(DeleteConversation { id: from });
                    batch.execute(self.update_conversation(&kept));
                })
                .await?;
            self.emit_conversation(events::CONVERSATION_UPDATED, &kept);
            self.tx.emit(&events::conversation_merged(
                self.tools,
                from.into(),
                to.into(),
            ));
        }
        Ok(())
    }

    /// The messages that name somebody by an identity go to who had it when they were sent.
    /// Answers the contacts whose messages are others now.
    pub(super) async fn hand_over(
        &self,
        identity: &IdentityKey,
        from: &BTreeSet<ContactId>,
        holders: &[(Option<SeenAt>, Uuid)],
    ) -> Result<Vec<Uuid>, Stopped> {
        let contacts = from.iter().map(TypedId::as_uuid);
        let contacts: BTreeSet<Uuid> = contacts.chain(holders.iter().map(|it| it.1)).collect();
        let contacts = contacts.into_iter().collect();
        let mut threads: Vec<ConversationState> =
            self.tx.load(LockConversationsOf { contacts }).await?;
        let messages: Vec<(Uuid, Uuid, DateTime<Utc>, String)> = self
            .tx
            .load(FindMessagesOfPerson {
                conversations: threads.iter().map(|it| it.id).collect(),
                kind: identity.kind.as_str(),
                key: &identity.key,
            })
            .await?;
        let mut leaving: BTreeMap<(Uuid, Uuid), Vec<Uuid>> = BTreeMap::new();
        for (conversation, id, at, order_key) in messages {
            let thread = threads.iter().find(|it| it.id == conversation);
            let to = holder_at(holders, &SeenAt { at, order_key });
            if let Some(to) = to.filter(|to| thread.is_some_and(|it| it.contact != *to)) {
                leaving.entry((conversation, to)).or_default().push(id);
            }
        }
        let mut regrouped = Vec::new();
        for ((conversation, to), ids) in leaving {
            let Some(left) = threads.iter().find(|it| it.id == conversation).cloned() else {
                continue;
            };
            let joined = threads
                .iter()
                .find(|it| it.channel == left.channel && it.contact == to);
            let is_new = joined.is_none();
            let target = joined
                .cloned()
                .unwrap_or_else(|| left.apart(self.tools.id::<ConversationId>().as_uuid(), to));
            self.move_messages(&left, &target, is_new, ids).await?;
            regrouped.extend([left.contact, to]);
            if is_new {
                threads.push(target);
            }
        }
        Ok(regrouped)
    }

    async fn move_messages(
        &self,
        left: &ConversationState,
        target: &ConversationState,
        is_new: bool,
        ids: Vec<Uuid>,
    ) -> Result<(), Stopped> {
        let (from, to, at) = (left.id, target.id, self.at);
        let counts = self
            .tx
            .pipeline(|batch| {
                if is_new {
                    batch.execute(self.insert_row(target));
                }
                batch.execute(MoveSomeMessages {
                    to,
                    ids: ids.clone(),
                });
                batch.execute(MoveSomeMessageKeys { to, from, ids });
                batch.execute(RecountConversation { at, id: to });
                batch.execute(RecountConversation { at, id: from });
                batch.execute(DeleteEmptyConversation { id: from });
            })
            .await?;
        let event = if is_new {
            events::CONVERSATION_CREATED
        } else {
            events::CONVERSATION_UPDATED
        };
        self.emit_conversation(event, target);
        if counts.last() == Some(&1) {
            let merged = events::conversation_merged(self.tools, from.into(), to.into());
            self.tx.emit(&merged);
        } else {
            self.emit_conversation(events::CONVERSATION_UPDATED, left);
        }
        Ok(())
    }
}
