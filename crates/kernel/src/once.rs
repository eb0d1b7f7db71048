//! Acts that are done once for a key of the caller's: the `Idempotency-Key` of a request that is
//! sent again because its answer was lost.
//!
//! The calling side makes an [`Once`]: whose key it is, what was asked, and how what is made will
//! be answered. The service, which draws ids and times before it writes, turns it into a
//! [`Claim`] that holds the whole answer, sealed. The store writes the claim in the transaction
//! of the act itself, so that either both are kept or none is, and answers a claim that was made
//! before with [`StoreError::Repeat`](crate::StoreError::Repeat).

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::ports::{CannotOpen, KeyOwner, KeyPurpose, Keys};
use crate::{ClinicId, TenantContext, Toolkit};

/// How long an answer is kept, from the act on.
pub const KEPT_FOR: TimeDelta = TimeDelta::hours(24);

/// A caller's key and what was asked with it, as keyed hashes: the key alone says nothing of who
/// sent it, nor the other of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnceKey {
    key: [u8; 32],
    request: [u8; 32],
}

impl OnceKey {
    /// The key `key` that the context's actor sent to `route`, with `request`, the canonical
    /// bytes of all that must be the same for it to be the same request.
    pub fn new(
        cx: &TenantContext,
        keys: &dyn Keys,
        route: &str,
        key: &str,
        request: &[u8],
    ) -> Self {
        let owner = KeyOwner::Clinic(cx.clinic());
        let mac = |parts: &[&[u8]]| {
            let mut bytes = Vec::new();
            for part in parts {
                // Lengths keep ("ab", "c") and ("a", "bc") apart.
                bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
                bytes.extend_from_slice(part);
            }
            keys.mac(owner, KeyPurpose::Idempotency, &bytes)
        };
        let actor = cx.actor();
        let id = actor.id().unwrap_or_default();
        let who: [&[u8]; 2] = [actor.kind().as_bytes(), id.as_bytes()];
        Self {
            key: mac(&[b"key", who[0], who[1], route.as_bytes(), key.as_bytes()]),
            request: mac(&[b"request", request]),
        }
    }
}

/// Gives the bytes of the whole answer about what was made.
pub type AnswerOf<T> = Arc<dyn Fn(&T) -> Vec<u8> + Send + Sync>;

/// An act to be done once: under which key, and what is answered about what it makes.
pub struct Once<T: ?Sized> {
    key: OnceKey,
    answer: AnswerOf<T>,
}

impl<T: ?Sized> Once<T> {
    /// `answer` must be a function of what is made alone.
    pub fn new(key: OnceKey, answer: AnswerOf<T>) -> Self {
        Self { key, answer }
    }

    /// What the store keeps beside `made`, which is about to be written.
    pub fn claim(self, cx: &TenantContext, tools: &Toolkit, made: &T) -> Claim {
        let clinic = cx.clinic();
        let OnceKey { key, request } = self.key;
        let answer = (self.answer)(made);
        let at = tools.now();
        Claim {
            clinic,
            key,
            request,
            answer_sealed: tools.keys().seal(
                KeyOwner::Clinic(clinic),
                KeyPurpose::Idempotency,
                &binding(&key),
                &answer,
            ),
            at,
            tools: tools.clone(),
        }
    }
}

impl<T: ?Sized> Clone for Once<T> {
    fn clone(&self) -> Self {
        Self {
            key: self.key,
            answer: Arc::clone(&self.answer),
        }
    }
}

impl<T: ?Sized> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

/// What an answer is bound to: it opens under its own key only.
fn binding(key: &[u8; 32]) -> Vec<u8> {
    let mut binding = b"app.idempotency_keys.answer:".to_vec();
    binding.extend_from_slice(key);
    binding
}

/// A key with the answer of the act that claims it.
#[derive(Clone)]
pub struct Claim {
    clinic: ClinicId,
    key: [u8; 32],
    request: [u8; 32],
    answer_sealed: Vec<u8>,
    at: DateTime<Utc>,
    tools: Toolkit,
}

impl Claim {
    /// The key's hash, unique in the clinic.
    pub const fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The request's hash.
    pub const fn request(&self) -> &[u8; 32] {
        &self.request
    }

    /// The answer, sealed.
    pub fn answer_sealed(&self) -> &[u8] {
        &self.answer_sealed
    }

    /// When it is made.
    pub const fn at(&self) -> DateTime<Utc> {
        self.at
    }

    /// Until when it is kept.
    pub fn until(&self) -> DateTime<Utc> {
        self.at + KEPT_FOR
    }

    /// A number that stands for the key, by which a request in flight is known. Two keys of one
    /// number are as good as never, and would only have one wait for the other.
    pub const fn lock(&self) -> i64 {
        match self.key.first_chunk() {
            Some(first) => i64::from_be_bytes(*first),
            None => 0,
        }
    }

    /// What this claim is beside the one that is kept: the same request, whose answer is opened,
    /// or another.
    pub fn beside(&self, request: &[u8], answer_sealed: &[u8]) -> Result<Repeat, CannotOpen> {
        if request != self.request {
            return Ok(Repeat::OtherRequest);
        }
        let answer = self.tools.keys().open(
            KeyOwner::Clinic(self.clinic),
            KeyPurpose::Idempotency,
            &binding(&self.key),
            answer_sealed,
        )?;
        Ok(Repeat::Done(answer))
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claim")
    }
}

/// Why an act that is done once for its key was not done now.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum Repeat {
    /// It was done before: the bytes of the answer of then.
    #[error("it was done before")]
    Done(Vec<u8>),
    /// A request with this key is being worked on.
    #[error("a request with this key has not ended yet")]
    InFlight,
    /// The key was sent with another request.
    #[error("the key was sent with another request")]
    OtherRequest,
}

impl fmt::Debug for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An answer may be anybody's data.
        f.write_str(match self {
            Self::Done(_) => "Done",
            Self::InFlight => "InFlight",
            Self::OtherRequest => "OtherRequest",
        })
    }
}
