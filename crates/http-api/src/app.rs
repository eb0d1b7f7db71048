//! The application: what the server gives ([`Api`]) made into an actix app.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::Duration;

use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::{App, HttpRequest, web};
use kernel::cache::{ByteCache, NoCache};
use kernel::counter::SharedCounters;
use kernel::{Throttle, Toolkit};
use tracing::Span;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::address::TrustedProxies;
use crate::catalogue::ProblemCode;
use crate::cors::Cors;
use crate::edge::Edge;
use crate::health::{HealthCheck, HealthChecks};
use crate::limits::{LimitSettings, Limits};
use crate::payload::{BODY_TIMEOUT, BodyTimeout, JSON_LIMIT, RAW_LIMIT};
use crate::problem::Problem;
use crate::refresh_cookie::RefreshCookie;
use crate::tenant::Authenticator;
use crate::{docs_page, openapi, routes};

/// What the telemetry adapter does for a request. The default does nothing.
#[derive(Debug, Clone, Copy)]
pub struct ApiHooks {
    /// Links the span to the caller's `traceparent`, before the span is entered.
    pub link_remote_parent: fn(&Span, Option<&str>),
    /// The present trace's id in lower hex, where there is a trace.
    pub current_trace_id: fn() -> Option<String>,
}

impl Default for ApiHooks {
    fn default() -> Self {
        Self {
            link_remote_parent: |_, _| {},
            current_trace_id: || None,
        }
    }
}

/// How the API behaves, from the configuration.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// Which proxies are believed when they say who called.
    pub proxies: TrustedProxies,
    /// How long a request's body may take to arrive, from its head on.
    pub body_timeout: Duration,
    /// How long a request may take in all, from its head to its answer's.
    pub request_timeout: Duration,
    /// Which pages of other origins may read answers.
    pub cors: Cors,
    /// Whether the cookie of a browser's session is `Secure`. False is for developers alone.
    pub secure_cookies: bool,
    /// How much anybody may ask for.
    pub limits: LimitSettings,
    /// From which duration on a request is told as slow; zero for never.
    pub slow_request: Duration,
    /// Slow requests of one route are told once in so long a time.
    pub warning_window: Duration,
}

/// How long a request may take where nothing else is configured.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// From when on a request is slow where nothing else is configured.
const SLOW_REQUEST: Duration = Duration::from_millis(500);
/// How often that is told.
const WARNING_WINDOW: Duration = Duration::from_mins(1);

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            proxies: TrustedProxies::default(),
            body_timeout: BODY_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            cors: Cors::default(),
            secure_cookies: true,
            limits: LimitSettings::default(),
            slow_request: SLOW_REQUEST,
            warning_window: WARNING_WINDOW,
        }
    }
}

pub(crate) struct Shared {
    pub(crate) tools: Toolkit,
    pub(crate) hooks: ApiHooks,
    pub(crate) settings: ApiSettings,
    pub(crate) limits: Arc<Limits>,
    /// Workers that have made their application.
    pub(crate) workers: AtomicU16,
    /// Slow requests, by route.
    pub(crate) slow: Throttle,
}

type Installer = Box<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

/// Everything the API is made of. Built once; each worker makes its [`app`] from it.
pub struct Api {
    shared: Arc<Shared>,
    authenticator: web::Data<dyn Authenticator>,
    checks: HealthChecks,
    cache: web::Data<dyn ByteCache>,
    services: Vec<Installer>,
}

impl Api {
    /// An API without services. `counters` are those that all nodes share, where there are any; then
    /// run [`Limits::keep_leases`].
    pub fn new(
        tools: Toolkit,
        authenticator: Arc<dyn Authenticator>,
        hooks: ApiHooks,
        settings: ApiSettings,
        counters: Option<Arc<dyn SharedCounters>>,
    ) -> Self {
        let limits = Limits::new(settings.limits, tools.clone(), counters);
        let shared = Arc::new(Shared {
            slow: Throttle::new(settings.warning_window),
            tools,
            hooks,
            settings,
            limits: Arc::new(limits),
            workers: AtomicU16::new(0),
        });
        Self {
            shared,
            authenticator: web::Data::from(authenticator),
            checks: Vec::new(),
            cache: web::Data::from(Arc::new(NoCache) as Arc<dyn ByteCache>),
            services: Vec::new(),
        }
    }

    /// How much anybody may ask for.
    pub fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.shared.limits)
    }

    /// Adds a service: handlers get it as `web::Data<T>`.
    #[must_use]
    pub fn with<T: Send + Sync + 'static>(mut self, service: T) -> Self {
        let data = web::Data::new(service);
        self.services.push(Box::new(move |config| {
            config.app_data(data.clone());
        }));
        self
    }

    /// Keeps finished answers in `cache`. Without, each is made anew.
    #[must_use]
    pub fn with_cache(mut self, cache: Arc<dyn ByteCache>) -> Self {
        self.cache = web::Data::from(cache);
        self
    }

    /// Adds a check to `/api/v1/health`.
    #[must_use]
    pub fn with_check(mut self, check: Arc<dyn HealthCheck>) -> Self {
        self.checks.push(check);
        self
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Api")
    }
}

/// The actix application of one worker.
pub fn app(
    api: &Api,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = actix_web::Error,
        InitError = (),
    > + use<>,
> {
    App::new()
        .app_data(api.authenticator.clone())
        .app_data(api.cache.clone())
        .app_data(web::Data::new(api.shared.tools.clone()))
        .app_data(web::Data::new(api.checks.clone()))
        .app_data(web::Data::from(api.limits()))
        .app_data(BodyTimeout(api.shared.settings.body_timeout))
        .app_data(RefreshCookie::new(api.shared.settings.secure_cookies))
        .configure(|config| {
            for install in &api.services {
                install(config);
            }
            extractors(config);
        })
        .service(
            web::scope("/api/v1")
                .configure(|config| {
                    routes::routes(&mut ServiceConfig::new(config));
                    config.service(docs_page::openapi_json);
                })
                .default_service(web::to(unmatched)),
        )
        .configure(docs_page::routes)
        .default_service(web::to(unmatched))
        .wrap(Edge(Arc::clone(&api.shared)))
}

/// Failures of actix's own extractors, for handlers that use them.
pub(crate) fn extractors(config: &mut web::ServiceConfig) {
    config
        .app_data(web::PayloadConfig::new(RAW_LIMIT))
        .app_data(
            web::JsonConfig::default()
                .limit(JSON_LIMIT)
                .error_handler(|_, _| Problem::new(ProblemCode::InvalidBody).into()),
        )
        .app_data(
            web::QueryConfig::default()
                .error_handler(|_, _| Problem::new(ProblemCode::InvalidQuery).into()),
        )
        // An id that is none names no record, exactly as a random one does not.
        .app_data(web::PathConfig::default().error_handler(|_, _| Problem::not_found().into()));
}

/// No route took the request: the path is unknown (404), or only its method is (405).
async fn unmatched(request: HttpRequest) -> Problem {
    let Some(pattern) = request.resource_map().match_pattern(request.path()) else {
        return ProblemCode::UnknownRoute.into();
    };
    let allowed = openapi::allowed_methods(&pattern);
    let problem = Problem::new(ProblemCode::MethodNotAllowed);
    match HeaderValue::from_str(&allowed) {
        Ok(allowed) => problem.header(header::ALLOW, allowed),
        Err(_) => problem,
    }
}

impl actix_web::Responder for Problem {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, _: &HttpRequest) -> actix_web::HttpResponse {
        actix_web::HttpResponse::from_error(self)
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
