//! A message: what was said, by which side, and how far it has come.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use kernel::{ConversationId, MessageId};
use serde::{Deserialize, Serialize};

use crate::content::Content;
use crate::status::{MessageStatus, ReceiptStatus};

/// Where a message stands in its conversation: the provider's time, which has whole seconds, then
/// the provider's id by its bytes. The same whichever message arrived first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey {
    /// The provider's time.
    pub sent_at: DateTime<Utc>,
    /// The provider's id of the message.
    pub provider_id: String,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// What sort of thing a message is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum MessageKind { $($(#[$doc])* $variant),+ }

        impl MessageKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl FromStr for MessageKind {
            type Err = UnknownKind;
            fn from_str(text: &str) -> Result<Self, UnknownKind> {
                match text { $($name => Ok(Self::$variant),)+ _ => Err(UnknownKind) }
            }
        }
    };
}

/// The text names no kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a kind of message")]
pub struct UnknownKind;

kinds! {
    /// Plain text in `body`.
    Text = "text",
    /// A picture; `body` is the caption.
    Image = "image",
    /// A recording or a voice note.
    Audio = "audio",
    /// A film; `body` is the caption.
    Video = "video",
    /// A file; `body` is the caption.
    Document = "document",
    /// A sticker.
    Sticker = "sticker",
    /// A place.
    Location = "location",
    /// Contact cards.
    Contacts = "contacts",
    /// An answer to buttons, a list or a form; `body` is what the person saw.
    Interactive = "interactive",
    /// A template's quick reply; `body` is the button's text.
    Button = "button",
    /// A reaction to the message in `reply_to`; `body` is the emoji, absent when taken back.
    Reaction = "reaction",
    /// A template that was sent.
    Template = "template",
    /// A notice of the provider, such as a changed number.
    System = "system",
    /// Anything else, kept as it came in `content`.
    Unsupported = "unsupported",
}

impl MessageKind {
    /// Whether an inbound message of this kind waits to be read. A reaction or a notice alone
    /// does not call anybody to the desk.
    pub const fn counts_as_unread(self) -> bool {
        !matches!(self, Self::Reaction | Self::System)
    }

    /// Whether an inbound message of this kind opens the window: whatever the person did does,
    /// a notice of the provider does not.
    pub const fn opens_window(self) -> bool {
        !matches!(self, Self::System)
    }
}

/// Why the provider could not deliver or show a message, in its own words. `code` decides what
/// to do; the texts change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageError {
    /// The provider's number for it.
    pub code: Option<i64>,
    /// Its short text.
    pub title: Option<String>,
    /// Its longer text.
    pub details: Option<String>,
}

/// Which side of a conversation did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The contact.
    Contact,
    /// The clinic.
    Clinic,
}

impl Side {
    /// The side of a message that is or is not from the clinic.
    pub const fn from_me(from_me: bool) -> Self {
        if from_me { Self::Clinic } else { Self::Contact }
    }
}

/// The reaction of one side that stands now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// Whose.
    pub by: Side,
    /// Which emoji.
    pub emoji: String,
    /// Since when.
    pub at: DateTime<Utc>,
}

impl fmt::Debug for Reaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reaction")
            .field("by", &self.by)
            .finish_non_exhaustive()
    }
}

/// When each stage was reached first.
pub type StatusTimes = BTreeMap<String, DateTime<Utc>>;

/// A message of a conversation.
#[derive(Clone, PartialEq)]
pub struct Message {
    /// Its id here.
    pub id: MessageId,
    /// Whose it is.
    pub conversation: ConversationId,
    /// Its place in the conversation.
    pub order: OrderKey,
    /// Whether the clinic wrote it.
    pub from_me: bool,
    /// What sort of thing it is.
    pub kind: MessageKind,
    /// The words as they were sent first. Medical: never in a log.
    pub body: Option<String>,
    /// What the kind brings beside the words.
    pub content: Content,
    /// The provider's id of the message it answers or reacts to.
    pub reply_to: Option<String>,
    /// Our id of that message, where it is known.
    pub reply_to_id: Option<MessageId>,
    /// Whether it was passed on from elsewhere.
    pub forwarded: bool,
    /// How far it has come.
    pub status: MessageStatus,
    /// When it reached each stage.
    pub status_times: StatusTimes,
    /// Why it failed or cannot be shown.
    pub error: Option<MessageError>,
    /// When its author changed it last.
    pub edited_at: Option<DateTime<Utc>>,
    /// The words since then.
    pub edited_body: Option<String>,
    /// When its author took it back. The row stays: it may be part of the medical record.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The reactions that stand.
    pub reactions: Vec<Reaction>,
    /// When it was stored here.
    pub created_at: DateTime<Utc>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// One receipt, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredReceipt {
    /// What it says.
    pub status: ReceiptStatus,
    /// The earliest instant for which the provider said so.
    pub at: DateTime<Utc>,
    /// Why it failed.
    pub error: Option<MessageError>,
}

