//! The two tiers against a real Redis: who reads for whom, what is taken from it and what is not, and
//! that both stay within their memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot be set up fails by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use kernel::cache::{Answer, ByteCache, CacheKey, Cached, Found, Look};
use kernel::metrics::{CacheDomain, CacheOutcome, NoMetrics};
use kernel::stream::{PollAnswer, Topic};
use kernel::{Action, ClinicId, Permissions, TenantContext, UserId};
use redis_cache::link::Connecting;
use redis_cache::{CacheSettings, RedisLink, RedisSettings, ResponseCache, Running};
use test_support::TestRedis;
use uuid::Uuid;

struct List;

impl Cached for List {
    type Value = Answer;
    const DOMAIN: CacheDomain = CacheDomain::Contacts;
    const KIND: &'static str = "list";
}

/// A node: its cache, and what keeps it connected.
struct Node {
    cache: ResponseCache,
    link: RedisLink,
    _connecting: Connecting,
    _running: Running,
}

fn cx() -> TenantContext {
    let clinic = ClinicId::from(Uuid::from_u128(1));
    let user = UserId::from(Uuid::from_u128(2));
    TenantContext::for_test(clinic, user, Permissions::of(&[Action::ContactRead]))
}

fn settings() -> CacheSettings {
    CacheSettings {
        bytes: 4 * 1024 * 1024,
        ..CacheSettings::default()
    }
}

async fn node(redis: &TestRedis, keys: Arc<dyn kernel::Keys>) -> Node {
    let link = RedisLink::new(RedisSettings {
        answer_timeout: Duration::from_secs(2),
        ..RedisSettings::new(redis.url())
    })
    .unwrap();
    let metrics = Arc::new(NoMetrics);
    let cache = ResponseCache::new(&settings(), keys, metrics, Some(link.clone()), || ());
    let node = Node {
        _connecting: link.connect(),
        _running: cache.run(),
        cache,
        link,
    };
    let mut state = node.link.state();
    state.wait_for(|up| *up).await.unwrap();
    hear(&node.cache, 1);
    node
}

/// The stream says that contacts of the clinic stand at this position.
fn hear(cache: &ResponseCache, position: i64) {
    let sink = cache.sink();
    let cx = cx();
    let _wanted = cache.look(&CacheKey::<List>::new(&cx, &[]).of_answer());
    let start = sink.poll_begins();
    sink.poll_ended(PollAnswer {
        number: start.number,
        wanted: start.wanted,
        moved: vec![(cx.clinic(), Topic::Contact, position)],
        pending: Vec::new(),
        live: true,
    });
    // The clinic is asked for once the stream is believed, and known after that.
    let _wanted = cache.look(&CacheKey::<List>::new(&cx, &[]).of_answer());
    let start = sink.poll_begins();
    sink.poll_ended(PollAnswer {
        number: start.number,
        wanted: start.wanted,
        moved: vec![(cx.clinic(), Topic::Contact, position)],
        pending: Vec::new(),
        live: true,
    });
}

/// What is found; `None` where somebody has to read, and then `made` is kept.
async fn ask(cache: &ResponseCache, query: &str, made: &str) -> Option<(String, CacheOutcome)> {
    let cx = cx();
    let query: [&[u8]; 1] = [query.as_bytes()];
    let key = CacheKey::<List>::new(&cx, &query).of_answer();
    let text = |answer: &Answer| String::from_utf8(answer.body().to_vec()).unwrap();
    let generation = match cache.look(&key) {
        Look::Hit(answer) => return Some((text(&answer), CacheOutcome::HitL1)),
        Look::Bypass => panic!("the stream was heard"),
        Look::Absent(generation) => generation,
    };
    match cache.find(&key, generation).await {
        Found::Hit(answer, outcome) => Some((text(&answer), outcome)),
        Found::Lead(lead) => {
            lead.fill(Arc::new(Answer::new("\"tag\"", made.to_owned())));
            None
        }
        Found::Miss => None,
    }
}

