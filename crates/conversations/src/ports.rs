//! What this domain needs from outside. Every method of a store is one atomic use case of the
//! context's clinic; the ports without a tenant take a [`SystemContext`] and are named so.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use kernel::cursor::Position;
use kernel::job::Lease;
use kernel::once::Claim;
use kernel::{
    AuditEntry, ChannelId, ConversationId, EndpointId, Event, InboxId, JobId, MessageId, PageLimit,
    StoreError, SystemContext, TenantContext,
};

use crate::channel::{Channel, Endpoint, NewChannel, Provider, Secret, SecretRotation};
use crate::conversation::{ConversationFilter, ConversationSummary, MessageOrder};
use crate::error::{
    BindChannelError, CreateChannelError, MarkReadError, RotateSecretError, SwitchChannelError,
};
use crate::inbound::InboundChange;
use crate::message::Message;

/// Where channels are kept.
#[async_trait]
pub trait ChannelStore: Send + Sync {
    /// Channel, endpoint and first secret, in one transaction, unless its claim was made before.
    async fn create(
        &self,
        cx: &TenantContext,
        new: NewChannel,
        claim: Option<Claim>,
    ) -> Result<Channel, CreateChannelError>;

    /// `None` when absent or another clinic's.
    async fn find(&self, cx: &TenantContext, id: ChannelId) -> Result<Option<Channel>, StoreError>;

    /// The newest first, after `after`, one row more than the page has.
    async fn list(
        &self,
        cx: &TenantContext,
        after: Option<Position>,
        limit: PageLimit,
    ) -> Result<Vec<Channel>, StoreError>;

    /// Adds the new secret and ends the older ones. The endpoint must be the clinic's own, the
    /// version `expected` (any, when `None`).
    async fn rotate_secret(
        &self,
        cx: &TenantContext,
        id: ChannelId,
        expected: Option<i64>,
        rotation: SecretRotation,
    ) -> Result<Channel, RotateSecretError>;

    /// What comes from now on waits in the ingress. A channel that is disabled already is
    /// answered unchanged, and nothing is written. The version must be `expected` (any, when
    /// `None`).
    async fn disable(
        &self,
        cx: &TenantContext,
        id: ChannelId,
        expected: Option<i64>,
    ) -> Result<Channel, SwitchChannelError>;

    /// Processes what waited, and what comes. A channel that is active already is answered
    /// unchanged, and nothing is written. The version must be `expected` (any, when `None`).
    async fn enable(
        &self,
        cx: &TenantContext,
        id: ChannelId,
        expected: Option<i64>,
    ) -> Result<Channel, SwitchChannelError>;
}

/// An operator's endpoint, ready to be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSharedEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose webhooks come through it.
    pub provider: Provider,
    /// Last segment of its path.
    pub path_key: String,
    /// The verify token, sealed for [`crate::channel::verify_token_binding`].
    pub verify_token_sealed: Vec<u8>,
    /// Id of the first secret.
    pub secret_id: uuid::Uuid,
    /// The first secret, sealed for [`crate::channel::secret_binding`].
    pub secret_sealed: Vec<u8>,
    /// When.
    pub at: DateTime<Utc>,
    /// Id of its entry in the platform's security log.
    pub log_id: uuid::Uuid,
}

impl fmt::Debug for NewSharedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSharedEndpoint")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// An operator's endpoint, as operators see it.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose webhooks come through it.
    pub provider: Provider,
    /// Last segment of its path.
    pub path_key: String,
    /// Channels that are bound to it, of all clinics.
    pub channels: u64,
    /// Secrets that are good now: more than one while an older one has not ended.
    pub secrets: u64,
    /// When it came to be.
    pub created_at: DateTime<Utc>,
}

impl fmt::Debug for SharedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedEndpoint")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A sealed value of an endpoint, an operator's or a clinic's.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedValue {
    /// Whose.
    pub endpoint: EndpointId,
    /// Which of its signing secrets; `None` is its verify token.
    pub secret: Option<uuid::Uuid>,
    /// As it is kept.
    pub sealed: Vec<u8>,
}

impl fmt::Debug for SealedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedValue")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// A channel of the context's clinic, bound to an operator's endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundChannel {
    /// Its id.
    pub id: ChannelId,
    /// The endpoint.
    pub endpoint: EndpointId,
    /// What the clinic calls it.
    pub name: String,
    /// What routes a change to it.
    pub external_id: String,
    /// The number as people know it.
    pub display_phone: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// Operators' endpoints, which are no clinic's.
