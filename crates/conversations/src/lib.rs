//! Conversations: what is written to a clinic and by it, over its WhatsApp channels.
//!
//! A **channel** is one number (or instance) of a clinic at a provider. The provider reports what
//! happens there through a **webhook endpoint**, which is what its signature authenticates. A
//! delivery is split into **changes**; each is stored as it came before the provider gets its
//! answer, and processed later by a durable job of its own clinic. A **conversation** is the one
//! thread between a contact and a channel; its **messages** are ordered by the provider's time.
//!
//! The provider promises nothing: a delivery comes twice, late, split otherwise, or in any
//! order. So whatever is kept here is a *set* of facts that only grows (messages, receipts,
//! amendments, identities), and whatever is shown is worked out from that set. That is why the
//! same facts always end in the same state, whichever came first:
//!
//! * a message's [`status`](status::MessageStatus) is the maximum over its receipts;
//! * edits, revocations and reactions are rows of their own; the latest of each author counts;
//! * order is [`OrderKey`](message::OrderKey): the provider's time, then the provider's id;
//! * the 24-hour window runs from the latest inbound message, not from the last that arrived.
//!
//! Nothing here knows a provider's format: [`ports::WebhookDecoder`] turns it into
//! [`inbound::InboundChange`].

#![warn(missing_docs)]

pub mod channel;
pub mod content;
pub mod conversation;
pub mod error;
pub mod events;
pub mod inbound;
pub mod message;
pub mod ports;
pub mod service;
pub mod status;

pub use channel::{Channel, ChannelStatus, Endpoint, NewChannel, Provider, SecretRotation};
pub use content::Content;
pub use conversation::{Conversation, ConversationFilter, ConversationStatus, ConversationSummary};
pub use inbound::InboundChange;
pub use message::{Message, MessageKind, OrderKey};
pub use service::{ChangeProcessing, Channels, Inbox, SharedEndpoints, WebhookIngress};
pub use status::{MessageStatus, ReceiptStatus};
