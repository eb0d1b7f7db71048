//! What a provider reported, in words of no provider: the facts of one change of a delivery.
//!
//! A fact is never refused. What is not understood is a message of kind `unsupported` with all
//! that came in `content.raw`; what is no message of a contact is counted in
//! [`InboundChange::skipped`], and its bytes stay in the ingress.

use std::fmt;

use chrono::{DateTime, Utc};
use kernel::identity::{WhatsAppLid, WhatsAppUserId};
use kernel::phone::Phone;
use serde_json::Value;

use crate::content::Content;
use crate::message::{MessageError, MessageKind, OrderKey, Side};
use crate::status::ReceiptStatus;

/// The facts of one change.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InboundChange {
    /// Messages of either side.
    pub messages: Vec<InboundMessage>,
    /// What became of messages that the clinic sent.
    pub receipts: Vec<Receipt>,
    /// Edits, revocations and reactions.
    pub amendments: Vec<Amendment>,
    /// People who changed their number.
    pub number_changes: Vec<NumberChange>,
    /// What was left where it is, and why.
    pub skipped: Vec<Skipped>,
}

impl InboundChange {
    /// Whether there is nothing to keep beside the bytes.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.receipts.is_empty()
            && self.amendments.is_empty()
            && self.number_changes.is_empty()
    }
}

/// The person at the other end, by all that the provider said of them. At least one of `phone`,
/// `user_id` and `lid` is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    /// The address an answer goes to, and the chat's name at the provider: the phone where there
    /// is one, else the user id or the hidden id.
    pub jid: String,
    /// Their phone, as received.
    pub phone: Option<Phone>,
    /// The provider's id of the user, for this business.
    pub user_id: Option<WhatsAppUserId>,
    /// A hidden id that carries no phone (`…@lid`).
    pub lid: Option<WhatsAppLid>,
    /// The name of their profile.
    pub name: Option<String>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("phone", &self.phone.is_some())
            .field("user_id", &self.user_id.is_some())
            .field("lid", &self.lid.is_some())
            .finish_non_exhaustive()
    }
}

/// A message of either side.
#[derive(Clone, PartialEq)]
pub struct InboundMessage {
    /// The provider's id and time. Where the provider gave no id, one worked out from the
    /// message's content, so that the same message has the same id when it comes again.
    pub order: OrderKey,
    /// Whether the clinic wrote it, on a phone of its own (an *echo*).
    pub from_me: bool,
    /// The person at the other end.
    pub remote: Remote,
    /// What sort of thing it is.
    pub kind: MessageKind,
    /// Its words.
    pub body: Option<String>,
    /// What it brings beside them.
    pub content: Content,
    /// The provider's id of the message it answers or reacts to.
    pub reply_to: Option<String>,
    /// Whether it was passed on from elsewhere.
    pub forwarded: bool,
    /// Why the provider could not show it.
    pub error: Option<MessageError>,
}

impl InboundMessage {
    /// Which side wrote it.
    pub const fn side(&self) -> Side {
        Side::from_me(self.from_me)
    }
}

impl fmt::Debug for InboundMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundMessage")
            .field("kind", &self.kind)
            .field("from_me", &self.from_me)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

/// What became of a message that the clinic sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The provider's id of the message.
    pub provider_id: String,
    /// What it says.
    pub status: ReceiptStatus,
    /// The provider's time of it.
    pub at: DateTime<Utc>,
    /// Why it failed.
    pub error: Option<MessageError>,
    /// What the provider charges, as it said.
    pub pricing: Option<Value>,
}

/// What is done to a message that was sent before.
#[derive(Clone, PartialEq, Eq)]
pub enum Amend {
    /// The author's new words.
    Edit {
        /// The words.
        body: Option<String>,
    },
    /// The author takes it back.
    Revoke,
    /// A side's reaction; without an emoji it takes its reaction back.
    React {
        /// The emoji.
        emoji: Option<String>,
    },
}

impl fmt::Debug for Amend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edit { .. } => "Edit(***)",
            Self::Revoke => "Revoke",
            Self::React { .. } => "React(***)",
        })
    }
}

/// An edit, a revocation or a reaction. A reaction is a message of its own too.
#[derive(Clone, PartialEq, Eq)]
pub struct Amendment {
    /// The provider's id of the amended message.
    pub target: String,
    /// The amendment's own id and time.
    pub order: OrderKey,
    /// Whether the clinic did it.
    pub from_me: bool,
    /// The person at the other end.
    pub remote: Remote,
    /// What is done.
    pub amend: Amend,
}

impl fmt::Debug for Amendment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amendment")
            .field("amend", &self.amend)
            .field("from_me", &self.from_me)
            .finish_non_exhaustive()
    }
}

/// A person changed their number: both are theirs.
#[derive(Clone, PartialEq, Eq)]
pub struct NumberChange {
    /// Who they were.
    pub before: Remote,
    /// Who they are now.
    pub after: Remote,
    /// When, and by which notice.
    pub order: OrderKey,
}

impl fmt::Debug for NumberChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NumberChange(***)")
    }
}

/// Something in a change that is no message of a contact. Counted, never lost: its bytes stay in
/// the ingress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skipped {
    /// The change cannot be read as JSON.
    Unreadable,
    /// A field of the provider that says nothing about messages (template status, preferences).
    OtherField,
    /// A message of a group or a broadcast.
    Group,
    /// A message that names nobody at the other end.
    NobodyNamed,
    /// A receipt with a status that is not known here, or that names no message.
    UnknownReceipt,
    /// An edit, revocation or reaction that names no message.
    NoTarget,
    /// An error that the provider reported about itself.
    ProviderError,
}

impl Skipped {
    /// The stable name, for counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::OtherField => "other-field",
            Self::Group => "group",
            Self::NobodyNamed => "nobody-named",
            Self::UnknownReceipt => "unknown-receipt",
            Self::NoTarget => "no-target",
            Self::ProviderError => "provider-error",
        }
    }
}
