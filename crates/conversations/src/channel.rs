//! A channel: one WhatsApp number of a clinic, and the endpoint that authenticates its webhooks.
//!
//! A signature authenticates an [`Endpoint`], not a channel: a provider's app has one callback
//! address and one secret, and may carry several numbers. A channel that a clinic creates gets an
//! endpoint of its own; an operator may bind channels of several clinics to a shared one. A
//! change is routed only to channels bound to the endpoint it came through, so that one clinic's
//! secret can never sign for another's number.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use kernel::text::line;
use kernel::{ChangedValue, ChannelId, EndpointId};

/// Who carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Meta's WhatsApp Cloud API.
    WhatsappCloud,
    /// Evolution API.
    Evolution,
}

impl Provider {
    /// Every provider.
    pub const ALL: &'static [Self] = &[Self::WhatsappCloud, Self::Evolution];

    /// The stable name, also the segment of the webhook's path.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WhatsappCloud => "whatsapp-cloud",
            Self::Evolution => "evolution",
        }
    }
}

/// The text names no provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a provider")]
pub struct UnknownProvider;

impl FromStr for Provider {
    type Err = UnknownProvider;
    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        Self::ALL
            .iter()
            .copied()
            .find(|provider| provider.name() == text)
            .ok_or(UnknownProvider)
    }
}

/// Whether a channel takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelStatus {
    /// Its changes are processed.
    Active,
    /// Its changes are stored and wait until it is enabled again.
    Disabled,
}

impl ChannelStatus {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }
}

/// The text names no status of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a channel status")]
pub struct UnknownChannelStatus;

impl FromStr for ChannelStatus {
    type Err = UnknownChannelStatus;
    fn from_str(text: &str) -> Result<Self, UnknownChannelStatus> {
        match text {
            "active" => Ok(Self::Active),
            "disabled" => Ok(Self::Disabled),
            _ => Err(UnknownChannelStatus),
        }
    }
}

/// A channel, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// The endpoint its webhooks come through.
    pub endpoint: EndpointId,
    /// Who carries its messages.
    pub provider: Provider,
    /// What the clinic calls it: 1 to 200 characters.
    pub name: String,
    /// What routes a change to it: the provider's phone number id, or the instance's name.
    pub external_id: String,
    /// The number as people know it.
    pub display_phone: Option<String>,
    /// Active or disabled.
    pub status: ChannelStatus,
    /// Last segment of the webhook's path. `None` for an operator's shared endpoint, which is
    /// not the clinic's to know.
    pub path_key: Option<String>,
    /// Raised by each change.
    pub row_version: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

impl Channel {
    /// What a new channel holds, for the audit. Its secrets are named alone.
    pub fn created_values(&self) -> Vec<ChangedValue> {
        let mut values = vec![
            ChangedValue::set("name", self.name.as_str()),
            ChangedValue::set("provider", self.provider.name()),
            ChangedValue::set("phoneNumberId", self.external_id.as_str()),
            ChangedValue::set("status", self.status.name()),
            ChangedValue::secret("appSecret"),
            ChangedValue::secret("verifyToken"),
        ];
        let display = self.display_phone.as_deref();
        values.extend(display.map(|phone| ChangedValue::set("displayPhoneNumber", phone)));
        values
    }
}

/// What a clinic calls a channel: 1 to 200 characters on one line, something of it visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelName(String);

/// Not a channel's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 200 characters on one line, something of it visible")]
pub struct InvalidChannelName;

/// The number as people know it: 1 to 40 characters on one line, something of it visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayPhone(String);

/// Not a number as people know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 40 characters on one line, something of it visible")]
pub struct InvalidDisplayPhone;

/// What a provider's deliveries are routed by: its id of the number, or the instance's name. 1 to
/// 120 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalId(String);

/// Not a provider's id of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 120 visible ASCII characters")]
pub struct InvalidExternalId;

