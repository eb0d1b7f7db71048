//! Channels: create, read, list, rotate secrets, disable, enable.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use kernel::cursor::{ListIdentity, Position, SortValue, open_cursor, seal_cursor};
use kernel::{
    Action, ChannelId, Denied, EndpointId, Gate, KeyOwner, KeyPurpose, Once, Page, PageLimit,
    Resource, TenantContext, Toolkit, TypedId as _,
};

use crate::channel::{
    Channel, ChannelStatus, CreateChannel, DisplayPhone, LONGEST_OVERLAP, NewChannel, Secret,
    SecretRotation, secret_binding, verify_token_binding,
};
use crate::error::{
    AccessError, CreateChannelError, ListError, RotateSecretError, SwitchChannelError,
};
use crate::ports::{ChannelStore, Decoders};

const RESOURCE: &str = "channel";
const LIST: ListIdentity<'static> = ListIdentity {
    list: "channels",
    sort: "-createdAt",
    filter: &[],
};

/// A channel that was just created: the only moment when the verify token is shown.
#[derive(Clone)]
pub struct CreatedChannel {
    /// The channel.
    pub channel: Channel,
    /// What to enter at the provider beside the webhook's address.
    pub verify_token: Secret,
}

impl fmt::Debug for CreatedChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedChannel")
            .field("channel", &self.channel.id)
            .finish_non_exhaustive()
    }
}

/// What the people of a clinic do with its channels.
#[derive(Clone)]
pub struct Channels {
    store: Arc<dyn ChannelStore>,
    decoders: Decoders,
    gate: Gate,
    tools: Toolkit,
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channels")
    }
}

impl Channels {
    /// The service over its store. Channels can be created for the providers of `decoders`.
    pub fn new(
        store: Arc<dyn ChannelStore>,
        decoders: Decoders,
        gate: Gate,
        tools: Toolkit,
    ) -> Self {
        Self {
            store,
            decoders,
            gate,
            tools,
        }
    }

    /// Decides as [`Self::create`] does, so that whoever may not create channels learns that
    /// first, and learns nothing else.
    pub async fn prepare_create(&self, cx: &TenantContext) -> Result<(), Denied> {
        self.gate
            .authorize(cx, Action::ChannelManage, Resource::any(RESOURCE))
            .await
    }

    /// What a change of a channel starts from: decides as the change does.
    pub async fn prepare_change(
        &self,
        cx: &TenantContext,
        id: ChannelId,
    ) -> Result<Channel, AccessError> {
        self.gate
            .authorize(cx, Action::ChannelManage, Resource::one(RESOURCE, id))
            .await?;
        let channel = self.store.find(cx, id).await?;
        channel.ok_or(AccessError::NotFound)
    }

    /// Creates a channel with an endpoint of its own, and only once where the caller gave a key.
    pub async fn create(
        &self,
        cx: &TenantContext,
        asked: CreateChannel,
        once: Option<Once<CreatedChannel>>,
    ) -> Result<CreatedChannel, CreateChannelError> {
        self.gate
            .authorize(cx, Action::ChannelManage, Resource::any(RESOURCE))
            .await?;
        if self.decoders.of(asked.provider).is_none() {
            return Err(CreateChannelError::ProviderUnsupported);
        }
        let endpoint: EndpointId = self.tools.id();
        let secret_id = self.tools.id::<EndpointId>().as_uuid();
        // 128 bits: a path nobody guesses, though it is no proof of anything.
        let path_key = URL_SAFE_NO_PAD.encode(self.tools.random_bytes::<16>());
        let verify_token = match asked.verify_token {
            Some(token) => token,
            None => self.draw_verify_token(),
        };
        let now = self.tools.now();
        let new = NewChannel {
            channel: Channel {
                id: self.tools.id(),
                endpoint,
                provider: asked.provider,
                name: asked.name.into_string(),
                external_id: asked.external_id.into_string(),
                display_phone: asked.display_phone.map(DisplayPhone::into_string),
                status: ChannelStatus::Active,
                path_key: Some(path_key.clone()),
                row_version: 1,
                created_at: now,
                updated_at: now,
            },
            path_key,
            verify_token_sealed: self.seal(&verify_token_binding(endpoint), &verify_token),
            secret_id,
            secret_sealed: self.seal(&secret_binding(endpoint, secret_id), &asked.secret),
        };
        let mut created = CreatedChannel {
            channel: new.channel.clone(),
            verify_token,
        };
        let claim = once.map(|once| once.claim(cx, &self.tools, &created));
        created.channel = self.store.create(cx, new, claim).await?;
        Ok(created)
    }

