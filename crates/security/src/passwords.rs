//! [`Argon2Hasher`]: Argon2id (RFC 9106), a bounded number at once.
//!
//! One hash takes 19 MiB and some 20 ms of one core, on purpose. That makes the login a lever
//! for whoever wants the machine busy, so at most a few run at a time, a few more wait, and all
//! others are told to come again.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use clinics::{HashError, PasswordHash, PasswordHasher};
use kernel::{Random, Sensitive};
use tokio::sync::Semaphore;

/// How much work one hash is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
}

impl Cost {
    /// 19 MiB and two passes, one lane: OWASP's first recommendation (Password Storage Cheat
    /// Sheet).
    pub const STANDARD: Self = Self {
        memory_kib: 19 * 1024,
        passes: 2,
    };

    /// Next to none: for tests that log in often.
    #[doc(hidden)]
    pub const TRIFLING: Self = Self {
        memory_kib: 8,
        passes: 1,
    };
}

/// How many may be hashed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// So many run at a time, each on a blocking thread of its own.
    pub running: usize,
    /// So many more wait; whoever comes then is told that it is busy.
    pub waiting: usize,
}

/// Hashes passwords with Argon2id. Stored hashes are PHC strings that name their own cost, so
/// that it may be raised without locking anybody out.
#[derive(Clone)]
pub struct Argon2Hasher {
    argon2: Argon2<'static>,
    random: Arc<dyn Random>,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

const SALT_BYTES: usize = 16;

impl Argon2Hasher {
    /// A hasher of that cost and those bounds.
    ///
    /// `Err` where the cost is outside what Argon2 allows (at least 8 KiB and one pass).
    pub fn new(cost: Cost, bounds: Bounds, random: Arc<dyn Random>) -> Result<Self, HashError> {
        let params = Params::new(cost.memory_kib, cost.passes, 1, None).map_err(failed)?;
        let running = bounds.running.max(1);
        Ok(Self {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            random,
            running: Arc::new(Semaphore::new(running)),
            admitted: Arc::new(Semaphore::new(running + bounds.waiting)),
        })
    }

    /// Runs `work` on a blocking thread when its turn comes.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> T + Send + 'static,
    ) -> Result<T, HashError> {
        let admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| HashError::Busy)?;
        let turn = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(failed)?;
        let argon2 = self.argon2.clone();
        // The permits go with the work: it is not stopped when the caller goes away.
        tokio::task::spawn_blocking(move || {
            let done = work(&argon2);
            drop((turn, admitted));
            done
        })
        .await
        .map_err(failed)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> HashError {
    HashError::Failed(Box::new(error))
}

#[async_trait]
impl PasswordHasher for Argon2Hasher {
    async fn hash(&self, password: Sensitive<String>) -> Result<PasswordHash, HashError> {
        let mut salt = [0; SALT_BYTES];
        self.random.fill(&mut salt);
        let hash: Phc = self
            .in_turn(move |argon2| {
                argon2.hash_password_with_salt(password.expose().as_bytes(), &salt)
            })
            .await?
            .map_err(failed)?;
        Ok(PasswordHash::new(hash.to_string()))
    }

    async fn verify(
        &self,
        password: Sensitive<String>,
        hash: Option<PasswordHash>,
    ) -> Result<bool, HashError> {
        self.in_turn(move |argon2| {
            let password = password.expose().as_bytes();
            let Some(hash) = hash else {
                // The same work for nothing: the time must not tell who exists.
                let _: Phc = argon2.hash_password_with_salt(password, &[0; SALT_BYTES])?;
                return Ok(false);
            };
            let hash = Phc::new(hash.as_str())?;
            match argon2.verify_password(password, &hash) {
                Ok(()) => Ok(true),
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await?
        .map_err(failed)
    }
}

impl std::fmt::Debug for Argon2Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Argon2Hasher")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use std::time::Duration;

    use super::*;
    use crate::SystemRandom;

    fn hasher(cost: Cost, running: usize, waiting: usize) -> Argon2Hasher {
        Argon2Hasher::new(cost, Bounds { running, waiting }, Arc::new(SystemRandom)).unwrap()
    }

    fn secret(text: &str) -> Sensitive<String> {
        Sensitive::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_is_verified_against_its_own_hash_alone() {
        let hasher = hasher(Cost::TRIFLING, 1, 1);
        let hash = hasher.hash(secret("uma senha longa")).await.unwrap();
        assert_ne!(
            hash,
            hasher.hash(secret("uma senha longa")).await.unwrap(),
            "salted"
        );
        let verify =
            |text: &'static str, hash: Option<PasswordHash>| hasher.verify(secret(text), hash);
        assert!(verify("uma senha longa", Some(hash.clone())).await.unwrap());
        assert!(!verify("uma senha longo", Some(hash)).await.unwrap());
        assert!(!verify("uma senha longa", None).await.unwrap());
    }

    #[tokio::test]
    async fn the_standard_cost_is_what_owasp_recommends() {
        let hasher = hasher(Cost::STANDARD, 1, 0);
        let hash = hasher.hash(secret("uma senha longa")).await.unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_still_verified() {
        let old = hasher(Cost::TRIFLING, 1, 0);
        let hash = old.hash(secret("uma senha longa")).await.unwrap();
        let new = hasher(
            Cost {
                memory_kib: 64,
                passes: 2,
            },
            1,
            0,
        );
        assert!(
            new.verify(secret("uma senha longa"), Some(hash))
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn what_is_no_hash_is_an_error_and_no_refusal() {
        let hasher = hasher(Cost::TRIFLING, 1, 0);
        let broken = PasswordHash::new("$argon2id$nonsense".to_owned());
        let answer = hasher.verify(secret("x"), Some(broken)).await;
        assert!(matches!(answer, Err(HashError::Failed(_))));
    }

    #[tokio::test]
    async fn whoever_finds_the_queue_full_is_told_that_it_is_busy() {
        let hasher = hasher(Cost::TRIFLING, 1, 1);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let running = tokio::spawn({
            let hasher = hasher.clone();
            async move { hasher.in_turn(move |_| held.recv()).await }
        });
        let waiting = tokio::spawn({
            let hasher = hasher.clone();
            async move { hasher.hash(secret("a")).await }
        });
        while hasher.admitted.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(matches!(
            hasher.hash(secret("b")).await,
            Err(HashError::Busy)
        ));
        drop(release);
        assert!(running.await.unwrap().is_ok());
        assert!(waiting.await.unwrap().is_ok());
        assert!(hasher.hash(secret("b")).await.is_ok(), "and may come again");
    }

    #[tokio::test]
    async fn work_whose_caller_went_away_keeps_its_place_until_it_ends() {
        let hasher = hasher(Cost::TRIFLING, 1, 0);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (started, seen) = std::sync::mpsc::channel::<()>();
        let caller = tokio::spawn({
            let hasher = hasher.clone();
            async move {
                let work = move |_: &Argon2<'static>| {
                    let _ = started.send(());
                    held.recv()
                };
                hasher.in_turn(work).await
            }
        });
        tokio::task::spawn_blocking(move || seen.recv())
            .await
            .unwrap()
            .unwrap();
        caller.abort();
        assert!(caller.await.is_err());
        assert!(matches!(
            hasher.hash(secret("b")).await,
            Err(HashError::Busy)
        ));
        drop(release);
        while hasher.admitted.available_permits() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(hasher.hash(secret("b")).await.is_ok());
    }
}
