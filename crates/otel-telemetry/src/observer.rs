//! The one layer: spans become OTLP spans, events become lines on stderr and OTLP log records, and
//! of both only listed fields ([`crate::fields`]).
//!
//! tracing-opentelemetry, OpenTelemetry's log appender and tracing-subscriber's `fmt` together do
//! the same. They were tried first, and left for three reasons:
//!
//! - **Cost.** Nineteen requests in twenty are not sampled, yet each of their spans was built whole
//!   (a dozen allocations), and formatted a second time for lines that are rarely written. Here an
//!   unsampled span costs its ids and the context of its events: measured for a request with one
//!   query, 1.1-1.5 µs at 5 % sampling against 4.0-4.6 µs.
//! - **The list.** What is not listed is never formatted, instead of being removed later.
//! - **Types.** A `u64` stays a number.
//!
//! A trace is sampled as a whole, when its first span begins. Every span has ids, sampled or not,
//! so that log records and error answers can name the trace.
//!
//! What nobody needs is not here: span events (an event is a log record), poll and idle times,
//! source locations, and OpenTelemetry's own current `Context` (the current span is `tracing`'s).

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, Severity};
use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::logs::SdkLogger;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, IdGenerator as _, RandomIdGenerator, Sampler, SamplingDecision,
    ShouldSample as _, SpanData, SpanEvents, SpanLinks, SpanProcessor as _,
};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::dropped::Dropped;
use crate::fields::{self, CLINIC_ID, FieldValue, HTTP_ROUTE, REQUEST_ID};
use crate::filter::{self, Seen};
use crate::lines::Output;

/// The fields of surrounding spans that an event inherits, the innermost value first.
pub const CONTEXT: [&str; 3] = [CLINIC_ID, REQUEST_ID, HTTP_ROUTE];

/// Spans and events of a process.
pub(crate) struct Observer {
    pub(crate) seen: Seen,
    pub(crate) output: Arc<Output>,
    pub(crate) dropped: Arc<Dropped>,
    pub(crate) spans: Option<Spans>,
    pub(crate) records: Option<SdkLogger>,
    /// Set when the exporters are going; what came after would be answered by a complaint.
    pub(crate) closed: Arc<AtomicBool>,
}

/// Where spans go, and which of them.
pub(crate) struct Spans {
    pub(crate) processor: Arc<BatchSpanProcessor>,
    pub(crate) sampler: Sampler,
    pub(crate) scope: InstrumentationScope,
    pub(crate) ids: RandomIdGenerator,
}

/// What a span is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) id: TraceId,
    pub(crate) span_id: SpanId,
    sampled: bool,
}

/// What this layer keeps with a span.
pub(crate) struct Observed {
    pub(crate) trace: Option<Trace>,
    context: [Slot; CONTEXT.len()],
    /// Of a sampled span.
    recording: Option<Box<Recording>>,
}

/// A span that will be exported.
struct Recording {
    parent_span_id: SpanId,
    name: Cow<'static, str>,
    kind: SpanKind,
    start: SystemTime,
    attributes: Vec<KeyValue>,
    dropped: u32,
    links: Vec<Link>,
    status: Status,
}

impl Observed {
    /// Links a sampled span; an unsampled one has nobody to show the link to.
    pub(crate) fn link(&mut self, remote: impl FnOnce() -> SpanContext) {
        if let Some(recording) = &mut self.recording {
            let remote = remote();
            if remote.is_valid() {
                recording.links.push(Link::with_context(remote));
            }
        }
    }
}

impl Recording {
    fn push(&mut self, key: &'static str, value: FieldValue, dropped: &Dropped) {
        let Some(value) = fields::shape_of(key).and_then(|shape| fields::admit(shape, value))
        else {
            self.dropped += 1;
            dropped.count(key);
            return;
        };
        let value = match value {
            FieldValue::Int(value) => Value::I64(value),
            FieldValue::Float(value) => Value::F64(value),
            FieldValue::Text(value) => Value::String(value.into()),
        };
        // The last of two values of one key; OTLP knows no key twice.
        match self.attributes.iter_mut().find(|a| a.key.as_str() == key) {
            Some(attribute) => attribute.value = value,
            None => self.attributes.push(KeyValue::new(key, value)),
        }
    }

