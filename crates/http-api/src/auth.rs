//! `/auth`: from an e-mail and a password to an access token.

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, post, web};
use clinics::{Access, LogInError, LoggedIn};
use kernel::Sensitive;
use kernel::email::Email;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use crate::catalogue::ProblemCode;
use crate::me::{ClinicOfUserAnswer, UserAnswer};
use crate::problem::{Problem, ProblemDocument};
use crate::{Body, RequestInfo};

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(log_in);
}

/// What proves a user. Not `Debug`: it holds a password.
#[derive(Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = LogIn)]
struct LogInRequest {
    /// The user's e-mail, whatever the case of its letters.
    #[schema(example = "ana@example.com", format = "email")]
    #[validate(length(min = 1, max = 254))]
    email: String,
    /// The password.
    #[schema(example = "correct horse battery staple", format = "password")]
    #[validate(length(min = 1, max = 256))]
    password: String,
}

/// A login.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LoggedIn)]
struct LoggedInAnswer {
    /// Send it as `Authorization: Bearer …`. Opaque: what it looks like may change.
    access_token: String,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until the token ends.
    #[schema(example = 900)]
    expires_in: u64,
    /// Who logged in.
    user: UserAnswer,
    /// Where they may act, by name: one of these goes into `X-Clinic-Id`.
    clinics: Vec<ClinicOfUserAnswer>,
}

impl From<LoggedIn> for LoggedInAnswer {
    fn from(login: LoggedIn) -> Self {
        Self {
            access_token: login.access_token.into_inner(),
            token_type: "Bearer",
            expires_in: login.expires_in.as_secs(),
            user: (&login.user).into(),
            clinics: login.clinics.iter().map(Into::into).collect(),
        }
    }
}

/// Log in
///
/// Exchanges an e-mail and a password for an access token of fifteen minutes. An unknown user, a
/// wrong password and a disabled user are answered alike.
#[utoipa::path(
    operation_id = "user_log_in",
    tag = "access",
    request_body(content = LogInRequest, example = json!({
        "email": "ana@example.com", "password": "correct horse battery staple",
    })),
    extensions(("x-permission" = json!("public"))),
    responses(
        (status = 200, description = "The login.", body = LoggedInAnswer, example = json!({
            "accessToken": "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSJ9.e30.c2ln",
            "tokenType": "Bearer", "expiresIn": 900,
            "user": {"id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "name": "Ana Lima",
                "email": "ana@example.com"},
            "clinics": [{"id": "01936f5e-8e2a-7c3b-9d4e-000000000001", "name": "Clínica Ipê",
                "role": "owner"}],
        })),
        (status = 401, description = "E-mail and password do not match an active user.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/auth/login")]
async fn log_in(
    request: RequestInfo,
    body: Body<LogInRequest>,
    access: web::Data<Access>,
) -> Result<HttpResponse, Problem> {
    let LogInRequest { email, password } = body.read()?;
    let email = Email::parse(&email)
        .map_err(|rule| Problem::invalid_field("email", "email", rule.to_string()))?;
    let login = access
        .log_in(request.origin, &email, Sensitive::new(password))
        .await?;
    // A token is nobody's to keep but the caller's (RFC 6749 section 5.1).
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(LoggedInAnswer::from(login)))
}

impl From<LogInError> for Problem {
    fn from(error: LogInError) -> Self {
        match error {
            LogInError::Rejected => Self::new(ProblemCode::InvalidCredentials)
                .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            LogInError::Busy => Self::new(ProblemCode::Unavailable)
                .header(header::RETRY_AFTER, HeaderValue::from_static("2"))
                .caused_by("too many logins at once"),
            LogInError::Store(error) => error.into(),
            LogInError::Failed(source) => Self::new(ProblemCode::Internal).caused_by(source),
        }
    }
}
