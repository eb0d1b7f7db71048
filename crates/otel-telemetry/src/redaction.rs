//! The exporter of spans that lets listed fields pass and nothing else, and the count of what it
//! and the log lines dropped.
//!
//! It works in the exporter's thread, on sampled spans only, so a request pays nothing for it. (The
//! log lines do the same work where they are written: [`crate::logs`].)

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::trace::Status;
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter};

use crate::fields::{self, FieldValue};
use crate::logs::Output;

/// So many different names are remembered; the rest count as `…`.
const MAX_NAMES: usize = 64;

/// What was dropped since the start, by field. Anything here is a mistake in the source code: the
/// canary test asserts that it stays empty.
pub(crate) struct Dropped {
    counts: Mutex<BTreeMap<String, u64>>,
    output: Arc<Output>,
}

impl fmt::Debug for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dropped").field(&self.counts()).finish()
    }
}

impl Dropped {
    pub(crate) fn new(output: Arc<Output>) -> Self {
        Self {
            counts: Mutex::default(),
            output,
        }
    }

    /// Counts a field, and says its name on stderr the first time, so that it is found before the
    /// field is missed. The value is said nowhere.
    pub(crate) fn count(&self, field: &str) {
        // A name that is not even a name could be somebody's.
        let field = if fields::is_word(field) { field } else { "…" };
        let first = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let field = if counts.len() < MAX_NAMES || counts.contains_key(field) {
                field
            } else {
                "…"
            };
            let count = counts.entry(field.to_owned()).or_default();
            *count += 1;
            *count == 1
        };
        if first {
            self.output.notice(&format!(
                "telemetry drops the field {field}: it is not listed, or its value has another shape"
            ));
        }
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Cleans spans, then hands them on.
#[derive(Debug)]
pub(crate) struct Redacting<E> {
    inner: E,
    dropped: Arc<Dropped>,
}

impl<E> Redacting<E> {
    pub(crate) fn new(inner: E, dropped: Arc<Dropped>) -> Self {
        Self { inner, dropped }
    }

    fn clean(&self, span: &mut SpanData) {
        let before = span.attributes.len();
        span.attributes.retain_mut(|attribute| {
            let admitted = admit(attribute);
            if !admitted {
                self.dropped.count(attribute.key.as_str());
            }
            admitted
        });
        let gone = u32::try_from(before - span.attributes.len()).unwrap_or(u32::MAX);
        span.dropped_attributes_count = span.dropped_attributes_count.saturating_add(gone);
        if !fields::is_word(&span.name) {
            self.dropped.count("otel.name");
            span.name = "unnamed".into();
        }
        // Events are log records here, so a span that has some got them past us. A status needs no
        // words, and an attribute of a link has no convention.
        span.events = SpanEvents::default();
        for link in &mut span.links.links {
            link.attributes.clear();
        }
        if let Status::Error { description } = &mut span.status {
            *description = "".into();
        }
    }
}

/// Makes the value what its shape demands; false if that cannot be.
fn admit(attribute: &mut KeyValue) -> bool {
    let Some(shape) = fields::shape_of(attribute.key.as_str()) else {
        return false;
    };
    let value = match &attribute.value {
        Value::I64(value) => FieldValue::Int(*value),
        Value::F64(value) => FieldValue::Float(*value),
        Value::String(value) => FieldValue::Text(value.as_str().to_owned()),
        _ => return false,
    };
    let Some(value) = fields::admit(shape, value) else {
        return false;
    };
    attribute.value = match value {
        FieldValue::Int(value) => Value::I64(value),
        FieldValue::Float(value) => Value::F64(value),
        FieldValue::Text(value) => Value::String(value.into()),
    };
    true
}

impl<E: SpanExporter> SpanExporter for Redacting<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        for span in &mut batch {
            self.clean(span);
        }
        self.inner.export(batch).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
