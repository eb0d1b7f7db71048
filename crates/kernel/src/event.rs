//! What happened, for others to react to: the envelope of the outbox.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{EventId, Toolkit};

/// One event, written last in the transaction of its cause. It has no position yet: the
/// sequencer gives it one when the cause has committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// What happened: `entity.verb-in-past-tense`, such as `contact.created`.
    pub name: &'static str,
    /// Version of the payload's shape; raised when a field changes its meaning.
    pub version: i16,
    /// The record it happened to.
    pub entity: uuid::Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// Ids and numbers only: readers fetch what they may see. Never personal data.
    pub payload: Value,
}

impl Event {
    /// An event of the present instant, with a payload of version 1.
    pub fn new(
        tools: &Toolkit,
        name: &'static str,
        entity: impl Into<uuid::Uuid>,
        payload: Value,
    ) -> Self {
        Self {
            id: tools.id(),
            name,
            version: 1,
            entity: entity.into(),
            at: tools.now(),
            payload,
        }
    }
}
