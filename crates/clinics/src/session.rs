//! Sessions: what a login begins, and the family of refresh tokens that continues it.
//!
//! A [`RefreshToken`] names its session, holds 256 bits that nobody can guess, and carries a tag by
//! which the server knows its own: a token of a session's past is told from one that was made up,
//! so that nobody can end another's session by guessing. At rest there is its keyed hash alone.
//!
//! Each use replaces the token by its successor. The successor follows from the token itself, a
//! nonce and the server's key, so the same token that comes twice within the grace gets the same
//! successor, and what is stored is worth nothing without the token.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use kernel::{KeyOwner, KeyPurpose, Keys, Sensitive, SessionId, TypedId as _, UserId};
use uuid::Uuid;

/// How long sessions live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPolicy {
    /// A session ends when it was not refreshed for so long.
    pub idle: Duration,
    /// And so long after its login, however busy it is.
    pub life: Duration,
    /// So long the token before the newest is answered once more: two tabs may refresh at once.
    pub grace: Duration,
}

impl Default for SessionPolicy {
    /// Two weeks idle, three months in all, ten seconds of grace.
    fn default() -> Self {
        Self {
            idle: Duration::from_hours(14 * 24),
            life: Duration::from_hours(90 * 24),
            grace: Duration::from_secs(10),
        }
    }
}

/// A session in force, as its own user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// What the caller called itself when it was used last.
    pub user_agent: Option<String>,
    /// Where it was used from last.
    pub address: Option<IpAddr>,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it was refreshed last, or began.
    pub last_used_at: DateTime<Utc>,
    /// When it ends unless it is refreshed.
    pub ends_at: DateTime<Utc>,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Its user logged out of it.
    Logout,
    /// Its user logged out everywhere.
    LogoutEverywhere,
    /// Its user ended it from another session.
    Ended,
    /// A token of its past came back: the newest may be in a thief's hands.
    Reuse,
    /// Its user changed their password.
    PasswordChanged,
    /// Its user got a new password by a one-time link.
    PasswordReset,
    /// Its user may not log in any more.
    Deactivated,
}

impl EndReason {
    /// The stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::LogoutEverywhere => "logout_everywhere",
            Self::Ended => "ended",
            Self::Reuse => "reuse",
            Self::PasswordChanged => "password_changed",
            Self::PasswordReset => "password_reset",
            Self::Deactivated => "deactivated",
        }
    }
}

const PREFIX: &str = "acr_";
const SECRET_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const ID_BYTES: usize = 16;

/// What refreshes a session. Shows nothing in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    session: SessionId,
    secret: [u8; SECRET_BYTES],
}

impl RefreshToken {
    /// A token of `session` with a secret of unpredictable bytes.
    pub const fn new(session: SessionId, secret: [u8; SECRET_BYTES]) -> Self {
        Self { session, secret }
    }

    /// The session it belongs to.
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// As it is sent.
    pub fn text(&self, keys: &dyn Keys) -> Sensitive<String> {
        let mut bytes = self.bytes();
        bytes.extend_from_slice(&self.tag(keys));
        Sensitive::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// A token that this installation has made; `None` for anything else.
    pub fn parse(keys: &dyn Keys, text: &str) -> Option<Self> {
        const LENGTH: usize = (ID_BYTES + SECRET_BYTES + TAG_BYTES).div_ceil(3) * 4;
        let encoded = text.strip_prefix(PREFIX).filter(|it| it.len() <= LENGTH)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let (id, rest) = bytes.split_first_chunk::<ID_BYTES>()?;
        let (secret, tag) = rest.split_first_chunk::<SECRET_BYTES>()?;
        let token = Self::new(SessionId::from(Uuid::from_bytes(*id)), *secret);
        same(tag, &token.tag(keys)).then_some(token)
    }

    /// What is stored of it.
    pub fn hash(&self, keys: &dyn Keys) -> [u8; 32] {
        self.mac(keys, *b"hash", &[])
    }

    /// What replaces it. The same nonce gives the same successor.
    #[must_use]
    pub fn successor(&self, keys: &dyn Keys, nonce: &[u8]) -> Self {
        Self::new(self.session, self.mac(keys, *b"next", nonce))
    }

    fn tag(&self, keys: &dyn Keys) -> [u8; TAG_BYTES] {
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&self.mac(keys, *b"seal", &[])[..TAG_BYTES]);
        tag
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.session.as_uuid().as_bytes().to_vec();
        bytes.extend_from_slice(&self.secret);
        bytes
    }

    /// `label` has four bytes and everything before `more` a fixed length: no two uses meet.
    fn mac(&self, keys: &dyn Keys, label: [u8; 4], more: &[u8]) -> [u8; 32] {
        let mut data = label.to_vec();
        data.extend_from_slice(&self.bytes());
        data.extend_from_slice(more);
        keys.mac(KeyOwner::Platform, KeyPurpose::RefreshToken, &data)
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefreshToken({}, ***)", self.session)
    }
}

