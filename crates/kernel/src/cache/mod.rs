//! The cache of finished answers: its keys, what is kept, and the port ([`ByteCache`]).
//!
//! A key is made from a [`TenantContext`] and from nothing else, and what it finds has the type it
//! was made for: `CacheKey<K>` finds `K::Value`. As text it is
//! `clinic_{id}:{domain}:{generation}:{scope hash}:{query hash}`; the hashes are keyed, so that no
//! word of a search and no id of a person can be read from it.
//!
//! A *generation* is the position of the clinic's last event that changed the domain (see
//! [`policy`]). It is part of the key, so that nothing is ever invalidated by hand: after a change
//! nobody asks for the old key any more. Whoever fills the cache takes the generation **before** it
//! reads the store.

pub mod policy;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;

use crate::metrics::{CacheDomain, CacheOutcome};
use crate::{ClinicId, KeyOwner, KeyPurpose, Keys, TenantContext, TypedId as _, UserId};

pub use policy::{POLICIES, Policy, policy};

/// A kind of thing that is cached.
pub trait Cached: 'static {
    /// What is found.
    type Value;
    /// Which row of the policy it is of.
    const DOMAIN: CacheDomain;
    /// Its name: different for each kind.
    const KIND: &'static str;
}

/// Where a thing of the kind `K` is found. See the module's text.
pub struct CacheKey<'a, K: Cached> {
    raw: RawKey<'a>,
    kind: PhantomData<fn() -> K>,
}

/// A key whose kind is known to whoever holds it. Only a [`CacheKey`] gives one.
#[derive(Clone, Copy)]
pub struct RawKey<'a> {
    clinic: ClinicId,
    domain: CacheDomain,
    kind: &'static str,
    seer: Seer<'a>,
    query: &'a [&'a [u8]],
}

/// Who may see what is found: everybody with the same permissions and scope, or one user's own
/// membership.
#[derive(Clone, Copy)]
enum Seer<'a> {
    Context(&'a TenantContext),
    User(UserId),
}

impl<'a, K: Cached> CacheKey<'a, K> {
    /// The key of what `cx` asks for by `query`: all that decides the answer beside the clinic and
    /// the caller's permissions and scope.
    pub const fn new(cx: &'a TenantContext, query: &'a [&'a [u8]]) -> Self {
        Self {
            raw: RawKey {
                clinic: cx.clinic(),
                domain: K::DOMAIN,
                kind: K::KIND,
                seer: Seer::Context(cx),
                query,
            },
            kind: PhantomData,
        }
    }

    /// The one exception: a verified user's standing in the clinic they named, which is what a
    /// context is made from. Legal in the cache of memberships alone.
    pub const fn before_context(clinic: ClinicId, user: UserId) -> Self {
        Self {
            raw: RawKey {
                clinic,
                domain: K::DOMAIN,
                kind: K::KIND,
                seer: Seer::User(user),
                query: &[],
            },
            kind: PhantomData,
        }
    }

    /// The key for whoever knows what `K` is.
    pub const fn raw(&self) -> &RawKey<'a> {
        &self.raw
    }
}

impl<'a, K: Cached<Value = Answer>> CacheKey<'a, K> {
    /// The key for the cache of answers.
    pub const fn of_answer(&self) -> AnswerKey<'a> {
        AnswerKey(self.raw)
    }
}

/// A key that finds an [`Answer`].
#[derive(Clone, Copy)]
pub struct AnswerKey<'a>(RawKey<'a>);

impl<'a> AnswerKey<'a> {
    /// The same, for adapters.
    pub const fn raw(&self) -> &RawKey<'a> {
        &self.0
    }
}

impl RawKey<'_> {
    /// Whose.
    pub const fn clinic(&self) -> ClinicId {
        self.clinic
    }

    /// Which row of the policy.
    pub const fn domain(&self) -> CacheDomain {
        self.domain
    }

    /// The key's text, with everything that is not a clinic's id hashed under the clinic's own key.
    /// `release` sets apart what another build of the program has kept.
    pub fn text(&self, keys: &dyn Keys, generation: i64, release: &[u8]) -> String {
        let scope = match self.seer {
            Seer::Context(cx) => cx.scope_bytes(),
            Seer::User(user) => user.as_uuid().as_bytes().to_vec(),
        };
        let mut query = Vec::new();
        for part in [release, self.kind.as_bytes()].iter().chain(self.query) {
            query.extend_from_slice(&(part.len() as u64).to_be_bytes());
            query.extend_from_slice(part);
        }
        format!(
            "clinic_{}:{}:{generation}:{}:{}",
            self.clinic,
            self.domain.name(),
            self.hashed(keys, b"scope", &scope),
            self.hashed(keys, b"query", &query),
        )
    }

    fn hashed(&self, keys: &dyn Keys, of: &[u8], data: &[u8]) -> String {
        use std::fmt::Write as _;
        let owner = KeyOwner::Clinic(self.clinic);
        let mac = keys.mac(owner, KeyPurpose::CacheKey, &[of, b":", data].concat());
        mac.iter().take(16).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Everything that sets it apart, for look-ups within a process.
impl Hash for RawKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.clinic.as_uuid().as_u128());
        self.kind.hash(state);
        match self.seer {
            Seer::Context(cx) => cx.hash_scope(state),
            Seer::User(user) => state.write_u128(user.as_uuid().as_u128()),
        }
        state.write_usize(self.query.len());
        for part in self.query {
            part.hash(state);
        }
    }
}

