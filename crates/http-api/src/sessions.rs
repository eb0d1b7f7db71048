//! `/auth/refresh`, `/auth/logout…` and `/auth/sessions`: how a login goes on, and how it ends.

use actix_web::http::header;
use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use clinics::{RefreshError, Session, Sessions, Tokens};
use kernel::{Sensitive, SessionId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use crate::catalogue::ProblemCode;
use crate::problem::{Problem, ProblemDocument};
use crate::refresh_cookie::{Carried, RefreshCookie};
use crate::{Body, Id, RequestInfo, Signed};

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(refresh)
        .service(log_out)
        .service(log_out_everywhere)
        .service(list)
        .service(end);
}

/// Where a refresh token is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Delivery {
    /// In a cookie that no script can read: for browsers.
    #[default]
    Cookie,
    /// In the answer's body: for callers that keep it themselves.
    Body,
}

/// The tokens of a session.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Tokens)]
pub(crate) struct TokensAnswer {
    /// Send it as `Authorization: Bearer …`. Opaque: what it looks like may change.
    access_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the token ends.
    #[schema(example = 900)]
    expires_in: u64,
    /// What gets the next tokens, once. Only where it was asked for in the body; in a cookie
    /// otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "acr_AZNvXo4qfDudTl9qe4yd…")]
    refresh_token: Option<String>,
    /// Seconds until the session ends unless it is refreshed.
    #[schema(example = 1_209_600)]
    refresh_expires_in: u64,
}

impl TokensAnswer {
    /// The answer's part about tokens; the refresh token only where it goes into the body.
    pub(crate) fn new(tokens: Tokens, delivery: Delivery) -> Self {
        Self {
            access_token: tokens.access_token.into_inner(),
            token_type: "Bearer",
            expires_in: tokens.expires_in.as_secs(),
            refresh_token: (delivery == Delivery::Body).then(|| tokens.refresh_token.into_inner()),
            refresh_expires_in: tokens.refresh_expires_in.as_secs(),
        }
    }
}

/// An answer with tokens: nobody's to keep but the caller's (RFC 6749 section 5.1), with the
/// refresh token in its cookie where that is asked for.
pub(crate) fn with_tokens<T: Serialize>(
    tokens: Tokens,
    delivery: Delivery,
    cookie: RefreshCookie,
    answer: impl FnOnce(TokensAnswer) -> T,
) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if delivery == Delivery::Cookie {
        cookie.set(
            &mut response,
            &tokens.refresh_token,
            tokens.refresh_expires_in,
        );
    }
    response.json(answer(TokensAnswer::new(tokens, delivery)))
}

/// Which session goes on. Not `Debug`: it may hold a token.
#[derive(Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Refresh)]
struct RefreshRequest {
    /// The refresh token, where it is not in the cookie.
    #[schema(example = "acr_AZNvXo4qfDudTl9qe4yd…")]
    #[validate(length(min = 1, max = 256))]
    refresh_token: Option<String>,
}

/// Refresh the session
///
/// Exchanges a refresh token for a new access token and the next refresh token. The token comes in
/// the cookie that the login has set, and then the next one does too, or in the body, and then the
/// next one is in the answer.
///
/// Each token can be used once. One that comes again ends its session, because it or its successor
/// was stolen; only for some seconds after its use it gets the same answer again, so that two tabs
/// may refresh at once. Always send `Content-Type: application/json`, with `{}` where the cookie
/// says all: without it the cookie is not looked at, so that no other site's form can ask.
#[utoipa::path(
    operation_id = "session_refresh",
    tag = "access",
    params(("__Secure-acolhe_refresh" = Option<String>, Cookie,
        description = "The refresh token of a browser. Sent by it to `/api/v1/auth` and `/api/auth` \
            alone.")),
    request_body(content = RefreshRequest, example = json!({
        "refreshToken": "acr_AZNvXo4qfDudTl9qe4ydDnNlY3JldHNlY3JldHNlY3JldHNlY3JldHNlY3JldHNlY3JldHNlY3JldHNlY3Q",
    })),
    extensions(("x-permission" = json!("public"))),
    responses(
        (status = 200, description = "The next tokens.", body = TokensAnswer,
            headers(("Set-Cookie" = String, description = "The next refresh token, where the one \
            before it came in the cookie: once for each path.")),
            example = json!({
            "accessToken": "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSJ9.e30.c2ln",
            "tokenType": "Bearer", "expiresIn": 900, "refreshExpiresIn": 1_209_600,
        })),
        (status = 401, description = "The token is missing, not ours, used before, or its session \
            is over. A cookie that held it is removed.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/auth/refresh")]
