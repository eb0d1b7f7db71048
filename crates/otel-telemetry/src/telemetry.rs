//! Building the pipeline, and taking it down without losing what it holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::logs::LoggerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, RandomIdGenerator, Sampler, SpanProcessor as _,
};
use tracing::Dispatch;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::dropped::Dropped;
use crate::filter::Seen;
use crate::lines::{LineSink, Output};
use crate::metrics::{Meter, MeterSettings, memory_limit_of_group};
use crate::observer::{Observer, Spans};
use crate::settings::{OtlpProtocol, TelemetryError, TelemetrySettings, checked_endpoint};

/// One export, its retries included, takes no longer. A collector that hangs costs the exporter's
/// thread this much per batch; a full queue (2,048 spans, 2,048 records) drops the newest.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// The instrumentation scope of every span, record and metric.
pub(crate) const SCOPE: &str = "acolhe";

/// A running pipeline. Keep it until the process ends, then call [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Telemetry {
    spans: Option<Arc<BatchSpanProcessor>>,
    records: Option<SdkLoggerProvider>,
    meter: Arc<Meter>,
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
        let mut exports = match &settings.otlp_endpoint {
            Some(endpoint) => Some(Exports::new(settings, checked_endpoint(endpoint)?)?),
            None => None,
        };
        let resource = resource(settings);
        let meter = Meter::new(
            MeterSettings {
                interval: settings.metrics_interval,
                memory_limit: settings.memory_limit.or_else(memory_limit_of_group),
                lag_warning: settings.lag_warning,
                warning_window: settings.warning_window,
            },
            resource.clone(),
            exports.as_mut().and_then(|exports| exports.metrics.take()),
        )?;
        let mut telemetry = Self {
            spans: None,
            records: None,
            meter: Arc::new(meter),
            grpc: None,
            dropped: Arc::clone(&dropped),
            closed: Arc::default(),
        };
        if let Some(exports) = exports {
            let mut processor = BatchSpanProcessor::builder(exports.spans).build();
            processor.set_resource(&resource);
            telemetry.spans = Some(Arc::new(processor));
            telemetry.records = Some(
                SdkLoggerProvider::builder()
                    .with_resource(resource)
                    .with_batch_exporter(exports.records)
                    .build(),
            );
            telemetry.grpc = exports.runtime;
        }
        let observer = Observer {
            seen,
            output,
            dropped,
            spans: telemetry.spans.as_ref().map(|processor| Spans {
                processor: Arc::clone(processor),
                sampler: Sampler::TraceIdRatioBased(settings.sampling_ratio),
                scope: InstrumentationScope::builder(SCOPE).build(),
                ids: RandomIdGenerator::default(),
            }),
            records: telemetry
                .records
                .as_ref()
                .map(|records| records.logger(SCOPE)),
            closed: Arc::clone(&telemetry.closed),
        };
        let subscriber = tracing_subscriber::registry().with(observer);
        Ok((Dispatch::new(subscriber), telemetry))
    }

    /// Where measurements go, and where they are read back.
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// The fields that were dropped since the start, and how often: not listed in
    /// [`crate::fields`], or of another shape. Of spans, only sampled ones are looked at, so a test
    /// that asserts there is none samples everything.
    pub fn dropped_fields(&self) -> BTreeMap<String, u64> {
        self.dropped.counts()
    }

    /// Sends what is waiting, waits for the collector's answer, and ends the exporters' threads;
    /// `timeout` bounds the whole.
    ///
    /// Blocks. In async code call it where blocking is allowed (`web::block`, `spawn_blocking`),
    /// after the last request was answered. Lines still reach stderr afterwards. Dropping the
    /// pipeline instead may block as well, and loses spans.
    pub fn shutdown(mut self, timeout: Duration) -> Result<(), ShutdownError> {
        self.closed.store(true, Ordering::Relaxed);
        let spans = self.spans.take();
        let records = self.records.take();
        // All at once, or a collector that hangs would take the time three times.
        let meter = &self.meter;
        let (spans, records, metrics) = std::thread::scope(|scope| {
            let records = scope
                .spawn(|| records.map_or(Ok(()), |records| records.shutdown_with_timeout(timeout)));
            let metrics = scope.spawn(|| meter.shutdown(timeout));
            let spans = spans.map_or(Ok(()), |spans| spans.shutdown_with_timeout(timeout));
            (spans, records.join(), metrics.join())
        });
        let mut failures = Vec::new();
        if let Err(error) = spans {
            failures.push(format!("spans: {error}"));
        }
        for (signal, ended) in [("records", records), ("metrics", metrics)] {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failures.push(format!("{signal}: {error}")),
                Err(_) => failures.push(format!("{signal}: the exporter panicked")),
            }
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

/// What every signal says of who sends it.
fn resource(settings: &TelemetrySettings) -> Resource {
    let of_all = Resource::builder()
        .with_service_name(settings.service_name.clone())
        .with_attribute(KeyValue::new(
            "service.version",
            settings.service_version.clone(),
        ));
    if settings.service_instance.is_empty() {
        return of_all.build();
    }
    let instance = KeyValue::new("service.instance.id", settings.service_instance.clone());
    of_all.with_attribute(instance).build()
}

/// The exporters of all signals.
struct Exports {
    spans: SpanExporter,
    records: LogExporter,
    metrics: Option<MetricExporter>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Exports {
    fn new(settings: &TelemetrySettings, endpoint: &str) -> Result<Self, TelemetryError> {
        let refused = |error: ExporterBuildError| TelemetryError::Exporter(error.to_string());
        match settings.otlp_protocol {
            OtlpProtocol::Http => Self::http(endpoint).map_err(refused),
            OtlpProtocol::Grpc => {
                // The channel lives on a runtime. Its own, so that it neither needs the server's
                // nor waits for it during shutdown.
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .thread_name("otlp-grpc")
                    .enable_all()
                    .build()?;
                let exports = {
                    let _entered = runtime.enter();
                    Self::grpc(endpoint).map_err(refused)?
                };
                Ok(Self {
                    runtime: Some(runtime),
                    ..exports
                })
            }
        }
    }

    fn http(endpoint: &str) -> Result<Self, ExporterBuildError> {
        // Over HTTP the endpoint is the whole URL: the signal's path is not appended.
        Ok(Self {
            spans: SpanExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(format!("{endpoint}/v1/traces"))
                .with_timeout(EXPORT_TIMEOUT)
                .build()?,
            records: LogExporter::builder()
                .with_http()
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(format!("{endpoint}/v1/logs"))
                .with_timeout(EXPORT_TIMEOUT)
                .build()?,
            metrics: Some(
                MetricExporter::builder()
                    .with_http()
                    .with_protocol(Protocol::HttpBinary)
                    .with_endpoint(format!("{endpoint}/v1/metrics"))
                    .with_timeout(EXPORT_TIMEOUT)
                    .build()?,
            ),
            runtime: None,
        })
    }

    fn grpc(endpoint: &str) -> Result<Self, ExporterBuildError> {
        Ok(Self {
            spans: SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(EXPORT_TIMEOUT)
                .build()?,
            records: LogExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(EXPORT_TIMEOUT)
                .build()?,
            metrics: Some(
                MetricExporter::builder()
                    .with_tonic()
                    .with_endpoint(endpoint)
                    .with_timeout(EXPORT_TIMEOUT)
                    .build()?,
            ),
            runtime: None,
        })
    }
}
