//! Two server processes over one database and one Redis, as they are used: by a reader that knows
//! what was written, while Redis is killed, paused, flushed, cut off and brought back.
//!
//! No request fails. Nobody reads what was overwritten longer than a second ago, and who writes reads
//! what they wrote at once on the process that wrote it. `cargo xtask cache-faults` runs the faults
//! for longer: it sets `ACOLHE_TEST_FAULTS_SECONDS`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests may, and the long run tells how it goes"
)]

#[allow(
    dead_code,
    clippy::format_push_string,
    reason = "made for another test as well"
)]
#[path = "../process/program.rs"]
mod program;
mod stage;

use std::time::Duration;

use rustix::process::Signal;
use stage::{Load, Stage, X_CACHE};
use test_support::Network;

/// How long each fault lasts, and each quiet stretch after it.
fn phase() -> Duration {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one setting of a test that runs short or long"
    )]
    let seconds = std::env::var("ACOLHE_TEST_FAULTS_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse::<f64>().ok());
    // Eleven stretches in all.
    Duration::from_secs_f64(seconds.map_or(1.3, |seconds| (seconds / 11.0).max(1.0)))
}

#[actix_web::test]
async fn no_fault_of_redis_fails_a_request_or_shows_what_was_overwritten() {
    let mut stage = Stage::new(true).await;
    let load = Load::start(&stage);
    let phase = phase();
    let quiet = |load: &Load, what: &str| load.watch(what, phase);
    quiet(&load, "all is well");
    let steady = load.counts();
    assert!(steady.near > 0, "nothing was found in memory: {steady:?}");
    assert!(steady.far > 0, "nothing was found in Redis: {steady:?}");

    stage.redis.kill();
    quiet(&load, "Redis is dead");
    stage.redis.restart();
    quiet(&load, "Redis is back");

    stage.redis.pause();
    quiet(&load, "Redis hangs");
    stage.redis.resume();
    quiet(&load, "Redis goes on");

    stage.redis.flush();
    quiet(&load, "Redis was flushed");

    stage.proxy.set(Network::Partitioned);
    quiet(&load, "the network is parted");
    stage.proxy.set(Network::Whole);
    quiet(&load, "the network is whole");

    stage.proxy.set(Network::Cut);
    quiet(&load, "every connection is cut");
    stage.proxy.set(Network::Whole);
    quiet(&load, "connections come through");

    let before = load.counts().far;
    quiet(&load, "all is well again");
    let after = load.counts();
    let verdict = load.end();
    println!("{verdict}");
    assert!(after.far > before, "Redis is not used again: {after:?}");
    verdict.assert();
}

#[actix_web::test]
async fn without_redis_each_process_keeps_to_itself_and_all_is_right() {
    let stage = Stage::new(false).await;
    let load = Load::start(&stage);
    load.watch("no Redis", phase() * 2);
    let counts = load.counts();
    let verdict = load.end();
    println!("{verdict}");
    verdict.assert();
    assert!(counts.near > 0 && counts.far == 0, "{counts:?}");
}

#[actix_web::test]
async fn the_cache_is_turned_off_and_on_while_the_process_runs() {
    let stage = Stage::new(true).await;
    let path = "/api/v1/clinics/current";
    stage.until(0, path, &["HIT-L1"]);
    stage.nodes[0].signal(Signal::USR1);
    stage.until(0, path, &["BYPASS"]);
    for _ in 0..20 {
        assert_eq!(stage.get(0, path).header(X_CACHE), "BYPASS");
    }
    // The other process goes on.
    stage.until(1, path, &["HIT-L1"]);
    stage.nodes[0].signal(Signal::USR2);
    stage.until(0, path, &["HIT-L1"]);
}

#[actix_web::test]
async fn what_one_process_has_read_another_finds_in_redis() {
    let stage = Stage::new(true).await;
    for path in [
        "/api/v1/clinics/current",
        "/api/v1/branches",
        "/api/v1/contacts?limit=5",
        "/api/v1/conversations?limit=5",
    ] {
        stage.until(0, path, &["HIT-L1"]);
        let first = stage.until(1, path, &["HIT-L2", "HIT-L1"]);
        assert_eq!(first.header(X_CACHE), "HIT-L2", "{path}");
        let (one, other) = (stage.get(0, path), stage.get(1, path));
        assert_eq!(one.body, other.body);
        assert_eq!(one.header("etag"), other.header("etag"));
        assert_eq!(other.header("cache-control"), "private, no-cache");
        // A caller who has it gets nothing twice.
        let held = stage.get_with(1, path, &[("If-None-Match", other.header("etag"))]);
        assert_eq!((held.status, held.body.as_str()), (304, ""));
        assert_eq!(held.header(X_CACHE), "HIT-L1");
        // Its encodings are kept with it.
        let packed = stage.get_with(1, path, &[("Accept-Encoding", "gzip")]);
        assert_eq!(packed.header(X_CACHE), "HIT-L1");
    }
    // Nothing of a search can be read from a key, and each has an end.
    stage.until(0, "/api/v1/contacts?search=canaria", &["HIT-L1"]);
    let keys = stage.redis_keys();
    assert!(
        keys.iter()
            .any(|key| key.starts_with(&stage.clinic_prefix()))
    );
    for key in keys.iter().filter(|key| key.starts_with("clinic_")) {
        assert!(!key.contains("canaria"), "{key}");
        let lives: i64 = stage.redis.ask(&format!("PTTL {key}"))[1..]
            .parse()
            .unwrap();
        assert!(lives > 0, "{key} has no end");
    }
}

#[actix_web::test]
async fn who_loses_a_membership_is_refused_everywhere_within_a_second() {
    let stage = Stage::new(true).await;
    let path = "/api/v1/clinics/current";
    for node in [0, 1] {
        stage.until(node, path, &["HIT-L1"]);
    }
    stage.disable_owner().await;
    std::thread::sleep(Duration::from_secs(1));
    for node in [0, 1] {
        assert_eq!(stage.get(node, path).status, 403);
    }
}

#[actix_web::test]
async fn whoever_may_not_read_is_refused_whatever_is_kept() {
    let stage = Stage::new(true).await;
    let path = "/api/v1/contacts?limit=5";
    stage.until(0, path, &["HIT-L1"]);
    let stranger = stage.get_as_other_clinic(0, path);
    assert_eq!(stranger.status, 403);
    assert_eq!(stranger.header(X_CACHE), "");
}
