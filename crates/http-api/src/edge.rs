//! The outermost layer: gives each request its id and span, renames aliases, bounds its time, turns
//! every failure and every panic into a problem, compresses, adds the headers all answers have, and
//! writes one access line.
//!
//! Neither path, query nor headers enter a span or a line: only the route's pattern.

use std::any::Any;
use std::cell::Cell;
use std::future::{Ready, ready};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::rt::time::timeout;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use kernel::metrics::{self, RequestEnded, UNMATCHED};
use kernel::{ClinicId, Measurement, Origin, RequestId};
use tracing::{Instrument as _, Span};

use crate::address::{self, Caller};
use crate::alias;
use crate::app::Shared;
use crate::catalogue::ProblemCode;
use crate::compress::{self, Encoding};
use crate::headers;
use crate::limits::{self, Class, Limits, Marks, Visitor};
use crate::problem::{PROBLEM_JSON, Problem};

/// Longest path and query, in bytes.
const URI_LIMIT: usize = 8 * 1024;
const USER_AGENT_LIMIT: usize = 200;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RESPONSE_TIME: HeaderName = HeaderName::from_static("x-response-time");

/// What is known of a request from its first moment.
#[derive(Debug, Clone)]
pub struct RequestInfo {
    /// Where it came from; holds its id.
    pub origin: Origin,
    /// Whose it is, once that is known.
    clinic: Rc<Cell<Option<ClinicId>>>,
}

impl RequestInfo {
    /// Notes whose request it is.
    pub(crate) fn note_clinic(request: &HttpRequest, clinic: ClinicId) {
        if let Some(info) = request.extensions().get::<Self>() {
            info.clinic.set(Some(clinic));
        }
    }

    /// Of this request. Fails only where the edge is not wired.
    pub fn of(request: &HttpRequest) -> Result<Self, Problem> {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::new(ProblemCode::Internal).caused_by("the edge is not wired"))
    }
}

impl actix_web::FromRequest for RequestInfo {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

/// The layer's factory.
pub(crate) struct Edge(pub(crate) Arc<Shared>);

impl<S, B> Transform<S, ServiceRequest> for Edge
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Transform = EdgeService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        limits::watch_lag(&self.0.limits, &self.0.workers);
        ready(Ok(EdgeService {
            service: Rc::new(service),
            shared: Arc::clone(&self.0),
        }))
    }
}

/// The layer in one worker.
pub(crate) struct EdgeService<S> {
    service: Rc<S>,
    shared: Arc<Shared>,
}

impl<S, B> Service<ServiceRequest> for EdgeService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_web::dev::forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        rename_alias(&mut request);
        let class = Class::of(request.path(), request.query_string());
        let Some(admitted) = Admitted::enter(&self.shared.limits, class) else {
            let response = turned_away(&self.shared, &request);
            return Box::pin(ready(Ok(request.into_response(response))));
        };
        let visit = Visit::begin(&self.shared, &mut request, class);
        let service = Rc::clone(&self.service);
        let span = visit.span.clone();
        Box::pin(
            async move {
                let _admitted = admitted;
                if request
                    .uri()
                    .path_and_query()
                    .is_some_and(|it| it.as_str().len() > URI_LIMIT)
                {
                    let problem = Problem::new(ProblemCode::UriTooLong);
                    let response = visit.finish_problem(&problem);
                    return Ok(request.into_response(response));
                }
                if let Some(response) = visit.preflight(&request) {
                    return Ok(request.into_response(visit.close(response)));
                }
                if let Err(problem) = visit.shared.limits.on_arrival(&visit.visitor) {
                    let response = visit.finish_problem(&problem);
                    return Ok(request.into_response(response));
                }
                let patience = visit.shared.settings.request_timeout;
                let inner = AssertUnwindSafe(timeout(patience, service.call(request)));
                match inner.catch_unwind().await {
                    Ok(Ok(Ok(response))) => {
                        let (request, response) = response.into_parts();
                        let response = visit.encode(response.map_into_boxed_body()).await;
                        Ok(ServiceResponse::new(request, visit.finish(response)))
                    }
                    // The request is gone with the service that failed: the answer travels as an
                    // error that is already written.
                    Ok(Ok(Err(error))) => {
                        let response = visit.finish(HttpResponse::from_error(error));
                        Err(written(response))
                    }
                    // What the handler was doing is dropped, and what it held with it.
                    Ok(Err(_elapsed)) => {
                        let problem = Problem::new(ProblemCode::TimedOut)
                            .header(header::RETRY_AFTER, HeaderValue::from_static("5"))
                            .caused_by("the handler took longer than http.request_timeout");
                        Err(written(visit.finish_problem(&problem)))
                    }
                    Err(panic) => {
                        drop::<Box<dyn Any + Send>>(panic);
                        let problem =
                            Problem::new(ProblemCode::Internal).caused_by("a handler panicked");
                        Err(written(visit.finish_problem(&problem)))
                    }
                }
            }
            .instrument(span),
        )
    }
}

