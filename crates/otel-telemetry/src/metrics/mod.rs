//! The metrics of a process: the adapter of [`kernel::metrics::Metrics`] and
//! [`kernel::metrics::MetricsView`].
//!
//! Counters and gauges are single numbers, added to in place and read when somebody collects
//! ([`state`]). Durations go into OpenTelemetry's histograms, bound to their labels beforehand,
//! and into buckets of their own, from which quantiles over windows come ([`latency`]). One
//! reader serves the periodic export over OTLP and the text for Prometheus.

mod instruments;
mod latency;
mod process;
mod prometheus;
mod series;
mod state;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use kernel::metrics::{JobOutcome, Measurement, Metrics, MetricsView, Snapshot, queue_index};
use kernel::throttle::Throttle;
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    InstrumentKind, ManualReader, PeriodicReader, Pipeline, SdkMeterProvider, Temporality,
};

use instruments::Durations;
use state::{State, add, set};

pub(crate) use process::memory_limit as memory_limit_of_group;

/// How the metrics of a process behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MeterSettings {
    /// How often they are exported.
    pub(crate) interval: Duration,
    /// The bytes that the process should not exceed.
    pub(crate) memory_limit: Option<u64>,
    /// From which delay of a worker's event loop on that is told.
    pub(crate) lag_warning: Duration,
    /// A warning is given once in so long a time.
    pub(crate) warning_window: Duration,
}

/// The metrics of a process.
pub struct Meter {
    state: Arc<State>,
    durations: Durations,
    provider: SdkMeterProvider,
    reader: Reader,
    lag_warning: Duration,
    throttle: Arc<Throttle>,
    /// Ends the thread of the ticks when dropped.
    _ticking: SyncSender<()>,
}

/// Who collects. With an exporter it also collects by itself.
#[derive(Debug, Clone)]
enum Reader {
    Manual(Arc<ManualReader>),
    Periodic(PeriodicReader<MetricExporter>),
}

impl Meter {
    pub(crate) fn new(
        settings: MeterSettings,
        resource: Resource,
        exporter: Option<MetricExporter>,
    ) -> std::io::Result<Self> {
        let reader = match exporter {
            Some(exporter) => Reader::Periodic(
                PeriodicReader::builder(exporter)
                    .with_interval(settings.interval)
                    .build(),
            ),
            None => Reader::Manual(Arc::new(ManualReader::builder().build())),
        };
        let provider = SdkMeterProvider::builder()
            .with_resource(resource)
            .with_reader(reader.clone())
            .build();
        let meter = provider.meter(crate::telemetry::SCOPE);
        let state = Arc::new(State::new(settings.memory_limit));
        instruments::observe(&meter, &state);
        let (ticking, stop) = sync_channel::<()>(0);
        let weak = Arc::downgrade(&state);
        let throttle = Arc::new(Throttle::new(settings.warning_window));
        let of_ticks = Arc::clone(&throttle);
        std::thread::Builder::new()
            .name("acolhe-metrics".to_owned())
            .spawn(move || {
                while stop.recv_timeout(latency::TICK) == Err(RecvTimeoutError::Timeout)
                    && tick(&weak, &of_ticks)
                {}
            })?;
        Ok(Self {
            durations: Durations::new(&meter),
            state,
            provider,
            reader,
            lag_warning: settings.lag_warning,
            throttle,
            _ticking: ticking,
        })
    }

    /// Exports what there is, and ends the exporter, within `timeout`.
    pub(crate) fn shutdown(&self, timeout: Duration) -> OTelSdkResult {
        let (tell, told) = sync_channel(1);
        let provider = self.provider.clone();
        // The provider does not heed the time it is given: a collector that hangs holds it for as
        // long as one export may take.
        std::thread::Builder::new()
            .name("acolhe-metrics-end".to_owned())
            .spawn(move || tell.send(provider.shutdown()))
            .map_err(|error| OTelSdkError::InternalFailure(error.to_string()))?;
        told.recv_timeout(timeout)
            .map_err(|_| OTelSdkError::Timeout(timeout))?
    }
}

/// Ends a tick; `false` when nobody measures any more.
fn tick(state: &Weak<State>, throttle: &Throttle) -> bool {
    let Some(state) = state.upgrade() else {
        return false;
    };
    let process = state.tick();
    if let Some(limit) = state.memory_limit
        && process.memory > limit
        && throttle.admit("memory", Instant::now()).is_some()
    {
        tracing::warn!(
            memory_bytes = process.memory,
            limit_bytes = limit,
            "more memory than it should"
        );
    }
    true
}

