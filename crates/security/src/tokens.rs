//! [`JwtTokens`]: access tokens as JWTs signed with Ed25519 (RFC 8037), checked as RFC 8725 asks.
//!
//! Algorithm, type (`at+jwt`, RFC 9068), issuer, audience and expiry are all pinned, and the key
//! is chosen by its id among our own: whatever a token says of itself is never followed.
//!
//! What was verified is remembered, by the whole token. Each time its expiry is looked at, and
//! whether anything was revoked since it was looked at last: if so, whether it was this.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clinics::ports::IssuedToken;
use clinics::{Identity, InvalidToken, TokenFault, TokenIssuer, TokenVerifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use kernel::{Clock, Random, Sensitive, SessionId, TypedId as _, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::revocations::RevocationList;

/// How long an access token is valid.
pub const LIFETIME: Duration = Duration::from_mins(15);

/// Longest token that is looked at; ours have about 400 bytes.
const MAX_LENGTH: usize = 2048;

/// Most verified tokens that are remembered; each takes half a kilobyte.
const REMEMBERED: usize = 16_384;

const TYPE: &str = "at+jwt";

/// A private key that signs tokens.
pub struct SigningKey {
    id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// Not a signing key. The text is not repeated: it may nearly be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an Ed25519 private key, as PKCS#8 in PEM or as a seed of 32 bytes in base64")]
pub struct InvalidSigningKey;

impl SigningKey {
    /// From configuration: PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` makes it, or a
    /// seed of 32 bytes in base64.
    pub fn parse(text: &str) -> Result<Self, InvalidSigningKey> {
        let text = text.trim();
        let pair = if text.starts_with("-----BEGIN") {
            let pem = EncodingKey::from_ed_pem(text.as_bytes()).map_err(|_| InvalidSigningKey)?;
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(pem.as_bytes())
        } else {
            let seed = STANDARD.decode(text).map_err(|_| InvalidSigningKey)?;
            Ed25519KeyPair::from_seed_unchecked(&seed)
        };
        Self::of(&pair.map_err(|_| InvalidSigningKey)?)
    }

    /// The text of a new key, as [`SigningKey::parse`] takes it: a seed in base64.
    pub fn generate(random: &dyn Random) -> String {
        let mut seed = [0; 32];
        random.fill(&mut seed);
        STANDARD.encode(seed)
    }

    fn of(pair: &Ed25519KeyPair) -> Result<Self, InvalidSigningKey> {
        let public = pair.public_key().as_ref();
        let private: aws_lc_rs::encoding::Pkcs8V1Der<'_> =
            pair.as_der().map_err(|_| InvalidSigningKey)?;
        Ok(Self {
            id: URL_SAFE_NO_PAD.encode(&digest(&SHA256, public).as_ref()[..12]),
            encoding: EncodingKey::from_ed_der(private.as_ref()),
            decoding: DecodingKey::from_ed_der(public),
        })
    }

    /// The key's id, as tokens name it: a digest of its public half.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, ***)", self.id)
    }
}

/// What a token carries.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    jti: Uuid,
    iat: i64,
    exp: i64,
}

/// Whom a token speaks for, and until when, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Verified {
    identity: Identity,
    expires: i64,
}

/// What is remembered of a token.
struct Remembered {
    verified: Verified,
    /// The epoch of the revocations at which its session was not among them.
    epoch: AtomicU64,
}

/// Issues and verifies access tokens. Cheap to clone.
#[derive(Clone)]
pub struct JwtTokens {
    shared: Arc<Shared>,
}

struct Shared {
    /// The first signs; all verify.
    keys: Vec<SigningKey>,
    issuer: String,
    audience: String,
    validation: Validation,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// Verifying costs 40 µs, finding it here a hundred times less. The whole token is compared,
    /// and its expiry is checked each time.
    remembered: RwLock<HashMap<Box<str>, Remembered>>,
    revocations: RevocationList,
}

