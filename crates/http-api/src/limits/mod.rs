//! How much anybody may ask for: rate limits ([`Limits`]), what is turned away before it is looked
//! at ([`admission`]), and how many users may be active ([`active`]).
//!
//! A request meets them in this order. [`admission`] turns it away before anything else is done,
//! while too many are in progress. Then it is counted: what needs no token on its address, a
//! delivery on its endpoint, and everything else on its user, on the operation where that is
//! costly, and on its clinic, each as soon as it is known. A token that is none is counted on the
//! address as well, and whoever tries too many gets 429; that never touches a caller with a good
//! token from the same address. Health is never counted.
//!
//! Counting waits for nobody. Where there are shared counters, units are leased from them in blocks
//! beside the requests ([`meter`], [`Limits::keep_leases`]); without them, or while they do not
//! answer, each node counts by itself, with its part of the quota where the number of nodes is
//! configured. Under pressure every unit counts double.

pub mod active;
pub mod admission;
mod lag;
mod marks;
mod meter;
mod settings;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpMessage as _, HttpRequest, web};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use kernel::counter::{CounterKey, LeaseRequest, Quota, SharedCounters};
use kernel::metrics::{RateLimit, ShedReason};
use kernel::{ClinicId, KeyOwner, KeyPurpose, Measurement, Toolkit, UserId};
use tokio::sync::mpsc;

use crate::address::subscriber;
use crate::catalogue::ProblemCode;
use crate::problem::Problem;
use active::ActiveUsers;
use admission::Admission;
use meter::{Ask, Key, Meter, Together};

pub(crate) use lag::watch as watch_lag;
pub(crate) use marks::{Marks, Visitor};
pub use settings::LimitSettings;

/// Keys that each limit keeps apart at a time.
const KEYS: usize = 65_536;
/// Questions to the shared counters that may wait, and that are under way at once.
const QUESTIONS: usize = 4_096;
const AT_ONCE: usize = 64;
/// How long an answer of the shared counters may take.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    User,
    Clinic,
    Address,
    Login,
    Search,
    Export,
    Webhook,
}

impl Limit {
    const ALL: [Self; 7] = [
        Self::User,
        Self::Clinic,
        Self::Address,
        Self::Login,
        Self::Search,
        Self::Export,
        Self::Webhook,
    ];

    /// Its name in `RateLimit-Policy`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Clinic => "clinic",
            Self::Address => "address",
            Self::Login => "login",
            Self::Search => "search",
            Self::Export => "export",
            Self::Webhook => "webhook",
        }
    }

    const fn metric(self) -> RateLimit {
        match self {
            Self::User => RateLimit::User,
            Self::Clinic => RateLimit::Clinic,
            Self::Address => RateLimit::Address,
            Self::Login | Self::Search | Self::Export => RateLimit::Operation,
            Self::Webhook => RateLimit::Webhook,
        }
    }
}

/// Which limits a request meets beside its user's and its clinic's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Never counted: a probe that is refused restarts a healthy server.
    Health,
    /// A provider's delivery.
    Webhook,
    /// Tries of a password or of a one-time link.
    Login,
    /// Needs no token.
    Public,
    /// A search for a text.
    Search,
    /// All of something at once.
    Export,
    /// Everything else.
    Usual,
}

/// Routes on which somebody's secret may be tried.
const TRIES: &[&str] = &[
    "/api/v1/auth/login",
    "/api/v1/auth/password-reset",
    "/api/v1/auth/password-resets",
    "/api/v1/auth/invitations",
];

impl Class {
    /// By the route's pattern and the query.
    pub(crate) fn of(route: &str, query: &str) -> Self {
        if route.starts_with("/api/v1/health") {
            Self::Health
        } else if route.starts_with("/api/v1/webhooks/") {
            Self::Webhook
        } else if TRIES.iter().any(|tries| route.starts_with(tries)) {
            Self::Login
        } else if !route.starts_with("/api/v1/")
            || route.starts_with("/api/v1/auth/")
            || route == "/api/v1/openapi.json"
        {
            Self::Public
        } else if route.ends_with("/export") || route.ends_with("/exports") {
            Self::Export
        } else if query.split('&').any(|part| {
            part.strip_prefix("search=")
                .is_some_and(|text| !text.is_empty())
        }) {
            Self::Search
        } else {
            Self::Usual
        }
    }