impl Metrics for Meter {
    fn record(&self, measurement: Measurement<'_>) {
        let state = &self.state;
        match measurement {
            Measurement::RequestBegan { method, secure } => {
                active(state, method.index(), secure, 1);
            }
            Measurement::RequestEnded(ended) => {
                active(state, ended.method.index(), ended.secure, -1);
                state.operations.record(&ended, &self.durations.requests);
                if let Some(clinic) = ended.clinic {
                    state
                        .clinics
                        .record(clinic, ended.took, ended.status >= 500);
                }
            }
            Measurement::Query(query) => state.queries.record(&query, &self.durations.queries),
            Measurement::ConnectionWait(lane, took) => {
                if let Some(waits) = self.durations.waits.get(lane.index()) {
                    waits.record(took.as_secs_f64());
                }
            }
            Measurement::ConnectionTimeout(lane) => add(&state.pool_timeouts, lane.index(), 1),
            Measurement::Connections {
                lane,
                idle,
                used,
                max,
                pending,
            } => {
                if let Some(pool) = state.pools.get(lane.index()) {
                    for (at, value) in [idle, used, max, pending].into_iter().enumerate() {
                        set(pool, at, value);
                    }
                }
            }
            Measurement::CacheLookup(domain, outcome) => {
                if let Some(counts) = state.cache.get(domain.index()) {
                    add(counts, outcome.index(), 1);
                }
            }
            Measurement::CacheFault(tier) => add(&state.cache_faults, tier.index(), 1),
            Measurement::CacheSize(tier, bytes) => set(&state.cache_size, tier.index(), bytes),
            Measurement::JobEnded(queue, outcome, took) => {
                self.job_ended(queue_index(queue), outcome, took);
            }
            Measurement::JobCount(queue, at, count) => {
                if let Some(counts) = state.jobs.get(queue_index(queue)) {
                    set(counts, at.index(), count);
                }
            }
            Measurement::JobAge(queue, age) => {
                let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
                set(&state.job_age, queue_index(queue), micros);
            }
            Measurement::Webhook(outcome, took) => {
                add(&state.webhooks, outcome.index(), 1);
                if let Some(webhooks) = self.durations.webhooks.get(outcome.index()) {
                    webhooks.record(took.as_secs_f64());
                }
            }
            Measurement::WebhookChanges(outcome, count) => {
                add(&state.changes, outcome.index(), count);
            }
            Measurement::RateLimited(limit) => add(&state.rate_limited, limit.index(), 1),
            Measurement::Shed(reason) => add(&state.shed, reason.index(), 1),
            Measurement::ActiveUsers(users) => set(&state.active_users, 0, users),
            Measurement::EventLoopLag(worker, lag) => self.event_loop_lagged(worker, lag),
        }
    }
}

fn active(state: &State, method: usize, secure: bool, more: i64) {
    if let Some(count) = state
        .active
        .get(method)
        .and_then(|of| of.get(usize::from(secure)))
    {
        count.fetch_add(more, Ordering::Relaxed);
    }
}

impl Meter {
    fn event_loop_lagged(&self, worker: u16, lag: Duration) {
        let micros = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
        self.state.lag.fetch_max(micros, Ordering::Relaxed);
        let label = KeyValue::new("acolhe.worker", i64::from(worker));
        self.durations.lags.record(lag.as_secs_f64(), &[label]);
        if lag >= self.lag_warning
            && let Some(suppressed) = self.throttle.admit("lag", Instant::now())
        {
            tracing::warn!(
                worker = u64::from(worker),
                lag_ms = lag.as_secs_f64() * 1000.0,
                suppressed,
                "the event loop lags: something blocks a worker"
            );
        }
    }

    fn job_ended(&self, queue: usize, outcome: JobOutcome, took: Duration) {
        if let Some(outcomes) = self.state.job_outcomes.get(queue) {
            add(outcomes, outcome.index(), 1);
        }
        let of = self.durations.jobs.get(queue);
        if let Some(duration) = of.and_then(|of| of.get(outcome.index())) {
            duration.record(took.as_secs_f64());
        }
    }
}

impl MetricsView for Meter {
    fn snapshot(&self, at: DateTime<Utc>) -> Snapshot {
        self.state.read_process();
        self.state.snapshot(at)
    }

    fn prometheus(&self) -> String {
        let mut collected = ResourceMetrics::default();
        // Refused after the end alone: then there is nothing to tell.
        match self.reader.collect(&mut collected) {
            Ok(()) => prometheus::text(&collected),
            Err(_) => String::new(),
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        match self {
            Self::Manual(reader) => reader.register_pipeline(pipeline),
            Self::Periodic(reader) => reader.register_pipeline(pipeline),
        }
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        match self {
            Self::Manual(reader) => reader.collect(metrics),
            Self::Periodic(reader) => reader.collect(metrics),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        match self {
            Self::Manual(reader) => reader.force_flush(),
            Self::Periodic(reader) => reader.force_flush(),
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        match self {
            Self::Manual(reader) => reader.shutdown_with_timeout(timeout),
            Self::Periodic(reader) => reader.shutdown_with_timeout(timeout),
        }
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        match self {
            Self::Manual(reader) => reader.temporality(kind),
            Self::Periodic(reader) => reader.temporality(kind),
        }
    }
}