    /// `otel.name` and its kin speak about the span itself.
    fn describe(&mut self, key: &str, text: String) {
        match key {
            "otel.name" => self.name = text.into(),
            "otel.kind" => {
                self.kind = match text.as_str() {
                    "server" => SpanKind::Server,
                    "client" => SpanKind::Client,
                    "producer" => SpanKind::Producer,
                    "consumer" => SpanKind::Consumer,
                    _ => SpanKind::Internal,
                }
            }
            "otel.status_code" => {
                // Without a description: it would be free text, and the records have it.
                // In any case: other libraries write it in capitals.
                self.status = match text.to_ascii_lowercase().as_str() {
                    "error" => Status::error(""),
                    "ok" => Status::Ok,
                    _ => Status::Unset,
                }
            }
            _ => {}
        }
    }
}

/// A short text held in place: a request has three, and most are never read.
struct Slot {
    length: u8,
    bytes: [u8; Slot::CAPACITY],
}

impl Slot {
    const CAPACITY: usize = 96;
    const EMPTY: Self = Self {
        length: 0,
        bytes: [0; Self::CAPACITY],
    };

    fn get(&self) -> Option<&str> {
        let text = self.bytes.get(..usize::from(self.length))?;
        std::str::from_utf8(text)
            .ok()
            .filter(|text| !text.is_empty())
    }
}

impl fmt::Write for Slot {
    /// Fails when the text is longer than any that belongs here.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let from = usize::from(self.length);
        let until = from + text.len();
        let room = self.bytes.get_mut(from..until).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = u8::try_from(until).map_err(|_| fmt::Error)?;
        Ok(())
    }
}

/// Takes the fields of a span as they come.
struct SpanFields<'a> {
    observed: &'a mut Observed,
    dropped: &'a Dropped,
}

impl SpanFields<'_> {
    fn number(&mut self, field: &Field, value: FieldValue) {
        if let Some(recording) = &mut self.observed.recording {
            recording.push(field.name(), value, self.dropped);
        }
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let key = field.name();
        if let Some(at) = CONTEXT.iter().position(|name| *name == key)
            && let Some(slot) = self.observed.context.get_mut(at)
        {
            *slot = Slot::EMPTY;
            let fits = slot.write_fmt(value).is_ok();
            let listed = fields::shape_of(key).zip(slot.get());
            if !fits || !listed.is_some_and(|(shape, text)| shape.holds(text)) {
                *slot = Slot::EMPTY;
            }
        }
        if let Some(recording) = &mut self.observed.recording {
            if key.starts_with("otel.") {
                recording.describe(key, value.to_string());
            } else if fields::shape_of(key).is_some() {
                recording.push(key, FieldValue::Text(value.to_string()), self.dropped);
            } else {
                // Never formatted.
                recording.dropped += 1;
                self.dropped.count(key);
            }
        }
    }
}