#[async_trait]
pub trait SharedEndpointStore: Send + Sync {
    /// Endpoint, first secret and an entry in the platform's security log. Without a tenant.
    async fn create(&self, sys: &SystemContext, new: NewSharedEndpoint) -> Result<(), StoreError>;

    /// Every such endpoint, the oldest first. Without a tenant.
    async fn list(&self, sys: &SystemContext) -> Result<Vec<SharedEndpoint>, StoreError>;

    /// Adds the new secret and ends the older ones, with an entry in the platform's security
    /// log. Answers whether there is such an endpoint of the operator. Without a tenant.
    async fn rotate_secret(
        &self,
        sys: &SystemContext,
        id: EndpointId,
        rotation: SecretRotation,
        log_id: uuid::Uuid,
    ) -> Result<bool, StoreError>;

    /// Every sealed value of every endpoint, the clinics' among them. Without a tenant.
    async fn list_sealed(&self, sys: &SystemContext) -> Result<Vec<SealedValue>, StoreError>;

    /// Puts new sealed bytes (the second of each pair) in the place of those that are still
    /// there as they were listed, with an entry in the platform's security log. Answers how many
    /// were. Without a tenant.
    async fn reseal(
        &self,
        sys: &SystemContext,
        values: &[(SealedValue, Vec<u8>)],
        at: DateTime<Utc>,
        log_id: uuid::Uuid,
    ) -> Result<u64, StoreError>;

    /// Channel, audit entry and event, and the jobs of what waited for the number, in one
    /// transaction. The context is an operator's.
    async fn bind_channel(
        &self,
        cx: &TenantContext,
        new: BoundChannel,
        entry: AuditEntry,
        event: Event,
    ) -> Result<(), BindChannelError>;
}

/// Finding what a webhook's path names, before any clinic is known. Without a tenant.
#[async_trait]
pub trait EndpointLookup: Send + Sync {
    /// The endpoint of that path key with its good secrets.
    async fn find_endpoint(
        &self,
        sys: &SystemContext,
        path_key: &str,
    ) -> Result<Option<Endpoint>, StoreError>;
}

/// One change of a delivery as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct RawChange {
    /// SHA-256 over what makes it this change and no other: the same for a delivery that is
    /// repeated.
    pub digest: [u8; 32],
    /// The provider's key of the channel, where one was found: at most 120 bytes.
    pub route: Option<String>,
    /// The bytes, credentials scrubbed.
    pub body: Bytes,
}

impl fmt::Debug for RawChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawChange")
            .field("bytes", &self.body.len())
            .field("routed", &self.route.is_some())
            .finish_non_exhaustive()
    }
}

/// A change with the ids it is stored under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewChange {
    /// Its id in the ingress.
    pub id: InboxId,
    /// The id of its job, should it be routed.
    pub job: JobId,
    /// What came.
    pub raw: RawChange,
}

/// What became of a delivery's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stored {
    /// Changes that were not there before.
    pub stored: u64,
    /// Of these, the ones that have a channel and a job.
    pub routed: u64,
}

/// Where deliveries are kept before they are understood. Without a tenant.
#[async_trait]
pub trait Ingress: Send + Sync {
    /// Stores the changes and enqueues the jobs of those that have a channel, all or none.
    /// Changes that are there already are left as they are.
    async fn store(
        &self,
        sys: &SystemContext,
        endpoint: EndpointId,
        received_at: DateTime<Utc>,
        changes: &[NewChange],
    ) -> Result<Stored, StoreError>;
}

/// A change that a job is to process.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredChange {
    /// Its id in the ingress.
    pub id: InboxId,
    /// The channel it was routed to.
    pub channel: ChannelId,
    /// That channel's provider.
    pub provider: Provider,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// The bytes.
    pub body: Bytes,
}

impl fmt::Debug for StoredChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredChange")
            .field("id", &self.id)
            .field("channel", &self.channel)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What applying a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// The job's lease was lost meanwhile: nothing was written, another worker has it.
    pub lease_lost: bool,
    /// Messages that were not there before.
    pub messages: u32,
    /// Messages whose status moved or that were amended.
    pub changed: u32,
    /// Contacts that came to be.
    pub contacts: u32,
    /// Contacts that turned out to be somebody known.
    pub merged: u32,
}