/// What the receipts of a message make of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// How far it has come.
    pub status: MessageStatus,
    /// When it reached each stage.
    pub times: StatusTimes,
    /// Why it failed, while `failed` is what it is.
    pub error: Option<MessageError>,
}

impl Progress {
    /// Works out a message's progress from what it began as and all its receipts, in whatever
    /// order they came.
    pub fn of(base: MessageStatus, receipts: &[StoredReceipt]) -> Self {
        let mut times = StatusTimes::new();
        if base == MessageStatus::Received {
            return Self {
                status: base,
                times,
                error: None,
            };
        }
        let status = base.after(receipts.iter().map(|receipt| receipt.status));
        for receipt in receipts {
            times
                .entry(receipt.status.name().to_owned())
                .and_modify(|at| *at = receipt.at.min(*at))
                .or_insert(receipt.at);
        }
        let error = (status == MessageStatus::Failed)
            .then(|| {
                receipts
                    .iter()
                    .filter(|receipt| receipt.status == ReceiptStatus::Failed)
                    .min_by_key(|receipt| receipt.at)
                    .and_then(|receipt| receipt.error.clone())
            })
            .flatten();
        Self {
            status,
            times,
            error,
        }
    }
}

/// What an amendment does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AmendmentKind {
    /// Replaces the words.
    Edit,
    /// Takes the message back.
    Revoke,
    /// Sets or removes a side's reaction.
    Reaction,
}

impl AmendmentKind {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Revoke => "revoke",
            Self::Reaction => "reaction",
        }
    }
}

impl FromStr for AmendmentKind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        match text {
            "edit" => Ok(Self::Edit),
            "revoke" => Ok(Self::Revoke),
            "reaction" => Ok(Self::Reaction),
            _ => Err(UnknownKind),
        }
    }
}

/// One amendment of a message, as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredAmendment {
    /// What it does.
    pub kind: AmendmentKind,
    /// Its own place in time: the provider's time and the provider's id.
    pub order: OrderKey,
    /// Whether it came from the clinic.
    pub from_me: bool,
    /// Whether it came from within the message's own conversation. Not so for one of another
    /// contact, who can name any id.
    pub same_contact: bool,
    /// The new words of an edit, the emoji of a reaction; `None` removes the reaction.
    pub value: Option<String>,
}

impl fmt::Debug for StoredAmendment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredAmendment")
            .field("kind", &self.kind)
            .field("from_me", &self.from_me)
            .finish_non_exhaustive()
    }
}

/// What the amendments of a message make of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amended {
    /// When its author changed it last.
    pub edited_at: Option<DateTime<Utc>>,
    /// The words since then.
    pub edited_body: Option<String>,
    /// When its author took it back first.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The reactions that stand, the contact's first.
    pub reactions: Vec<Reaction>,
}

