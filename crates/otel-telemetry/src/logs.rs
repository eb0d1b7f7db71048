//! The one layer that turns events into lines on stderr and into OTLP log records.
//!
//! tracing-subscriber's `fmt` and OpenTelemetry's appender would do the same with two drawbacks:
//! neither knows an allow-list, and `fmt` formats every field of every span, for requests that log
//! nothing. This one visits an event once, takes listed fields only ([`crate::fields`]) without
//! ever formatting the others, and keeps of the spans around it just what helps to find a request
//! ([`CONTEXT`]).
//!
//! A line holds `timestamp`, `level`, `target`, `message`, the fields, the context and, when
//! traces are on, `traceId` and `spanId`. An OTLP record holds the same, with the trace in its own
//! place; it has no event name, because that would be the path of a source file.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, Severity};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::logs::SdkLogger;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::fields::{self, CLINIC_ID, FieldValue, HTTP_ROUTE, REQUEST_ID};
use crate::filter;
use crate::redaction::Dropped;
use crate::settings::LogFormat;

/// The fields of surrounding spans that an event inherits, the innermost value first.
pub const CONTEXT: [&str; 3] = [CLINIC_ID, REQUEST_ID, HTTP_ROUTE];

/// Where a finished line goes, its newline included.
pub(crate) type LineSink = Box<dyn Fn(&str) + Send + Sync>;

/// Writes lines in one format.
pub(crate) struct Output {
    format: LogFormat,
    sink: LineSink,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("format", &self.format)
            .finish()
    }
}

impl Output {
    pub(crate) fn new(format: LogFormat, sink: LineSink) -> Self {
        Self { format, sink }
    }

    pub(crate) fn stderr(format: LogFormat) -> Self {
        Self::new(
            format,
            Box::new(|line| {
                // One write a line, so that lines of several processes do not mix. If stderr is
                // gone there is nobody to tell.
                let _ = std::io::stderr().lock().write_all(line.as_bytes());
            }),
        )
    }

    /// A warning of telemetry about itself, past the layers.
    pub(crate) fn notice(&self, message: &str) {
        self.line(Level::WARN, "otel_telemetry", message, &[], None);
    }

    fn line(
        &self,
        level: Level,
        target: &str,
        message: &str,
        fields: &[(&'static str, FieldValue)],
        trace: Option<(String, String)>,
    ) {
        let mut line = String::with_capacity(256);
        // Writing to a `String` cannot fail.
        let _ = match self.format {
            LogFormat::Json => json(&mut line, level, target, message, fields, trace),
            LogFormat::Text => text(&mut line, level, target, message, fields, trace),
        };
        (self.sink)(&line);
    }
}

fn json(
    line: &mut String,
    level: Level,
    target: &str,
    message: &str,
    fields: &[(&'static str, FieldValue)],
    trace: Option<(String, String)>,
) -> fmt::Result {
    line.push_str("{\"timestamp\":\"");
    SystemTime.format_time(&mut Writer::new(line))?;
    write!(line, "\",\"level\":\"{level}\",\"target\":")?;
    json_string(line, target)?;
    line.push_str(",\"message\":");
    json_string(line, message)?;
    for (key, value) in fields {
        line.push(',');
        json_string(line, key)?;
        line.push(':');
        match value {
            FieldValue::Int(value) => write!(line, "{value}")?,
            FieldValue::Float(value) if value.is_finite() => write!(line, "{value}")?,
            FieldValue::Float(_) => line.push_str("null"),
            FieldValue::Text(value) => json_string(line, value)?,
        }
    }
    if let Some((trace_id, span_id)) = trace {
        write!(line, ",\"traceId\":\"{trace_id}\",\"spanId\":\"{span_id}\"")?;
    }
    line.push_str("}\n");
    Ok(())
}

/// RFC 8259 section 7.
fn json_string(line: &mut String, text: &str) -> fmt::Result {
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            c if c.is_control() => write!(line, "\\u{:04x}", u32::from(c))?,
            c => line.push(c),
        }
    }
    line.push('"');
    Ok(())
}

fn text(
    line: &mut String,
    level: Level,
    target: &str,
    message: &str,
    fields: &[(&'static str, FieldValue)],
    trace: Option<(String, String)>,
) -> fmt::Result {
    SystemTime.format_time(&mut Writer::new(line))?;
    write!(line, " {level:>5} {target}: ")?;
    visible(line, message);
    for (key, value) in fields {
        write!(line, " {key}=")?;
        match value {
            FieldValue::Int(value) => write!(line, "{value}")?,
            FieldValue::Float(value) => write!(line, "{value}")?,
            FieldValue::Text(value) => visible(line, value),
        }
    }
    if let Some((trace_id, _)) = trace {
        write!(line, " traceId={trace_id}")?;
    }
    line.push('\n');
    Ok(())
}

/// Control characters are spelled out: a line break would forge a line, an escape sequence would
/// command the terminal.
fn visible(line: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

/// Events to lines and to log records.
pub(crate) struct LogLayer {
    pub(crate) output: Arc<Output>,
    pub(crate) otlp: Option<SdkLogger>,
    /// Set when the exporter is going; a record after that would be answered by a complaint.
    pub(crate) closed: Arc<AtomicBool>,
    pub(crate) dropped: Arc<Dropped>,
}

/// What a span contributes to the events within it.
#[derive(Default)]
struct SpanContext([Option<String>; CONTEXT.len()]);

impl Visit for SpanContext {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        for (key, slot) in CONTEXT.iter().zip(&mut self.0) {
            if *key == field.name() {
                *slot = Some(format!("{value:?}"));
            }
        }
    }
}

/// What an event says, as far as it may leave.
struct EventFields<'a> {
    message: String,
    /// The target of a record that came through the `log` crate.
    target: Option<String>,
    fields: Vec<(&'static str, FieldValue)>,
    /// `None`: the event is of another's making, its fields are not ours to count.
    dropped: Option<&'a Dropped>,
}

impl EventFields<'_> {
    fn push(&mut self, field: &Field, value: impl FnOnce() -> FieldValue) {
        let key = field.name();
        if key.starts_with("log.") {
            // What `log` adds: the path of a source file, its line.
            return;
        }
        let admitted = fields::shape_of(key).and_then(|shape| fields::admit(shape, value()));
        match (admitted, self.dropped) {
            (Some(value), _) => self.fields.push((key, value)),
            (None, Some(dropped)) => dropped.count(key),
            (None, None) => {}
        }
    }
}

impl Visit for EventFields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, || FieldValue::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, || FieldValue::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, || {
            FieldValue::Int(i64::try_from(value).unwrap_or(i64::MAX))
        });
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.push(field, || {
            FieldValue::Int(i64::try_from(value).unwrap_or(i64::MAX))
        });
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.push(field, || {
            FieldValue::Int(i64::try_from(value).unwrap_or(i64::MAX))
        });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = fields::scrub(&format!("{value:?}")).into_owned(),
            "log.target" => self.target = Some(format!("{value:?}")),
            _ => self.push(field, || FieldValue::Text(format!("{value:?}"))),
        }
    }
}