impl JwtTokens {
    /// Signs with `key`; verifies with it and with `older` keys, whose tokens may still be about.
    /// `issuer` and `audience` name this installation and its API.
    pub fn new(
        key: SigningKey,
        older: Vec<SigningKey>,
        issuer: impl Into<String>,
        audience: impl Into<String>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let (issuer, audience) = (issuer.into(), audience.into());
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&issuer]);
        validation.set_audience(&[&audience]);
        // The expiry is checked here, by the port's clock.
        validation.validate_exp = false;
        let mut keys = vec![key];
        keys.extend(older);
        let revocations = RevocationList::new(Arc::clone(&clock));
        Self {
            shared: Arc::new(Shared {
                keys,
                issuer,
                audience,
                validation,
                clock,
                random,
                remembered: RwLock::default(),
                revocations,
            }),
        }
    }

    /// What is refused although its token is valid. Whoever ends sessions notes them here, and
    /// whoever runs the process follows the store with it.
    pub fn revocations(&self) -> &RevocationList {
        &self.shared.revocations
    }

    /// Checks everything but the expiry.
    fn decode(&self, token: &str) -> Option<Verified> {
        let shared = &self.shared;
        let header = jsonwebtoken::decode_header(token).ok()?;
        let ours = header.alg == Algorithm::EdDSA
            && header.typ.as_deref() == Some(TYPE)
            && header.crit.is_none();
        let key_id = header.kid.filter(|_| ours)?;
        let key = shared.keys.iter().find(|key| key.id == key_id)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &shared.validation)
            .ok()?
            .claims;
        Some(Verified {
            identity: Identity {
                user: UserId::from(claims.sub),
                session: SessionId::from(claims.sid),
            },
            expires: claims.exp,
        })
    }

    /// Whom a token that was seen before speaks for, where that still holds. `Ok(None)` for one that
    /// was not.
    fn recall(&self, token: &str, now: i64) -> Result<Option<Identity>, InvalidToken> {
        let shared = &self.shared;
        let remembered = shared.remembered.read();
        let remembered = remembered.unwrap_or_else(PoisonError::into_inner);
        let Some(found) = remembered.get(token) else {
            return Ok(None);
        };
        let Verified { identity, expires } = found.verified;
        if now >= expires {
            return Err(InvalidToken);
        }
        // Read before the list is: what is revoked after that raises it above this.
        let epoch = shared.revocations.epoch();
        if found.epoch.load(Ordering::Relaxed) != epoch {
            if shared.revocations.holds(identity.session.as_uuid()) {
                return Err(InvalidToken);
            }
            found.epoch.store(epoch, Ordering::Relaxed);
        }
        Ok(Some(identity))
    }

    fn remember(&self, token: &str, verified: Verified, epoch: u64, now: i64) {
        let mut remembered = self
            .shared
            .remembered
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, found| now < found.verified.expires);
        }
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        let found = Remembered {
            verified,
            epoch: AtomicU64::new(epoch),
        };
        remembered.insert(token.into(), found);
    }
}

impl TokenIssuer for JwtTokens {
    fn issue(&self, user: UserId, session: SessionId) -> Result<IssuedToken, TokenFault> {
        let shared = &self.shared;
        let key = &shared.keys[0];
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key.id.clone());
        let now = shared.clock.now().timestamp();
        let lifetime = i64::try_from(LIFETIME.as_secs()).unwrap_or(0);
        let claims = Claims {
            iss: shared.issuer.clone(),
            aud: shared.audience.clone(),
            sub: user.as_uuid(),
            sid: session.as_uuid(),
            jti: SessionId::generate(shared.clock.as_ref(), shared.random.as_ref()).as_uuid(),
            iat: now,
            exp: now + lifetime,
        };
        let token = jsonwebtoken::encode(&header, &claims, &key.encoding)
            .map_err(|error| TokenFault(Box::new(error)))?;
        Ok(IssuedToken {
            token: Sensitive::new(token),
            expires_in: LIFETIME,
        })
    }
}

impl TokenVerifier for JwtTokens {
    fn verify(&self, token: &str) -> Result<Identity, InvalidToken> {
        if token.len() > MAX_LENGTH {
            return Err(InvalidToken);
        }
        let now = self.shared.clock.now().timestamp();
        if let Some(identity) = self.recall(token, now)? {
            return Ok(identity);
        }
        let verified = self.decode(token).ok_or(InvalidToken)?;
        let epoch = self.shared.revocations.epoch();
        let session = verified.identity.session.as_uuid();
        if now >= verified.expires || self.shared.revocations.holds(session) {
            return Err(InvalidToken);
        }
        self.remember(token, verified, epoch, now);
        Ok(verified.identity)
    }
}

impl fmt::Debug for JwtTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtTokens")
            .field("keys", &self.shared.keys)
            .finish()
    }
}

#[cfg(test)]
mod tests;