/// The place of a request among those in progress.
struct Admitted {
    limits: Arc<Limits>,
    class: Class,
    began: Instant,
}

impl Admitted {
    fn enter(limits: &Arc<Limits>, class: Class) -> Option<Self> {
        limits.admit(class).then(|| Self {
            limits: Arc::clone(limits),
            class,
            began: Instant::now(),
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.limits.leave(self.class, self.began.elapsed());
    }
}

/// The answer to a request that is not looked at: no span and no line, which would cost what is to
/// be saved. It is counted.
fn turned_away(shared: &Shared, request: &ServiceRequest) -> HttpResponse {
    let id: RequestId = shared.tools.id();
    // Spread a little, so that those who were turned away together do not come back together.
    let seconds = if uuid::Uuid::from(id).as_bytes()[15] & 1 == 0 {
        "1"
    } else {
        "2"
    };
    let problem = Problem::new(ProblemCode::Overloaded)
        .header(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    let mut response = problem.response(Some(id), None);
    let caller = address::caller(request, &shared.settings.proxies);
    headers::complete(response.headers_mut(), caller.is_https);
    let cors = &shared.settings.cors;
    cors.complete(
        response.headers_mut(),
        cors.allowed(request.headers()).as_ref(),
    );
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn written(response: HttpResponse) -> actix_web::Error {
    actix_web::error::InternalError::from_response("answered", response).into()
}

/// One request on its way through.
struct Visit {
    shared: Arc<Shared>,
    id: RequestId,
    began: DateTime<Utc>,
    watch: Instant,
    method: metrics::Method,
    clinic: Rc<Cell<Option<ClinicId>>>,
    route: String,
    caller_request_id: Option<String>,
    caller: Caller,
    visitor: Visitor,
    /// The page's origin, where it is one that may read answers.
    origin: Option<HeaderValue>,
    accepted: Option<Encoding>,
    if_none_match: Vec<HeaderValue>,
    span: Span,
    answered: bool,
}

impl Visit {
    fn begin(shared: &Arc<Shared>, request: &mut ServiceRequest, class: Class) -> Self {
        let id: RequestId = shared.tools.id();
        let began = shared.tools.now();
        let watch = Instant::now();
        let method = metrics::Method::of(request.method().as_str());
        // A HEAD is a GET whose body the connection leaves out (RFC 9110 section 9.3.2).
        if request.method() == Method::HEAD {
            request.head_mut().method = Method::GET;
        }
        let route = request
            .match_pattern()
            .unwrap_or_else(|| UNMATCHED.to_owned());
        let caller = address::caller(request, &shared.settings.proxies);
        let origin = Origin {
            request: id,
            address: caller.address,
            user_agent: text(request.headers(), header::USER_AGENT).map(|agent| {
                agent
                    .chars()
                    .take(USER_AGENT_LIMIT)
                    .collect::<String>()
                    .into()
            }),
        };
        let visitor = Visitor {
            class,
            address: caller.address,
            endpoint: match class {
                Class::Webhook => request.path().into(),
                _ => Rc::default(),
            },
            has_token: request.headers().contains_key(header::AUTHORIZATION),
            marks: Marks::default(),
            is_plain: Rc::default(),
        };
        request.extensions_mut().insert(visitor.clone());
        let clinic = Rc::new(Cell::new(None));
        request.extensions_mut().insert(RequestInfo {
            origin,
            clinic: Rc::clone(&clinic),
        });
        shared.tools.measure(Measurement::RequestBegan {
            method,
            secure: caller.is_https,
        });
        let span = tracing::info_span!(
            "http.request",
            otel.name = %format_args!("{} {route}", method.name()),
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            http.request.method = method.name(),
            http.route = route,
            http.response.status_code = tracing::field::Empty,
            url.scheme = if caller.is_https { "https" } else { "http" },
            error.type = tracing::field::Empty,
            acolhe.request_id = %id,
            acolhe.clinic_id = tracing::field::Empty,
        );
        let traceparent = text(request.headers(), HeaderName::from_static("traceparent"));
        (shared.hooks.link_remote_parent)(&span, traceparent);
        Self {
            shared: Arc::clone(shared),
            id,
            began,
            watch,
            method,
            clinic,
            route,
            caller_request_id: sane_request_id(request.headers()),
            caller,
            visitor,
            origin: shared.settings.cors.allowed(request.headers()),
            accepted: compress::negotiate(request.headers()),
            if_none_match: request
                .headers()
                .get_all(header::IF_NONE_MATCH)
                .cloned()
                .collect(),
            span,
            answered: false,
        }
    }

    /// The answer to a browser that asks on behalf of another origin's page.
    fn preflight(&self, request: &ServiceRequest) -> Option<HttpResponse> {
        let cors = &self.shared.settings.cors;
        cors.preflight(request.method(), request.headers(), self.origin.as_ref())
    }

    /// The answer in the encoding that the caller prefers. Failures are short and stay as they are.
    async fn encode(&self, response: HttpResponse) -> HttpResponse {
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            return response;
        }
        let accepted = self.accepted.filter(|_| !self.visitor.is_plain.get());
        compress::encode(response, accepted, &self.if_none_match).await
    }

    fn finish_problem(self, problem: &Problem) -> HttpResponse {
        log_cause(problem);
        let response = self.write(problem, &HeaderMap::new());
        self.close(response)
    }

    /// Completes the answer of a service.
    fn finish(self, response: HttpResponse) -> HttpResponse {
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return self.close(response);
        }
        let response = match response.error().and_then(|it| it.as_error::<Problem>()) {
            Some(problem) => {
                log_cause(problem);
                self.write(problem, &HeaderMap::new())
            }
            None if is_problem(&response) => response,
            None => {
                let problem = foreign(&response);
                log_cause(&problem);
                self.write(&problem, response.headers())
            }
        };
        self.close(response)
    }

    fn write(&self, problem: &Problem, kept: &HeaderMap) -> HttpResponse {
        let trace = (self.shared.hooks.current_trace_id)();
        let mut response = problem.response(Some(self.id), trace.as_deref());
        for name in [header::ALLOW, header::WWW_AUTHENTICATE, header::RETRY_AFTER] {
            if let Some(value) = kept.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        response
    }

    fn close(mut self, mut response: HttpResponse) -> HttpResponse {
        let took = self.elapsed_ms();
        headers::complete(response.headers_mut(), self.caller.is_https);
        self.visitor.marks.write(response.headers_mut());
        let cors = &self.shared.settings.cors;
        cors.complete(response.headers_mut(), self.origin.as_ref());
        if let Ok(value) = HeaderValue::from_str(&self.id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        if let Ok(value) = HeaderValue::from_str(&format!("{took}ms")) {
            response.headers_mut().insert(RESPONSE_TIME, value);
        }
        self.record(response.status(), took);
        self.answered = true;
        response
    }

    fn elapsed_ms(&self) -> i64 {
        (self.shared.tools.now() - self.began)
            .num_milliseconds()
            .max(0)
    }

    fn measure(&self, status: StatusCode) {
        let took = self.watch.elapsed();
        self.shared
            .tools
            .measure(Measurement::RequestEnded(RequestEnded {
                method: self.method,
                route: &self.route,
                status: status.as_u16(),
                secure: self.caller.is_https,
                took,
                clinic: self.clinic.get(),
            }));
        let slow = self.shared.settings.slow_request;
        if !slow.is_zero()
            && took >= slow
            && let Some(suppressed) = self.shared.slow.admit(&self.route, Instant::now())
        {
            self.span.in_scope(|| {
                tracing::warn!(
                    http.request.method = self.method.name(),
                    http.route = self.route,
                    duration_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX),
                    suppressed = suppressed,
                    "slow request"
                );
            });
        }
    }

    fn record(&self, status: StatusCode, took: i64) {
        self.measure(status);
        // As i64: an unsigned number is exported as text.
        let code = i64::from(status.as_u16());
        self.span.record("http.response.status_code", code);
        if status.is_server_error() {
            self.span.record("otel.status_code", "error");
            self.span.record("error.type", status.as_str());
        }
        // The request's id and its clinic come from the span.
        self.span.in_scope(|| {
            // The braces: without them the macro cannot read a dotted name after a target.
            tracing::info!(
                target: "http_api::access",
                {
                    http.request.method = self.method.name(),
                    http.route = self.route,
                    http.response.status_code = code,
                    duration_ms = took,
                    acolhe.caller_request_id = self.caller_request_id,
                },
                "request"
            );
        });
    }
}

impl Drop for Visit {
    /// The caller hung up before the answer: the line says 499, as is the custom.
    fn drop(&mut self) {
        if !self.answered {
            let status = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
            self.record(status, self.elapsed_ms());
        }
    }
}

fn rename_alias(request: &mut ServiceRequest) {
    let Some(target) = alias::target(request.path(), request.uri().query()) else {
        return;
    };
    let mut parts = request.uri().clone().into_parts();
    let Ok(target) = target.parse() else { return };
    parts.path_and_query = Some(target);
    let Ok(uri) = Uri::from_parts(parts) else {
        return;
    };
    request.match_info_mut().get_mut().update(&uri);
    request.head_mut().uri = uri;
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The caller's own request id, if it is safe to log.
fn sane_request_id(headers: &HeaderMap) -> Option<String> {
    let id = text(headers, REQUEST_ID)?;
    // Only what cannot be mistaken for a name, a phone or a document: a UUID.
    uuid::Uuid::try_parse(id).ok().map(|id| id.to_string())
}

fn is_problem(response: &HttpResponse) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes() == PROBLEM_JSON.as_bytes())
}

/// Says once why a failure of ours failed; the caller's failures need no line of their own.
fn log_cause(problem: &Problem) {
    if problem.code().status().is_server_error() {
        let error = problem.cause().unwrap_or_default();
        tracing::error!(code = problem.code().code(), error, "request failed");
    }
}

/// The problem for a failure that the framework or a handler answered in another form.
fn foreign(response: &HttpResponse) -> Problem {
    let code = ProblemCode::of_status(response.status());
    let problem = Problem::new(code);
    if code == ProblemCode::Internal {
        // The error's own text may repeat input: only that there was one is said.
        problem.caused_by("a failure without a problem")
    } else {
        problem
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_callers_request_id_is_kept_only_when_it_is_a_uuid() {
        let id = "01936F5E-8E2A-7C3B-9D4E-5F6A7B8C9D0E";
        for (sent, kept) in [(id, true), ("Maria Canaria", false), ("11987654321", false)] {
            let request = TestRequest::get()
                .insert_header(("X-Request-Id", sent))
                .to_http_request();
            let found = sane_request_id(request.headers());
            assert_eq!(found, kept.then(|| id.to_lowercase()), "{sent}");
        }
    }
}
