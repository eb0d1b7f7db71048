//! Things that are measured one by one: operations, queries, clinics. Their number is bounded by
//! the source code's routes and queries, and by a ceiling besides.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use kernel::ClinicId;
use kernel::metrics::{Method, Query, RequestEnded, UNMATCHED};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram};

use super::latency::Latency;

/// Routes at most; further ones would count as unmatched.
const MOST_ROUTES: usize = 512;
/// Queries at most; further ones would not be told apart.
const MOST_QUERIES: usize = 1024;
/// Clinics whose requests are counted at most, at a time.
const MOST_CLINICS: usize = 4096;
/// Of the busiest clinics, so many have their durations kept.
pub(crate) const BUSIEST: usize = 20;

/// Statuses with a place of their own in an operation's histograms.
const STATUSES: [u16; 26] = [
    200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 405, 409, 410, 412, 413, 415, 422,
    428, 429, 499, 500, 503, 504, 101,
];

/// One operation: a method on a route.
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) route: Arc<str>,
    pub(crate) latency: Latency,
    /// By scheme and status.
    durations: [[OnceLock<BoundHistogram<f64>>; STATUSES.len()]; 2],
}

impl Operation {
    fn new(method: Method, route: Arc<str>) -> Self {
        Self {
            method,
            route,
            latency: Latency::new(),
            durations: std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new())),
        }
    }

    fn labels(&self, ended: &RequestEnded<'_>) -> Vec<KeyValue> {
        let mut labels = vec![
            KeyValue::new("http.request.method", self.method.name()),
            KeyValue::new("http.route", Arc::clone(&self.route)),
            KeyValue::new("http.response.status_code", i64::from(ended.status)),
            KeyValue::new("url.scheme", if ended.secure { "https" } else { "http" }),
        ];
        if ended.status >= 500 {
            labels.push(KeyValue::new("error.type", ended.status.to_string()));
        }
        labels
    }

    fn record(&self, ended: &RequestEnded<'_>, durations: &Histogram<f64>) {
        self.latency.record(ended.took, ended.status >= 500);
        let seconds = ended.took.as_secs_f64();
        let place = STATUSES.iter().position(|status| *status == ended.status);
        let bound = place.and_then(|at| {
            self.durations
                .get(usize::from(ended.secure))
                .and_then(|of| of.get(at))
        });
        match bound {
            Some(bound) => bound
                .get_or_init(|| durations.bind(&self.labels(ended)))
                .record(seconds),
            None => durations.record(seconds, &self.labels(ended)),
        }
    }
}

/// The methods of one route.
struct Route {
    pattern: Arc<str>,
    methods: [OnceLock<Box<Operation>>; Method::ALL.len()],
}

