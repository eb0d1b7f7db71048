//! Webhooks: the handshake, and taking a delivery in. Both run before any clinic is known.
//!
//! A delivery is authenticated over its raw bytes, split, and stored; only then may the provider
//! be told that it arrived. Whatever fails in the store is told to the provider as well, so that
//! it tries again: an answer of success after a failed insert would lose the message for ever.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use kernel::job::{JobSignal, Queue};
use kernel::metrics::{ChangeOutcome, Measurement, WebhookOutcome};
use kernel::{KeyOwner, KeyPurpose, Origin, StoreError, SystemContext, SystemPurpose, Toolkit};

use crate::channel::{Endpoint, Provider, Secret, secret_binding, verify_token_binding};
use crate::error::{HandshakeError, ReceiveError};
use crate::ports::{
    Decoders, EndpointLookup, Handshake, Ingress, NewChange, Stored, WebhookDecoder,
};

/// Longest path key that is looked up: a longer one was not made here.
const LONGEST_PATH_KEY: usize = 64;

/// What providers do.
#[derive(Clone)]
pub struct WebhookIngress {
    endpoints: Arc<dyn EndpointLookup>,
    ingress: Arc<dyn Ingress>,
    decoders: Decoders,
    signal: Arc<dyn JobSignal>,
    tools: Toolkit,
}

impl fmt::Debug for WebhookIngress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookIngress")
    }
}

impl WebhookIngress {
    /// The service over its ports. `signal` wakes the workers of this process.
    pub fn new(
        endpoints: Arc<dyn EndpointLookup>,
        ingress: Arc<dyn Ingress>,
        decoders: Decoders,
        signal: Arc<dyn JobSignal>,
        tools: Toolkit,
    ) -> Self {
        Self {
            endpoints,
            ingress,
            decoders,
            signal,
            tools,
        }
    }

    /// The header that proves a delivery of `provider`; `None` when it is not supported.
    pub fn proof_header(&self, provider: Provider) -> Option<&'static str> {
        self.decoders.of(provider).map(WebhookDecoder::proof_header)
    }

    /// Answers the question by which a provider checks that the address is ours.
    pub async fn answer_handshake(
        &self,
        origin: &Origin,
        provider: Provider,
        path_key: &str,
        handshake: Handshake<'_>,
    ) -> Result<String, HandshakeError> {
        let found = self.find(origin, provider, path_key).await?;
        let (decoder, endpoint) = found.ok_or(HandshakeError::NotFound)?;
        let token = self
            .open(
                &verify_token_binding(endpoint.id),
                &endpoint.verify_token_sealed,
            )
            .ok_or(StoreError::Corrupt("webhook_endpoints.verify_token_sealed"))?;
        decoder
            .answer_handshake(handshake, &token)
            .ok_or(HandshakeError::Refused)
    }

    /// Takes a delivery in. `Ok` means that it is durable.
    pub async fn receive(
        &self,
        origin: &Origin,
        provider: Provider,
        path_key: &str,
        proof: Option<&[u8]>,
        body: &Bytes,
    ) -> Result<Stored, ReceiveError> {
        let began = self.tools.now();
        let received = self.take(origin, provider, path_key, proof, body).await;
        let took = (self.tools.now() - began).to_std().unwrap_or_default();
        let outcome = match &received {
            Ok(_) => WebhookOutcome::Stored,
            Err(ReceiveError::NotAuthentic) => WebhookOutcome::Refused,
            Err(ReceiveError::NotFound) => WebhookOutcome::Unknown,
            Err(ReceiveError::Store(_)) => WebhookOutcome::Failed,
        };
        self.tools.measure(Measurement::Webhook(outcome, took));
        received
    }

    async fn take(
        &self,
        origin: &Origin,
        provider: Provider,
        path_key: &str,
        proof: Option<&[u8]>,
        body: &Bytes,
    ) -> Result<Stored, ReceiveError> {
        let found = self.find(origin, provider, path_key).await?;
        let (decoder, endpoint) = found.ok_or(ReceiveError::NotFound)?;
        let mut secrets = Vec::with_capacity(endpoint.secrets_sealed.len());
        for (id, sealed) in &endpoint.secrets_sealed {
            let secret = self
                .open(&secret_binding(endpoint.id, *id), sealed)
                .ok_or(StoreError::Corrupt("webhook_endpoint_secrets.sealed"))?;
            secrets.push(secret);
        }
        if !decoder.is_authentic(proof, body, &secrets) {
            return Err(ReceiveError::NotAuthentic);
        }
        let changes: Vec<NewChange> = decoder
            .split(body)
            .into_iter()
            .map(|raw| NewChange {
                id: self.tools.id(),
                job: self.tools.id(),
                raw,
            })
            .collect();
        let stored = self.store(origin, &endpoint, &changes).await?;
        let came = u64::try_from(changes.len()).unwrap_or(u64::MAX);
        for (outcome, count) in [
            (ChangeOutcome::Routed, stored.routed),
            (ChangeOutcome::Unrouted, stored.stored - stored.routed),
            (ChangeOutcome::Duplicate, came.saturating_sub(stored.stored)),
        ] {
            self.tools
                .measure(Measurement::WebhookChanges(outcome, count));
        }
        if stored.routed > 0 {
            self.signal.job_enqueued(Queue::Message);
        }
        Ok(stored)
    }

    /// All at once; where that fails for another reason than the database being away, one by
    /// one, so that a change that cannot be stored keeps no other out.
    async fn store(
        &self,
        origin: &Origin,
        endpoint: &Endpoint,
        changes: &[NewChange],
    ) -> Result<Stored, StoreError> {
        let sys = SystemContext::new(SystemPurpose::IngressInsert, origin.clone());
        let now = self.tools.now();
        match self.ingress.store(&sys, endpoint.id, now, changes).await {
            Err(error) if changes.len() > 1 && !error.is_transient() => {
                let mut sum = Stored::default();
                let mut failure = None;
                for change in changes {
                    let one = std::slice::from_ref(change);
                    match self.ingress.store(&sys, endpoint.id, now, one).await {
                        Ok(stored) => {
                            sum.stored += stored.stored;
                            sum.routed += stored.routed;
                        }
                        Err(error) => failure = Some(error),
                    }
                }
                if sum.routed > 0 {
                    self.signal.job_enqueued(Queue::Message);
                }
                failure.map_or(Ok(sum), Err)
            }
            answer => answer,
        }
    }

    async fn find(
        &self,
        origin: &Origin,
        provider: Provider,
        path_key: &str,
    ) -> Result<Option<(&dyn WebhookDecoder, Endpoint)>, StoreError> {
        let Some(decoder) = self.decoders.of(provider) else {
            return Ok(None);
        };
        let plausible = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if path_key.len() > LONGEST_PATH_KEY || !path_key.bytes().all(plausible) {
            return Ok(None);
        }
        let sys = SystemContext::new(SystemPurpose::EndpointLookup, origin.clone());
        let endpoint = self.endpoints.find_endpoint(&sys, path_key).await?;
        Ok(endpoint
            .filter(|endpoint| endpoint.provider == provider)
            .map(|endpoint| (decoder, endpoint)))
    }

    fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Secret> {
        let opened = self.tools.keys().open(
            KeyOwner::Platform,
            KeyPurpose::ChannelSecret,
            bound_to,
            sealed,
        );
        Secret::from_opened(opened.ok()?).ok()
    }
}
