//! The catalogue made into OpenTelemetry's instruments. What is counted in place is observed when
//! it is collected; durations go into its histograms as they come.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kernel::job::Queue;
use kernel::metrics::{
    CacheDomain, CacheOutcome, CacheTier, ChangeOutcome, CpuMode, Instrument, JobOutcome, JobState,
    Kind, Lane, Method, Quantile, RateLimit, ShedReason, WebhookOutcome, Window, WindowView,
};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};

use super::series::{Operation, QuerySeries};
use super::state::{QUEUES, State, get};

/// Histograms, bound to their labels where those are few.
pub(crate) struct Durations {
    pub(crate) requests: Histogram<f64>,
    pub(crate) queries: Histogram<f64>,
    pub(crate) waits: [BoundHistogram<f64>; Lane::ALL.len()],
    pub(crate) jobs: [[BoundHistogram<f64>; JobOutcome::ALL.len()]; QUEUES],
    pub(crate) webhooks: [BoundHistogram<f64>; WebhookOutcome::ALL.len()],
    pub(crate) lags: Histogram<f64>,
}

fn histogram(meter: &Meter, instrument: Instrument) -> Histogram<f64> {
    let spec = instrument.spec();
    meter
        .f64_histogram(spec.name)
        .with_unit(spec.unit)
        .with_description(spec.description)
        .with_boundaries(spec.buckets.to_vec())
        .build()
}

fn label(instrument: Instrument, at: usize, value: &'static str) -> KeyValue {
    let name = instrument.spec().labels.get(at).map_or("", |it| it.name);
    KeyValue::new(name, value)
}

impl Durations {
    pub(crate) fn new(meter: &Meter) -> Self {
        let waits = histogram(meter, Instrument::ConnectionWait);
        let jobs = histogram(meter, Instrument::JobDuration);
        let webhooks = histogram(meter, Instrument::WebhookDuration);
        Self {
            requests: histogram(meter, Instrument::RequestDuration),
            queries: histogram(meter, Instrument::OperationDuration),
            waits: std::array::from_fn(|lane| {
                let name = Lane::NAMES.get(lane).copied().unwrap_or_default();
                waits.bind(&[label(Instrument::ConnectionWait, 0, name)])
            }),
            jobs: std::array::from_fn(|queue| {
                let queue = Queue::ALL.get(queue).map_or("", |queue| queue.name());
                std::array::from_fn(|outcome| {
                    let outcome = JobOutcome::NAMES.get(outcome).copied().unwrap_or_default();
                    jobs.bind(&[
                        label(Instrument::JobDuration, 0, queue),
                        label(Instrument::JobDuration, 1, outcome),
                    ])
                })
            }),
            webhooks: std::array::from_fn(|outcome| {
                let name = WebhookOutcome::NAMES.get(outcome).copied();
                let name = name.unwrap_or_default();
                webhooks.bind(&[label(Instrument::WebhookDuration, 0, name)])
            }),
            lags: histogram(meter, Instrument::EventLoopLag),
        }
    }
}

/// Tells a value with its labels.
type Tell<'a> = &'a dyn Fn(f64, &[KeyValue]);

