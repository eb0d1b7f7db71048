//! Traces, metrics and logs of a process, on stderr and over OTLP, without the people they are
//! about.
//!
//! The server calls [`Telemetry::install`] first and [`Telemetry::shutdown`] last. Every other
//! crate uses `tracing` alone and knows nothing of this one; what they must agree on is written
//! here and tested here:
//!
//! - [`fields`]: which fields exist, and the shape of their values. Everything else is dropped.
//! - [`spans`]: which spans there are, how they are named, what each carries.
//! - [`filter`]: which targets never speak below `warn`.
//! - [`Meter`]: what is measured, of the closed catalogue of [`kernel::metrics`].
//! - [`trace`]: functions that the server hands to the calling sides.
//!
//! Sampling is decided by the trace's first span ([`TelemetrySettings::sampling_ratio`]) and
//! followed by its children. Log records are never sampled, and carry the trace id all the same.
//! Nothing is forwarded to those whom we call: no propagator is installed, and no baggage exists.
//!
//! # Traps
//!
//! - **`#[instrument]`** makes every argument an attribute. Only ever `#[instrument(skip_all)]`.
//! - **A message is free text.** `error!("could not book {name}")` passes every list. Messages are
//!   constants; what varies is a field.
//! - **Eager formatting.** `otel.name = format!(…)` is paid by unsampled requests as well;
//!   `otel.name = %format_args!(…)` by sampled ones only.
//! - **Absent fields.** A field that is recorded later must be named when the span is made
//!   (`= tracing::field::Empty`), or `record` does nothing, without a word.
//! - **OpenTelemetry's own API** sees no current span here: spans are made with `tracing`.
//! - **Blocking.** The exporters work on threads of their own, with reqwest's blocking client,
//!   which panics where it is built or *used* on an async worker; opentelemetry-otlp builds it on a
//!   thread, and dropping it anywhere is harmless, which a test holds. [`Telemetry::shutdown`]
//!   blocks until the collector answered: never on an async worker.
//! - **Environment.** opentelemetry reads `OTEL_EXPORTER_OTLP_HEADERS` (credentials for a
//!   collector), `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_*` and `OTEL_BLRP_*` by itself, and reqwest
//!   `HTTP_PROXY`. What [`TelemetrySettings`] names wins over the environment.
//! - **A slow stderr** blocks who logs. Spans and OTLP records never block: a full queue drops.

#![warn(missing_docs)]

mod dropped;
pub mod fields;
pub mod filter;
mod lines;
mod metrics;
mod observer;
mod settings;
#[cfg(feature = "test-sink")]
pub mod sink;
pub mod spans;
mod telemetry;
pub mod trace;

pub use metrics::Meter;
pub use observer::CONTEXT;
pub use settings::{LogFormat, OtlpProtocol, TelemetryError, TelemetrySettings, UnknownChoice};
pub use telemetry::{ShutdownError, Telemetry};
