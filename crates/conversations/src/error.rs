//! The errors of the domain's operations, one type each: the HTTP side matches them whole.

use kernel::cursor::InvalidCursor;
use kernel::{Denied, StoreError};

/// Why a channel was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateChannelError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The clinic has a channel of this provider and external id already.
    #[error("the clinic has a channel for this number already")]
    NumberTaken,
    /// This provider is not supported yet.
    #[error("the provider is not supported yet")]
    ProviderUnsupported,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a channel was not bound to an operator's endpoint.
#[derive(Debug, thiserror::Error)]
pub enum BindChannelError {
    /// There is no such clinic.
    #[error("there is no clinic with that id")]
    NoSuchClinic,
    /// There is no such endpoint, or it is a clinic's own.
    #[error("there is no shared endpoint with that id")]
    NoSuchEndpoint,
    /// The clinic, or another one behind the same endpoint, has a channel for this number.
    #[error("there is a channel for this number already")]
    NumberTaken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a secret of an operator's endpoint was not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateEndpointError {
    /// There is no such endpoint, or it is a clinic's own.
    #[error("there is no shared endpoint with that id")]
    NoSuchEndpoint,
    /// The overlap is longer than a week.
    #[error("the older secret stays good for a week (168 hours) at most")]
    OverlapOutOfRange,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a channel's secret was not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateSecretError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// No such channel in this clinic.
    #[error("no such channel")]
    NotFound,
    /// The channel's endpoint is the operator's: so are its secrets.
    #[error("the channel's endpoint is shared and managed by the operator")]
    EndpointShared,
    /// It was changed meanwhile: its version is not the expected one.
    #[error("the channel was changed meanwhile")]
    VersionMismatch,
    /// The overlap is negative or longer than a week.
    #[error("the overlap must be from 0 to 604800 seconds")]
    OverlapOutOfRange,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a channel was neither enabled nor disabled.
#[derive(Debug, thiserror::Error)]
pub enum SwitchChannelError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// No such channel in this clinic.
    #[error("no such channel")]
    NotFound,
    /// It was changed meanwhile: its version is not the expected one.
    #[error("the channel was changed meanwhile")]
    VersionMismatch,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why something could not be read, or changed where nothing but absence can refuse it.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// No such record in this clinic.
    #[error("no such record")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a list was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What is listed belongs to a record that is not in this clinic.
    #[error("no such record")]
    NotFound,
    /// The cursor is of another list, filter or order, or was changed.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a conversation was not marked read.
#[derive(Debug, thiserror::Error)]
pub enum MarkReadError {
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// No such conversation in this clinic.
    #[error("no such conversation")]
    NotFound,
    /// The named message is not of this conversation.
    #[error("the message is not of this conversation")]
    MessageNotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a provider's handshake was refused.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// No such endpoint of this provider.
    #[error("no such endpoint")]
    NotFound,
    /// The token is wrong, or the request is no handshake.
    #[error("the handshake was refused")]
    Refused,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a delivery was not accepted. Nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// No such endpoint of this provider.
    #[error("no such endpoint")]
    NotFound,
    /// The signature is missing or wrong.
    #[error("the delivery is not authentic")]
    NotAuthentic,
    /// The store failed: the provider must try again. Some changes may be stored; trying again
    /// doubles none.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a job's change was not processed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The change is not there: the job names none, or it is not routed to this clinic.
    #[error("the change is not there")]
    ChangeMissing,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
