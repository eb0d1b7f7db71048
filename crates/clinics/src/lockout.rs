//! [`Lockout`]: whoever fails to prove themselves too often waits, longer each time.
//!
//! Failures are counted for the account that is tried, known or not, and for the address that
//! tries. From some number of failures on each one more doubles the wait, up to a cap; an attempt
//! that must wait is refused before any password is looked at, and does not count.
//!
//! So that strangers cannot keep a user out, an account is counted apart at each address where it
//! succeeded of late: what others try elsewhere does not touch that. Nothing here knows whether an
//! account exists, so nothing can tell.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use kernel::email::Email;
use kernel::{KeyOwner, KeyPurpose, StoreError, SystemContext, Toolkit, TypedId as _, UserId};

/// When attempts must wait, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutPolicy {
    /// So many failures on one account, and the next attempt waits.
    pub account_failures: u32,
    /// So many failures from one address.
    pub address_failures: u32,
    /// The first wait; each failure more doubles it.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// After so long without an attempt failures are forgotten.
    pub forget: Duration,
    /// So long after a success an account is counted apart at its address.
    pub known: Duration,
}

impl Default for LockoutPolicy {
    /// Five failures on an account or thirty from an address; from two seconds up to fifteen
    /// minutes; forgotten after a day; known for thirty days.
    fn default() -> Self {
        Self {
            account_failures: 5,
            address_failures: 30,
            first_wait: Duration::from_secs(2),
            longest_wait: Duration::from_mins(15),
            forget: Duration::from_hours(24),
            known: Duration::from_hours(30 * 24),
        }
    }
}

/// An attempt to be let in, by keyed hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The account.
    pub account: [u8; 32],
    /// The account at this address, where there is one.
    pub pair: Option<[u8; 32]>,
    /// The address, where there is one.
    pub address: Option<[u8; 32]>,
    /// When.
    pub at: DateTime<Utc>,
}

/// What the store says to an [`Attempt`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// It may be tried, and counts as a failure until it is settled.
    Try {
        /// What was counted: the account or, where that is known, the pair.
        own: Vec<u8>,
        /// Whether it is the first failure that makes others wait.
        begins_waiting: bool,
    },
    /// It must wait so long, and was not counted.
    Wait(Duration),
}

/// An attempt that was let in, to be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// What was counted.
    pub own: Vec<u8>,
    /// The address, where there is one.
    pub address: Option<[u8; 32]>,
    /// The pair to remember, where there is an address.
    pub pair: Option<[u8; 32]>,
    /// Whether it succeeded. If not, it was never decided.
    pub proven: bool,
    /// Until when the pair is known, should it have succeeded.
    pub known_until: DateTime<Utc>,
}

/// Where attempts are counted, for all nodes. Tenantless.
#[async_trait]
pub trait AttemptStore: Send + Sync {
    /// Counts an attempt as a failure and lets it in, or says how long it must wait.
    async fn admit(
        &self,
        sys: &SystemContext,
        attempt: &Attempt,
        policy: &LockoutPolicy,
    ) -> Result<Admitted, StoreError>;

    /// Takes it back.
    async fn settle(&self, sys: &SystemContext, settlement: &Settlement) -> Result<(), StoreError>;
}

/// Whose password is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Account<'a> {
    /// Somebody with this address logs in. Strangers can try it.
    Login(&'a Email),
    /// A user who is logged in gives their password once more. Nobody else can try it.
    User(UserId),
}

/// An attempt that may be tried. It counts as a failure unless it is handed back.
#[derive(Debug)]
#[must_use = "it counts as a failure unless it is settled"]
pub(crate) struct Admission {
    attempt: Attempt,
    own: Vec<u8>,
    pub(crate) begins_waiting: bool,
}

/// Counts attempts and has them wait. Cheap to clone.
#[derive(Clone)]
pub struct Lockout {
    store: Arc<dyn AttemptStore>,
    policy: LockoutPolicy,
    tools: Toolkit,
}

/// Why an attempt was not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAdmitted {
    /// It must wait so long.
    #[error("too many attempts")]
    Wait(Duration),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Lockout {
    /// Wires the service.
    pub fn new(store: Arc<dyn AttemptStore>, policy: LockoutPolicy, tools: Toolkit) -> Self {
        Self {
            store,
            policy,
            tools,
        }
    }

    /// Lets an attempt in, or says how long it must wait.
    pub(crate) async fn admit(
        &self,
        sys: &SystemContext,
        account: Account<'_>,
    ) -> Result<Admission, NotAdmitted> {
        let name = match account {
            Account::Login(email) => [b"login:", email.as_str().as_bytes()].concat(),
            Account::User(user) => [b"user:".as_slice(), user.as_uuid().as_bytes()].concat(),
        };
        let network = sys.origin().address.map(network);
        let pair = network.filter(|_| matches!(account, Account::Login(_)));
        let attempt = Attempt {
            account: self.hash(b"account", &[&name]),
            pair: pair.map(|network| self.hash(b"pair", &[&network.octets(), &name])),
            address: network.map(|network| self.hash(b"address", &[&network.octets()])),
            at: self.tools.now(),
        };
        match self.store.admit(sys, &attempt, &self.policy).await? {
            Admitted::Wait(wait) => Err(NotAdmitted::Wait(wait)),
            Admitted::Try {
                own,
                begins_waiting,
            } => Ok(Admission {
                attempt,
                own,
                begins_waiting,
            }),
        }
    }

    /// It succeeded: earlier failures of the account are forgotten.
    pub(crate) async fn succeeded(
        &self,
        sys: &SystemContext,
        admission: Admission,
    ) -> Result<(), StoreError> {
        self.settle(sys, admission, true).await
    }

    /// It was never decided, for a reason that is ours.
    pub(crate) async fn undecided(&self, sys: &SystemContext, admission: Admission) {
        // It stays a failure then; the store reports why.
        let _reported_by_the_store = self.settle(sys, admission, false).await;
    }

    async fn settle(
        &self,
        sys: &SystemContext,
        admission: Admission,
        proven: bool,
    ) -> Result<(), StoreError> {
        let known = TimeDelta::from_std(self.policy.known).unwrap_or_default();
        let settlement = Settlement {
            own: admission.own,
            address: admission.attempt.address,
            pair: admission.attempt.pair,
            proven,
            known_until: self.tools.now() + known,
        };
        self.store.settle(sys, &settlement).await
    }

    /// Each part but the last has a length that follows from the label: no two names meet.
    fn hash(&self, label: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut data = label.to_vec();
        for part in parts {
            data.extend_from_slice(part);
        }
        let purpose = KeyPurpose::Lockout;
        self.tools.keys().mac(KeyOwner::Platform, purpose, &data)
    }
}

/// What one caller can change their address within: the address itself in IPv4, the /64 in IPv6.
fn network(address: IpAddr) -> Ipv6Addr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64),
    }
}

impl fmt::Debug for Lockout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lockout")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]
    use super::*;

    #[test]
    fn a_caller_is_their_address_or_the_network_they_choose_one_in() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
