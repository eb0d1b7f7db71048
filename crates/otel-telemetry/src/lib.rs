//! Traces and logs of a process, on stderr and over OTLP, without the people they are about.
//!
//! The server calls [`Telemetry::install`] first and [`Telemetry::shutdown`] last. Every other
//! crate uses `tracing` alone and knows nothing of this one; what they must agree on is written
//! here and tested here:
//!
//! - [`fields`]: which fields exist, and the shape of their values. Everything else is dropped.
//! - [`spans`]: which spans there are, how they are named, what each carries.
//! - [`filter`]: which targets never speak below `warn`.
//! - [`trace`]: functions that the server hands to the calling sides.
//!
//! Sampling is decided by the trace's first span ([`TelemetrySettings::sampling_ratio`]) and
//! followed by its children. Log records are never sampled, and carry the trace id all the same.
//!
//! # Traps
//!
//! - **Numbers.** `tracing_opentelemetry` exports a `u64`, `u16` or `usize` as text (`"200"`).
//!   Record `as i64`; [`fields::Shape::Number`] mends what is forgotten.
//! - **`#[instrument]`** makes every argument an attribute. Only ever `#[instrument(skip_all)]`.
//! - **`otel.name` and `otel.kind`** are read when a span is made; recorded after it was entered,
//!   they are ignored without a word. The route's pattern must be known before the span is.
//! - **A message is free text.** `error!("could not book {name}")` passes every list. Messages are
//!   constants; what varies is a field.
//! - **Links and parents.** `set_parent` works only before a span is entered; `add_link`
//!   ([`trace::link_remote_parent`]) any time.
//! - **Blocking.** The exporters work on threads of their own, with reqwest's blocking client,
//!   which must not be *used* on an async worker; building it (opentelemetry-otlp does that on a
//!   thread) and dropping it there is harmless, which a test holds. [`Telemetry::shutdown`] blocks
//!   until the collector answered: never on an async worker.
//! - **Environment.** opentelemetry reads `OTEL_EXPORTER_OTLP_HEADERS` (credentials for a
//!   collector), `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_*` and `OTEL_BLRP_*` by itself, and reqwest
//!   `HTTP_PROXY`. What [`TelemetrySettings`] names wins over the environment.
//! - **A slow stderr** blocks who logs. Spans and OTLP records never block: a full queue drops.

#![warn(missing_docs)]

pub mod fields;
pub mod filter;
mod logs;
mod redaction;
mod settings;
#[cfg(feature = "test-sink")]
pub mod sink;
pub mod spans;
mod telemetry;
pub mod trace;

pub use logs::CONTEXT;
pub use settings::{LogFormat, OtlpProtocol, TelemetryError, TelemetrySettings, UnknownChoice};
pub use telemetry::{ShutdownError, Telemetry};