/// Until Redis holds this many keys.
async fn until_kept(redis: &TestRedis, keys: u64) {
    for _ in 0..500 {
        if redis.ask("DBSIZE") == format!(":{keys}") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("Redis holds {}", redis.ask("DBSIZE"));
}

#[tokio::test]
async fn what_one_node_made_another_finds_until_it_changes() {
    let redis = TestRedis::start();
    let keys = test_support::keys();
    let (one, other) = (node(&redis, keys.clone()).await, node(&redis, keys).await);
    assert_eq!(ask(&one.cache, "q", "first").await, None);
    let near = Some(("first".to_owned(), CacheOutcome::HitL1));
    assert_eq!(ask(&one.cache, "q", "never").await, near);
    until_kept(&redis, 1).await;
    let far = Some(("first".to_owned(), CacheOutcome::HitL2));
    assert_eq!(ask(&other.cache, "q", "never").await, far);
    assert_eq!(ask(&other.cache, "q", "never").await, near);
    // The contacts changed.
    hear(&other.cache, 2);
    assert_eq!(ask(&other.cache, "q", "second").await, None);
    let now = Some(("second".to_owned(), CacheOutcome::HitL1));
    assert_eq!(ask(&other.cache, "q", "never").await, now);
}

#[tokio::test]
async fn what_was_changed_moved_or_sealed_by_others_is_not_taken_from_redis() {
    let redis = TestRedis::start();
    let keys = test_support::keys();
    let one = node(&redis, keys.clone()).await;
    assert_eq!(ask(&one.cache, "a", "of a").await, None);
    until_kept(&redis, 1).await;
    let first = redis.ask_list("KEYS *");
    assert_eq!(ask(&one.cache, "b", "of b").await, None);
    until_kept(&redis, 2).await;
    let both = redis.ask_list("KEYS *");
    let (a, b) = (
        &first[0],
        both.iter().find(|key| **key != first[0]).unwrap(),
    );

    // Moved: what is of one key lies under another.
    redis.ask(&format!("COPY {a} {b} REPLACE"));
    let fresh = node(&redis, keys.clone()).await;
    assert_eq!(ask(&fresh.cache, "b", "again").await, None);
    // Changed, cut, and something else.
    for damage in [
        format!("SETRANGE {a} 30 x"),
        format!("SET {a} short"),
        format!("SET {a} \"\""),
    ] {
        redis.ask(&damage);
        let fresh = node(&redis, keys.clone()).await;
        assert_eq!(ask(&fresh.cache, "a", "again").await, None, "{damage}");
    }
}

#[tokio::test]
async fn one_reads_and_the_others_wait_for_it() {
    let redis = TestRedis::start();
    let one = node(&redis, test_support::keys()).await;
    let cache = &one.cache;
    let cx = cx();
    let key = CacheKey::<List>::new(&cx, &[b"q"]).of_answer();
    let Look::Absent(generation) = cache.look(&key) else {
        panic!("nothing is kept yet");
    };
    let Found::Lead(lead) = cache.find(&key, generation).await else {
        panic!("nobody else reads");
    };
    let waiting = async { cache.find(&key, generation).await };
    let filling = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        lead.fill(Arc::new(Answer::new("\"tag\"", "made")));
    };
    let (found, ()) = tokio::join!(waiting, filling);
    assert!(matches!(found, Found::Hit(answer, _) if answer.body() == "made"));

    // Who gives up holds nobody up.
    let key = CacheKey::<List>::new(&cx, &[b"other"]).of_answer();
    let Found::Lead(lead) = cache.find(&key, generation).await else {
        panic!("nobody else reads");
    };
    let giving_up = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(lead);
    };
    let waiting = async { cache.find(&key, generation).await };
    let (found, ()) = tokio::join!(waiting, giving_up);
    assert!(matches!(found, Found::Miss));
    assert!(matches!(cache.find(&key, generation).await, Found::Lead(_)));
}

#[tokio::test]
async fn both_tiers_stay_within_their_memory() {
    let redis = TestRedis::with_memory("6mb");
    let one = node(&redis, test_support::keys()).await;
    let body = "x".repeat(20_000);
    for at in 0..1_500 {
        if at % 200 == 0 {
            hear(&one.cache, 1);
        }
        assert_eq!(ask(&one.cache, &at.to_string(), &body).await, None);
        if at % 16 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let most = settings().bytes;
    assert!(
        one.cache.bytes() <= most + most / 4,
        "{}",
        one.cache.bytes()
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    let used = redis.info("memory", "used_memory");
    assert!(used < 7 * 1024 * 1024, "{used}");
    assert!(redis.info("stats", "evicted_keys") > 100);
    assert!(one.link.is_up());
    let keys = redis.ask_list("KEYS *");
    assert!(keys.len() > 50);
    for key in keys.iter().take(50) {
        assert!(
            redis.ask(&format!("PTTL {key}"))[1..]
                .parse::<i64>()
                .unwrap()
                != -1
        );
    }
}

#[tokio::test]
async fn a_cache_that_is_off_or_hears_nothing_says_nothing() {
    let redis = TestRedis::start();
    let one = node(&redis, test_support::keys()).await;
    let cx = cx();
    let key = CacheKey::<List>::new(&cx, &[b"q"]).of_answer();
    assert_eq!(ask(&one.cache, "q", "made").await, None);
    one.cache.switch(false);
    assert!(matches!(one.cache.look(&key), Look::Bypass));
    one.cache.switch(true);
    assert!(matches!(one.cache.look(&key), Look::Hit(_)));
    // Nothing is heard of the stream for a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(one.cache.look(&key), Look::Bypass));
    hear(&one.cache, 1);
    assert!(matches!(one.cache.look(&key), Look::Hit(_)));
    // The stream was lost and found: what was kept before is not found again.
    one.cache.sink().reset();
    hear(&one.cache, 1);
    assert!(!matches!(one.cache.look(&key), Look::Hit(_)));
}
