//! The process-wide form, in a process of its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use otel_telemetry::sink::Sink;
use otel_telemetry::{Telemetry, TelemetryError, TelemetrySettings};

#[test]
fn the_process_is_observed_once_in_every_thread() {
    let sink = Sink::start().unwrap();
    let settings = TelemetrySettings {
        otlp_endpoint: Some(sink.endpoint()),
        sampling_ratio: 1.0,
        ..TelemetrySettings::default()
    };
    let telemetry = Telemetry::install(&settings).unwrap();
    assert!(matches!(
        Telemetry::install(&settings),
        Err(TelemetryError::AlreadyInstalled)
    ));

    std::thread::spawn(|| tracing::info_span!("step").in_scope(|| tracing::info!("from a thread")))
        .join()
        .unwrap();
    // What a library says through `log`, with its own target and at its own level.
    log::warn!(target: "actix_server", "through log");
    log::debug!(target: "tokio_postgres::query", "executing statement with parameters: [Maria]");

    telemetry.shutdown(Duration::from_secs(10)).unwrap();
    assert_eq!(sink.spans().len(), 1);
    let logs = sink.logs();
    let mut bodies: Vec<_> = logs.iter().map(|log| log.body.as_str()).collect();
    // A batch is grouped by target, in no order.
    bodies.sort_unstable();
    assert_eq!(bodies, ["from a thread", "through log"]);
    assert!(!sink.everything().contains("Maria"));
    // Afterwards, lines still go to stderr and nothing blocks or fails.
    tracing::info!("late");
}
