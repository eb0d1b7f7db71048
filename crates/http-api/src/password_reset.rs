//! `/auth/password-reset`: a forgotten password, set anew by whoever reads the account's mail.

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, post, web};
use clinics::password_reset::{ConfirmResetError, RequestResetError};
use clinics::{InvalidPassword, OneTimeToken, PasswordResets};
use kernel::email::Email;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use crate::catalogue::ProblemCode;
use crate::invitations::no_mail;
use crate::problem::{Problem, ProblemDocument};
use crate::{Body, RequestInfo};

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(request_reset).service(confirm);
}

/// Whose password was forgotten.
#[derive(Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RequestPasswordReset)]
struct RequestResetRequest {
    /// The account's e-mail, whatever the case of its letters.
    #[schema(example = "ana@example.com", format = "email")]
    #[validate(length(min = 1, max = 254))]
    email: String,
}

/// A new password. Not `Debug`.
#[derive(Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ConfirmPasswordReset)]
struct ConfirmResetRequest {
    /// The token of the link.
    #[schema(example = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA")]
    #[validate(length(min = 1, max = 200))]
    token: String,
    /// The new password: 12 to 256 characters, none that is guessed first.
    #[schema(example = "correct horse battery staple", format = "password")]
    #[validate(length(max = 1024))]
    password: String,
}

/// That something was taken in hand, and nothing more.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Accepted)]
struct TakenAnswer {
    /// Always true.
    accepted: bool,
}

/// Ask for a new password
///
/// Where the address is an account's, a mail with a one-time link goes out, good for an hour. The
/// answer is the same for every address, known or not, and however often it was asked for: at
/// most three mails an hour go to one account.
#[utoipa::path(
    operation_id = "password_reset_request",
    tag = "access",
    request_body(content = RequestResetRequest, example = json!({"email": "ana@example.com"})),
    extensions(("x-permission" = json!("public"))),
    responses((status = 202, description = "Taken in hand.", body = TakenAnswer,
        example = json!({"accepted": true})))
)]
#[post("/auth/password-reset")]
async fn request_reset(
    request: RequestInfo,
    body: Body<RequestResetRequest>,
    resets: web::Data<PasswordResets>,
) -> Result<HttpResponse, Problem> {
    let RequestResetRequest { email } = body.read()?;
    let email = Email::parse(&email)
        .map_err(|rule| Problem::invalid_field("email", "email", rule.to_string()))?;
    resets.request(request.origin, email).await?;
    Ok(HttpResponse::Accepted().json(TakenAnswer { accepted: true }))
}

/// Set a new password
///
/// The link's token is good once. Every session of the user ends: log in anew.
///
/// The mail's link is the front end's page `/reset-password#token=…`; what stands behind `#` is
/// read by that page alone.
#[utoipa::path(
    operation_id = "password_reset_confirm",
    tag = "access",
    request_body(content = ConfirmResetRequest, example = json!({
        "token": "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA",
        "password": "correct horse battery staple",
    })),
    extensions(("x-permission" = json!("public"))),
    responses(
        (status = 204, description = "The password is set."),
        (status = 410, description = "The link is used, has ended or never was.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/auth/password-reset/confirm")]
async fn confirm(
    request: RequestInfo,
    body: Body<ConfirmResetRequest>,
    resets: web::Data<PasswordResets>,
) -> Result<HttpResponse, Problem> {
    let ConfirmResetRequest { token, password } = body.read()?;
    let token = OneTimeToken::parse(&token).map_err(|_| ProblemCode::InvalidLink)?;
    resets.confirm(request.origin, &token, password).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Why a password may not be set.
pub(crate) fn bad_password(rule: InvalidPassword) -> Problem {
    Problem::invalid_field("password", rule.code(), rule.to_string())
}

impl From<RequestResetError> for Problem {
    fn from(error: RequestResetError) -> Self {
        match error {
            RequestResetError::NoMail => no_mail(),
            RequestResetError::Store(error) => error.into(),
        }
    }
}

impl From<ConfirmResetError> for Problem {
    fn from(error: ConfirmResetError) -> Self {
        match error {
            ConfirmResetError::InvalidLink => ProblemCode::InvalidLink.into(),
            ConfirmResetError::Password(rule) => bad_password(rule),
            ConfirmResetError::Busy => Self::new(ProblemCode::Unavailable)
                .header(header::RETRY_AFTER, HeaderValue::from_static("2"))
                .caused_by("too many passwords at once"),
            ConfirmResetError::Store(error) => error.into(),
            ConfirmResetError::Failed(source) => Self::new(ProblemCode::Internal).caused_by(source),
        }
    }
}
