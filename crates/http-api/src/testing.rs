//! What the tests of routes share: ports without I/O, and an API whose tokens are user ids.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use kernel::{
    ClinicId, Clock, Grant, KeyOwner, KeyPurpose, Keys, Origin, Permissions, Random, Scope,
    SessionId, StoreError, Toolkit,
};

use clinics::error::{InvalidToken, VerifyError};
use clinics::user::Identity;

use crate::tenant::Authenticator;
use crate::{Api, ApiHooks, ApiSettings};

/// A clock that stands still, counted randomness, and keys that only tell inputs apart.
pub(crate) fn tools() -> Toolkit {
    Toolkit::new(
        Arc::new(Still),
        Arc::new(Counted::default()),
        Arc::new(Plain),
    )
}

struct Still;

impl Clock for Still {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(1_790_000_000_000_000).unwrap()
    }
}

#[derive(Default)]
struct Counted(AtomicU64);

impl Random for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let next = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (byte, value) in bytes.iter_mut().rev().zip(next.into_iter().rev()) {
            *byte = value;
        }
    }
}

struct Plain;

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
    ) -> Result<Vec<u8>, kernel::ports::CannotOpen> {
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
            (part, owner, purpose, data).hash(&mut hasher);
            chunk.copy_from_slice(&hasher.finish().to_be_bytes());
        }
        mac
    }
}

/// The token is a user's id; members have every permission given here, in one clinic.
pub(crate) struct OneClinic {
    pub(crate) clinic: ClinicId,
    pub(crate) permissions: Permissions,
}

#[async_trait]
impl Authenticator for OneClinic {
    async fn verify(&self, _: &Origin, token: &str) -> Result<Identity, VerifyError> {
        let user = token.parse().map_err(|_| InvalidToken)?;
        let session = SessionId::from(uuid::Uuid::nil());
        Ok(Identity { user, session })
    }

    async fn grant(
        &self,
        _: Origin,
        identity: Identity,
        clinic: ClinicId,
    ) -> Result<Option<Grant>, StoreError> {
        Ok((clinic == self.clinic).then_some(Grant {
            clinic,
            user: identity.user,
            role: "test",
            permissions: self.permissions,
            scope: Scope::whole_clinic(),
        }))
    }
}

/// An API of one clinic, without services.
pub(crate) fn api(clinic: ClinicId, permissions: Permissions) -> Api {
    api_with(clinic, permissions, ApiSettings::default())
}

/// The same, with other settings.
pub(crate) fn api_with(clinic: ClinicId, permissions: Permissions, settings: ApiSettings) -> Api {
    let authenticator = Arc::new(OneClinic {
        clinic,
        permissions,
    });
    Api::new(tools(), authenticator, ApiHooks::default(), settings, None)
}

/// The body of an answer as JSON.
pub(crate) async fn json<B: MessageBody>(response: ServiceResponse<B>) -> serde_json::Value {
    let bytes = actix_web::test::read_body(response).await;
    serde_json::from_slice(&bytes).unwrap()
}
