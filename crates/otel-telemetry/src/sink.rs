//! A collector for tests: it takes OTLP over HTTP (protobuf), and shows what arrived, each span,
//! log record and delivery of metrics also as JSON, so that a canary test can look for a planted secret in all of it.
//!
//! Threads and sockets of the standard library only; it works beside any runtime or none.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::Value;

use crate::spans;

/// A span that arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedSpan {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    /// 16 hex digits, empty for the first span of a trace.
    pub parent_span_id: String,
    /// Its name.
    pub name: String,
    /// As `otel.kind` spells it.
    pub kind: &'static str,
    /// Its attributes with their types.
    pub attributes: BTreeMap<String, Value>,
    /// Trace id and span id of each linked span.
    pub links: Vec<(String, String)>,
    /// Whether its status is an error.
    pub failed: bool,
    /// `service.name` and the like.
    pub resource: BTreeMap<String, Value>,
    /// The whole of it.
    pub json: String,
}

impl ReceivedSpan {
    /// What it breaks of [`spans`], one sentence each.
    pub fn violations(&self) -> Vec<String> {
        let field = |key: &str| {
            self.attributes.get(key).map(|value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            })
        };
        spans::violations(
            &self.name,
            self.kind,
            self.attributes.keys().map(String::as_str),
            field,
        )
    }
}

/// A log record that arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedLog {
    /// The message.
    pub body: String,
    /// `INFO`, `WARN`, …
    pub severity: String,
    /// 32 hex digits, empty outside of a trace.
    pub trace_id: String,
    /// 16 hex digits, empty outside of a trace.
    pub span_id: String,
    /// Its attributes with their types.
    pub attributes: BTreeMap<String, Value>,
    /// The whole of it.
    pub json: String,
}

/// A point of a metric that arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct ReceivedPoint {
    /// The metric's name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// `gauge`, `sum` or `histogram`.
    pub kind: &'static str,
    /// Whether it only grows, for a sum.
    pub monotonic: bool,
    /// Its labels with their types.
    pub attributes: BTreeMap<String, Value>,
    /// Its value; of a histogram, how many there were.
    pub value: f64,
    /// The upper bounds of a histogram's buckets.
    pub bounds: Vec<f64>,
}

#[derive(Default)]
struct Received {
    spans: Vec<ReceivedSpan>,
    logs: Vec<ReceivedLog>,
    points: Vec<ReceivedPoint>,
    /// Each delivery of metrics.
    metrics: Vec<String>,
    /// What arrived and is no OTLP.
    strays: Vec<String>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Received>,
    arrived: Condvar,
    stop: AtomicBool,
    status: AtomicU16,
}

/// A running collector. It stops when dropped.
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink")
            .field("address", &self.address)
            .finish()
    }
}

impl Sink {
    /// Listens on a free port of this machine.
    pub fn start() -> io::Result<Self> {
        Self::answering(200)
    }

    /// Listens, and answers everything with this status. What arrives is kept all the same.
    pub fn answering(status: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            status: AtomicU16::new(status),
            ..Shared::default()
        });
        let accepting = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("otlp-sink".to_owned())
            .spawn(move || {
                for stream in listener.incoming() {
                    if accepting.stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    let shared = Arc::clone(&accepting);
                    std::thread::spawn(move || {
                        // The other side went away: nothing to keep.
                        let _ = serve(stream, &shared);
                    });
                }
            })?;
        Ok(Self { address, shared })
    }

    /// What to write into `otlp_endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans so far, in the order of arrival.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.received(|received| received.spans.clone())
    }

    /// The log records so far, in the order of arrival.
    pub fn logs(&self) -> Vec<ReceivedLog> {
        self.received(|received| received.logs.clone())
    }

    /// The points of metrics so far, in the order of arrival.
    pub fn points(&self) -> Vec<ReceivedPoint> {
        self.received(|received| received.points.clone())
    }

    /// All that arrived, spans, records, metrics, and what was none of these, as JSON lines: where
    /// to look for a canary.
    pub fn everything(&self) -> String {
        self.received(|received| {
            let spans = received.spans.iter().map(|span| span.json.as_str());
            let logs = received.logs.iter().map(|log| log.json.as_str());
            let metrics = received.metrics.iter().map(String::as_str);
            let strays = received.strays.iter().map(String::as_str);
            spans
                .chain(logs)
                .chain(metrics)
                .chain(strays)
                .collect::<Vec<_>>()
                .join("\n")
        })
    }

    /// Waits until `enough` holds; false if it does not within `timeout`.
    pub fn wait_for(
        &self,
        timeout: Duration,
        enough: impl Fn(&[ReceivedSpan], &[ReceivedLog]) -> bool,
    ) -> bool {
        let received = self
            .shared
            .received
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (_received, waited) = self
            .shared
            .arrived
            .wait_timeout_while(received, timeout, |received| {
                !enough(&received.spans, &received.logs)
            })
            .unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    fn received<T>(&self, read: impl FnOnce(&Received) -> T) -> T {
        read(
            &self
                .shared
                .received
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the listener, which is then dropped and refuses everybody.
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers requests of one connection until it closes. HTTP/1.1 as far as an exporter speaks it:
/// a body with a length.
fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if shared.stop.load(Ordering::SeqCst) {
            return Ok(());
        }
        keep(&path, &body, shared);
        let status = shared.status.load(Ordering::SeqCst);
        write!(
            writer,
            "HTTP/1.1 {status} .\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
        )?;
    }
}

fn keep(path: &str, body: &[u8], shared: &Shared) {
    let mut received = shared
        .received
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match path {
        "/v1/traces" => match ExportTraceServiceRequest::decode(body) {
            Ok(request) => received.spans.extend(read_spans(request)),
            Err(error) => received.strays.push(format!("{path}: {error}")),
        },
        "/v1/logs" => match ExportLogsServiceRequest::decode(body) {
            Ok(request) => received.logs.extend(read_logs(request)),
            Err(error) => received.strays.push(format!("{path}: {error}")),
        },
        "/v1/metrics" => match ExportMetricsServiceRequest::decode(body) {
            Ok(request) => {
                let json = serde_json::to_string(&request).unwrap_or_default();
                received.metrics.push(json);
                received.points.extend(read_points(request));
            }
            Err(error) => received.strays.push(format!("{path}: {error}")),
        },
        _ => received
            .strays
            .push(format!("{path}: {}", String::from_utf8_lossy(body))),
    }
    shared.arrived.notify_all();
}

fn read_spans(request: ExportTraceServiceRequest) -> Vec<ReceivedSpan> {
    let mut spans = Vec::new();
    for group in request.resource_spans {
        let resource = group
            .resource
            .map(|r| attributes(r.attributes))
            .unwrap_or_default();
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(read_span(span, resource.clone()));
        }
    }
    spans
}