    /// One channel.
    pub async fn read(&self, cx: &TenantContext, id: ChannelId) -> Result<Channel, AccessError> {
        self.gate
            .authorize(cx, Action::ChannelRead, Resource::one(RESOURCE, id))
            .await?;
        let channel = self.store.find(cx, id).await?;
        let channel = channel.ok_or(AccessError::NotFound)?;
        Ok(shown(cx, channel))
    }

    /// The clinic's channels, the newest first.
    pub async fn list(
        &self,
        cx: &TenantContext,
        cursor: Option<&str>,
        limit: PageLimit,
    ) -> Result<Page<Channel>, ListError> {
        self.gate
            .authorize(cx, Action::ChannelRead, Resource::any(RESOURCE))
            .await?;
        let after = cursor
            .map(|cursor| open_cursor(cx, self.tools.keys(), &LIST, cursor))
            .transpose()?;
        let mut rows = self.store.list(cx, after, limit).await?;
        let more = rows.len() > limit.rows();
        rows.truncate(limit.rows());
        let next_cursor = rows.last().filter(|_| more).map(|last| {
            let position = Position {
                sort: SortValue::Instant(last.created_at),
                id: last.id.as_uuid(),
                tie: None,
            };
            seal_cursor(cx, self.tools.keys(), &LIST, &position)
        });
        Ok(Page {
            items: rows.into_iter().map(|row| shown(cx, row)).collect(),
            next_cursor,
        })
    }

    /// Gives the channel's endpoint a new secret; the older ones are good for `overlap` more.
    /// Where `expected` is given, the channel's version must be that.
    pub async fn rotate_secret(
        &self,
        cx: &TenantContext,
        id: ChannelId,
        expected: Option<i64>,
        secret: &Secret,
        verify_token: Option<&Secret>,
        overlap: TimeDelta,
    ) -> Result<Channel, RotateSecretError> {
        self.gate
            .authorize(cx, Action::ChannelManage, Resource::one(RESOURCE, id))
            .await?;
        if overlap < TimeDelta::zero() || overlap > LONGEST_OVERLAP {
            return Err(RotateSecretError::OverlapOutOfRange);
        }
        let channel = self.store.find(cx, id).await?;
        let endpoint = channel.ok_or(RotateSecretError::NotFound)?.endpoint;
        let secret_id = self.tools.id::<EndpointId>().as_uuid();
        let now = self.tools.now();
        let rotation = SecretRotation {
            secret_id,
            secret_sealed: self.seal(&secret_binding(endpoint, secret_id), secret),
            verify_token_sealed: verify_token
                .map(|token| self.seal(&verify_token_binding(endpoint), token)),
            older_until: now + overlap,
            at: now,
        };
        self.store.rotate_secret(cx, id, expected, rotation).await
    }

    /// Lets what comes wait in the ingress. Where `expected` is given, the channel's version must
    /// be that.
    pub async fn disable(
        &self,
        cx: &TenantContext,
        id: ChannelId,
        expected: Option<i64>,
    ) -> Result<Channel, SwitchChannelError> {
        self.gate
            .authorize(cx, Action::ChannelManage, Resource::one(RESOURCE, id))
            .await?;
        self.store.disable(cx, id, expected).await
    }

    /// Processes what waited, and what comes. Where `expected` is given, the channel's version
    /// must be that.
    pub async fn enable(
        &self,
        cx: &TenantContext,
        id: ChannelId,
        expected: Option<i64>,
    ) -> Result<Channel, SwitchChannelError> {
        self.gate
            .authorize(cx, Action::ChannelManage, Resource::one(RESOURCE, id))
            .await?;
        self.store.enable(cx, id, expected).await
    }

    fn draw_verify_token(&self) -> Secret {
        let text = URL_SAFE_NO_PAD.encode(self.tools.random_bytes::<24>());
        Secret::drawn(text)
    }

    fn seal(&self, bound_to: &[u8], secret: &Secret) -> Vec<u8> {
        self.tools.keys().seal(
            KeyOwner::Platform,
            KeyPurpose::ChannelSecret,
            bound_to,
            secret.expose(),
        )
    }
}

/// The webhook's path is for those who set up the provider.
fn shown(cx: &TenantContext, mut channel: Channel) -> Channel {
    if cx.require(Action::ChannelManage).is_err() {
        channel.path_key = None;
    }
    channel
}
