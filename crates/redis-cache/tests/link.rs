//! The way to Redis against a real one that is killed, paused and brought back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up fails by panicking"
)]

use std::time::{Duration, Instant};

use redis_cache::{RedisFault, RedisLink, RedisSettings};
use test_support::TestRedis;

fn settings(redis: &TestRedis) -> RedisSettings {
    RedisSettings {
        answer_timeout: Duration::from_millis(500),
        ..RedisSettings::new(redis.url())
    }
}

async fn until(link: &RedisLink, up: bool) {
    let mut state = link.state();
    let changed = state.wait_for(|present| *present == up);
    tokio::time::timeout(Duration::from_secs(20), changed)
        .await
        .expect("the circuit changes")
        .unwrap();
}

async fn ping(link: &RedisLink) -> Result<String, RedisFault> {
    link.run(&redis::cmd("PING")).await
}

#[tokio::test]
async fn a_redis_that_comes_late_dies_and_comes_back_is_used_while_it_is_there() {
    let mut redis = TestRedis::start();
    let link = RedisLink::new(settings(&redis)).unwrap();
    redis.kill();
    let _connecting = link.connect();
    assert_eq!(ping(&link).await, Err(RedisFault::Open));
    for _ in 0..2 {
        redis.restart();
        until(&link, true).await;
        assert_eq!(ping(&link).await.as_deref(), Ok("PONG"));
        redis.kill();
        // Noticed by whoever asks.
        while link.is_up() {
            let _ = ping(&link).await;
        }
        assert_eq!(ping(&link).await, Err(RedisFault::Open));
    }
}

#[tokio::test]
async fn a_redis_that_hangs_is_waited_for_a_few_times_only() {
    let redis = TestRedis::start();
    let link = RedisLink::new(RedisSettings {
        answer_timeout: Duration::from_millis(100),
        ..settings(&redis)
    })
    .unwrap();
    let _connecting = link.connect();
    until(&link, true).await;
    redis.pause();
    let begun = Instant::now();
    for _ in 0..1_000 {
        assert!(ping(&link).await.is_err());
    }
    let took = begun.elapsed();
    redis.resume();
    assert!(took < Duration::from_secs(5), "took {took:?}");
    until(&link, true).await;
    assert_eq!(ping(&link).await.as_deref(), Ok("PONG"));
}

#[tokio::test]
async fn what_redis_refuses_does_not_open_the_circuit() {
    let redis = TestRedis::start();
    let link = RedisLink::new(settings(&redis)).unwrap();
    let _connecting = link.connect();
    until(&link, true).await;
    for _ in 0..20 {
        let refused: Result<String, _> = link.run(&redis::cmd("NOSUCH")).await;
        assert_eq!(refused, Err(RedisFault::Refused));
    }
    assert!(link.is_up());
}
