//! What a running server tells its collector and its log of itself.

use std::thread::sleep;
use std::time::Duration;

use kernel::metrics::{CATALOGUE, Instrument as I};
use otel_telemetry::sink::{ReceivedPoint, Sink};
use test_support::{TestDatabase, two_clinics};

use crate::program::{Program, request};

/// Waits for a metric that satisfies.
fn arrived(sink: &Sink, instrument: I, wanted: impl Fn(&ReceivedPoint) -> bool) -> ReceivedPoint {
    let name = instrument.spec().name;
    for _ in 0..200 {
        let found = sink
            .points()
            .into_iter()
            .rev()
            .find(|it| it.name == name && wanted(it));
        if let Some(found) = found {
            return found;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("{name} did not arrive")
}

fn has(point: &ReceivedPoint, label: &str, value: &str) -> bool {
    point.attributes.get(label).and_then(|it| it.as_str()) == Some(value)
}

#[actix_web::test]
async fn a_collector_gets_the_metrics_of_what_the_server_does() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let sink = Sink::start().unwrap();
    let mut program = Program::new(&base.app_url());
    program
        .set("ACOLHE_TELEMETRY_OTLP_ENDPOINT", &sink.endpoint())
        .set("ACOLHE_TELEMETRY_METRICS_INTERVAL", "300ms");
    let running = program.start();
    let bearer = format!("Bearer {}", program.token(clinics.a.owner));
    let clinic = clinics.a.id.to_string();
    let headers = [("Authorization", &*bearer), ("X-Clinic-Id", &*clinic)];
    for _ in 0..3 {
        let answer = running.send(&request("GET", "/api/v1/contacts", &headers, ""));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    running.get("/api/v1/nothing/52998224725");
    running.send(&request("MARIA", "/api/v1/contacts", &[], ""));

    let route = "http.route";
    arrived(&sink, I::RequestDuration, |it| {
        has(it, route, "/api/v1/contacts") && it.value >= 3.0
    });
    arrived(&sink, I::RequestDuration, |it| {
        has(it, route, "unmatched") && has(it, "http.request.method", "GET")
    });
    arrived(&sink, I::RequestDuration, |it| {
        has(it, "http.request.method", "_OTHER")
    });
    arrived(&sink, I::RequestQuantile, |it| {
        has(it, route, "/api/v1/contacts") && has(it, "quantile", "0.99") && it.value > 0.0
    });
    arrived(&sink, I::OperationDuration, |it| {
        has(it, "db.collection.name", "contacts")
    });
    arrived(&sink, I::ConnectionWait, |it| it.value > 0.0);
    arrived(&sink, I::ConnectionMax, |it| it.value >= 2.0);
    arrived(&sink, I::ConnectionCount, |it| {
        has(it, "db.client.connection.state", "idle") && it.value >= 1.0
    });
    arrived(&sink, I::JobCount, |it| has(it, "acolhe.job.state", "dead"));
    arrived(&sink, I::EventLoopLag, |it| {
        it.attributes["acolhe.worker"] == 1
    });
    arrived(&sink, I::MemoryUsage, |it| it.value > 1_000_000.0);
    arrived(&sink, I::CpuTime, |it| it.value > 0.0);
    arrived(&sink, I::FileDescriptors, |it| it.value > 3.0);
    let ended = running.stop();
    assert!(ended.success, "{}", ended.said);
    for point in sink.points() {
        let spec = CATALOGUE.iter().find(|spec| spec.name == point.name);
        assert!(spec.is_some(), "{} is not in the catalogue", point.name);
    }
    let metrics = format!("{:?}", sink.points());
    for planted in [
        &*clinic,
        "52998224725",
        "MARIA",
        &clinics.a.owner.to_string(),
    ] {
        assert!(!metrics.contains(planted), "{planted} became a label");
    }
}

#[actix_web::test]
async fn what_is_slow_or_much_is_told_once_in_a_window() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let mut program = Program::new(&base.app_url());
    program
        .set("ACOLHE_TELEMETRY_SLOW_REQUEST", "1ms")
        .set("ACOLHE_TELEMETRY_LAG_WARNING", "1ms")
        .set("ACOLHE_TELEMETRY_MEMORY_LIMIT", "1000000");
    let running = program.start();
    let bearer = format!("Bearer {}", program.token(clinics.a.owner));
    let clinic = clinics.a.id.to_string();
    let headers = [("Authorization", &*bearer), ("X-Clinic-Id", &*clinic)];
    for _ in 0..200 {
        running.send(&request("GET", "/api/v1/contacts", &headers, ""));
    }
    // The memory is looked at every five seconds.
    sleep(Duration::from_secs(6));
    let said = running.stop().said;
    let told = |text: &str| said.lines().filter(|line| line.contains(text)).count();
    let slow = told("\"message\":\"slow request\"");
    // One for each route that was slow, and there are no more than these.
    assert!((1..=2).contains(&slow), "{slow}: {said}");
    assert!(
        told("\"http.route\":\"/api/v1/contacts\",\"duration_ms\"") >= 1,
        "{said}"
    );
    assert_eq!(told("more memory than it should"), 1, "{said}");
    assert!(told("the event loop lags") <= 1, "{said}");
}