async fn refresh(
    request: RequestInfo,
    carried: Carried,
    body: Body<RefreshRequest>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, Problem> {
    let Carried { cookie, token } = carried;
    let (presented, delivery) = match (body.read()?.refresh_token, token) {
        (Some(token), _) => (Sensitive::new(token), Delivery::Body),
        (None, Some(token)) => (token, Delivery::Cookie),
        (None, None) => return Err(ProblemCode::RefreshRejected.into()),
    };
    match sessions.refresh(request.origin, &presented).await {
        Ok(tokens) => Ok(with_tokens(tokens, delivery, cookie, |tokens| tokens)),
        Err(error @ RefreshError::Rejected) if delivery == Delivery::Cookie => {
            Err(cookie.forgotten(error.into()))
        }
        Err(error) => Err(error.into()),
    }
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Rejected => Self::new(ProblemCode::RefreshRejected),
            RefreshError::Store(error) => error.into(),
            RefreshError::Token(error) => Self::new(ProblemCode::Internal).caused_by(error),
        }
    }
}

/// Log out
///
/// Ends the session that the access token belongs to: neither it nor the session's refresh token is
/// good for anything afterwards. The cookie is removed.
#[utoipa::path(
    operation_id = "session_log_out",
    tag = "access",
    extensions(("x-permission" = json!("signed-in"))),
    responses((status = 204, description = "The session is over.")),
)]
#[post("/auth/logout")]
async fn log_out(
    signed: Signed,
    carried: Carried,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, Problem> {
    sessions.log_out(signed.origin, signed.identity).await?;
    Ok(over(carried.cookie))
}

/// Log out everywhere
///
/// Ends every session of the caller, this one too. API keys that the caller has made stay.
#[utoipa::path(
    operation_id = "session_log_out_everywhere",
    tag = "access",
    extensions(("x-permission" = json!("signed-in"))),
    responses((status = 204, description = "All sessions are over.")),
)]
#[post("/auth/logout-everywhere")]
async fn log_out_everywhere(
    signed: Signed,
    carried: Carried,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, Problem> {
    sessions
        .log_out_everywhere(signed.origin, signed.identity)
        .await?;
    Ok(over(carried.cookie))
}

fn over(cookie: RefreshCookie) -> HttpResponse {
    let mut response = HttpResponse::NoContent();
    cookie.forget(&mut response);
    response.finish()
}

/// A session in force.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Session)]
struct SessionAnswer {
    /// Its id.
    #[schema(value_type = uuid::Uuid, example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")]
    id: SessionId,
    /// What the program called itself when it refreshed last.
    #[schema(example = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")]
    user_agent: Option<String>,
    /// The address it refreshed from last.
    #[schema(example = "203.0.113.9")]
    address: Option<String>,
    /// When it began.
    created_at: DateTime<Utc>,
    /// When it began or was refreshed last; between two refreshes a session may have been used.
    last_used_at: DateTime<Utc>,
    /// When it ends unless it is refreshed.
    ends_at: DateTime<Utc>,
    /// Whether it is the one that asks.
    current: bool,
}

impl SessionAnswer {
    fn new(session: Session, current: SessionId) -> Self {
        Self {
            current: session.id == current,
            id: session.id,
            user_agent: session.user_agent,
            address: session.address.map(|address| address.to_string()),
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            ends_at: session.ends_at,
        }
    }
}

/// The caller's sessions.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SessionList)]
struct SessionListAnswer {
    /// The latest used first; 200 at most.
    data: Vec<SessionAnswer>,
}

/// List my sessions
///
/// Every session of the caller that is in force, the latest used first.
#[utoipa::path(
    operation_id = "session_list",
    tag = "access",
    extensions(("x-permission" = json!("signed-in"))),
    responses((status = 200, description = "The sessions.", body = SessionListAnswer,
        example = json!({"data": [{
            "id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "userAgent": "Mozilla/5.0 Firefox/140.0",
            "address": "203.0.113.9", "createdAt": "2026-11-20T12:00:00Z",
            "lastUsedAt": "2026-11-21T09:30:00Z", "endsAt": "2026-12-05T09:30:00Z",
            "current": true,
        }]})))
)]
#[get("/auth/sessions")]
async fn list(signed: Signed, sessions: web::Data<Sessions>) -> Result<HttpResponse, Problem> {
    let current = signed.identity.session;
    let found = sessions.list(signed.origin, signed.identity.user).await?;
    let data = found
        .into_iter()
        .map(|session| SessionAnswer::new(session, current))
        .collect();
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(SessionListAnswer { data }))
}

/// End one of my sessions
///
/// Whoever was in it has to log in again.
#[utoipa::path(
    operation_id = "session_end",
    tag = "access",
    params(("id" = uuid::Uuid, Path, description = "The session.",
        example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")),
    extensions(("x-permission" = json!("signed-in"))),
    responses((status = 204, description = "The session is over.")),
)]
#[delete("/auth/sessions/{id}")]
async fn end(
    signed: Signed,
    id: Id<SessionId>,
    sessions: web::Data<Sessions>,
) -> Result<HttpResponse, Problem> {
    if sessions.end(signed.origin, signed.identity, id.0).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::not_found())
    }
}