fn inherits(metadata: &Metadata<'_>) -> bool {
    metadata
        .fields()
        .iter()
        .any(|field| CONTEXT.contains(&field.name()))
}

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        if !inherits(attributes.metadata()) {
            return;
        }
        let mut context = SpanContext::default();
        attributes.record(&mut context);
        if let Some(span) = cx.span(id) {
            span.extensions_mut().insert(context);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        if let Some(span) = cx.span(id)
            && let Some(context) = span.extensions_mut().get_mut::<SpanContext>()
        {
            values.record(context);
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let metadata = event.metadata();
        let exports = filter::is_export_stack(metadata.target());
        let mut said = EventFields {
            message: String::new(),
            target: None,
            fields: Vec::new(),
            dropped: (!exports).then_some(&self.dropped),
        };
        event.record(&mut said);
        let target = said.target.as_deref().unwrap_or(metadata.target());
        if exports && said.message.is_empty() {
            // The SDK names its events in place of a message.
            metadata.name().clone_into(&mut said.message);
        }
        for (at, key) in CONTEXT.iter().enumerate() {
            if said.fields.iter().any(|(said, _)| said == key) {
                continue;
            }
            let inherited = cx
                .event_scope(event)
                .into_iter()
                .flatten()
                .find_map(|span| span.extensions().get::<SpanContext>()?.0.get(at)?.clone());
            if let Some(value) = inherited
                && let Some(shape) = fields::shape_of(key)
            {
                match fields::admit(shape, FieldValue::Text(value)) {
                    Some(value) => said.fields.push((key, value)),
                    None => self.dropped.count(key),
                }
            }
        }
        let trace = opentelemetry::Context::map_current(|cx| {
            let span = cx.span();
            let context = span.span_context();
            context.is_valid().then(|| {
                (
                    context.trace_id().to_string(),
                    context.span_id().to_string(),
                )
            })
        });
        self.output.line(
            *metadata.level(),
            target,
            &said.message,
            &said.fields,
            trace,
        );

        if let Some(logger) = &self.otlp
            && !filter::is_export_stack(target)
            && !self.closed.load(Ordering::Relaxed)
        {
            let mut record = logger.create_log_record();
            record.set_timestamp(opentelemetry::time::now());
            record.set_target(target.to_owned());
            record.set_severity_number(severity(*metadata.level()));
            record.set_severity_text(metadata.level().as_str());
            record.set_body(AnyValue::from(said.message));
            for (key, value) in said.fields {
                record.add_attribute(
                    key,
                    match value {
                        FieldValue::Int(value) => AnyValue::Int(value),
                        FieldValue::Float(value) => AnyValue::Double(value),
                        FieldValue::Text(value) => AnyValue::from(value),
                    },
                );
            }
            logger.emit(record);
        }
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::ERROR => Severity::Error,
        Level::WARN => Severity::Warn,
        Level::INFO => Severity::Info,
        Level::DEBUG => Severity::Debug,
        Level::TRACE => Severity::Trace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LogFormat, message: &str) -> String {
        let written = Arc::new(std::sync::Mutex::new(String::new()));
        let kept = Arc::clone(&written);
        let output = Output::new(
            format,
            Box::new(move |line| kept.lock().unwrap().push_str(line)),
        );
        let fields = [
            ("count", FieldValue::Int(3)),
            ("error", FieldValue::Text("a\"b".to_owned())),
            ("duration_ms", FieldValue::Float(f64::NAN)),
        ];
        output.line(Level::INFO, "contacts", message, &fields, None);
        written.lock().unwrap().clone()
    }

    #[test]
    fn a_json_line_is_one_object_with_typed_values() {
        let line = line(LogFormat::Json, "tab\t, line\n, é, \u{1b}[31m");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["message"], "tab\t, line\n, é, \u{1b}[31m");
        assert_eq!(object["count"], 3);
        assert_eq!(object["error"], "a\"b");
        assert_eq!(object["duration_ms"], serde_json::Value::Null);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.contains('\u{1b}'));
    }

    #[test]
    fn a_text_line_cannot_be_forged_from_within() {
        let line = line(LogFormat::Text, "first\nsecond \u{1b}[31m");
        assert_eq!(line.matches('\n').count(), 1);
        assert!(
            line.contains("first\\nsecond \\u{1b}[31m count=3"),
            "{line}"
        );
    }
}
