//! How long what is kept, and which events drop it: the one table of the cache's policy.

use std::time::Duration;

use crate::metrics::CacheDomain;
use crate::stream::{Topic, Topics};

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// What.
    pub domain: CacheDomain,
    /// How long at most in the process; `None` not at all.
    pub l1: Option<Duration>,
    /// How long at most in Redis.
    pub l2: Duration,
    /// Events that drop it, beside those of unknown topics, which drop everything.
    pub dropped_by: Topics,
}

const fn row(domain: CacheDomain, l1: u64, l2: u64, dropped_by: &[Topic]) -> Policy {
    Policy {
        domain,
        l1: if l1 == 0 {
            None
        } else {
            Some(Duration::from_secs(l1))
        },
        l2: Duration::from_secs(l2),
        dropped_by: Topics::of(dropped_by).with(Topic::Other),
    }
}

/// The table, in the order of [`CacheDomain`]. What no code caches yet has its row all the same:
/// it is dropped by every event that is not known.
pub const POLICIES: &[Policy] = &[
    row(CacheDomain::Contacts, 60, 300, &[Topic::Contact]),
    row(CacheDomain::Appointments, 30, 60, &[]),
    // A conversation shows its contact's name and number.
    row(
        CacheDomain::Conversations,
        10,
        60,
        &[
            Topic::Conversation,
            Topic::Message,
            Topic::Contact,
            Topic::Channel,
        ],
    ),
    row(CacheDomain::Funnels, 60, 600, &[]),
    row(CacheDomain::Records, 0, 600, &[]),
    row(CacheDomain::Analytics, 15, 900, &[]),
    row(
        CacheDomain::Settings,
        300,
        1_800,
        &[Topic::Clinic, Topic::Branch],
    ),
    row(CacheDomain::Sessions, 60, 900, &[Topic::User]),
    row(
        CacheDomain::Memberships,
        60,
        900,
        &[Topic::Membership, Topic::User, Topic::Clinic],
    ),
];

/// The row of a domain.
pub const fn policy(domain: CacheDomain) -> &'static Policy {
    &POLICIES[domain.index()]
}

impl Policy {
    /// A time to live up to an eighth shorter than `most`, by `chance`, so that what was kept
    /// together does not end together.
    pub fn jittered(most: Duration, chance: u64) -> Duration {
        let [chance, ..] = chance.to_le_bytes();
        most.saturating_sub(most / 8 * u32::from(chance) / 255)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_domain_has_its_row_and_unknown_events_drop_all() {
        assert_eq!(POLICIES.len(), CacheDomain::ALL.len());
        for domain in CacheDomain::ALL {
            let row = policy(*domain);
            assert_eq!(row.domain, *domain);
            assert!(row.dropped_by.has(Topic::Other));
            assert!(row.l1.is_none_or(|l1| l1 <= row.l2));
        }
    }

    #[test]
    fn jitter_shortens_by_an_eighth_at_most() {
        let most = Duration::from_secs(80);
        assert_eq!(Policy::jittered(most, 0), most);
        assert_eq!(Policy::jittered(most, 255), Duration::from_secs(70));
        assert!(Policy::jittered(most, 100) > Duration::from_secs(70));
    }
}
