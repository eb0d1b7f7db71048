//! What reaches a collector of the metrics, and what Prometheus reads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "the common module is shared by several test binaries"
)]

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::{CLINIC, Watched};
use kernel::job::Queue;
use kernel::metrics::{
    CATALOGUE, CacheDomain, CacheOutcome, CacheTier, ChangeOutcome, JobOutcome, JobState, Kind,
    Lane, Method, Query, RateLimit, RequestEnded, ShedReason, UNMATCHED, Values, WebhookOutcome,
    Window,
};
use kernel::{Measurement, Metrics, MetricsView};
use otel_telemetry::Meter;

const MILLI: Duration = Duration::from_millis(1);

fn request(meter: &Meter, method: Method, route: &str, status: u16, took: Duration) {
    let secure = false;
    meter.record(Measurement::RequestBegan { method, secure });
    meter.record(Measurement::RequestEnded(RequestEnded {
        method,
        route,
        status,
        secure,
        took,
        clinic: Some(CLINIC.parse().unwrap()),
    }));
}

#[allow(clippy::option_option, reason = "as it is in the measurement")]
fn query(meter: &Meter, failed: Option<Option<&str>>) {
    meter.record(Measurement::Query(Query {
        name: "db.contact.find",
        operation: "SELECT",
        collection: "contacts",
        summary: "SELECT contacts",
        took: MILLI,
        failed,
    }));
}

/// One of each measurement.
fn everything(meter: &Meter) {
    request(meter, Method::Get, "/api/v1/contacts/{id}", 200, MILLI);
    request(meter, Method::Get, "/api/v1/contacts/{id}", 503, MILLI);
    request(meter, Method::Other, UNMATCHED, 404, MILLI);
    // A status that no place was made for.
    request(meter, Method::Get, "/api/v1/contacts/{id}", 418, MILLI);
    query(meter, None);
    query(meter, Some(Some("23505")));
    query(meter, Some(None));
    meter.record(Measurement::ConnectionWait(Lane::Requests, MILLI));
    meter.record(Measurement::ConnectionTimeout(Lane::Jobs));
    for lane in Lane::ALL {
        meter.record(Measurement::Connections {
            lane: *lane,
            idle: 3,
            used: 2,
            max: 7,
            pending: 1,
        });
    }
    for outcome in CacheOutcome::ALL {
        meter.record(Measurement::CacheLookup(CacheDomain::Contacts, *outcome));
    }
    meter.record(Measurement::CacheFault(CacheTier::L2));
    meter.record(Measurement::CacheSize(CacheTier::L1, 4096));
    for outcome in JobOutcome::ALL {
        meter.record(Measurement::JobEnded(Queue::Message, *outcome, MILLI));
    }
    for state in JobState::ALL {
        meter.record(Measurement::JobCount(Queue::Message, *state, 5));
    }
    meter.record(Measurement::JobAge(Queue::Message, Duration::from_secs(9)));
    meter.record(Measurement::Webhook(WebhookOutcome::Stored, MILLI));
    meter.record(Measurement::WebhookChanges(ChangeOutcome::Routed, 2));
    meter.record(Measurement::RateLimited(RateLimit::User));
    meter.record(Measurement::Shed(ShedReason::Busy));
    meter.record(Measurement::ActiveUsers(12));
    meter.record(Measurement::EventLoopLag(1, MILLI));
}

#[test]
fn every_metric_of_the_catalogue_arrives_with_its_unit_and_its_labels_alone() {
    let watched = Watched::new(|settings| settings.memory_limit = Some(1 << 40));
    everything(&watched.telemetry.meter());
    let (sink, _) = watched.finish();
    let points = sink.points();
    let arrived: BTreeSet<&str> = points.iter().map(|point| point.name.as_str()).collect();
    let listed: BTreeSet<&str> = CATALOGUE.iter().map(|spec| spec.name).collect();
    assert_eq!(arrived, listed);
    for point in &points {
        let spec = CATALOGUE
            .iter()
            .find(|spec| spec.name == point.name)
            .unwrap();
        assert_eq!(point.unit, spec.unit, "{}", spec.name);
        let kind = match spec.kind {
            Kind::Counter => ("sum", true),
            Kind::UpDownCounter => ("sum", false),
            Kind::Gauge => ("gauge", false),
            Kind::Histogram => ("histogram", false),
        };
        assert_eq!((point.kind, point.monotonic), kind, "{}", spec.name);
        assert_eq!(point.bounds, spec.buckets, "{}", spec.name);
        for (key, value) in &point.attributes {
            let label = spec.labels.iter().find(|label| label.name == key);
            let label = label.unwrap_or_else(|| panic!("{}: {key} is not listed", spec.name));
            if let Values::Listed(values) = label.values {
                assert!(values.contains(&value.as_str().unwrap()), "{key}: {value}");
            }
        }
    }
    assert!(!sink.everything().contains(CLINIC), "no clinic on metrics");
}