/// Where stored changes take effect.
#[async_trait]
pub trait ChangeStore: Send + Sync {
    /// The change of a leased job. `None` when there is none for this clinic.
    async fn find_change(
        &self,
        cx: &TenantContext,
        lease: Lease,
    ) -> Result<Option<StoredChange>, StoreError>;

    /// One transaction: identities and contacts, conversations, messages, receipts, amendments,
    /// audit, events, and the end of the job. The final state is the same for any order,
    /// repetition and splitting of the same facts; what is known already writes nothing but the
    /// job's end.
    async fn apply(
        &self,
        cx: &TenantContext,
        lease: Lease,
        channel: ChannelId,
        change: &InboundChange,
    ) -> Result<Applied, StoreError>;
}

/// Where conversations are read.
#[async_trait]
pub trait ConversationStore: Send + Sync {
    /// The latest active first, after `after`, one row more than the page has.
    async fn list(
        &self,
        cx: &TenantContext,
        filter: &ConversationFilter,
        after: Option<Position>,
        limit: PageLimit,
    ) -> Result<Vec<ConversationSummary>, StoreError>;

    /// `None` when absent or another clinic's.
    async fn find(
        &self,
        cx: &TenantContext,
        id: ConversationId,
    ) -> Result<Option<ConversationSummary>, StoreError>;

    /// Messages after `after` in `order`, one row more than the page has. `None` when there is
    /// no such conversation.
    async fn list_messages(
        &self,
        cx: &TenantContext,
        id: ConversationId,
        order: MessageOrder,
        after: Option<Position>,
        limit: PageLimit,
    ) -> Result<Option<Vec<Message>>, StoreError>;

    /// Marks as read all up to `through`, or all there is. What was read already stays read.
    async fn mark_read(
        &self,
        cx: &TenantContext,
        id: ConversationId,
        through: Option<MessageId>,
    ) -> Result<ConversationSummary, MarkReadError>;
}

/// What a provider's webhook request shows of itself.
#[derive(Clone, Copy)]
pub struct Handshake<'a> {
    /// What is asked (`hub.mode`).
    pub mode: Option<&'a str>,
    /// The token that proves it (`hub.verify_token`).
    pub token: Option<&'a str>,
    /// What to answer (`hub.challenge`).
    pub challenge: Option<&'a str>,
}

impl fmt::Debug for Handshake<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handshake(***)")
    }
}

/// One provider's format. Pure: no I/O, no clock, and no input makes it panic.
pub trait WebhookDecoder: Send + Sync {
    /// Whose format.
    fn provider(&self) -> Provider;

    /// The header that proves a delivery, in lower case.
    fn proof_header(&self) -> &'static str;

    /// The bytes to answer a handshake with; `None` refuses it. Compares in constant time.
    fn answer_handshake(&self, handshake: Handshake<'_>, token: &Secret) -> Option<String>;

    /// Whether one of the secrets made `proof` over exactly these bytes. Compares in constant
    /// time, and with each secret.
    fn is_authentic(&self, proof: Option<&[u8]>, body: &[u8], secrets: &[Secret]) -> bool;

    /// The changes of an authentic delivery, at least one: what cannot be split is one change
    /// without a route.
    fn split(&self, body: &Bytes) -> Vec<RawChange>;

    /// The facts of a stored change.
    fn decode(&self, change: &StoredChange) -> InboundChange;
}

/// The decoders of the providers that are supported.
#[derive(Clone, Default)]
pub struct Decoders(Vec<std::sync::Arc<dyn WebhookDecoder>>);

impl Decoders {
    /// Of these decoders; the first of a provider counts.
    pub fn new(decoders: Vec<std::sync::Arc<dyn WebhookDecoder>>) -> Self {
        Self(decoders)
    }

    /// The decoder of a provider.
    pub fn of(&self, provider: Provider) -> Option<&dyn WebhookDecoder> {
        self.0
            .iter()
            .map(std::convert::AsRef::as_ref)
            .find(|decoder| decoder.provider() == provider)
    }
}

impl fmt::Debug for Decoders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|decoder| decoder.provider().name()))
            .finish()
    }
}
