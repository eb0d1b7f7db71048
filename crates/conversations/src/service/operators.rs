//! What the installation's operators do with webhook endpoints, from the command line alone: an
//! app at a provider has one callback for all its numbers, so its endpoint is the operator's, and
//! channels of several clinics are bound to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use kernel::ports::Resealed;
use kernel::{
    AuditEntry, AuditId, ChangedValue, ChannelId, ClinicId, EndpointId, KeyOwner, KeyPurpose,
    Origin, Resource, StoreError, SystemContext, SystemPurpose, TenantContext, Toolkit,
    TypedId as _,
};

use crate::channel::{
    ChannelName, DisplayPhone, ExternalId, LONGEST_OVERLAP, Provider, Secret, SecretRotation,
    secret_binding, verify_token_binding,
};
use crate::error::{BindChannelError, RotateEndpointError};
use crate::events;
use crate::ports::{
    BoundChannel, NewSharedEndpoint, SealedValue, SharedEndpoint, SharedEndpointStore,
};

/// An endpoint that was just created: the only moment when its verify token is shown.
#[derive(Clone)]
pub struct CreatedEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// Last segment of its path.
    pub path_key: String,
    /// What to enter at the provider beside the webhook's address.
    pub verify_token: Secret,
}

impl fmt::Debug for CreatedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedEndpoint")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A clinic's channel to bind to an operator's endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindChannel {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// What the clinic calls the channel.
    pub name: ChannelName,
    /// The provider's phone number id, or the instance's name.
    pub external_id: ExternalId,
    /// The number as people know it.
    pub display_phone: Option<DisplayPhone>,
}

impl BindChannel {
    /// What the new channel holds, for the audit.
    fn bound_values(&self) -> Vec<ChangedValue> {
        let mut values = vec![
            ChangedValue::set("name", self.name.as_str()),
            ChangedValue::set("phoneNumberId", self.external_id.as_str()),
            ChangedValue::set("endpointId", *self.endpoint.as_uuid().as_bytes()),
        ];
        let display = self.display_phone.as_ref();
        values.extend(display.map(|it| ChangedValue::set("displayPhoneNumber", it.as_str())));
        values
    }
}

/// Operators' endpoints.
#[derive(Clone)]
pub struct SharedEndpoints {
    store: Arc<dyn SharedEndpointStore>,
    tools: Toolkit,
}

impl fmt::Debug for SharedEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedEndpoints")
    }
}

impl SharedEndpoints {
    /// The service over its store.
    pub fn new(store: Arc<dyn SharedEndpointStore>, tools: Toolkit) -> Self {
        Self { store, tools }
    }

    /// Creates an endpoint of no clinic, with its first secret.
    pub async fn create(
        &self,
        origin: Origin,
        provider: Provider,
        secret: &Secret,
    ) -> Result<CreatedEndpoint, StoreError> {
        let sys = SystemContext::new(SystemPurpose::Administration, origin);
        let id: EndpointId = self.tools.id();
        let secret_id = self.tools.id::<EndpointId>().as_uuid();
        let path_key = URL_SAFE_NO_PAD.encode(self.tools.random_bytes::<16>());
        let verify_token = self.draw_verify_token();
        let new = NewSharedEndpoint {
            id,
            provider,
            path_key: path_key.clone(),
            verify_token_sealed: self.seal(&verify_token_binding(id), &verify_token),
            secret_id,
            secret_sealed: self.seal(&secret_binding(id, secret_id), secret),
            at: self.tools.now(),
            log_id: self.tools.id::<AuditId>().as_uuid(),
        };
        self.store.create(&sys, new).await?;
        Ok(CreatedEndpoint {
            id,
            path_key,
            verify_token,
        })
    }

    /// Every endpoint of the operators, the oldest first.
    pub async fn list(&self, origin: Origin) -> Result<Vec<SharedEndpoint>, StoreError> {
        let sys = SystemContext::new(SystemPurpose::Administration, origin);
        self.store.list(&sys).await
    }