fn read_span(span: Span, resource: BTreeMap<String, Value>) -> ReceivedSpan {
    ReceivedSpan {
        json: serde_json::to_string(&span).unwrap_or_default(),
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_span_id: hex(&span.parent_span_id),
        kind: match span.kind {
            2 => "server",
            3 => "client",
            4 => "producer",
            5 => "consumer",
            _ => "internal",
        },
        name: span.name,
        attributes: attributes(span.attributes),
        links: span
            .links
            .iter()
            .map(|link| (hex(&link.trace_id), hex(&link.span_id)))
            .collect(),
        failed: span.status.is_some_and(|status| status.code == 2),
        resource,
    }
}

fn read_logs(request: ExportLogsServiceRequest) -> Vec<ReceivedLog> {
    request
        .resource_logs
        .into_iter()
        .flat_map(|group| group.scope_logs)
        .flat_map(|scope| scope.log_records)
        .map(|record| ReceivedLog {
            json: serde_json::to_string(&record).unwrap_or_default(),
            body: match value(record.body) {
                Value::String(body) => body,
                other => other.to_string(),
            },
            severity: record.severity_text,
            trace_id: hex(&record.trace_id),
            span_id: hex(&record.span_id),
            attributes: attributes(record.attributes),
        })
        .collect()
}

fn read_points(request: ExportMetricsServiceRequest) -> Vec<ReceivedPoint> {
    request
        .resource_metrics
        .into_iter()
        .flat_map(|group| group.scope_metrics)
        .flat_map(|scope| scope.metrics)
        .flat_map(points_of)
        .collect()
}

#[allow(clippy::cast_precision_loss, reason = "small numbers of a test")]
fn points_of(metric: Metric) -> Vec<ReceivedPoint> {
    let (name, unit) = (metric.name, metric.unit);
    let point = |kind, monotonic, labels, value, bounds| ReceivedPoint {
        name: name.clone(),
        unit: unit.clone(),
        kind,
        monotonic,
        attributes: attributes(labels),
        value,
        bounds,
    };
    let number = |value: Option<number_data_point::Value>| match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        None => f64::NAN,
    };
    match metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge
            .data_points
            .into_iter()
            .map(|it| point("gauge", false, it.attributes, number(it.value), Vec::new()))
            .collect(),
        Some(metric::Data::Sum(sum)) => {
            let monotonic = sum.is_monotonic;
            sum.data_points
                .into_iter()
                .map(|it| {
                    point(
                        "sum",
                        monotonic,
                        it.attributes,
                        number(it.value),
                        Vec::new(),
                    )
                })
                .collect()
        }
        Some(metric::Data::Histogram(histogram)) => histogram
            .data_points
            .into_iter()
            .map(|it| {
                let count = it.count as f64;
                point("histogram", false, it.attributes, count, it.explicit_bounds)
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, Value> {
    pairs
        .into_iter()
        .map(|pair| (pair.key, value(pair.value)))
        .collect()
}

fn value(any: Option<AnyValue>) -> Value {
    match any.and_then(|any| any.value) {
        Some(any_value::Value::StringValue(text)) => Value::from(text),
        Some(any_value::Value::BoolValue(flag)) => Value::from(flag),
        Some(any_value::Value::IntValue(number)) => Value::from(number),
        Some(any_value::Value::DoubleValue(number)) => Value::from(number),
        Some(other) => Value::from(format!("{other:?}")),
        None => Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        use std::fmt::Write as _;
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