    const fn priority(self) -> admission::Priority {
        match self {
            Self::Health => admission::Priority::Always,
            Self::Webhook => admission::Priority::Last,
            Self::Login | Self::Export => admission::Priority::First,
            Self::Public | Self::Search | Self::Usual => admission::Priority::Usual,
        }
    }
}

/// A question to the shared counters, and for whom.
struct Question {
    limit: Limit,
    key: Key,
    ask: Ask,
    request: LeaseRequest,
}

/// Everything that is limited, of one process. See the module's text.
pub struct Limits {
    settings: LimitSettings,
    tools: Toolkit,
    began: Instant,
    meters: [Meter; Limit::ALL.len()],
    plans: RwLock<Arc<HashMap<ClinicId, u32>>>,
    hasher: RandomState,
    shared: Option<Arc<dyn SharedCounters>>,
    asks: mpsc::Sender<Question>,
    asked: Mutex<Option<mpsc::Receiver<Question>>>,
    admission: Admission,
    active: ActiveUsers,
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Limits {
    /// As configured; `shared` are the counters of all nodes, where there are any.
    pub fn new(
        settings: LimitSettings,
        tools: Toolkit,
        shared: Option<Arc<dyn SharedCounters>>,
    ) -> Self {
        let (asks, asked) = mpsc::channel(QUESTIONS);
        Self {
            admission: Admission::new(&settings),
            active: ActiveUsers::new(settings.max_active_users),
            settings,
            tools,
            began: Instant::now(),
            meters: std::array::from_fn(|_| Meter::new(KEYS)),
            plans: RwLock::default(),
            hasher: RandomState::new(),
            shared,
            asks,
            asked: Mutex::new(Some(asked)),
        }
    }

    /// The clinics whose plan is not the default one, with their requests a minute.
    pub fn set_plans(&self, plans: HashMap<ClinicId, u32>) {
        *self.plans.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(plans);
    }

    /// Users who were active lately, as far as this process saw.
    pub fn active_users(&self) -> u64 {
        self.active.count(self.now())
    }

    /// What is turned away before it is looked at.
    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// How much is in progress, and how much was turned away.
    pub fn load(&self) -> admission::Load {
        self.admission.load()
    }

    /// Lets a request in, or turns it away. [`Self::leave`] must follow where it is let in.
    pub(crate) fn admit(&self, class: Class) -> bool {
        let admitted = self.admission.enter(class.priority());
        if !admitted {
            self.tools.measure(Measurement::Shed(ShedReason::Busy));
        }
        admitted
    }

    /// A request that was let in has ended.
    pub(crate) fn leave(&self, class: Class, took: Duration) {
        self.admission.leave(class.priority(), took);
    }

    /// Leases units from the shared counters, for as long as it is polled. Run it once, beside the
    /// requests. Ends at once where there are none.
    pub async fn keep_leases(self: Arc<Self>) {
        let taken = self
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (Some(shared), Some(mut questions)) = (self.shared.clone(), taken) else {
            return;
        };
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                question = questions.recv(), if under_way.len() < AT_ONCE => {
                    let Some(question) = question else { return };
                    let shared = Arc::clone(&shared);
                    under_way.push(async move {
                        let answer = tokio::time::timeout(PATIENCE, shared.lease(&question.request));
                        let lease = answer.await.ok().and_then(Result::ok);
                        (question, lease)
                    });
                }
                Some((question, lease)) = under_way.next() => {
                    let meter = &self.meters[question.limit as usize];
                    meter.settle(question.key, question.ask, lease, self.now());
                }
            }
        }
    }

    /// Counts what can be counted before anybody is known.
    pub(crate) fn on_arrival(&self, visitor: &Visitor) -> Result<(), Problem> {
        match visitor.class {
            Class::Health => Ok(()),
            Class::Webhook => {
                let path: &str = &visitor.endpoint;
                let key = u128::from(self.hasher.hash_one(path));
                let name = || self.hashed(Limit::Webhook, path.as_bytes());
                self.charge(visitor, Limit::Webhook, key, name, None)
            }
            Class::Login => {
                self.charge_address(visitor, Limit::Address)?;
                self.charge_address(visitor, Limit::Login)
            }
            Class::Public => self.charge_address(visitor, Limit::Address),
            Class::Search | Class::Export | Class::Usual if visitor.has_token => Ok(()),
            Class::Search | Class::Export | Class::Usual => {
                self.charge_address(visitor, Limit::Address)
            }
        }
    }

    /// Counts a token that is none.
    pub(crate) fn on_refusal(&self, visitor: &Visitor) -> Result<(), Problem> {
        self.charge_address(visitor, Limit::Address)
    }

    /// Counts a request of a user who was recognised.
    pub(crate) fn on_user(&self, visitor: &Visitor, user: UserId) -> Result<(), Problem> {
        if visitor.marks.is_of_user() {
            return Ok(());
        }
        let id = uuid::Uuid::from(user);
        if !self.active.admit(id.as_u128(), self.now()) {
            self.tools
                .measure(Measurement::Shed(ShedReason::ActiveUsers));
            return Err(Problem::new(ProblemCode::TooManyUsers)
                .header(header::RETRY_AFTER, HeaderValue::from_static("60")));
        }
        let name = |limit| move || self.hashed(limit, id.as_bytes());
        self.charge(visitor, Limit::User, id.as_u128(), name(Limit::User), None)?;
        match visitor.class {
            Class::Search => self.charge(
                visitor,
                Limit::Search,
                id.as_u128(),
                name(Limit::Search),
                None,
            ),
            Class::Export => self.charge(
                visitor,
                Limit::Export,
                id.as_u128(),
                name(Limit::Export),
                None,
            ),
            _ => Ok(()),
        }
    }

    /// Counts a request in a clinic in which the user may act.
    pub(crate) fn on_clinic(&self, visitor: &Visitor, clinic: ClinicId) -> Result<(), Problem> {
        let plans = self.plans.read().unwrap_or_else(PoisonError::into_inner);
        let plan = plans.get(&clinic).copied();
        drop(plans);
        let key = uuid::Uuid::from(clinic).as_u128();
        let name = || CounterKey::of_clinic(clinic, "requests");
        self.charge(visitor, Limit::Clinic, key, name, plan)
    }

    fn charge_address(&self, visitor: &Visitor, limit: Limit) -> Result<(), Problem> {
        // Whoever is named by no proxy is one subscriber with all others of whom none is.
        let address = visitor.address.map(subscriber);
        let octets = match address {
            Some(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
            Some(IpAddr::V6(address)) => address.octets(),
            None => [0; 16],
        };
        let name = || self.hashed(limit, &octets);
        self.charge(visitor, limit, Key::from_be_bytes(octets), name, None)
    }

    fn hashed(&self, limit: Limit, data: &[u8]) -> CounterKey {
        let keys = self.tools.keys();
        let hash = keys.mac(KeyOwner::Platform, KeyPurpose::RateLimit, data);
        CounterKey::of_platform(limit.name(), &hash[..16])
    }

    fn charge(
        &self,
        visitor: &Visitor,
        limit: Limit,
        key: Key,
        name: impl FnOnce() -> CounterKey,
        units: Option<u32>,
    ) -> Result<(), Problem> {
        if !self.settings.enabled {
            return Ok(());
        }
        let quota = Quota::per_minute(units.unwrap_or_else(|| self.settings.units(limit)));
        let is_shared = self.shared.as_ref().is_some_and(|shared| shared.is_up());
        let (mine, together) = if is_shared {
            (quota, Together::Shared)
        } else {
            (quota.divided_by(self.settings.nodes), Together::Alone)
        };
        // A delivery that is refused comes again: pressure only defers it.
        let cost = if self.admission.is_pressed() && limit != Limit::Webhook {
            2
        } else {
            1
        };
        let meter = &self.meters[limit as usize];
        let verdict = meter.take(key, cost, mine, together, self.now());
        visitor.marks.add(limit, mine, &verdict);
        if let Some(ask) = verdict.ask {
            let request = LeaseRequest {
                key: name(),
                quota,
                owed: ask.owed,
                wanted: ask.wanted,
            };
            let question = Question {
                limit,
                key,
                ask,
                request,
            };
            if self.asks.try_send(question).is_err() {
                meter.settle(key, ask, None, self.now());
            }
        }
        match verdict.wait {
            None => Ok(()),
            Some(wait) => {
                self.tools.measure(Measurement::RateLimited(limit.metric()));
                Err(too_many(limit, mine, wait))
            }
        }
    }

    fn now(&self) -> u64 {
        // From one on: nothing ever happened at 0.
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX) + 1
    }

    /// Tells how many users are active.
    pub(crate) fn measure(&self) {
        let active = self.active_users();
        self.tools.measure(Measurement::ActiveUsers(active));
    }

    pub(crate) fn measure_lag(&self, worker: u16, lag: Duration) {
        self.tools.measure(Measurement::EventLoopLag(worker, lag));
    }
}

