//! Counters that the nodes of an installation share: the port [`SharedCounters`], through which
//! rate limits lease their units in blocks, and the limit itself ([`Quota`]).

use std::fmt::{self, Write as _};
use std::time::Duration;

use async_trait::async_trait;

use crate::ClinicId;

/// At most so many units each window, as a bucket that holds them all and fills evenly: whoever
/// paused for a window may take all at once, and never more than `units` and what flows in
/// meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    units: u32,
    window: Duration,
}

impl Quota {
    /// `units`, at least one, each minute.
    pub const fn per_minute(units: u32) -> Self {
        Self {
            units: if units == 0 { 1 } else { units },
            window: Duration::from_mins(1),
        }
    }

    /// How many units.
    pub const fn units(self) -> u32 {
        self.units
    }

    /// In which time.
    pub const fn window(self) -> Duration {
        self.window
    }

    /// How long one unit takes to flow in, in nanoseconds.
    pub fn interval(self) -> u64 {
        (self.nanos() / u64::from(self.units)).max(1)
    }

    /// The window in nanoseconds.
    pub fn nanos(self) -> u64 {
        u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The same divided among `nodes`, at least one unit each.
    #[must_use]
    pub fn divided_by(self, nodes: u32) -> Self {
        Self {
            units: (self.units / nodes.max(1)).max(1),
            ..self
        }
    }
}

/// The name of a shared counter: the clinic first, where it is a clinic's, and never anything from
/// which a person could be found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CounterKey(String);

impl CounterKey {
    /// A counter of a clinic.
    pub fn of_clinic(clinic: ClinicId, name: &'static str) -> Self {
        Self(format!("clinic_{clinic}:rate:{name}"))
    }

    /// A counter of the installation's, for whom the keyed `hash` stands.
    pub fn of_platform(name: &'static str, hash: &[u8]) -> Self {
        let mut text = format!("platform:rate:{name}:");
        for byte in hash {
            let _infallible = write!(text, "{byte:02x}");
        }
        Self(text)
    }
}

impl fmt::Display for CounterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Units that a node took already, and units it would like to have in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Of which counter.
    pub key: CounterKey,
    /// Its limit.
    pub quota: Quota,
    /// Taken without asking: counted in any case.
    pub owed: u32,
    /// Wanted beside: granted as far as there are any.
    pub wanted: u32,
}

/// What a node may take without asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// So many units.
    pub granted: u32,
    /// So many are left for everybody after that.
    pub left: u32,
    /// When the next unit flows in, where none was granted.
    pub retry_after: Duration,
}

/// The counters cannot be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shared counters cannot be asked")]
pub struct CountersAway;

/// Counters that all nodes see.
#[async_trait]
pub trait SharedCounters: Send + Sync {
    /// Whether it is worth asking: answers at once.
    fn is_up(&self) -> bool;

    /// Counts what is owed and hands out what may be had, as one step.
    async fn lease(&self, request: &LeaseRequest) -> Result<Lease, CountersAway>;
}

/// The shared side of the limit as pure arithmetic, which every adapter must agree with: `full_at`
/// is when the bucket will be full again, in nanoseconds of the counters' own clock, 0 for a bucket
/// nobody took from. Answers the new `full_at` too.
pub fn lease(full_at: u64, now: u64, request: &LeaseRequest) -> (u64, Lease) {
    let (interval, whole) = (request.quota.interval(), request.quota.nanos());
    let full_at = full_at
        .max(now)
        .saturating_add(interval.saturating_mul(u64::from(request.owed)));
    let room = whole.saturating_sub(full_at - now) / interval;
    let room = u32::try_from(room).unwrap_or(u32::MAX);
    let granted = room.min(request.wanted);
    let full_at = full_at.saturating_add(interval * u64::from(granted));
    let wait = (full_at - now + interval).saturating_sub(whole);
    let lease = Lease {
        granted,
        left: room - granted,
        retry_after: Duration::from_nanos(wait),
    };
    (full_at, lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(owed: u32, wanted: u32) -> LeaseRequest {
        LeaseRequest {
            key: CounterKey::of_platform("user", &[1, 0xab]),
            quota: Quota::per_minute(60),
            owed,
            wanted,
        }
    }

    #[test]
    fn a_key_begins_with_its_clinic() {
        let clinic = ClinicId::from(uuid::Uuid::nil());
        let key = CounterKey::of_clinic(clinic, "requests").to_string();
        assert_eq!(
            key,
            "clinic_00000000-0000-0000-0000-000000000000:rate:requests"
        );
        assert_eq!(ask(0, 0).key.to_string(), "platform:rate:user:01ab");
    }

    #[test]
    fn what_is_owed_is_counted_even_where_nothing_is_left() {
        let second = 1_000_000_000;
        let (full_at, lease) = super::lease(0, second, &ask(0, 50));
        assert_eq!((lease.granted, lease.left), (50, 10));
        let (full_at, lease) = super::lease(full_at, second, &ask(20, 5));
        assert_eq!((lease.granted, lease.left), (0, 0));
        // Ten beyond the sixty: the next one flows in after eleven seconds.
        assert_eq!(lease.retry_after, Duration::from_secs(11));
        let (_, lease) = super::lease(full_at, 13 * second, &ask(0, 5));
        assert_eq!(lease.granted, 2);
    }

    #[test]
    fn a_quota_is_never_nothing() {
        assert_eq!(Quota::per_minute(0).units(), 1);
        assert_eq!(Quota::per_minute(3).divided_by(9).units(), 1);
        assert_eq!(Quota::per_minute(1000).divided_by(4).units(), 250);
    }
}