impl ChannelName {
    /// Trims and checks.
    pub fn parse(text: &str) -> Result<Self, InvalidChannelName> {
        line(text, 200).map(Self).ok_or(InvalidChannelName)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text itself.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl DisplayPhone {
    /// Trims and checks.
    pub fn parse(text: &str) -> Result<Self, InvalidDisplayPhone> {
        line(text, 40).map(Self).ok_or(InvalidDisplayPhone)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text itself.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl ExternalId {
    /// Checks: what a provider compares byte by byte is not tidied.
    pub fn parse(text: &str) -> Result<Self, InvalidExternalId> {
        let fits = (1..=120).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned())).ok_or(InvalidExternalId)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text itself.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// What a person asks for when creating a channel.
#[derive(Clone)]
pub struct CreateChannel {
    /// Who carries its messages.
    pub provider: Provider,
    /// What the clinic calls it.
    pub name: ChannelName,
    /// The provider's phone number id, or the instance's name.
    pub external_id: ExternalId,
    /// The number as people know it.
    pub display_phone: Option<DisplayPhone>,
    /// What the provider signs with.
    pub secret: Secret,
    /// What the provider must show at the handshake; drawn when absent.
    pub verify_token: Option<Secret>,
}

impl fmt::Debug for CreateChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateChannel")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// A channel with an endpoint of its own, ready to be stored: one transaction writes both.
#[derive(Clone, PartialEq, Eq)]
pub struct NewChannel {
    /// The channel; its `path_key` is the endpoint's and present.
    pub channel: Channel,
    /// The endpoint's path key.
    pub path_key: String,
    /// The verify token, sealed for [`verify_token_binding`].
    pub verify_token_sealed: Vec<u8>,
    /// Id of the first secret.
    pub secret_id: uuid::Uuid,
    /// The first secret, sealed for [`secret_binding`].
    pub secret_sealed: Vec<u8>,
}

impl fmt::Debug for NewChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewChannel")
            .field("channel", &self.channel.id)
            .finish_non_exhaustive()
    }
}

/// A new secret beside the older ones, which stay good for a while.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretRotation {
    /// Id of the new secret.
    pub secret_id: uuid::Uuid,
    /// The new secret, sealed for [`secret_binding`].
    pub secret_sealed: Vec<u8>,
    /// A new verify token, where one was asked for, sealed for [`verify_token_binding`]. It
    /// replaces the older one at once: it is shown only when the provider's form is saved.
    pub verify_token_sealed: Option<Vec<u8>>,
    /// The older secrets are good until then, or until their own earlier end.
    pub older_until: DateTime<Utc>,
    /// When.
    pub at: DateTime<Utc>,
}

impl fmt::Debug for SecretRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretRotation")
            .field("older_until", &self.older_until)
            .finish_non_exhaustive()
    }
}

/// Longest overlap of two secrets.
pub const LONGEST_OVERLAP: TimeDelta = TimeDelta::days(7);
/// The overlap when none is asked for.
pub const DEFAULT_OVERLAP: TimeDelta = TimeDelta::days(1);

/// A secret that a provider shares with an endpoint: 8 to 512 bytes. An empty or a short one
/// would let anybody sign.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Not 8 to 512 bytes, or not printable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 8 to 512 visible ASCII characters")]
pub struct InvalidSecret;

impl Secret {
    /// A secret out of visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, InvalidSecret> {
        if (8..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.as_bytes().to_vec()))
        } else {
            Err(InvalidSecret)
        }
    }

    /// From a text that was drawn here, and so is known to be good.
    pub(crate) fn drawn(text: String) -> Self {
        Self(text.into_bytes())
    }

    /// From opened bytes that were a [`Secret`] when they were sealed.
    pub fn from_opened(bytes: Vec<u8>) -> Result<Self, InvalidSecret> {
        let text = String::from_utf8(bytes).map_err(|_| InvalidSecret)?;
        Self::new(&text)
    }

    /// The text, for the one who is to enter it at the provider.
    pub fn reveal(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// The bytes to compute with.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A webhook endpoint as looked up by its path, before any clinic is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose webhooks come through it.
    pub provider: Provider,
    /// The handshake's token, sealed.
    pub verify_token_sealed: Vec<u8>,
    /// The secrets that are good now, newest first: id and sealed bytes.
    pub secrets_sealed: Vec<(uuid::Uuid, Vec<u8>)>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// What a sealed signing secret is bound to: its table, column and row.
pub fn secret_binding(endpoint: EndpointId, secret: uuid::Uuid) -> Vec<u8> {
    format!("webhook_endpoint_secrets.sealed/{endpoint}/{secret}").into_bytes()
}

/// What a sealed verify token is bound to: its table, column and row.
pub fn verify_token_binding(endpoint: EndpointId) -> Vec<u8> {
    format!("webhook_endpoints.verify_token_sealed/{endpoint}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_neither_short_nor_long_nor_unprintable_and_never_shown() {
        assert!(Secret::new("").is_err());
        assert!(Secret::new("1234567").is_err());
        assert!(Secret::new("with a space").is_err());
        assert!(Secret::new(&"x".repeat(513)).is_err());
        let secret = Secret::new("0123456789abcdef").unwrap();
        assert!(!format!("{secret:?}").contains("0123"));
    }

    #[test]
    fn a_channels_texts_are_lines_that_can_be_seen() {
        assert_eq!(
            ChannelName::parse(" Recepção ").unwrap().into_string(),
            "Recepção"
        );
        for wrong in ["", " ", "\u{200B}", "a\u{0}b", "a\nb", "\u{202E}oãçpeceR"] {
            assert!(ChannelName::parse(wrong).is_err(), "{wrong:?}");
            assert!(DisplayPhone::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(ChannelName::parse(&"é".repeat(201)).is_err());
        assert!(DisplayPhone::parse("+55 11 3003-4000").is_ok());
        assert!(DisplayPhone::parse(&"1".repeat(41)).is_err());
    }

    #[test]
    fn an_external_id_is_visible_ascii_of_a_fitting_length() {
        assert!(ExternalId::parse("106540352242922").is_ok());
        assert!(ExternalId::parse(&"x".repeat(120)).is_ok());
        for wrong in ["", "with space", "número", "😀", "1\u{0}", &"x".repeat(121)] {
            assert!(ExternalId::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for provider in Provider::ALL {
            assert_eq!(provider.name().parse(), Ok(*provider));
        }
        assert!("telegram".parse::<Provider>().is_err());
    }
}
