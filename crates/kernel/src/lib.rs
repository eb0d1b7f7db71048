//! What every domain shares: who acts and for which clinic, what may be done, typed ids, values
//! that are valid once they exist, the ports that give time, chance and keys, and the envelopes of
//! audit entries, events and jobs.
//!
//! Nothing here does I/O. Add to this crate reluctantly: a thing belongs here when two domains
//! need the very same one.

#![warn(missing_docs)]

pub mod access;
pub mod audit;
pub mod cache;
pub mod context;
pub mod counter;
pub mod cursor;
pub mod document;
pub mod email;
pub mod error;
pub mod event;
pub mod identity;
pub mod ids;
pub mod job;
pub mod mail;
pub mod metrics;
pub mod once;
pub mod page;
pub mod phone;
pub mod ports;
pub mod sensitive;
pub mod stream;
pub mod text;
pub mod throttle;
pub mod toolkit;

pub use access::{Action, Denied, Permissions};
pub use audit::{AuditEntry, AuditTrail, ChangedValue, Gate, Purpose, Resource};
pub use cache::{Answer, ByteCache, CacheKey, Cached};
pub use context::{Actor, Grant, Origin, Scope, SystemContext, SystemPurpose, TenantContext};
pub use error::StoreError;
pub use event::Event;
pub use identity::{Claim, Identity, IdentityKey, IdentityKind};
pub use ids::{
    AuditId, BranchId, ChannelId, ClinicId, ConsentId, ConsentTextId, ContactFieldId, ContactId,
    ConversationId, EndpointId, EventId, InboxId, InvalidId, InvitationId, JobId, MailId,
    MessageId, OperatorId, RequestId, SessionId, TypedId, UserId,
};
pub use metrics::{Measurement, Metrics, MetricsView, NoMetrics};
pub use once::{Once, OnceKey, Repeat};
pub use page::{InvalidPage, Numbered, NumberedPage, Page, PageLimit};
pub use phone::{Phone, PhoneKey};
pub use ports::{CannotOpen, Clock, KeyOwner, KeyPurpose, Keys, Random};
pub use sensitive::Sensitive;
pub use throttle::Throttle;
pub use toolkit::Toolkit;
