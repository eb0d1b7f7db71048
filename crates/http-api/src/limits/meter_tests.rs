//! What no sequence of requests may exceed, on one node and on many.

#![allow(clippy::unwrap_used, reason = "tests may")]

use kernel::counter::{self, CounterKey, LeaseRequest};
use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const MILLI: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;

/// The most that were admitted within any window of a minute.
fn busiest(admitted: &[u64]) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (at, time) in admitted.iter().enumerate() {
        while admitted[first] + MINUTE <= *time {
            first += 1;
        }
        most = most.max(at - first + 1);
    }
    most
}

#[test]
fn a_bucket_holds_its_quota_and_then_one_unit_an_interval() {
    let meter = Meter::new(100);
    let quota = Quota::per_minute(60);
    let take = |now| meter.take(1, 1, quota, Together::Alone, now);
    for taken in 1..=60 {
        let verdict = take(SECOND);
        assert_eq!((verdict.wait, verdict.left), (None, 60 - taken));
    }
    let refused = take(SECOND);
    assert_eq!(refused.wait, Some(Duration::from_secs(1)));
    assert_eq!((refused.left, refused.full_in), (0, Duration::from_mins(1)));
    assert_eq!(take(2 * SECOND).wait, None);
    assert!(take(2 * SECOND).wait.is_some());
    // After a pause as long as the window it is full again, and not fuller.
    assert_eq!(take(900 * SECOND).left, 59);
}

#[test]
fn keys_are_apart() {
    let meter = Meter::new(100);
    let quota = Quota::per_minute(1);
    let take = |key| meter.take(key, 1, quota, Together::Alone, SECOND);
    assert!(take(1).wait.is_none() && take(2).wait.is_none());
    assert!(take(1).wait.is_some() && take(2).wait.is_some());
}

#[test]
fn memory_is_bounded_and_nobody_slips_through_by_numbers() {
    let meter = Meter::new(640);
    let quota = Quota::per_minute(5);
    let admitted = (0..100_000_u128)
        .filter(|key| {
            let verdict = meter.take(*key, 1, quota, Together::Alone, SECOND);
            verdict.wait.is_none()
        })
        .count();
    assert!(meter.len() <= 640);
    // Those beyond the room share one bucket in each shard.
    assert!(admitted <= 640 + SHARDS * 5, "{admitted}");
    // Once they are full again, the buckets make room.
    let later = 10 * MINUTE;
    assert!(
        meter
            .take(999_999, 1, quota, Together::Alone, later)
            .wait
            .is_none()
    );
    assert!(meter.len() < 640);
}

#[test]
fn counters_that_do_not_answer_cost_nobody_anything() {
    let meter = Meter::new(100);
    let quota = Quota::per_minute(1000);
    let mut now = SECOND;
    for _ in 0..500 {
        let verdict = meter.take(1, 1, quota, Together::Shared, now);
        assert_eq!(verdict.wait, None);
        if let Some(ask) = verdict.ask {
            meter.settle(1, ask, None, now);
        }
        now += MILLI;
    }
}

#[test]
fn when_the_counters_have_none_the_node_waits_as_they_say() {
    let meter = Meter::new(100);
    let quota = Quota::per_minute(1000);
    let ask = meter
        .take(1, 1, quota, Together::Shared, SECOND)
        .ask
        .unwrap();
    assert_eq!(
        ask,
        Ask {
            owed: 1,
            wanted: 50
        }
    );
    let none = Lease {
        granted: 0,
        left: 0,
        retry_after: Duration::from_secs(3),
    };
    meter.settle(1, ask, Some(none), SECOND);
    let refused = meter.take(1, 1, quota, Together::Shared, SECOND);
    assert_eq!(refused.wait, Some(Duration::from_secs(3)));
    assert!(
        meter
            .take(1, 1, quota, Together::Shared, 4 * SECOND)
            .wait
            .is_none()
    );
}

/// Nodes that lease from one counter, whose answers take a while.
struct Nodes {
    meters: Vec<Meter>,
    full_at: u64,
    /// Answers under way: when they arrive, at which node, to what.
    under_way: Vec<(u64, usize, Ask, Lease)>,
    trip: u64,
    quota: Quota,
}

impl Nodes {
    fn take(&mut self, node: usize, now: u64) -> bool {
        let (arrived, waiting) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.under_way = waiting;
        let arrived: Vec<(u64, usize, Ask, Lease)> = arrived;
        for (_, node, ask, lease) in arrived {
            self.meters[node].settle(1, ask, Some(lease), now);
        }
        let verdict = self.meters[node].take(1, 1, self.quota, Together::Shared, now);
        if let Some(ask) = verdict.ask {
            let request = LeaseRequest {
                key: CounterKey::of_platform("user", &[1]),
                quota: self.quota,
                owed: ask.owed,
                wanted: ask.wanted,
            };
            let (full_at, lease) = counter::lease(self.full_at, now, &request);
            self.full_at = full_at;
            self.under_way.push((now + self.trip, node, ask, lease));
        }
        verdict.wait.is_none()
    }
}

proptest! {
    #[test]
    fn one_node_admits_a_quota_and_what_flows_in_at_most(
        gaps in proptest::collection::vec(prop_oneof![0..SECOND, 0..10 * MILLI, Just(0)], 1..400),
        units in 1_u32..50,
    ) {
        let meter = Meter::new(10);
        let quota = Quota::per_minute(units);
        let mut now = SECOND;
        let mut admitted = Vec::new();
        for gap in gaps {
            now += gap;
            if meter.take(7, 1, quota, Together::Alone, now).wait.is_none() {
                admitted.push(now);
            }
        }
        // In any window: a full bucket, and what flows in during it.
        prop_assert!(busiest(&admitted) <= 2 * units as usize);
        let seconds = (now - SECOND) / SECOND + 1;
        let flowed = u64::from(units) * seconds / 60 + 1;
        prop_assert!(admitted.len() as u64 <= u64::from(units) + flowed);
    }

    #[test]
    fn many_nodes_exceed_the_quota_by_what_is_in_hand_and_on_credit_at_most(
        asks in proptest::collection::vec((0_usize..4, prop_oneof![0..20 * MILLI, Just(0)]), 1..3000),
        units in 20_u32..600,
        trip in 0..100 * MILLI,
    ) {
        let quota = Quota::per_minute(units);
        let mut nodes = Nodes {
            meters: (0..4).map(|_| Meter::new(10)).collect(),
            full_at: 0,
            under_way: Vec::new(),
            trip,
            quota,
        };
        let mut now = SECOND;
        let mut admitted = 0_u64;
        for (node, gap) in asks {
            now += gap;
            admitted += u64::from(nodes.take(node, now));
        }
        let flowed = (now - SECOND) / quota.interval() + 1;
        let error = 4 * u64::from(block(quota) + most_credit(quota));
        prop_assert!(
            admitted <= u64::from(units) + flowed + error,
            "{admitted} > {units} + {flowed} + {error}"
        );
    }

    #[test]
    fn no_time_and_no_quota_makes_it_panic(
        times in proptest::collection::vec(any::<u64>(), 1..50),
        units in any::<u32>(),
        cost in 0_u32..10,
    ) {
        let meter = Meter::new(1);
        let quota = Quota::per_minute(units);
        for now in times {
            let now = now / 4;
            let verdict = meter.take(u128::from(now % 3), cost, quota, Together::Shared, now);
            if let Some(ask) = verdict.ask {
                meter.settle(u128::from(now % 3), ask, None, now);
            }
        }
    }
}