/// Whether both are alike, in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// A session to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// Hash of its first token.
    pub token_hash: [u8; 32],
    /// When it begins.
    pub at: DateTime<Utc>,
    /// When it ends unless it is refreshed.
    pub idle_until: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
}

/// One token to be replaced by its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The session.
    pub session: SessionId,
    /// Hash of the token that was presented.
    pub presented: [u8; 32],
    /// Hash of its successor.
    pub next: [u8; 32],
    /// What the successor was derived with.
    pub nonce: [u8; 32],
    /// When.
    pub at: DateTime<Utc>,
    /// How long the token before the newest is answered once more.
    pub grace: Duration,
    /// When the session ends unless it is refreshed again.
    pub idle_until: DateTime<Utc>,
}

/// What became of a [`Rotation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// The successor is the newest token now.
    Rotated {
        /// Whose session it is.
        user: UserId,
        /// When it ends unless it is refreshed.
        ends_at: DateTime<Utc>,
    },
    /// The token had been replaced a moment ago: its successor was derived with this nonce.
    Repeated {
        /// Whose session it is.
        user: UserId,
        /// When it ends unless it is refreshed.
        ends_at: DateTime<Utc>,
        /// The nonce.
        nonce: Vec<u8>,
    },
    /// A token of the past came back: the session was ended.
    Reused {
        /// Whose it was.
        user: UserId,
    },
    /// There is no such session in force.
    Ended,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use kernel::ports::CannotOpen;
    use proptest::prelude::*;

    use super::*;

    /// Keys that only tell inputs apart.
    struct Plain(u64);

    impl Keys for Plain {
        fn seal(&self, _: KeyOwner, _: KeyPurpose, _: &[u8], plain: &[u8]) -> Vec<u8> {
            plain.to_vec()
        }
        fn open(
            &self,
            _: KeyOwner,
            _: KeyPurpose,
            _: &[u8],
            sealed: &[u8],
        ) -> Result<Vec<u8>, CannotOpen> {
            Ok(sealed.to_vec())
        }
        fn is_current(&self, _: &[u8]) -> bool {
            true
        }
        fn mac(&self, owner: KeyOwner, purpose: KeyPurpose, data: &[u8]) -> [u8; 32] {
            use std::hash::{DefaultHasher, Hash as _, Hasher as _};
            let mut mac = [0; 32];
            for (part, chunk) in mac.chunks_mut(8).enumerate() {
                let mut hasher = DefaultHasher::new();
                (self.0, part, owner, purpose, data).hash(&mut hasher);
                chunk.copy_from_slice(&hasher.finish().to_be_bytes());
            }
            mac
        }
    }

    fn token(seed: u8) -> RefreshToken {
        RefreshToken::new(SessionId::from(Uuid::from_u128(9)), [seed; 32])
    }

    #[test]
    fn a_token_is_read_back_and_shows_nothing() {
        let keys = Plain(1);
        let text = token(7).text(&keys).into_inner();
        assert!(text.starts_with("acr_") && text.len() == 4 + 86, "{text}");
        assert_eq!(RefreshToken::parse(&keys, &text), Some(token(7)));
        assert!(format!("{:?}", token(7)).ends_with(", ***)"));
        assert_eq!(RefreshToken::parse(&Plain(2), &text), None, "another key's");
    }

    #[test]
    fn a_successor_follows_from_the_token_and_the_nonce_alone() {
        let keys = Plain(1);
        assert_eq!(
            token(7).successor(&keys, &[1; 32]),
            token(7).successor(&keys, &[1; 32])
        );
        assert_ne!(
            token(7).successor(&keys, &[1; 32]),
            token(7).successor(&keys, &[2; 32])
        );
        assert_ne!(
            token(7).successor(&keys, &[1; 32]),
            token(8).successor(&keys, &[1; 32])
        );
        assert_ne!(token(7).hash(&keys), token(8).hash(&keys));
        assert_ne!(
            token(7).successor(&keys, &[]).secret,
            token(7).hash(&keys),
            "what is stored is not what is sent next"
        );
    }

    proptest! {
        #[test]
        fn a_token_that_was_made_up_or_changed_is_refused(
            at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]", text in "\\PC{0,120}",
        ) {
            let keys = Plain(1);
            prop_assert_eq!(RefreshToken::parse(&keys, &text), None);
            let good = token(7).text(&keys).into_inner();
            let at = at.index(good.len());
            let mut changed = good.clone();
            changed.replace_range(at..=at, &to);
            prop_assume!(changed != good);
            prop_assert_eq!(RefreshToken::parse(&keys, &changed), None);
        }
    }
}
