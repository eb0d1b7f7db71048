//! Claims of idempotency keys: written in the transaction of the act, refused where the key was
//! claimed before. A unit of work takes one by [`crate::Batch::claim`] or [`crate::Tx::claim`],
//! and needs do nothing else: a refusal comes out of it as [`StoreError::Repeat`].

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Bytea, Timestamptz, Untyped};
use kernel::once::Claim;
use kernel::{Repeat, StoreError, TenantContext};

use crate::{Database, QueryName, StoreErrorExt as _, query_name, statement, tenant_select};

const FIND: QueryName = query_name!("idempotency_key.find", "SELECT", "idempotency_keys");

statement! {
    /// Claims a key, or fails with one of the constraints of [`Constraint`].
    pub(crate) struct ClaimKey<'a> {
        lock: i64 => BigInt,
        key: &'a [u8] => Bytea,
        request: &'a [u8] => Bytea,
        answer: &'a [u8] => Bytea,
        at: DateTime<Utc> => Timestamptz,
        until: DateTime<Utc> => Timestamptz,
    } -> Untyped = "SELECT app.claim_idempotency_key(?, ?, ?, ?, ?, ?)"
}

tenant_select! {
    /// What is kept under a key.
    struct FindKey { key: Vec<u8> => Bytea } -> (Bytea, Bytea) =
        "SELECT k.request, k.answer FROM app.idempotency_keys k
        WHERE k.clinic_id = s.t AND k.key = ?"
}

/// The statement that claims a key.
pub(crate) fn claim(claim: &Claim) -> ClaimKey<'_> {
    ClaimKey {
        lock: claim.lock(),
        key: claim.key(),
        request: claim.request(),
        answer: claim.answer_sealed(),
        at: claim.at(),
        until: claim.until(),
    }
}

/// By which name a claim is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Constraint {
    /// Its key was claimed by a transaction that committed.
    Claimed,
    /// Another transaction has claimed it, and has not ended.
    InFlight,
}

/// Whether a failure is a claim's refusal.
pub(crate) fn refusal(error: &StoreError) -> Option<Constraint> {
    match error.constraint() {
        Some("idempotency_keys_pk") => Some(Constraint::Claimed),
        Some("idempotency_keys_in_flight") => Some(Constraint::InFlight),
        _ => None,
    }
}

/// A claim that was refused.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) claim: Claim,
    pub(crate) constraint: Constraint,
}

impl Database {
    /// What a failed write with a claim comes down to.
    pub(crate) async fn unless_repeated(
        &self,
        cx: &TenantContext,
        claim: &Claim,
        error: StoreError,
    ) -> StoreError {
        match refusal(&error) {
            Some(constraint) => self.repeat(cx, claim, constraint).await,
            None => error,
        }
    }

    /// Why a claim was refused: the transaction that it was refused in is rolled back already.
    pub(crate) async fn repeat(
        &self,
        cx: &TenantContext,
        claim: &Claim,
        constraint: Constraint,
    ) -> StoreError {
        if constraint == Constraint::InFlight {
            return Repeat::InFlight.into();
        }
        let find = FindKey {
            key: claim.key().to_vec(),
        };
        let found: Result<Option<(Vec<u8>, Vec<u8>)>, _> = self.read_one(cx, FIND, find).await;
        match found {
            Ok(Some((request, answer))) => claim.beside(&request, &answer).map_or(
                StoreError::Corrupt("idempotency_keys.answer"),
                StoreError::Repeat,
            ),
            // Pruned in between: trying again does it anew.
            Ok(None) => StoreError::Contention("a kept answer expired meanwhile".into()),
            Err(error) => error,
        }
    }
}
