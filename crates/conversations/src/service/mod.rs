//! What people, providers and jobs can do here. A service decides first and then calls one
//! method of a store.

mod channels;
mod inbox;
mod ingress;
mod operators;
mod processing;

pub use channels::{Channels, CreatedChannel};
pub use inbox::Inbox;
pub use ingress::WebhookIngress;
pub use operators::{BindChannel, CreatedEndpoint, SharedEndpoints};
pub use processing::{ChangeProcessing, PROCESS_JOB, Processed};