/// An instrument that is asked when metrics are collected.
fn observed(
    meter: &Meter,
    instrument: Instrument,
    state: &Arc<State>,
    tell: impl Fn(&State, Tell<'_>) + Send + Sync + 'static,
) {
    let spec = instrument.spec();
    let state = Arc::clone(state);
    // Whole numbers stay exact below 2^53.
    match spec.kind {
        Kind::Counter => drop(
            meter
                .f64_observable_counter(spec.name)
                .with_unit(spec.unit)
                .with_description(spec.description)
                .with_callback(move |observer| {
                    tell(&state, &|value, labels| observer.observe(value, labels));
                })
                .build(),
        ),
        Kind::UpDownCounter => drop(
            meter
                .f64_observable_up_down_counter(spec.name)
                .with_unit(spec.unit)
                .with_description(spec.description)
                .with_callback(move |observer| {
                    tell(&state, &|value, labels| observer.observe(value, labels));
                })
                .build(),
        ),
        Kind::Gauge => drop(
            meter
                .f64_observable_gauge(spec.name)
                .with_unit(spec.unit)
                .with_description(spec.description)
                .with_callback(move |observer| {
                    tell(&state, &|value, labels| observer.observe(value, labels));
                })
                .build(),
        ),
        // Made by `Durations`.
        Kind::Histogram => {}
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn float(value: u64) -> f64 {
    value as f64
}

/// A metric of one label: each value that was set.
fn by_one(
    meter: &Meter,
    instrument: Instrument,
    state: &Arc<State>,
    names: &'static [&'static str],
    value: impl Fn(&State, usize) -> Option<u64> + Send + Sync + 'static,
) {
    observed(meter, instrument, state, move |state, tell| {
        for (at, name) in names.iter().enumerate() {
            if let Some(value) = value(state, at) {
                tell(float(value), &[label(instrument, 0, name)]);
            }
        }
    });
}

/// Everything that is counted in place.
pub(crate) fn observe(meter: &Meter, state: &Arc<State>) {
    requests(meter, state);
    database(meter, state);
    work(meter, state);
    process(meter, state);
}

fn requests(meter: &Meter, state: &Arc<State>) {
    use Instrument as I;
    observed(meter, I::ActiveRequests, state, |state, tell| {
        for (method, of) in Method::ALL.iter().zip(&state.active) {
            for (scheme, count) in ["http", "https"].into_iter().zip(of) {
                let count = count.load(Ordering::Relaxed);
                // Only what was ever asked for: ten methods in two schemes are mostly nothing.
                if count != 0 || (*method == Method::Get && scheme == "http") {
                    let count = float(u64::try_from(count).unwrap_or_default());
                    let method = label(I::ActiveRequests, 0, method.name());
                    tell(count, &[method, label(I::ActiveRequests, 1, scheme)]);
                }
            }
        }
    });
    by_one(
        meter,
        I::RateLimited,
        state,
        RateLimit::NAMES,
        |state, at| get(&state.rate_limited, at),
    );
    by_one(meter, I::Shed, state, ShedReason::NAMES, |state, at| {
        get(&state.shed, at)
    });
    observed(meter, I::ActiveUsers, state, |state, tell| {
        if let Some(users) = get(&state.active_users, 0) {
            tell(float(users), &[]);
        }
    });
    observed(meter, I::RequestQuantile, state, |state, tell| {
        state.operations.each(|operation: &Operation| {
            quantiles(&operation.latency.windows(), |quantile, window, value| {
                tell(
                    value.as_secs_f64(),
                    &[
                        label(I::RequestQuantile, 0, operation.method.name()),
                        KeyValue::new("http.route", Arc::clone(&operation.route)),
                        label(I::RequestQuantile, 2, quantile.name()),
                        label(I::RequestQuantile, 3, window.name()),
                    ],
                );
            });
        });
    });
}

fn quantiles(windows: &[WindowView; 3], mut tell: impl FnMut(Quantile, Window, Duration)) {
    for (window, view) in Window::ALL.iter().zip(windows) {
        if view.count > 0 {
            tell(Quantile::P50, *window, view.p50);
            tell(Quantile::P95, *window, view.p95);
            tell(Quantile::P99, *window, view.p99);
        }
    }
}

fn database(meter: &Meter, state: &Arc<State>) {
    use Instrument as I;
    observed(meter, I::ConnectionCount, state, |state, tell| {
        for (lane, pool) in Lane::NAMES.iter().zip(&state.pools) {
            for (at, name) in ["idle", "used"].into_iter().enumerate() {
                if let Some(count) = get(pool, at) {
                    let lane = label(I::ConnectionCount, 0, lane);
                    tell(float(count), &[lane, label(I::ConnectionCount, 1, name)]);
                }
            }
        }
    });
    by_one(
        meter,
        I::ConnectionMax,
        state,
        Lane::NAMES,
        |state, lane| get(state.pools.get(lane)?, 2),
    );
    by_one(
        meter,
        I::ConnectionPending,
        state,
        Lane::NAMES,
        |state, lane| get(state.pools.get(lane)?, 3),
    );
    by_one(
        meter,
        I::ConnectionTimeouts,
        state,
        Lane::NAMES,
        |state, lane| get(&state.pool_timeouts, lane),
    );
    observed(meter, I::QueryQuantile, state, |state, tell| {
        state.queries.each(|query: &QuerySeries| {
            quantiles(&query.latency.windows(), |quantile, window, value| {
                tell(
                    value.as_secs_f64(),
                    &[
                        label(I::QueryQuantile, 0, query.name),
                        label(I::QueryQuantile, 1, quantile.name()),
                        label(I::QueryQuantile, 2, window.name()),
                    ],
                );
            });
        });
    });
}

fn work(meter: &Meter, state: &Arc<State>) {
    use Instrument as I;
    observed(meter, I::CacheLookups, state, |state, tell| {
        for view in state.cache_views() {
            let counts = [
                (CacheOutcome::HitL1, view.hits_l1),
                (CacheOutcome::HitL2, view.hits_l2),
                (CacheOutcome::Miss, view.misses),
                (CacheOutcome::Bypass, view.bypasses),
            ];
            for (outcome, count) in counts {
                let domain = label(I::CacheLookups, 0, CacheDomain::name(view.domain));
                tell(
                    float(count),
                    &[domain, label(I::CacheLookups, 1, outcome.name())],
                );
            }
        }
    });
    by_one(
        meter,
        I::CacheFaults,
        state,
        CacheTier::NAMES,
        |state, at| get(&state.cache_faults, at),
    );
    by_one(meter, I::CacheSize, state, CacheTier::NAMES, |state, at| {
        get(&state.cache_size, at)
    });
    observed(meter, I::JobCount, state, |state, tell| {
        for (queue, counts) in Queue::ALL.iter().zip(&state.jobs) {
            for (at, name) in JobState::NAMES.iter().enumerate() {
                if let Some(count) = get(counts, at) {
                    let queue = label(I::JobCount, 0, queue.name());
                    tell(float(count), &[queue, label(I::JobCount, 1, name)]);
                }
            }
        }
    });
    observed(meter, I::JobAge, state, |state, tell| {
        for (at, queue) in Queue::ALL.iter().enumerate() {
            if let Some(micros) = get(&state.job_age, at) {
                let age = Duration::from_micros(micros).as_secs_f64();
                tell(age, &[label(I::JobAge, 0, queue.name())]);
            }
        }
    });
    by_one(
        meter,
        I::WebhookChanges,
        state,
        ChangeOutcome::NAMES,
        |state, at| get(&state.changes, at),
    );
}

fn process(meter: &Meter, state: &Arc<State>) {
    use Instrument as I;
    observed(meter, I::CpuTime, state, |state, tell| {
        let process = state.read_process();
        for (mode, time) in [
            (CpuMode::User, process.cpu_user),
            (CpuMode::System, process.cpu_system),
        ] {
            tell(time.as_secs_f64(), &[label(I::CpuTime, 0, mode.name())]);
        }
    });
    observed(meter, I::MemoryUsage, state, |state, tell| {
        tell(float(state.process().memory), &[]);
    });
    observed(meter, I::MemoryLimit, state, |state, tell| {
        if let Some(limit) = state.memory_limit {
            tell(float(limit), &[]);
        }
    });
    observed(meter, I::Threads, state, |state, tell| {
        tell(float(state.process().threads), &[]);
    });
    observed(meter, I::FileDescriptors, state, |state, tell| {
        tell(float(state.process().file_descriptors), &[]);
    });
    observed(meter, I::Uptime, state, |state, tell| {
        tell(state.started.elapsed().as_secs_f64(), &[]);
    });
}