/// Counts a token that is none, on its address: 429 where there were too many.
pub(crate) fn count_refusal(request: &HttpRequest) -> Result<(), Problem> {
    met(request, Limits::on_refusal)
}

/// Counts a request of a user who was recognised.
pub(crate) fn count_user(request: &HttpRequest, user: UserId) -> Result<(), Problem> {
    met(request, |limits, visitor| limits.on_user(visitor, user))
}

/// Counts a request in a clinic in which the user may act.
pub(crate) fn count_clinic(request: &HttpRequest, clinic: ClinicId) -> Result<(), Problem> {
    met(request, |limits, visitor| limits.on_clinic(visitor, clinic))
}

/// The answer to this request is not compressed, whatever its caller accepts.
pub(crate) fn answer_plainly(request: &HttpRequest) {
    if let Some(visitor) = request.extensions().get::<Visitor>() {
        visitor.is_plain.set(true);
    }
}

/// Whether the answer to this request is not to be compressed.
pub(crate) fn is_answered_plainly(request: &HttpRequest) -> bool {
    let extensions = request.extensions();
    extensions
        .get::<Visitor>()
        .is_some_and(|visitor| visitor.is_plain.get())
}

fn met(
    request: &HttpRequest,
    count: impl FnOnce(&Limits, &Visitor) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let visitor = request.extensions().get::<Visitor>().cloned();
    let limits = request.app_data::<web::Data<Limits>>();
    let not_wired = || Problem::new(ProblemCode::Internal).caused_by("the limits are not wired");
    count(
        limits.ok_or_else(not_wired)?,
        &visitor.ok_or_else(not_wired)?,
    )
}

fn too_many(limit: Limit, quota: Quota, wait: Duration) -> Problem {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let retry_after = HeaderValue::from(seconds.max(1));
    let what = match limit {
        Limit::User => "requests of one user",
        Limit::Clinic => "requests in one clinic",
        Limit::Address => "requests without a good token from one address",
        Limit::Login => "tries from one address",
        Limit::Search => "searches of one user",
        Limit::Export => "exports of one user",
        Limit::Webhook => "deliveries to one endpoint",
    };
    Problem::new(ProblemCode::TooManyRequests)
        .detail(format!(
            "No more than {} {what} are taken in a minute.",
            quota.units()
        ))
        .header(header::RETRY_AFTER, retry_after)
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
