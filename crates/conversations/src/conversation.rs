//! A conversation: the one thread between a contact and a channel, whichever of their addresses
//! the contact writes from.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use kernel::{ChannelId, ContactId, ConversationId, MessageId, UserId};

use crate::message::MessageKind;

/// Free-form answers are accepted for so long after the last inbound message; afterwards only
/// templates are (Meta's customer service window; error 131047 beyond it).
pub const WINDOW: TimeDelta = TimeDelta::hours(24);

/// When the window that `last_inbound_at` opened closes. `None` when the contact never wrote.
pub fn window_expires_at(last_inbound_at: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    last_inbound_at.and_then(|at| at.checked_add_signed(WINDOW))
}

/// Where a conversation stands in the work of the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConversationStatus {
    /// Somebody should answer.
    Open,
    /// Waits for the contact.
    Pending,
    /// Put off.
    Snoozed,
    /// Done.
    Resolved,
}

impl ConversationStatus {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Pending => "pending",
            Self::Snoozed => "snoozed",
            Self::Resolved => "resolved",
        }
    }
}

/// The text names no status of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a conversation status")]
pub struct UnknownConversationStatus;

impl FromStr for ConversationStatus {
    type Err = UnknownConversationStatus;
    fn from_str(text: &str) -> Result<Self, UnknownConversationStatus> {
        match text {
            "open" => Ok(Self::Open),
            "pending" => Ok(Self::Pending),
            "snoozed" => Ok(Self::Snoozed),
            "resolved" => Ok(Self::Resolved),
            _ => Err(UnknownConversationStatus),
        }
    }
}

/// A conversation.
#[derive(Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// The channel.
    pub channel: ChannelId,
    /// The contact.
    pub contact: ContactId,
    /// The address the contact wrote from last: where an answer goes. Personal.
    pub remote_jid: String,
    /// Where it stands.
    pub status: ConversationStatus,
    /// Who takes care of it.
    pub assignee: Option<UserId>,
    /// Whether the assistant keeps silent.
    pub is_paused: bool,
    /// Inbound messages nobody has read.
    pub unread_count: u32,
    /// The latest inbound message's time.
    pub last_inbound_at: Option<DateTime<Utc>>,
    /// The latest message's time, of either side.
    pub last_message_at: DateTime<Utc>,
    /// Raised by each change.
    pub row_version: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

impl Conversation {
    /// When the 24-hour window closes.
    pub fn window_expires_at(&self) -> Option<DateTime<Utc>> {
        window_expires_at(self.last_inbound_at)
    }
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation")
            .field("id", &self.id)
            .field("status", &self.status)
            .field("row_version", &self.row_version)
            .finish_non_exhaustive()
    }
}

/// What a list row shows of a conversation's latest message.
#[derive(Clone, PartialEq, Eq)]
pub struct MessagePreview {
    /// Its id.
    pub id: MessageId,
    /// Whether the clinic wrote it.
    pub from_me: bool,
    /// What sort of thing it is.
    pub kind: MessageKind,
    /// Its words, cut to [`PREVIEW_LENGTH`] characters; none once it was taken back. Medical.
    pub body: Option<String>,
}

/// Characters of a preview.
pub const PREVIEW_LENGTH: usize = 160;

impl fmt::Debug for MessagePreview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessagePreview")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// A conversation as a list shows it: with who it is and what was said last.
#[derive(Clone, PartialEq, Eq)]
pub struct ConversationSummary {
    /// The conversation.
    pub conversation: Conversation,
    /// The contact's name. Personal.
    pub contact_name: String,
    /// The contact's primary phone. Personal.
    pub contact_phone: Option<String>,
    /// The latest message.
    pub last_message: Option<MessagePreview>,
}

impl fmt::Debug for ConversationSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConversationSummary")
            .field("conversation", &self.conversation)
            .finish_non_exhaustive()
    }
}

/// Which conversations to list. All that is set must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ConversationFilter {
    /// In this status.
    pub status: Option<ConversationStatus>,
    /// On this channel.
    pub channel: Option<ChannelId>,
    /// With this contact.
    pub contact: Option<ContactId>,
    /// With (`true`) or without (`false`) unread messages.
    pub unread: Option<bool>,
}

impl ConversationFilter {
    /// The same filter gives the same bytes: what a cursor is bound to.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut field = |name: &str, value: Option<&[u8]>| {
            if let Some(value) = value {
                bytes.extend_from_slice(name.as_bytes());
                bytes.push(b'=');
                bytes.extend_from_slice(value);
                bytes.push(b';');
            }
        };
        field("status", self.status.map(|s| s.name().as_bytes()));
        field(
            "channel",
            self.channel
                .map(uuid::Uuid::from)
                .as_ref()
                .map(|id| &id.as_bytes()[..]),
        );
        field(
            "contact",
            self.contact
                .map(uuid::Uuid::from)
                .as_ref()
                .map(|id| &id.as_bytes()[..]),
        );
        field(
            "unread",
            self.unread
                .map(|unread| if unread { &b"1"[..] } else { b"0" }),
        );
        bytes
    }
}

/// In which order messages are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MessageOrder {
    /// The newest first: pages go back in time.
    #[default]
    NewestFirst,
    /// The oldest first: pages go forward, and the last one can be asked again for more.
    OldestFirst,
}

impl MessageOrder {
    /// The stable name, as the API's `sort` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewestFirst => "-sentAt",
            Self::OldestFirst => "sentAt",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_closes_a_day_after_the_last_inbound_message() {
        let at = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        assert_eq!(window_expires_at(Some(at)), Some(at + TimeDelta::hours(24)));
        assert_eq!(window_expires_at(None), None);
        assert_eq!(window_expires_at(Some(DateTime::<Utc>::MAX_UTC)), None);
    }

    #[test]
    fn different_filters_have_different_bytes() {
        let id = uuid::Uuid::from_u128(7);
        let by_channel = ConversationFilter {
            channel: Some(id.into()),
            ..Default::default()
        };
        let by_contact = ConversationFilter {
            contact: Some(id.into()),
            ..Default::default()
        };
        assert_ne!(by_channel.canonical_bytes(), by_contact.canonical_bytes());
        assert!(ConversationFilter::default().canonical_bytes().is_empty());
    }
}
