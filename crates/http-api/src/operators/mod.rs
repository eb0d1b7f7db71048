//! What operators see: health, metrics, clinics and jobs, on a listener of their own.
//!
//! None of it is reachable on the public listener, where these paths are unknown routes. A caller
//! brings an operator's token; a user's token is none. Answers hold counts, times, names of
//! clinics and of operations, codes of failures: nothing of a clinic's people.

mod answer;
mod document;
mod thresholds;
mod views;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;

use actix_web::dev::{Payload, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::{App, FromRequest, HttpRequest, web};
use clinics::operators::{Operator, Operators};
use futures_util::future::LocalBoxFuture;
use kernel::job::JobCensus;
use kernel::{MetricsView, NoMetrics, Throttle, Toolkit};

use crate::app::{ApiHooks, ApiSettings, Shared, extractors};
use crate::catalogue::ProblemCode;
use crate::edge::{Edge, RequestInfo};
use crate::health::HealthChecks;
use crate::limits::Limits;
use crate::problem::Problem;
use crate::tenant::{bearer, unauthenticated};

pub use document::operators_document;
pub use thresholds::{THRESHOLDS, Threshold};

/// Everything the operators' API is made of. Built once; each worker makes its [`operators_app`]
/// from it.
pub struct OperatorsApi {
    shared: Arc<Shared>,
    parts: web::Data<OperatorsParts>,
    operators: web::Data<Operators>,
}

/// What the views are made from.
pub struct OperatorsParts {
    /// Clock and ids.
    pub tools: Toolkit,
    /// What this process measured.
    pub metrics: Arc<dyn MetricsView>,
    /// What is counted of jobs.
    pub jobs: Arc<dyn JobCensus>,
    /// What this process needs.
    pub checks: HealthChecks,
    /// The cache of this process.
    pub cache: Arc<dyn CacheSwitch>,
    /// The server's version.
    pub version: &'static str,
}

/// Turns the cache of this process off and on again, at once.
pub trait CacheSwitch: Send + Sync {
    /// Whether it is on.
    fn is_on(&self) -> bool;
    /// Turns it.
    fn switch(&self, on: bool);
}

impl fmt::Debug for OperatorsParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorsParts")
    }
}

impl OperatorsApi {
    /// The API over what it shows, and who may see it.
    pub fn new(
        parts: OperatorsParts,
        operators: Operators,
        hooks: ApiHooks,
        settings: ApiSettings,
    ) -> Self {
        let tools = parts.tools.clone();
        Self {
            parts: web::Data::new(parts),
            operators: web::Data::new(operators),
            shared: Arc::new(Shared {
                // Gauges of users and of event loops are the public listener's to tell.
                limits: Arc::new(Limits::new(
                    settings.limits,
                    tools.clone().with_metrics(Arc::new(NoMetrics)),
                    None,
                )),
                workers: AtomicU16::new(0),
                slow: Throttle::new(settings.warning_window),
                tools,
                hooks,
                settings,
            }),
        }
    }
}

impl fmt::Debug for OperatorsApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorsApi")
    }
}

/// The actix application of one worker of the operators' listener.
pub fn operators_app(
    api: &OperatorsApi,
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
        .app_data(api.parts.clone())
        .app_data(api.operators.clone())
        .configure(extractors)
        .service(
            web::scope("/api/v1")
                .configure(views::routes)
                .default_service(web::to(unmatched)),
        )
        .default_service(web::to(unmatched))
        .wrap(Edge(Arc::clone(&api.shared)))
}

async fn unmatched() -> Problem {
    ProblemCode::UnknownRoute.into()
}

/// A caller with an operator's token.
#[derive(Debug, Clone)]
pub(crate) struct Caller(
    #[allow(dead_code, reason = "who it is stands in the span alone")] Operator,
);

impl FromRequest for Caller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let token = bearer(&request).ok_or_else(|| unauthenticated("Bearer"))?;
            let operators = request
                .app_data::<web::Data<Operators>>()
                .ok_or_else(|| Problem::new(ProblemCode::Internal).caused_by("no operators"))?;
            let origin = RequestInfo::of(&request)?.origin.clone();
            let found = operators.authenticate(origin, token).await?;
            found.map(Self).ok_or_else(|| {
                let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                Problem::new(ProblemCode::Unauthenticated)
                    .header(header::WWW_AUTHENTICATE, challenge)
            })
        })
    }
}

#[cfg(test)]
mod tests;
