//! Shared counters against a real Redis.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up fails by panicking"
)]

use std::time::Duration;

use kernel::ClinicId;
use kernel::counter::{CounterKey, CountersAway, Lease, LeaseRequest, Quota, SharedCounters as _};
use redis_cache::{RedisCounters, RedisLink, RedisSettings};
use test_support::TestRedis;

async fn connected(link: &RedisLink) {
    let mut state = link.state();
    let up = state.wait_for(|up| *up);
    tokio::time::timeout(Duration::from_secs(20), up)
        .await
        .expect("the circuit closes")
        .unwrap();
}

fn ask(units: u32, owed: u32, wanted: u32) -> LeaseRequest {
    LeaseRequest {
        key: CounterKey::of_clinic(ClinicId::from(uuid::Uuid::from_u128(7)), "requests"),
        quota: Quota::per_minute(units),
        owed,
        wanted,
    }
}

#[tokio::test]
async fn nodes_together_get_the_quota_and_what_is_owed_is_counted() {
    let mut redis = TestRedis::start();
    let links = [(); 2].map(|()| RedisLink::new(RedisSettings::new(redis.url())).unwrap());
    let _connecting = links.each_ref().map(RedisLink::connect);
    for link in &links {
        connected(link).await;
    }
    let [first, second] = links.map(RedisCounters::new);
    // Six a minute: nothing flows in while this runs.
    let lease = first.lease(&ask(6, 0, 4)).await.unwrap();
    assert_eq!((lease.granted, lease.left), (4, 2));
    let lease = second.lease(&ask(6, 0, 4)).await.unwrap();
    assert_eq!((lease.granted, lease.left), (2, 0));
    let Lease {
        granted,
        retry_after,
        ..
    } = first.lease(&ask(6, 3, 1)).await.unwrap();
    assert_eq!(granted, 0);
    // Three beyond the six: the next one in forty seconds, less what has passed.
    assert!(retry_after > Duration::from_secs(30) && retry_after <= Duration::from_secs(40));
    // What it holds: one number under the clinic's name, which goes away by itself.
    let link = RedisLink::new(RedisSettings::new(redis.url())).unwrap();
    let _connecting = link.connect();
    connected(&link).await;
    let keys: Vec<String> = link.run(redis::cmd("KEYS").arg("*")).await.unwrap();
    let key = "clinic_00000000-0000-0000-0000-000000000007:rate:requests";
    assert_eq!(keys, [key]);
    let ttl: i64 = link.run(redis::cmd("PTTL").arg(key)).await.unwrap();
    assert!(ttl > 60_000 && ttl < 100_000, "{ttl}");
    redis.kill();
    assert_eq!(first.lease(&ask(6, 0, 1)).await, Err(CountersAway));
}
