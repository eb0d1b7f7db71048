//! Typed identifiers. Every entity has its own type, so that a contact's id can never be passed
//! where a conversation's is meant.
//!
//! Ids are UUIDv7 (RFC 9562 section 5.7): the time leads, so they are local in an index.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ports::{Clock, Random};

/// What every typed id offers.
pub trait TypedId: Copy + Eq + Ord + fmt::Display + From<Uuid> {
    /// The bare UUID, for adapters.
    fn as_uuid(&self) -> Uuid;

    /// A new id of the present instant.
    fn generate(clock: &dyn Clock, random: &dyn Random) -> Self {
        let mut noise = [0_u8; 10];
        random.fill(&mut noise);
        let millis = u64::try_from(clock.now().timestamp_millis()).unwrap_or(0);
        Self::from(uuid::Builder::from_unix_timestamp_millis(millis, &noise).into_uuid())
    }
}

/// The text is no UUID. The text itself is not repeated: it may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a UUID")]
pub struct InvalidId;

macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
        impl TypedId for $name {
            fn as_uuid(&self) -> Uuid {
                self.0
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )+};
}

typed_ids! {
    /// A clinic: the tenant.
    ClinicId,
    /// A branch of a clinic.
    BranchId,
    /// A person who logs in; may belong to several clinics.
    UserId,
    /// A contact (client, patient) of one clinic.
    ContactId,
    /// A consent of a contact, or its revocation.
    ConsentId,
    /// A version of a text by which consent is asked.
    ConsentTextId,
    /// A field of a clinic's own, of which its contacts have values.
    ContactFieldId,
    /// A WhatsApp channel (number or instance) of one clinic.
    ChannelId,
    /// A webhook endpoint: what a provider's signature authenticates.
    EndpointId,
    /// A conversation with one contact on one channel.
    ConversationId,
    /// A message of a conversation.
    MessageId,
    /// One stored change of one webhook delivery.
    InboxId,
    /// A job.
    JobId,
    /// An outbox event.
    EventId,
    /// An audit entry.
    AuditId,
    /// One request, as named in answers, logs and the audit.
    RequestId,
    /// One authenticated session.
    SessionId,
    /// An invitation into a clinic.
    InvitationId,
    /// A mail of the outbox.
    MailId,
    /// An operator of the installation.
    OperatorId,
}
