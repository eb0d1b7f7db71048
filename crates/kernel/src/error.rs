//! The error vocabulary of ports.

use std::error::Error;

use crate::Repeat;

/// A store could not do its work. Never says why an act was refused: refusals are variants of
/// the operation's own error. The one exception is what every operation has in common, that its
/// key was used before.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, no answer in time, or the database is shutting down: trying again later
    /// may help. Nothing was committed, or whether it was is unknown.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// Two transactions stood in each other's way (deadlock, serialization): trying again at
    /// once helps. Nothing was committed.
    #[error("the store gave way to another transaction")]
    Contention(#[source] Box<dyn Error + Send + Sync>),
    /// A stored value breaks a rule of its type. The text names the column, never the value.
    #[error("the store holds an unreadable value: {0}")]
    Corrupt(&'static str),
    /// An act that is done once for a key of the caller's was asked for again: nothing was done.
    #[error(transparent)]
    Repeat(#[from] Repeat),
    /// Anything else: a defect of ours.
    #[error("the store failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// Whether trying again may help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Contention(_))
    }
}
