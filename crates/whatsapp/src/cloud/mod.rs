//! Meta's WhatsApp Cloud API.
//!
//! Source of the shapes: developers.facebook.com/documentation/business-messaging/whatsapp, and
//! the traps seen in the wild: `timestamp` is text or number, errors stand in three places,
//! `from`, `id` and `field` may be missing, a username's owner has no phone.

mod decode;
mod message;
mod signature;
mod split;

use bytes::Bytes;
use conversations::InboundChange;
use conversations::channel::{Provider, Secret};
use conversations::ports::{Handshake, RawChange, StoredChange, WebhookDecoder};

/// The Cloud API's format.
#[derive(Debug, Clone, Copy, Default)]
pub struct CloudDecoder;

impl WebhookDecoder for CloudDecoder {
    fn provider(&self) -> Provider {
        Provider::WhatsappCloud
    }

    fn proof_header(&self) -> &'static str {
        "x-hub-signature-256"
    }

    fn answer_handshake(&self, handshake: Handshake<'_>, token: &Secret) -> Option<String> {
        signature::answer_handshake(handshake, token)
    }

    fn is_authentic(&self, proof: Option<&[u8]>, body: &[u8], secrets: &[Secret]) -> bool {
        signature::is_authentic(proof, body, secrets)
    }

    fn split(&self, body: &Bytes) -> Vec<RawChange> {
        split::split(body)
    }

    fn decode(&self, change: &StoredChange) -> InboundChange {
        decode::decode(&change.body, change.received_at)
    }
}
