//! [`PgAttempts`]: failed logins, counted for all nodes by narrow definer functions.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use clinics::lockout::{Admitted, Attempt, Settlement};
use clinics::{AttemptStore, LockoutPolicy};
use kernel::{StoreError, SystemContext};

use super::statements::{AdmitLogin, SettleLogin};
use crate::{Database, QueryName, query_name};

const ADMIT: QueryName = query_name!("login_attempt.admit", "UPDATE", "login_attempts");
const SETTLE: QueryName = query_name!("login_attempt.settle", "UPDATE", "login_attempts");

/// Attempts in PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgAttempts {
    db: Database,
}

impl PgAttempts {
    /// On that database.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

#[async_trait]
impl AttemptStore for PgAttempts {
    async fn admit(
        &self,
        sys: &SystemContext,
        attempt: &Attempt,
        policy: &LockoutPolicy,
    ) -> Result<Admitted, StoreError> {
        let admit = AdmitLogin {
            account: &attempt.account,
            pair: attempt.pair.as_ref().map(<[u8; 32]>::as_slice),
            address: attempt.address.as_ref().map(<[u8; 32]>::as_slice),
            at: attempt.at,
            account_free: count(policy.account_failures),
            address_free: count(policy.address_failures),
            base: delta(policy.first_wait),
            cap: delta(policy.longest_wait),
            forget: delta(policy.forget),
        };
        let rows: Vec<(Vec<u8>, Option<TimeDelta>, bool)> =
            self.db.system(sys, ADMIT, admit).await?;
        let (own, wait, begins_waiting) = rows
            .into_iter()
            .next()
            .ok_or(StoreError::Corrupt("login_attempts.subject"))?;
        Ok(match wait {
            Some(wait) => Admitted::Wait(wait.to_std().unwrap_or_default()),
            None => Admitted::Try {
                own,
                begins_waiting,
            },
        })
    }

    async fn settle(&self, sys: &SystemContext, settlement: &Settlement) -> Result<(), StoreError> {
        let settle = SettleLogin {
            own: &settlement.own,
            address: settlement.address.as_ref().map(<[u8; 32]>::as_slice),
            pair: settlement.pair.as_ref().map(<[u8; 32]>::as_slice),
            proven: settlement.proven,
            known_until: settlement.known_until,
        };
        self.db.system_execute(sys, SETTLE, settle).await?;
        Ok(())
    }
}

fn count(failures: u32) -> i32 {
    i32::try_from(failures).unwrap_or(i32::MAX)
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
