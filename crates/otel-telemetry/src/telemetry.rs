//! Building the pipeline, and taking it down without losing what it holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::logs::LoggerProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, Protocol, SpanExporter, WithExportConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::filter::{self, Seen};
use crate::logs::{LineSink, LogLayer, Output};
use crate::redaction::{Dropped, Redacting};
use crate::settings::{OtlpProtocol, TelemetryError, TelemetrySettings, checked_endpoint};

/// One export, its retries included, takes no longer. A collector that hangs costs the exporter's
/// thread this much per batch; a full queue (2,048 spans, 2,048 records) drops the newest.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// The instrumentation scope of every span and record.
const SCOPE: &str = "acolhe";

/// A running pipeline. Keep it until the process ends, then call [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
    grpc: Option<tokio::runtime::Runtime>,
    dropped: Arc<Dropped>,
    closed: Arc<AtomicBool>,
}

/// Something was still unsent when the time was up, or the exporter failed; it is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("telemetry shutdown: {0}")]
pub struct ShutdownError(String);

impl Telemetry {
    /// Begins to observe the whole process: `tracing` events and spans, and what libraries say
    /// through `log`. Once per process.
    ///
    /// May be called inside an async runtime or outside of any; it makes its own threads. A
    /// collector that is down is no error here.
    pub fn install(settings: &TelemetrySettings) -> Result<Self, TelemetryError> {
        let (dispatch, telemetry) = Self::build(settings, Output::stderr(settings.log_format))?;
        dispatch
            .try_init()
            .map_err(|_| TelemetryError::AlreadyInstalled)?;
        // W3C Trace Context alone. A baggage propagator would forward whatever a caller put there.
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(telemetry)
    }

    /// The same pipeline without any global state, its lines handed to `line` (newline included),
    /// for `tracing::dispatcher::with_default` in tests.
    pub fn scoped(
        settings: &TelemetrySettings,
        line: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<(Dispatch, Self), TelemetryError> {
        let line: LineSink = Box::new(line);
        Self::build(settings, Output::new(settings.log_format, line))
    }

    fn build(
        settings: &TelemetrySettings,
        output: Output,
    ) -> Result<(Dispatch, Self), TelemetryError> {
        if !(0.0..=1.0).contains(&settings.sampling_ratio) {
            return Err(TelemetryError::SamplingRatio);
        }
        let seen = Seen::parse(&settings.log_filter)?;
        let output = Arc::new(output);
        let dropped = Arc::new(Dropped::new(Arc::clone(&output)));
        let mut telemetry = Self {
            traces: None,
            logs: None,
            grpc: None,
            dropped: Arc::clone(&dropped),
            closed: Arc::default(),
        };
        if let Some(endpoint) = &settings.otlp_endpoint {
            telemetry.export(settings, checked_endpoint(endpoint)?)?;
        }
        let logs = LogLayer {
            output,
            otlp: telemetry.logs.as_ref().map(|logs| logs.logger(SCOPE)),
            closed: Arc::clone(&telemetry.closed),
            dropped,
        };
        let traces = telemetry.traces.as_ref().map(|traces| {
            tracing_opentelemetry::layer()
                .with_tracer(traces.tracer(SCOPE))
                // Paths of source files, threads and poll times say little and cost much.
                .with_location(false)
                .with_target(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                // Spans alone: events are log records, not span events as well.
                .with_filter(filter_fn(filter::spans).with_max_level_hint(LevelFilter::INFO))
        });
        let subscriber = tracing_subscriber::registry()
            .with(traces)
            .with(logs.with_filter(seen));
        Ok((Dispatch::new(subscriber), telemetry))
    }

    fn export(
        &mut self,
        settings: &TelemetrySettings,
        endpoint: &str,
    ) -> Result<(), TelemetryError> {
        let (spans, records) = match settings.otlp_protocol {
            OtlpProtocol::Http => http_exporters(endpoint),
            OtlpProtocol::Grpc => {
                // The channel lives on a runtime. Its own, so that it neither needs the server's
                // nor waits for it during shutdown.
                let runtime = self.grpc.insert(
                    tokio::runtime::Builder::new_multi_thread()
                        .worker_threads(1)
                        .thread_name("otlp-grpc")
                        .enable_all()
                        .build()?,
                );
                let _entered = runtime.enter();
                grpc_exporters(endpoint)
            }
        }
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(KeyValue::new(
                "service.version",
                settings.service_version.clone(),
            ))
            .build();
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            settings.sampling_ratio,
        )));
        self.traces = Some(
            SdkTracerProvider::builder()
                .with_resource(resource.clone())
                .with_sampler(sampler)
                .with_batch_exporter(Redacting::new(spans, Arc::clone(&self.dropped)))
                .build(),
        );
        self.logs = Some(
            SdkLoggerProvider::builder()
                .with_resource(resource)
                .with_batch_exporter(records)
                .build(),
        );
        Ok(())
    }

    /// The fields that were dropped since the start, and how often: not listed in
    /// [`crate::fields`], or of another shape. Tests assert that there is none.
    pub fn dropped_fields(&self) -> BTreeMap<String, u64> {
        self.dropped.counts()
    }

    /// Sends what is waiting, waits for the collector's answer, and ends the exporters' threads;
    /// `timeout` bounds the whole.
    ///
    /// Blocks. In async code call it where blocking is allowed (`web::block`, `spawn_blocking`),
    /// after the last request was answered. Lines still reach stderr afterwards. Dropping the
    /// pipeline instead may block as well, for as long as its exporters need.
    pub fn shutdown(mut self, timeout: Duration) -> Result<(), ShutdownError> {
        self.closed.store(true, Ordering::Relaxed);
        let traces = self.traces.take();
        let logs = self.logs.take();
        // Both at once, or a collector that hangs would take the time twice.
        let (traces, logs) = std::thread::scope(|scope| {
            let logs =
                scope.spawn(|| logs.map_or(Ok(()), |logs| logs.shutdown_with_timeout(timeout)));
            let traces = traces.map_or(Ok(()), |traces| traces.shutdown_with_timeout(timeout));
            (traces, logs.join())
        });
        let mut failures = Vec::new();
        if let Err(error) = traces {
            failures.push(format!("traces: {error}"));
        }
        match logs {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failures.push(format!("logs: {error}")),
            Err(_) => failures.push("logs: the exporter panicked".to_owned()),
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(ShutdownError(failures.join("; ")))
        }
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(runtime) = self.grpc.take() {
            // Dropping a runtime waits for it, and panics on an async worker.
            runtime.shutdown_background();
        }
    }
}

fn http_exporters(endpoint: &str) -> Result<(SpanExporter, LogExporter), ExporterBuildError> {
    // Over HTTP the endpoint is the whole URL: the signal's path is not appended.
    Ok((
        SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .with_timeout(EXPORT_TIMEOUT)
            .build()?,
        LogExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}/v1/logs"))
            .with_timeout(EXPORT_TIMEOUT)
            .build()?,
    ))
}

fn grpc_exporters(endpoint: &str) -> Result<(SpanExporter, LogExporter), ExporterBuildError> {
    Ok((
        SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?,
        LogExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()?,
    ))
}
