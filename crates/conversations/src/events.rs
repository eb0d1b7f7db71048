//! What happens here, for others to react to. Payloads hold ids, kinds and numbers only: who
//! reacts reads what it may see.

use kernel::{ChannelId, ContactId, ConversationId, Event, MessageId, Toolkit};
use serde_json::json;
use uuid::Uuid;

use crate::message::MessageKind;
use crate::status::MessageStatus;

/// A channel was created.
pub const CHANNEL_CREATED: &str = "channel.created";
/// A channel's secret was rotated.
pub const CHANNEL_SECRET_ROTATED: &str = "channel.secret-rotated";
/// A channel was disabled.
pub const CHANNEL_DISABLED: &str = "channel.disabled";
/// A channel was enabled again.
pub const CHANNEL_ENABLED: &str = "channel.enabled";
/// A contact came to be by writing.
pub const CONTACT_CREATED: &str = "contact.created";
/// A contact's name or identities changed by what they wrote.
pub const CONTACT_UPDATED: &str = "contact.updated";
/// Two contacts turned out to be one person.
pub const CONTACT_MERGED: &str = "contact.merged";
/// A conversation began.
pub const CONVERSATION_CREATED: &str = "conversation.created";
/// A conversation's counters or marks changed.
pub const CONVERSATION_UPDATED: &str = "conversation.updated";
/// Two conversations of one person became one.
pub const CONVERSATION_MERGED: &str = "conversation.merged";
/// Somebody of the clinic read a conversation.
pub const CONVERSATION_READ: &str = "conversation.read";
/// A message was stored.
pub const MESSAGE_CREATED: &str = "message.created";
/// A message's status moved forward.
pub const MESSAGE_STATUS_CHANGED: &str = "message.status-changed";
/// A message was edited, revoked or reacted to.
pub const MESSAGE_AMENDED: &str = "message.amended";

/// An event about a channel: one of the `CHANNEL_…` names.
pub fn channel(tools: &Toolkit, name: &'static str, channel: ChannelId) -> Event {
    Event::new(
        tools,
        name,
        channel,
        json!({ "channelId": Uuid::from(channel) }),
    )
}

/// An event about a contact: [`CONTACT_CREATED`] or [`CONTACT_UPDATED`].
pub fn contact(tools: &Toolkit, name: &'static str, contact: ContactId) -> Event {
    Event::new(
        tools,
        name,
        contact,
        json!({ "contactId": Uuid::from(contact) }),
    )
}

/// `gone` turned out to be `kept`, which has all that was its.
pub fn contact_merged(tools: &Toolkit, gone: ContactId, kept: ContactId) -> Event {
    Event::new(
        tools,
        CONTACT_MERGED,
        kept,
        json!({ "contactId": Uuid::from(kept), "mergedContactId": Uuid::from(gone) }),
    )
}

/// An event about a conversation: one of the `CONVERSATION_…` names.
pub fn conversation(
    tools: &Toolkit,
    name: &'static str,
    conversation: ConversationId,
    channel: ChannelId,
    contact: ContactId,
) -> Event {
    Event::new(
        tools,
        name,
        conversation,
        json!({
            "conversationId": Uuid::from(conversation),
            "channelId": Uuid::from(channel),
            "contactId": Uuid::from(contact),
        }),
    )
}

/// `gone` became part of `kept`, which has all its messages.
pub fn conversation_merged(tools: &Toolkit, gone: ConversationId, kept: ConversationId) -> Event {
    Event::new(
        tools,
        CONVERSATION_MERGED,
        kept,
        json!({
            "conversationId": Uuid::from(kept),
            "mergedConversationId": Uuid::from(gone),
        }),
    )
}

/// A message was stored.
pub fn message_created(
    tools: &Toolkit,
    message: MessageId,
    conversation: ConversationId,
    from_me: bool,
    kind: MessageKind,
) -> Event {
    Event::new(
        tools,
        MESSAGE_CREATED,
        message,
        json!({
            "messageId": Uuid::from(message),
            "conversationId": Uuid::from(conversation),
            "fromMe": from_me,
            "type": kind.name(),
        }),
    )
}

/// A message's status moved forward.
pub fn message_status_changed(
    tools: &Toolkit,
    message: MessageId,
    conversation: ConversationId,
    status: MessageStatus,
) -> Event {
    Event::new(
        tools,
        MESSAGE_STATUS_CHANGED,
        message,
        json!({
            "messageId": Uuid::from(message),
            "conversationId": Uuid::from(conversation),
            "status": status.name(),
        }),
    )
}

/// A message was edited, revoked or reacted to.
pub fn message_amended(tools: &Toolkit, message: MessageId, conversation: ConversationId) -> Event {
    Event::new(
        tools,
        MESSAGE_AMENDED,
        message,
        json!({
            "messageId": Uuid::from(message),
            "conversationId": Uuid::from(conversation),
        }),
    )
}