impl Amended {
    /// Works out what stands from all amendments of a message that is or is not `from_me`, in
    /// whatever order they came. Only the message's own author edits or revokes it; either side
    /// may react.
    pub fn of(from_me: bool, amendments: &[StoredAmendment]) -> Self {
        let mut latest_edit: Option<&StoredAmendment> = None;
        let mut revoked_at: Option<DateTime<Utc>> = None;
        let mut latest_reaction: BTreeMap<Side, &StoredAmendment> = BTreeMap::new();
        for amendment in amendments.iter().filter(|one| one.same_contact) {
            let by_author = amendment.from_me == from_me;
            let later = |than: &StoredAmendment| {
                (&amendment.order, &amendment.value) > (&than.order, &than.value)
            };
            match amendment.kind {
                AmendmentKind::Edit => {
                    if by_author && latest_edit.is_none_or(later) {
                        latest_edit = Some(amendment);
                    }
                }
                AmendmentKind::Revoke => {
                    if by_author {
                        let at = amendment.order.sent_at;
                        revoked_at = Some(revoked_at.map_or(at, |known| known.min(at)));
                    }
                }
                AmendmentKind::Reaction => {
                    let side = Side::from_me(amendment.from_me);
                    if latest_reaction.get(&side).is_none_or(|known| later(known)) {
                        latest_reaction.insert(side, amendment);
                    }
                }
            }
        }
        Self {
            edited_at: latest_edit.map(|edit| edit.order.sent_at),
            edited_body: latest_edit.and_then(|edit| edit.value.clone()),
            revoked_at,
            reactions: latest_reaction
                .into_iter()
                .filter_map(|(by, reaction)| {
                    Some(Reaction {
                        by,
                        emoji: reaction.value.clone()?,
                        at: reaction.order.sent_at,
                    })
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()
    }

    fn any_amendment() -> impl Strategy<Value = StoredAmendment> {
        (
            proptest::sample::select(vec![
                AmendmentKind::Edit,
                AmendmentKind::Revoke,
                AmendmentKind::Reaction,
            ]),
            0_i64..4,
            "[ab]",
            any::<bool>(),
            any::<bool>(),
            proptest::option::of("[xy]"),
        )
            .prop_map(
                |(kind, second, provider_id, from_me, same_contact, value)| StoredAmendment {
                    kind,
                    order: OrderKey {
                        sent_at: at(second),
                        provider_id,
                    },
                    from_me,
                    same_contact,
                    value,
                },
            )
    }

    fn any_receipt() -> impl Strategy<Value = StoredReceipt> {
        (proptest::sample::select(ReceiptStatus::ALL), 0_i64..4).prop_map(|(status, second)| {
            StoredReceipt {
                status,
                at: at(second),
                error: None,
            }
        })
    }

    proptest! {
        #[test]
        fn amendments_in_any_order_and_twice_make_the_same_message(
            amendments in proptest::collection::vec(any_amendment(), 0..8).prop_shuffle(),
            from_me in any::<bool>(),
        ) {
            let mut turned = amendments.clone();
            turned.reverse();
            turned.extend(amendments.iter().cloned());
            prop_assert_eq!(Amended::of(from_me, &amendments), Amended::of(from_me, &turned));
        }

        #[test]
        fn receipts_in_any_order_and_twice_make_the_same_progress(
            receipts in proptest::collection::vec(any_receipt(), 0..8).prop_shuffle(),
        ) {
            let mut turned = receipts.clone();
            turned.reverse();
            turned.extend(receipts.iter().cloned());
            prop_assert_eq!(
                Progress::of(MessageStatus::Sent, &receipts),
                Progress::of(MessageStatus::Sent, &turned)
            );
        }
    }

    fn amendment(kind: AmendmentKind, second: i64, value: Option<&str>) -> StoredAmendment {
        StoredAmendment {
            kind,
            order: OrderKey {
                sent_at: at(second),
                provider_id: format!("a{second}"),
            },
            from_me: false,
            same_contact: true,
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn only_the_author_edits_and_revokes() {
        let edit = amendment(AmendmentKind::Edit, 1, Some("novo"));
        assert_eq!(
            Amended::of(false, std::slice::from_ref(&edit))
                .edited_body
                .as_deref(),
            Some("novo")
        );
        assert_eq!(
            Amended::of(true, std::slice::from_ref(&edit)),
            Amended::default()
        );
        let stranger = StoredAmendment {
            same_contact: false,
            ..edit
        };
        assert_eq!(Amended::of(false, &[stranger]), Amended::default());
    }

    #[test]
    fn a_removed_reaction_is_gone_and_either_side_may_react() {
        let set = amendment(AmendmentKind::Reaction, 1, Some("👍"));
        let removed = amendment(AmendmentKind::Reaction, 2, None);
        let ours = StoredAmendment {
            from_me: true,
            ..amendment(AmendmentKind::Reaction, 1, Some("🙏"))
        };
        let standing = Amended::of(false, &[removed, set.clone(), ours]);
        assert_eq!(standing.reactions.len(), 1);
        assert_eq!(standing.reactions[0].by, Side::Clinic);
        assert_eq!(Amended::of(true, &[set]).reactions.len(), 1);
    }

    #[test]
    fn the_earliest_time_of_a_stage_counts_and_a_delivery_clears_the_error() {
        let failed = StoredReceipt {
            status: ReceiptStatus::Failed,
            at: at(1),
            error: Some(MessageError {
                code: Some(131_026),
                title: None,
                details: None,
            }),
        };
        let delivered = StoredReceipt {
            status: ReceiptStatus::Delivered,
            at: at(2),
            error: None,
        };
        let alone = Progress::of(MessageStatus::Sent, std::slice::from_ref(&failed));
        assert_eq!(alone.status, MessageStatus::Failed);
        assert_eq!(alone.error.and_then(|error| error.code), Some(131_026));
        let both = Progress::of(MessageStatus::Sent, &[failed, delivered]);
        assert_eq!(both.status, MessageStatus::Delivered);
        assert_eq!(both.error, None);
        assert_eq!(both.times["failed"], at(1));
    }
}
