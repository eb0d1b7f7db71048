//! `/auth`: from an e-mail and a password to an access token.

use std::time::Duration;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, post, web};
use clinics::{Access, ChangePasswordError, InvalidPassword, LogInError, NewPassword};
use kernel::Sensitive;
use kernel::email::Email;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use crate::catalogue::ProblemCode;
use crate::me::{ClinicOfUserAnswer, UserAnswer};
use crate::problem::{Problem, ProblemDocument};
use crate::refresh_cookie::Carried;
use crate::sessions::{Delivery, TokensAnswer, with_tokens};
use crate::tenant::unauthenticated;
use crate::{Body, RequestInfo, Signed};

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(log_in).service(change_password);
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
    /// Where the refresh token goes: `cookie`, which no script can read, or `body`, for callers that
    /// are no browser.
    #[serde(default)]
    #[schema(example = "cookie", default = "cookie")]
    refresh_token: Delivery,
}

/// A login.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LoggedIn)]
struct LoggedInAnswer {
    /// Its tokens.
    #[serde(flatten)]
    tokens: TokensAnswer,
    /// Who logged in.
    user: UserAnswer,
    /// Where they may act, by name: one of these goes into `X-Clinic-Id`.
    clinics: Vec<ClinicOfUserAnswer>,
}

/// Log in
///
/// Exchanges an e-mail and a password for an access token of fifteen minutes, and a refresh token
/// that gets the next one (`POST /api/v1/auth/refresh`). An unknown user, a wrong password and a
/// disabled user are answered alike.
///
/// The refresh token goes into a cookie that no script can read (`HttpOnly`, `Secure`,
/// `SameSite=Strict`) and that browsers send to `/api/v1/auth` and its alias `/api/auth` alone. A
/// caller that is no browser asks for it in the answer, with `"refreshToken": "body"`.
#[utoipa::path(
    operation_id = "user_log_in",
    tag = "access",
    request_body(content = LogInRequest, example = json!({
        "email": "ana@example.com", "password": "correct horse battery staple",
    })),
    extensions(("x-permission" = json!("public"))),
    responses(
        (status = 200, description = "The login.", body = LoggedInAnswer,
            headers(("Set-Cookie" = String, description = "The refresh token, unless it was asked \
            for in the body: once for each path.")),
            example = json!({
            "accessToken": "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSJ9.e30.c2ln",
            "tokenType": "Bearer", "expiresIn": 900, "refreshExpiresIn": 1_209_600,
            "user": {"id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "name": "Ana Lima",
                "email": "ana@example.com"},
            "clinics": [{"id": "01936f5e-8e2a-7c3b-9d4e-000000000001", "name": "Clínica Ipê",
                "role": "owner"}],
        })),
        (status = 401, description = "E-mail and password do not match an active user.",
            body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures on this account, known or not, or from this \
            address: wait as long as `Retry-After` says.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/auth/login")]
async fn log_in(
    request: RequestInfo,
    carried: Carried,
    body: Body<LogInRequest>,
    access: web::Data<Access>,
) -> Result<HttpResponse, Problem> {
    let LogInRequest {
        email,
        password,
        refresh_token,
    } = body.read()?;
    let email = Email::parse(&email)
        .map_err(|rule| Problem::invalid_field("email", "email", rule.to_string()))?;
    let login = access
        .log_in(request.origin, &email, Sensitive::new(password))
        .await?;
    let user = (&login.user).into();
    let clinics = login.clinics.iter().map(Into::into).collect();
    let answer = |tokens| LoggedInAnswer {
        tokens,
        user,
        clinics,
    };
    Ok(with_tokens(
        login.tokens,
        refresh_token,
        carried.cookie,
        answer,
    ))
}

impl From<LogInError> for Problem {
    fn from(error: LogInError) -> Self {
        match error {
            LogInError::Rejected => Self::new(ProblemCode::InvalidCredentials)
                .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            LogInError::Busy => busy(),
            LogInError::Delayed(wait) => delayed(wait),
            LogInError::Store(error) => error.into(),
            LogInError::Failed(source) => Self::new(ProblemCode::Internal).caused_by(source),
        }
    }
}

/// More passwords wait to be checked than may.
fn busy() -> Problem {
    Problem::new(ProblemCode::Unavailable)
        .header(header::RETRY_AFTER, HeaderValue::from_static("2"))
        .caused_by("too many passwords are being checked")
}

/// Too many failures: the wait in whole seconds, never too short.
fn delayed(wait: Duration) -> Problem {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Problem::new(ProblemCode::TooManyAttempts).header(header::RETRY_AFTER, seconds.into())
}

/// A password to be replaced. Not `Debug`: it holds two.
#[derive(Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ChangePassword)]
struct ChangePasswordRequest {
    /// The present password.
    #[schema(example = "correct horse battery staple", format = "password")]
    #[validate(length(min = 1, max = 256))]
    current_password: String,
    /// The new one: 12 to 256 characters, none of the first that are tried, and not made of the
    /// e-mail address.
    #[schema(example = "ipê amarelo, rua molhada", format = "password")]
    #[validate(length(min = 12, max = 256))]
    new_password: String,
}

/// Change my password
///
/// Needs the present password, and ends every other session of the caller: this one stays. After
/// some failures one has to wait.
#[utoipa::path(
    operation_id = "user_change_password",
    tag = "access",
    request_body(content = ChangePasswordRequest, example = json!({
        "currentPassword": "correct horse battery staple",
        "newPassword": "ipê amarelo, rua molhada",
    })),
    extensions(("x-permission" = json!("signed-in"))),
    responses(
        (status = 204, description = "The password is the new one."),
        (status = 403, description = "The present password is another.",
            body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "Too many failures: wait as long as `Retry-After` says.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/auth/password")]
async fn change_password(
    signed: Signed,
    body: Body<ChangePasswordRequest>,
    access: web::Data<Access>,
) -> Result<HttpResponse, Problem> {
    let ChangePasswordRequest {
        current_password,
        new_password,
    } = body.read()?;
    let new = NewPassword::parse(new_password).map_err(unfit)?;
    let present = Sensitive::new(current_password);
    access
        .change_password(signed.origin, signed.identity, present, new)
        .await?;
    Ok(HttpResponse::NoContent().finish())
}

fn unfit(error: InvalidPassword) -> Problem {
    Problem::invalid_field("newPassword", error.code(), error.to_string())
}

impl From<ChangePasswordError> for Problem {
    fn from(error: ChangePasswordError) -> Self {
        match error {
            ChangePasswordError::Gone => unauthenticated("Bearer error=\"invalid_token\""),
            ChangePasswordError::Wrong => Self::new(ProblemCode::WrongPassword),
            ChangePasswordError::Unfit(error) => unfit(error),
            ChangePasswordError::Busy => busy(),
            ChangePasswordError::Delayed(wait) => delayed(wait),
            ChangePasswordError::Store(error) => error.into(),
            ChangePasswordError::Failed(source) => {
                Self::new(ProblemCode::Internal).caused_by(source)
            }
        }
    }
}