impl Route {
    fn new(pattern: &str) -> Self {
        Self {
            pattern: pattern.into(),
            methods: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    fn of(&self, method: Method) -> Option<&Operation> {
        let operation = self.methods.get(method.index())?;
        Some(operation.get_or_init(|| Box::new(Operation::new(method, Arc::clone(&self.pattern)))))
    }
}

/// Every operation that was asked for.
pub(crate) struct Operations {
    routes: RwLock<HashMap<Arc<str>, Arc<Route>>>,
    unmatched: Route,
}

impl Operations {
    pub(crate) fn new() -> Self {
        Self {
            routes: RwLock::default(),
            unmatched: Route::new(UNMATCHED),
        }
    }

    pub(crate) fn record(&self, ended: &RequestEnded<'_>, durations: &Histogram<f64>) {
        let with = |route: &Route| {
            if let Some(operation) = route.of(ended.method) {
                operation.record(ended, durations);
            }
        };
        if ended.route == UNMATCHED {
            return with(&self.unmatched);
        }
        {
            let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(route) = routes.get(ended.route) {
                return with(route);
            }
            if routes.len() >= MOST_ROUTES {
                return with(&self.unmatched);
            }
        }
        let route = Arc::new(Route::new(ended.route));
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let pattern = Arc::clone(&route.pattern);
        with(routes.entry(pattern).or_insert(route));
    }

    /// Shows each to `see`.
    pub(crate) fn each(&self, mut see: impl FnMut(&Operation)) {
        let routes: Vec<Arc<Route>> = self
            .routes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        let routes = routes.iter().map(AsRef::as_ref);
        for route in routes.chain([&self.unmatched]) {
            for operation in route.methods.iter().filter_map(OnceLock::get) {
                see(operation);
            }
        }
    }
}

/// One query.
pub(crate) struct QuerySeries {
    pub(crate) name: &'static str,
    pub(crate) latency: Latency,
    duration: BoundHistogram<f64>,
}

/// Every query that was run.
#[derive(Default)]
pub(crate) struct Queries {
    all: RwLock<HashMap<&'static str, Arc<QuerySeries>>>,
}

/// The labels of a query that went well.
fn query_labels(query: &Query<'_>) -> Vec<KeyValue> {
    vec![
        KeyValue::new("db.system.name", "postgresql"),
        KeyValue::new("db.operation.name", query.operation),
        KeyValue::new("db.collection.name", query.collection),
        KeyValue::new("db.query.summary", query.summary),
    ]
}

impl Queries {
    pub(crate) fn record(&self, query: &Query<'_>, durations: &Histogram<f64>) {
        let seconds = query.took.as_secs_f64();
        let with = |series: &QuerySeries| {
            series.latency.record(query.took, query.failed.is_some());
            if query.failed.is_none() {
                series.duration.record(seconds);
            }
        };
        if let Some(state) = query.failed {
            let mut labels = query_labels(query);
            // Five characters of the server's; anything else is none.
            let state =
                state.filter(|it| it.len() == 5 && it.bytes().all(|b| b.is_ascii_alphanumeric()));
            if let Some(state) = state {
                labels.push(KeyValue::new("db.response.status_code", state.to_owned()));
            }
            let class = state.map_or("unavailable".to_owned(), str::to_owned);
            labels.push(KeyValue::new("error.type", class));
            durations.record(seconds, &labels);
        }
        {
            let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(series) = all.get(query.name) {
                return with(series);
            }
            if all.len() >= MOST_QUERIES {
                return;
            }
        }
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        with(all.entry(query.name).or_insert_with(|| {
            Arc::new(QuerySeries {
                name: query.name,
                latency: Latency::new(),
                duration: durations.bind(&query_labels(query)),
            })
        }));
    }

    /// Shows each to `see`.
    pub(crate) fn each(&self, see: impl FnMut(&QuerySeries)) {
        let all: Vec<Arc<QuerySeries>> = self
            .all
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        all.iter().map(AsRef::as_ref).for_each(see);
    }
}

/// One clinic.
struct Clinic {
    /// Requests since the last tick.
    hits: AtomicU32,
    /// Requests of about the last hour: what is older counts less and less. In thousandths.
    score: AtomicU64,
    /// Of a busy one.
    latency: Option<Arc<Latency>>,
}

/// The clinics whose requests are counted, and the durations of the busiest.
#[derive(Default)]
pub(crate) struct Clinics {
    all: RwLock<HashMap<ClinicId, Arc<Clinic>>>,
}

impl Clinics {
    pub(crate) fn record(&self, clinic: ClinicId, took: Duration, failed: bool) {
        let with = |known: &Clinic| {
            known.hits.fetch_add(1, Ordering::Relaxed);
            if let Some(latency) = &known.latency {
                latency.record(took, failed);
            }
        };
        {
            let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = all.get(&clinic) {
                return with(known);
            }
            if all.len() >= MOST_CLINICS {
                return;
            }
        }
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        // While there are few, each is one of the busiest.
        let busy = all.len() < BUSIEST;
        with(all.entry(clinic).or_insert_with(|| {
            Arc::new(Clinic {
                hits: AtomicU32::new(0),
                score: AtomicU64::new(0),
                latency: busy.then(|| Arc::new(Latency::new())),
            })
        }));
    }

    /// Ends a tick: weighs the clinics anew, forgets the silent, and keeps the durations of the
    /// busiest from here on.
    pub(crate) fn tick(&self) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        for known in all.values() {
            let hits = u64::from(known.hits.swap(0, Ordering::Relaxed));
            let score = known.score.load(Ordering::Relaxed);
            // A 720th less for each of the 720 ticks of an hour.
            known
                .score
                .store(score - score.div_ceil(720) + hits * 1000, Ordering::Relaxed);
            if let Some(latency) = &known.latency {
                latency.tick();
            }
        }
        all.retain(|_, known| known.score.load(Ordering::Relaxed) > 0);
        let mut order: Vec<(u64, ClinicId)> = all
            .iter()
            .map(|(clinic, known)| (known.score.load(Ordering::Relaxed), *clinic))
            .collect();
        order.sort_unstable_by_key(|(score, clinic)| (std::cmp::Reverse(*score), *clinic));
        for (rank, (score, clinic)) in order.into_iter().enumerate() {
            let tracked = all.get(&clinic).is_some_and(|it| it.latency.is_some());
            // One that falls behind is kept for a while: it may come back.
            let changed = match (rank < BUSIEST, rank < 2 * BUSIEST, tracked) {
                (true, _, false) => Some(Arc::new(Latency::new())),
                (_, false, true) => None,
                _ => continue,
            };
            all.insert(
                clinic,
                Arc::new(Clinic {
                    hits: AtomicU32::new(0),
                    score: AtomicU64::new(score),
                    latency: changed,
                }),
            );
        }
    }

    /// The busiest, busiest first.
    pub(crate) fn busiest(&self) -> Vec<(ClinicId, Arc<Latency>)> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<(u64, ClinicId, Arc<Latency>)> = all
            .iter()
            .filter_map(|(clinic, known)| {
                let hits = u64::from(known.hits.load(Ordering::Relaxed));
                let score = known.score.load(Ordering::Relaxed) + hits * 1000;
                Some((score, *clinic, Arc::clone(known.latency.as_ref()?)))
            })
            .collect();
        found.sort_unstable_by_key(|(score, clinic, _)| (std::cmp::Reverse(*score), *clinic));
        found.truncate(BUSIEST);
        found
            .into_iter()
            .map(|(_, clinic, latency)| (clinic, latency))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clinic(number: u32) -> ClinicId {
        format!("01936f5e-0000-7000-8000-{number:012x}")
            .parse()
            .unwrap()
    }

    #[test]
    fn the_busiest_clinics_are_found_among_many_and_the_silent_are_forgotten() {
        let clinics = Clinics::default();
        let took = Duration::from_millis(3);
        for number in 0..1000 {
            clinics.record(clinic(number), took, false);
        }
        clinics.tick();
        for _ in 0..50 {
            clinics.record(clinic(999), took, true);
        }
        clinics.tick();
        clinics.record(clinic(999), took, true);
        let busiest = clinics.busiest();
        assert_eq!(busiest.len(), BUSIEST);
        assert_eq!(busiest[0].0, clinic(999));
        assert_eq!(busiest[0].1.windows()[0].failed, 1, "kept since it is busy");
        for _ in 0..20_000 {
            clinics.tick();
        }
        assert_eq!(clinics.busiest().len(), 0);
        assert_eq!(clinics.all.read().unwrap().len(), 0);
    }
}
