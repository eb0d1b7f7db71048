//! Channels, the ingress of webhooks, conversations and messages on PostgreSQL.

mod apply;
mod channels;
mod inbox;
mod ingress;
mod operators;
mod rows;

pub use apply::PgChangeStore;
pub use channels::PgChannelStore;
pub use inbox::PgConversationStore;
pub use ingress::PgIngress;
pub use operators::PgSharedEndpoints;