#[test]
fn a_request_carries_the_labels_of_the_conventions() {
    let watched = Watched::new(|_| {});
    everything(&watched.telemetry.meter());
    let (sink, _) = watched.finish();
    let points = sink.points();
    let of = |name: &str, key: &str, value: serde_json::Value| {
        let found: Vec<_> = points
            .iter()
            .filter(|point| point.name == name && point.attributes.get(key) == Some(&value))
            .collect();
        assert_eq!(found.len(), 1, "{name} {key}={value}");
        found[0].clone()
    };
    let name = "http.server.request.duration";
    let failed = of(name, "http.response.status_code", 503.into());
    assert_eq!(failed.attributes["error.type"], "503");
    assert_eq!(failed.attributes["http.route"], "/api/v1/contacts/{id}");
    let unmatched = of(name, "http.route", UNMATCHED.into());
    assert_eq!(unmatched.attributes["http.request.method"], "_OTHER");
    assert_eq!(unmatched.attributes.get("error.type"), None);
    let name = "db.client.operation.duration";
    let failed = of(name, "error.type", "23505".into());
    assert_eq!(failed.attributes["db.response.status_code"], "23505");
    assert_eq!(failed.attributes["db.query.summary"], "SELECT contacts");
    let lost = of(name, "error.type", "unavailable".into());
    assert_eq!(lost.attributes.get("db.response.status_code"), None);
    let p99 = points
        .iter()
        .find(|it| {
            it.name == "acolhe.query.duration.quantile"
                && it.attributes["quantile"] == "0.99"
                && it.attributes["window"] == "1m"
        })
        .unwrap();
    assert!(p99.value >= 0.001 && p99.value < 0.001_07, "{}", p99.value);
}

#[test]
fn the_snapshot_tells_what_was_measured() {
    let watched = Watched::new(|_| {});
    let meter = watched.telemetry.meter();
    everything(&meter);
    for _ in 0..18 {
        request(&meter, Method::Get, "/api/v1/contacts", 200, 20 * MILLI);
    }
    let at = "2026-11-21T12:00:00Z".parse().unwrap();
    let snapshot = meter.snapshot(at);
    assert_eq!(snapshot.requests_total, 22);
    assert_eq!(snapshot.active_requests, 0);
    assert_eq!(snapshot.operations[0].route, "/api/v1/contacts");
    assert_eq!(
        snapshot.operations[0].windows[Window::Minute.index()].count,
        18
    );
    assert_eq!(snapshot.requests[0].failed, 1);
    assert_eq!(snapshot.clinics.len(), 1);
    assert_eq!(snapshot.clinics[0].windows[0].count, 22);
    assert_eq!(snapshot.queries[0].windows[2].failed, 2);
    assert_eq!(snapshot.cache[0].hits_l2, 1);
    assert_eq!(snapshot.pools.len(), 2);
    assert_eq!(snapshot.queues[0].counts[0], (JobState::Waiting, 5));
    assert_eq!(snapshot.process.event_loop_lag, MILLI);
    assert!(snapshot.process.memory > 0);
}

#[test]
fn prometheus_reads_the_same_with_and_without_a_collector() {
    let names = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(str::to_owned)
            .collect()
    };
    let exported = Watched::new(|settings| settings.memory_limit = Some(1 << 40));
    let alone = Watched::new(|settings| {
        settings.memory_limit = Some(1 << 40);
        settings.otlp_endpoint = None;
    });
    let mut texts = Vec::new();
    for watched in [&exported, &alone] {
        everything(&watched.telemetry.meter());
        texts.push(watched.telemetry.meter().prometheus());
    }
    assert_eq!(names(&texts[0]), names(&texts[1]));
    assert_eq!(names(&texts[0]).len(), CATALOGUE.len());
    let text = &texts[1];
    for line in [
        "# TYPE http_server_request_duration_seconds histogram",
        "# TYPE acolhe_cache_lookups_total counter",
        "# TYPE db_client_connection_count gauge",
        "acolhe_rate_limit_rejections_total{acolhe_rate_limit=\"user\"} 1",
        "acolhe_job_oldest_age_seconds{messaging_destination_name=\"message-worker\"} 9",
        "acolhe_user_active 12",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    // Asked twice, counters do not start anew.
    let again = alone.telemetry.meter().prometheus();
    assert!(again.contains("acolhe_cache_lookups_total{acolhe_cache_domain=\"contacts\",acolhe_cache_outcome=\"hit_l1\"} 1\n"));
}

#[test]
fn what_a_caller_invents_makes_no_series() {
    let watched = Watched::new(|settings| settings.otlp_endpoint = None);
    let meter = watched.telemetry.meter();
    for number in 0..2000 {
        request(
            &meter,
            Method::of(&format!("M{number}")),
            UNMATCHED,
            404,
            MILLI,
        );
    }
    let text = meter.prometheus();
    let series = text
        .lines()
        .filter(|line| line.starts_with("http_server_request_duration_seconds_count"))
        .count();
    assert_eq!(series, 1);
}

/// Not a limit, which a busy machine would break, but a figure to look at:
/// `cargo test -p otel-telemetry --test metrics cost -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn cost() {
    let watched = Watched::new(|settings| settings.otlp_endpoint = None);
    let meter = watched.telemetry.meter();
    let rounds = 1_000_000u32;
    let time = |name: &str, work: &dyn Fn()| {
        let began = Instant::now();
        for _ in 0..rounds {
            work();
        }
        println!("{name}: {:?}", began.elapsed() / rounds);
    };
    time("request", &|| {
        request(&meter, Method::Get, "/api/v1/contacts/{id}", 200, MILLI);
    });
    time("query", &|| query(&meter, None));
    time("cache", &|| {
        meter.record(Measurement::CacheLookup(
            CacheDomain::Contacts,
            CacheOutcome::HitL1,
        ));
    });
    time("wait", &|| {
        meter.record(Measurement::ConnectionWait(Lane::Requests, MILLI));
    });
}