impl Visit for SpanFields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.number(field, FieldValue::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, FieldValue::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field, whole(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.number(field, whole(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.number(field, whole(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }
}

/// What does not fit says at least that it is much.
fn whole(value: impl TryInto<i64>) -> FieldValue {
    FieldValue::Int(value.try_into().unwrap_or(i64::MAX))
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
        self.push(field, || whole(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.push(field, || whole(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.push(field, || whole(value));
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

impl Observer {
    /// The ids of a span that begins under `parent`.
    fn begin(&self, parent: Option<Trace>) -> Option<Trace> {
        let spans = self.spans.as_ref()?;
        let span_id = spans.ids.new_span_id();
        Some(if let Some(parent) = parent {
            Trace { span_id, ..parent }
        } else {
            let trace_id = spans.ids.new_trace_id();
            let sampling =
                spans
                    .sampler
                    .should_sample(None, trace_id, "", &SpanKind::Internal, &[], &[]);
            Trace {
                id: trace_id,
                span_id,
                sampled: sampling.decision == SamplingDecision::RecordAndSample,
            }
        })
    }

    fn finish(&self, trace: Trace, mut recording: Recording) {
        let Some(spans) = &self.spans else { return };
        if !fields::is_word(&recording.name) {
            self.dropped.count("otel.name");
            recording.name = "unnamed".into();
        }
        let flags = TraceFlags::SAMPLED;
        let mut links = SpanLinks::default();
        links.links = recording.links;
        spans.processor.on_end(SpanData {
            span_context: SpanContext::new(trace.id, trace.span_id, flags, false, TraceState::NONE),
            parent_span_id: recording.parent_span_id,
            parent_span_is_remote: false,
            span_kind: recording.kind,
            name: recording.name,
            start_time: recording.start,
            end_time: opentelemetry::time::now(),
            attributes: recording.attributes,
            dropped_attributes_count: recording.dropped,
            events: SpanEvents::default(),
            links,
            status: recording.status,
            instrumentation_scope: spans.scope.clone(),
        });
    }

    fn export(&self, level: Level, target: &str, said: EventFields<'_>, trace: Option<Trace>) {
        let Some(logger) = &self.records else { return };
        let mut record = logger.create_log_record();
        record.set_timestamp(opentelemetry::time::now());
        record.set_target(target.to_owned());
        record.set_severity_number(severity(level));
        record.set_severity_text(level.as_str());
        record.set_body(AnyValue::from(said.message));
        if let Some(trace) = trace {
            let flags = TraceFlags::default().with_sampled(trace.sampled);
            record.set_trace_context(trace.id, trace.span_id, Some(flags));
        }
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

fn inherits(metadata: &Metadata<'_>) -> bool {
    metadata
        .fields()
        .iter()
        .any(|field| CONTEXT.contains(&field.name()))
}

impl<S> Layer<S> for Observer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.seen.sees(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.seen.sees(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.seen.max())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(id) else { return };
        let parent = span
            .parent()
            .and_then(|parent| parent.extensions().get::<Observed>()?.trace);
        let trace = self.begin(parent);
        let recording = trace.filter(|trace| trace.sampled).map(|_| {
            Box::new(Recording {
                parent_span_id: parent.map_or(SpanId::INVALID, |parent| parent.span_id),
                name: attributes.metadata().name().into(),
                kind: SpanKind::Internal,
                start: opentelemetry::time::now(),
                attributes: Vec::with_capacity(attributes.fields().len()),
                dropped: 0,
                links: Vec::new(),
                status: Status::Unset,
            })
        });
        let inherits = inherits(attributes.metadata());
        if trace.is_none() && !inherits {
            return;
        }
        let mut observed = Observed {
            trace,
            context: [Slot::EMPTY; CONTEXT.len()],
            recording,
        };
        if inherits || observed.recording.is_some() {
            attributes.record(&mut SpanFields {
                observed: &mut observed,
                dropped: &self.dropped,
            });
        }
        span.extensions_mut().insert(observed);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        if let Some(span) = cx.span(id)
            && let Some(observed) = span.extensions_mut().get_mut::<Observed>()
        {
            values.record(&mut SpanFields {
                observed,
                dropped: &self.dropped,
            });
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let metadata = event.metadata();
        let of_exporters = filter::is_export_stack(metadata.target());
        let mut said = EventFields {
            message: String::new(),
            target: None,
            fields: Vec::new(),
            dropped: (!of_exporters).then_some(&*self.dropped),
        };
        event.record(&mut said);
        if of_exporters && said.message.is_empty() {
            // The SDK names its events in place of a message.
            metadata.name().clone_into(&mut said.message);
        }
        let mut trace = None;
        for span in cx.event_scope(event).into_iter().flatten() {
            if let Some(observed) = span.extensions().get::<Observed>() {
                trace = trace.or(observed.trace);
                for (key, slot) in CONTEXT.iter().zip(&observed.context) {
                    if let Some(text) = slot.get()
                        && said.fields.iter().all(|(said, _)| said != key)
                    {
                        said.fields.push((key, FieldValue::Text(text.to_owned())));
                    }
                }
            }
        }
        let through_log = said.target.take();
        let target = through_log.as_deref().unwrap_or(metadata.target());
        self.output.line(
            *metadata.level(),
            target,
            &said.message,
            &said.fields,
            trace.map(|trace| (trace.id.to_string(), trace.span_id.to_string())),
        );
        if !filter::is_export_stack(target) && !self.closed.load(Ordering::Relaxed) {
            self.export(*metadata.level(), target, said, trace);
        }
    }

    fn on_close(&self, id: Id, cx: Context<'_, S>) {
        let Some(span) = cx.span(&id) else { return };
        // The lock ends with the statement: the processor may log.
        let finished = span
            .extensions_mut()
            .get_mut::<Observed>()
            .and_then(|observed| observed.trace.zip(observed.recording.take()));
        if let Some((trace, recording)) = finished
            && !self.closed.load(Ordering::Relaxed)
        {
            self.finish(trace, *recording);
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
