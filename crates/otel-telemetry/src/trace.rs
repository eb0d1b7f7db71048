//! What the calling sides may ask of a trace without depending on this crate: the server hands
//! them these functions as plain `fn` pointers ([`LinkRemoteParent`], [`CurrentTraceId`]).

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan as _;

use crate::observer::Observed;

/// The type of [`link_remote_parent`].
pub type LinkRemoteParent = fn(&tracing::Span, Option<&str>);

/// The type of [`current_trace_id`].
pub type CurrentTraceId = fn() -> Option<String>;

/// Links a request's span to the trace its caller claims to be in (`traceparent`, W3C Trace
/// Context level 1).
///
/// A link and never a parent: a caller whom we do not trust would otherwise choose our trace ids,
/// switch sampling on for every request, and hang its requests into the traces of others. What is
/// no valid `traceparent` is ignored. Can be called before or after the span is entered.
pub fn link_remote_parent(span: &tracing::Span, traceparent: Option<&str>) {
    let Some(traceparent) = traceparent.filter(|header| header.len() <= MAX_TRACEPARENT) else {
        return;
    };
    span.with_subscriber(|(id, dispatch)| {
        if let Some(span) = dispatch
            .downcast_ref::<Registry>()
            .and_then(|all| all.span(id))
            && let Some(observed) = span.extensions_mut().get_mut::<Observed>()
        {
            observed.link(|| {
                let remote = TraceContextPropagator::new().extract(&Header(traceparent));
                remote.span().span_context().clone()
            });
        }
    });
}

/// The trace that the calling thread is in, 32 hex digits: what an error's `traceId` shows.
///
/// `None` outside of every span, and when no collector is configured. There is an id, and log
/// records carry it, whether or not the trace is sampled.
pub fn current_trace_id() -> Option<String> {
    tracing::dispatcher::get_default(|dispatch| {
        let current = dispatch.current_span();
        let span = dispatch.downcast_ref::<Registry>()?.span(current.id()?)?;
        let trace = span.extensions().get::<Observed>()?.trace?;
        Some(trace.id.to_string())
    })
}

/// Version, trace id, parent id and flags are 55 bytes; a later version may append.
const MAX_TRACEPARENT: usize = 256;

/// The one header. No `tracestate`: it is a stranger's text, and it would be exported.
struct Header<'a>(&'a str);

impl Extractor for Header<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}