    /// Gives an endpoint a new secret. The older one is taken for `overlap` more, since the
    /// provider goes on signing with it for a moment. Answers the new verify token where one
    /// was asked for; the older token is good no more.
    pub async fn rotate_secret(
        &self,
        origin: Origin,
        id: EndpointId,
        secret: &Secret,
        overlap: Duration,
        new_verify_token: bool,
    ) -> Result<Option<Secret>, RotateEndpointError> {
        let overlap = TimeDelta::from_std(overlap)
            .ok()
            .filter(|overlap| *overlap <= LONGEST_OVERLAP)
            .ok_or(RotateEndpointError::OverlapOutOfRange)?;
        let sys = SystemContext::new(SystemPurpose::Administration, origin);
        let secret_id = self.tools.id::<EndpointId>().as_uuid();
        let now = self.tools.now();
        let verify_token = new_verify_token.then(|| self.draw_verify_token());
        let rotation = SecretRotation {
            secret_id,
            secret_sealed: self.seal(&secret_binding(id, secret_id), secret),
            verify_token_sealed: verify_token
                .as_ref()
                .map(|token| self.seal(&verify_token_binding(id), token)),
            older_until: now + overlap,
            at: now,
        };
        let log_id = self.tools.id::<AuditId>().as_uuid();
        if self.store.rotate_secret(&sys, id, rotation, log_id).await? {
            Ok(verify_token)
        } else {
            Err(RotateEndpointError::NoSuchEndpoint)
        }
    }

    /// Binds a new channel of `clinic` to an operator's endpoint. What waited there for its
    /// number is processed.
    pub async fn bind_channel(
        &self,
        origin: Origin,
        clinic: ClinicId,
        asked: BindChannel,
    ) -> Result<ChannelId, BindChannelError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "an operator's act in the clinic whose channel is bound"
        )]
        let cx = TenantContext::for_operator(clinic, origin);
        let id: ChannelId = self.tools.id();
        let entry = AuditEntry::done(&self.tools, "channel.bind", Resource::one("channel", id))
            .changed(&cx, self.tools.keys(), asked.bound_values());
        let event = events::channel(&self.tools, events::CHANNEL_CREATED, id);
        let bound = BoundChannel {
            id,
            endpoint: asked.endpoint,
            name: asked.name.into_string(),
            external_id: asked.external_id.into_string(),
            display_phone: asked.display_phone.map(DisplayPhone::into_string),
            at: self.tools.now(),
        };
        self.store.bind_channel(&cx, bound, entry, event).await?;
        Ok(id)
    }

    /// Seals every endpoint's secrets and verify tokens, the clinics' own among them, with the
    /// present master key. What is sealed with it already stays. May be done again, and while
    /// servers run.
    pub async fn reseal(&self, origin: Origin) -> Result<Resealed, StoreError> {
        let sys = SystemContext::new(SystemPurpose::Administration, origin);
        let keys = self.tools.keys();
        let (owner, purpose) = (KeyOwner::Platform, KeyPurpose::ChannelSecret);
        let mut done = Resealed::default();
        let mut values = Vec::new();
        for value in self.store.list_sealed(&sys).await? {
            if keys.is_current(&value.sealed) {
                done.current += 1;
                continue;
            }
            let bound_to = binding(&value);
            match keys.open(owner, purpose, &bound_to, &value.sealed) {
                Ok(plain) => {
                    let sealed = keys.seal(owner, purpose, &bound_to, &plain);
                    values.push((value, sealed));
                }
                Err(_) => done.unreadable += 1,
            }
        }
        let log_id = self.tools.id::<AuditId>().as_uuid();
        let now = self.tools.now();
        done.anew = self.store.reseal(&sys, &values, now, log_id).await?;
        Ok(done)
    }

    fn draw_verify_token(&self) -> Secret {
        Secret::drawn(URL_SAFE_NO_PAD.encode(self.tools.random_bytes::<24>()))
    }

    fn seal(&self, bound_to: &[u8], secret: &Secret) -> Vec<u8> {
        let keys = self.tools.keys();
        let purpose = KeyPurpose::ChannelSecret;
        keys.seal(KeyOwner::Platform, purpose, bound_to, secret.expose())
    }
}

fn binding(value: &SealedValue) -> Vec<u8> {
    match value.secret {
        Some(secret) => secret_binding(value.endpoint, secret),
        None => verify_token_binding(value.endpoint),
    }
}
