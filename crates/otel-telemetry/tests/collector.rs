//! A collector that is down, slow or failing costs bounded time, and nothing but telemetry.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "the common module is shared by several test binaries"
)]

mod common;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::Watched;
use otel_telemetry::sink::Sink;
use otel_telemetry::{OtlpProtocol, Telemetry, TelemetrySettings};

const PROTOCOLS: [OtlpProtocol; 2] = [OtlpProtocol::Http, OtlpProtocol::Grpc];

fn settings(endpoint: String, protocol: OtlpProtocol) -> TelemetrySettings {
    TelemetrySettings {
        otlp_endpoint: Some(endpoint),
        otlp_protocol: protocol,
        sampling_ratio: 1.0,
        ..TelemetrySettings::default()
    }
}

/// A port that nobody listens on.
fn closed() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn say(times: usize) {
    for _ in 0..times {
        tracing::info_span!("step").in_scope(|| tracing::info!("said"));
    }
}

#[test]
fn work_goes_on_and_shutdown_is_bounded_while_the_collector_is_down() {
    for protocol in PROTOCOLS {
        let (dispatch, telemetry) =
            Telemetry::scoped(&settings(closed(), protocol), |_| {}).unwrap();
        let start = Instant::now();
        tracing::dispatcher::with_default(&dispatch, || say(20_000));
        // Far more than the queues hold; a worker that waited for the exporter would need minutes.
        assert!(start.elapsed() < Duration::from_secs(20), "{protocol}");
        let start = Instant::now();
        let _ = telemetry.shutdown(Duration::from_secs(2));
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "{protocol}: {:?}",
            start.elapsed()
        );
    }
}

#[test]
fn shutdown_is_bounded_while_the_collector_hangs() {
    for protocol in PROTOCOLS {
        // Accepts by its backlog, and never answers.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (dispatch, telemetry) =
            Telemetry::scoped(&settings(endpoint, protocol), |_| {}).unwrap();
        tracing::dispatcher::with_default(&dispatch, || say(3_000));
        let start = Instant::now();
        let outcome = telemetry.shutdown(Duration::from_secs(1));
        assert!(outcome.is_err(), "{protocol}");
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{protocol}: {:?}",
            start.elapsed()
        );
        drop(listener);
    }
}

#[test]
fn a_failing_export_is_said_on_stderr_and_is_not_the_next_export() {
    let watched = Watched::with_sink(Sink::answering(500).unwrap(), |_| {});
    // The exporter's thread speaks to the process's subscriber; there is one per test binary, and
    // no other test here needs it.
    let lines = watched.lines.clone();
    tracing::dispatcher::set_global_default(watched.dispatch.clone()).unwrap();
    say(1);
    let arrived = watched
        .sink
        .wait_for(Duration::from_secs(20), |spans, logs| {
            !spans.is_empty() && !logs.is_empty()
        });
    assert!(arrived);
    // Several intervals of the log exporter, which would send its own complaints now.
    std::thread::sleep(Duration::from_secs(5));
    let bodies: Vec<_> = watched
        .sink
        .logs()
        .into_iter()
        .map(|log| log.body)
        .filter(|body| body != "said")
        .collect();
    assert_eq!(bodies, Vec::<String>::new());
    let lines = lines.lock().unwrap().clone();
    assert!(lines.contains("opentelemetry"), "{lines}");
}

#[test]
fn dropping_the_pipeline_on_an_async_worker_does_not_panic() {
    for protocol in PROTOCOLS {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (dispatch, telemetry) =
                Telemetry::scoped(&settings(closed(), protocol), |_| {}).unwrap();
            tracing::dispatcher::with_default(&dispatch, || say(1));
            drop(dispatch);
            drop(telemetry);
        });
    }
}

#[test]
fn shutdown_off_the_worker_delivers_while_the_worker_waits() {
    let sink = Sink::start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (dispatch, telemetry) =
            Telemetry::scoped(&settings(sink.endpoint(), OtlpProtocol::Http), |_| {}).unwrap();
        tracing::dispatcher::with_default(&dispatch, || say(3));
        tokio::task::spawn_blocking(|| telemetry.shutdown(Duration::from_secs(10)))
            .await
            .unwrap()
            .unwrap();
    });
    assert_eq!(sink.spans().len(), 3);
}
