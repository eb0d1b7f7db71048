//! A pipeline of its own per test, its collector and its lines.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use otel_telemetry::sink::{ReceivedSpan, Sink};
use otel_telemetry::{Telemetry, TelemetrySettings};
use tracing::Dispatch;

pub const REQUEST: &str = "0197f0a1-0000-7000-8000-00000000000a";
pub const CLINIC: &str = "0197f0a1-0000-7000-8000-00000000000c";

pub struct Watched {
    pub sink: Sink,
    pub lines: Arc<Mutex<String>>,
    pub dispatch: Dispatch,
    pub telemetry: Telemetry,
}

impl Watched {
    /// Everything sampled, unless `change` says otherwise.
    pub fn new(change: impl FnOnce(&mut TelemetrySettings)) -> Self {
        Self::with_sink(Sink::start().unwrap(), change)
    }

    pub fn with_sink(sink: Sink, change: impl FnOnce(&mut TelemetrySettings)) -> Self {
        let mut settings = TelemetrySettings {
            otlp_endpoint: Some(sink.endpoint()),
            sampling_ratio: 1.0,
            ..TelemetrySettings::default()
        };
        change(&mut settings);
        let lines = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&lines);
        let (dispatch, telemetry) =
            Telemetry::scoped(&settings, move |line| kept.lock().unwrap().push_str(line)).unwrap();
        Self {
            sink,
            lines,
            dispatch,
            telemetry,
        }
    }

    /// Runs `work` under observation.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        tracing::dispatcher::with_default(&self.dispatch, work)
    }

    /// Flushes, and hands out what arrived.
    pub fn finish(self) -> (Sink, String) {
        self.telemetry.shutdown(Duration::from_secs(10)).unwrap();
        let lines = self.lines.lock().unwrap().clone();
        (self.sink, lines)
    }
}

/// The one span of that name.
pub fn named(sink: &Sink, name: &str) -> ReceivedSpan {
    let found: Vec<_> = sink
        .spans()
        .into_iter()
        .filter(|span| span.name == name)
        .collect();
    assert_eq!(found.len(), 1, "{name} in {:#?}", sink.spans());
    found.into_iter().next().unwrap()
}

/// A request's span as `spans` documents it.
#[macro_export]
macro_rules! request_span {
    ($method:expr, $route:expr) => {
        tracing::info_span!(
            "http.request",
            otel.name = %format_args!("{} {}", $method, $route),
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            http.request.method = $method,
            http.route = $route,
            http.response.status_code = tracing::field::Empty,
            url.scheme = "https",
            error.type = tracing::field::Empty,
            acolhe.request_id = $crate::common::REQUEST,
            acolhe.clinic_id = tracing::field::Empty,
        )
    };
}