impl fmt::Debug for RawKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawKey")
            .field("clinic", &self.clinic)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl<K: Cached> fmt::Debug for CacheKey<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}

impl fmt::Debug for AnswerKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many encodings an answer may be kept in beside the plain one.
pub const ENCODINGS: usize = 3;

/// A finished answer: its bytes, their entity tag, and the bytes in each encoding that somebody has
/// asked for.
pub struct Answer {
    tag: Bytes,
    body: Bytes,
    encoded: [OnceLock<Option<Bytes>>; ENCODINGS],
}

impl Answer {
    /// Of these bytes. `tag` is the entity tag as it is sent, in its quotes.
    pub fn new(tag: impl Into<Bytes>, body: impl Into<Bytes>) -> Self {
        Self {
            tag: tag.into(),
            body: body.into(),
            encoded: [const { OnceLock::new() }; ENCODINGS],
        }
    }

    /// The entity tag.
    pub const fn tag(&self) -> &Bytes {
        &self.tag
    }

    /// The plain bytes.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The bytes in an encoding, made once; `None` where `make` says that it is not worth it.
    pub fn encoded(
        &self,
        encoding: usize,
        make: impl FnOnce(&Bytes) -> Option<Bytes>,
    ) -> Option<Bytes> {
        let kept = self.encoded.get(encoding)?;
        kept.get_or_init(|| make(&self.body)).clone()
    }

    /// Bytes it may come to hold, encodings included: their sizes are not known before they are
    /// made, and are counted as one more body in all.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.tag.len() + 2 * self.body.len()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What a look into the process' own memory tells.
#[derive(Debug)]
pub enum Look<T> {
    /// It is there.
    Hit(Arc<T>),
    /// It is not; it would be of this generation.
    Absent(Generation),
    /// The cache says nothing: it is off, does not know how things stand, or this process has just
    /// changed them. The store is to be read, and nothing to be kept.
    Bypass,
}

/// A generation that was taken at the beginning of a read. Only a cache gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(i64);

impl Generation {
    /// The generation at this position, which whoever calls has taken care to know.
    pub const fn at(position: i64) -> Self {
        Self(position)
    }

    /// Its position.
    pub const fn position(self) -> i64 {
        self.0
    }
}

/// What a search beyond the process' own memory tells.
pub enum Found<T> {
    /// It is there.
    Hit(Arc<T>, CacheOutcome),
    /// It is nowhere, and others wait for whoever is told this to read the store and
    /// [`Filling::fill`] it.
    Lead(Box<dyn Filling<T>>),
    /// It is nowhere, and there is nothing to fill.
    Miss,
}

impl<T> fmt::Debug for Found<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hit(_, outcome) => f.debug_tuple("Hit").field(outcome).finish(),
            Self::Lead(_) => f.write_str("Lead"),
            Self::Miss => f.write_str("Miss"),
        }
    }
}

/// The duty to fill. Dropped without, those who wait read the store themselves.
pub trait Filling<T>: Send {
    /// Keeps the value and gives it to those who wait. Never waits and never fails.
    fn fill(self: Box<Self>, value: Arc<T>);
}

/// Where finished answers are kept. Nothing here fails: a cache that cannot answer says
/// [`Look::Bypass`] or [`Found::Miss`].
#[async_trait]
pub trait ByteCache: Send + Sync + fmt::Debug {
    /// Looks into the process' own memory. Never waits.
    fn look(&self, key: &AnswerKey<'_>) -> Look<Answer>;

    /// Looks further: to whoever reads the same just now, and to Redis.
    async fn find(&self, key: &AnswerKey<'_>, generation: Generation) -> Found<Answer>;
}

/// No cache.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCache;

#[async_trait]
impl ByteCache for NoCache {
    fn look(&self, _: &AnswerKey<'_>) -> Look<Answer> {
        Look::Bypass
    }

    async fn find(&self, _: &AnswerKey<'_>, _: Generation) -> Found<Answer> {
        Found::Miss
    }
}

#[cfg(test)]
mod tests;
