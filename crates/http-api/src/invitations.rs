//! `/users/invitations` and `/auth/invitations/accept`: how people become users of a clinic.

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use clinics::invitation::{AcceptError, InviteError};
use clinics::{
    Acceptance, Accepted, Invitation, InvitationStatus, Invitations, NewInvitation, OneTimeToken,
};
use kernel::email::Email;
use kernel::text::PersonName;
use kernel::{BranchId, ClinicId, InvitationId, PageLimit, Toolkit, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use crate::catalogue::ProblemCode;
use crate::password_reset::bad_password;
use crate::problem::{Problem, ProblemDocument};
use crate::rules::Rules;
use crate::users::{RoleForm, beyond_scope, bounded, unknown_branch};
use crate::{
    Answer, Body, Id, IdempotencyKey, IfNoneMatch, PageAnswer, Query, RequestInfo, Signed, Tenant,
};

/// Adds the handlers of this file. Before those of `/users/{id}`, which would take `invitations`
/// for an id.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list)
        .service(create)
        .service(resend)
        .service(revoke)
        .service(read)
        .service(accept);
}

/// How an invitation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InvitationStatus)]
enum StatusForm {
    /// It waits for its reader.
    Pending,
    /// Its reader came in.
    Accepted,
    /// The clinic took it back.
    Revoked,
    /// Its links have ended; it may be sent again.
    Expired,
}

impl From<StatusForm> for InvitationStatus {
    fn from(form: StatusForm) -> Self {
        match form {
            StatusForm::Pending => Self::Pending,
            StatusForm::Accepted => Self::Accepted,
            StatusForm::Revoked => Self::Revoked,
            StatusForm::Expired => Self::Expired,
        }
    }
}

impl From<InvitationStatus> for StatusForm {
    fn from(status: InvitationStatus) -> Self {
        match status {
            InvitationStatus::Pending => Self::Pending,
            InvitationStatus::Accepted => Self::Accepted,
            InvitationStatus::Revoked => Self::Revoked,
            InvitationStatus::Expired => Self::Expired,
        }
    }
}

/// An invitation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Invitation)]
struct InvitationAnswer {
    /// Its id.
    #[schema(value_type = uuid::Uuid, example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")]
    id: InvitationId,
    /// To whom.
    #[schema(example = "bia@example.com")]
    email: String,
    /// Their name.
    #[schema(example = "Bia Prado")]
    name: String,
    /// What they become.
    role: RoleForm,
    /// The branches they will work at; null is all of them.
    #[schema(required = true, value_type = Option<Vec<uuid::Uuid>>)]
    branches: Option<Vec<BranchId>>,
    /// Whether they will see no agenda but their own.
    own_agenda_only: bool,
    /// How it stands.
    status: StatusForm,
    /// The user who invited.
    #[schema(required = true, value_type = Option<uuid::Uuid>)]
    invited_by: Option<UserId>,
    /// When its mail was last asked for.
    sent_at: DateTime<Utc>,
    /// Until when its newest link is good.
    expires_at: DateTime<Utc>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl InvitationAnswer {
    fn of(invitation: Invitation, now: DateTime<Utc>) -> Self {
        Self {
            status: invitation.status_at(now).into(),
            id: invitation.id,
            email: invitation.email.as_str().to_owned(),
            name: invitation.name.as_str().to_owned(),
            role: invitation.role.into(),
            branches: invitation.branches,
            own_agenda_only: invitation.own_agenda_only,
            invited_by: invitation.invited_by,
            sent_at: invitation.sent_at,
            expires_at: invitation.expires_at,
            created_at: invitation.created_at,
            updated_at: invitation.updated_at,
        }
    }
}

/// What the document shows.
fn example() -> serde_json::Value {
    json!({
        "id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "email": "bia@example.com",
        "name": "Bia Prado", "role": "receptionist", "branches": null, "ownAgendaOnly": false,
        "status": "pending", "invitedBy": "01936f5e-8e2a-7c3b-9d4e-000000000002",
        "sentAt": "2026-11-03T12:30:00Z", "expiresAt": "2026-11-10T12:30:00Z",
        "createdAt": "2026-11-03T12:30:00Z", "updatedAt": "2026-11-03T12:30:00Z",
    })
}

/// Whom to invite.
#[derive(Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CreateInvitation)]
struct CreateInvitationRequest {
    /// Their e-mail.
    #[schema(example = "bia@example.com", format = "email", max_length = 254)]
    email: String,
    /// Their name, 1 to 200 characters.
    #[schema(example = "Bia Prado")]
    name: String,
    /// What they become. Owners alone invite owners.
    role: RoleForm,
    /// The branches they will work at, at most 200; all of them when null or not given.
    #[serde(default)]
    #[schema(value_type = Option<Vec<uuid::Uuid>>)]
    branches: Option<Vec<BranchId>>,
    /// Whether they will see no agenda but their own; not when not given.
    #[serde(default)]
    own_agenda_only: bool,
}

impl CreateInvitationRequest {
    fn into_domain(self) -> Result<NewInvitation, Problem> {
        let mut rules = Rules::new(ProblemCode::InvalidBody);
        let email = rules.keep("email", "email", Email::parse(&self.email));
        let name = rules.keep("name", "length", PersonName::parse(&self.name));
        let (email, name) = rules.done((email, name))?;
        Ok(NewInvitation {
            // What is none was noted, and told by the line above.
            email: email.ok_or(ProblemCode::InvalidBody)?,
            name: name.ok_or(ProblemCode::InvalidBody)?,
            role: self.role.into(),
            branches: self.branches.map(bounded).transpose()?,
            own_agenda_only: self.own_agenda_only,
        })
    }
}

/// Which invitations, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListInvitationsQuery {
    /// Rows of a page, 1 to 100; 20 when not given.
    #[param(minimum = 1, maximum = 100, example = 20)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Of this status; of any when not given.
    #[param(inline)]
    status: Option<StatusForm>,
}

/// List invitations
///
/// Newest first.
#[utoipa::path(
    operation_id = "invitation_list",
    tag = "users",
    params(ListInvitationsQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a page you have.")),
    extensions(("x-permission" = json!("user.manage"))),
    responses(
        (status = 200, description = "A page of invitations.", body = PageAnswer<InvitationAnswer>,
            headers(("ETag" = String, description = "Of this page.")),
            example = json!({"data": [example()], "nextCursor": null, "hasMore": false})),
        (status = 304, description = "The page is the one you have."),
    )
)]
#[get("/users/invitations")]
async fn list(
    tenant: Tenant,
    query: Query<ListInvitationsQuery>,
    if_none_match: IfNoneMatch,
    tools: web::Data<Toolkit>,
    invitations: web::Data<Invitations>,
) -> Result<HttpResponse, Problem> {
    let limit = query
        .limit
        .map_or(Ok(PageLimit::default()), PageLimit::new)
        .map_err(|rule| Problem::invalid_query("limit", "range", rule.to_string()))?;
    let status = query.status.map(Into::into);
    let page = invitations
        .list(&tenant, status, limit, query.cursor.as_deref())
        .await?;
    let now = tools.now();
    let page = PageAnswer::of(page, |row| InvitationAnswer::of(row, now));
    if_none_match.answer_content(&tools, &tenant, &page)
}

/// Invite a user
///
/// A mail with a one-time link goes out, good for seven days. Whether the address has an account
/// elsewhere makes no difference to the answer.
#[utoipa::path(
    operation_id = "invitation_create",
    tag = "users",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body(content = CreateInvitationRequest, example = json!({
        "email": "bia@example.com", "name": "Bia Prado", "role": "receptionist",
        "branches": null, "ownAgendaOnly": false,
    })),
    extensions(("x-permission" = json!("user.manage"))),
    responses(
        (status = 202, description = "The invitation; its mail is on its way.",
            body = InvitationAnswer,
            headers(("Location" = String, description = "Where it is.")),
            example = json!(example())),
        (status = 409, description = "The address is a user's of this clinic, or has a pending \
            invitation.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "A branch does not exist, or is beyond one's own.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/users/invitations")]
async fn create(
    tenant: Tenant,
    key: IdempotencyKey,
    body: Body<CreateInvitationRequest>,
    tools: web::Data<Toolkit>,
    invitations: web::Data<Invitations>,
) -> Result<HttpResponse, Problem> {
    invitations.prepare_create(&tenant).await?;
    let answer = key.answering(&tools, &tenant, &body, invited)?;
    let new = body.read()?.into_domain()?;
    let invitation = invitations.create(&tenant, new, answer.once()).await?;
    Ok(answer.about(&invitation))
}

/// The answer about a new invitation.
fn invited(invitation: &Invitation) -> Answer {
    let place = format!("/api/v1/users/invitations/{}", invitation.id);
    let made_at = invitation.created_at;
    Answer::accepted(&place, &InvitationAnswer::of(invitation.clone(), made_at))
}

/// Read an invitation
///
/// One of another clinic answers as one that does not exist.
#[utoipa::path(
    operation_id = "invitation_read",
    tag = "users",
    params(("id" = uuid::Uuid, Path, description = "The invitation.",
        example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")),
    extensions(("x-permission" = json!("user.manage"))),
    responses((status = 200, description = "The invitation.", body = InvitationAnswer,
        example = json!(example())))
)]
#[get("/users/invitations/{id}")]
async fn read(
    tenant: Tenant,
    id: Id<InvitationId>,
    tools: web::Data<Toolkit>,
    invitations: web::Data<Invitations>,
) -> Result<HttpResponse, Problem> {
    let invitation = invitations
        .read(&tenant, id.0)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok().json(InvitationAnswer::of(invitation, tools.now())))
}

/// Send an invitation again
///
/// With a new link, good for seven days; earlier links stay good as long as they said. At most
/// once a minute.
#[utoipa::path(
    operation_id = "invitation_resend",
    tag = "users",
    params(("id" = uuid::Uuid, Path, description = "The invitation.",
        example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")),
    extensions(("x-permission" = json!("user.manage"))),
    responses(
        (status = 202, description = "The invitation; its mail is on its way.",
            body = InvitationAnswer, example = json!(example())),
        (status = 409, description = "It was accepted or revoked.",
            body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "It is for branches beyond one's own.",
            body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "A mail was sent a moment ago.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/users/invitations/{id}/resend")]
async fn resend(
    tenant: Tenant,
    id: Id<InvitationId>,
    tools: web::Data<Toolkit>,
    invitations: web::Data<Invitations>,
) -> Result<HttpResponse, Problem> {
    let invitation = invitations.resend(&tenant, id.0).await?;
    Ok(HttpResponse::Accepted().json(InvitationAnswer::of(invitation, tools.now())))
}

/// Revoke an invitation
///
/// None of its links lets in any more. Once more changes nothing.
#[utoipa::path(
    operation_id = "invitation_revoke",
    tag = "users",
    params(("id" = uuid::Uuid, Path, description = "The invitation.",
        example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")),
    extensions(("x-permission" = json!("user.manage"))),
    responses(
        (status = 200, description = "The invitation as it is now.", body = InvitationAnswer,
            example = json!(example())),
        (status = 409, description = "It was accepted.",
            body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "It is for branches beyond one's own.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/users/invitations/{id}/revoke")]
async fn revoke(
    tenant: Tenant,
    id: Id<InvitationId>,
    tools: web::Data<Toolkit>,
    invitations: web::Data<Invitations>,
) -> Result<HttpResponse, Problem> {
    let invitation = invitations.revoke(&tenant, id.0).await?;
    Ok(HttpResponse::Ok().json(InvitationAnswer::of(invitation, tools.now())))
}

/// What the reader of an invitation's mail sends. Not `Debug`: it holds a password.
#[derive(Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = AcceptInvitation)]
struct AcceptRequest {
    /// The token of the link.
    #[schema(example = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA")]
    #[validate(length(min = 1, max = 200))]
    token: String,
    /// The name of a new account, 1 to 200 characters; the invitation's when not given.
    #[schema(example = "Bia Prado")]
    #[serde(default)]
    name: Option<String>,
    /// The password of a new account: 12 to 256 characters, none that is guessed first.
    #[schema(example = "correct horse battery staple", format = "password")]
    #[serde(default)]
    #[validate(length(max = 1024))]
    password: Option<String>,
}

/// An accepted invitation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AcceptedInvitation)]
struct AcceptedAnswer {
    /// The clinic, for `X-Clinic-Id`.
    #[schema(value_type = uuid::Uuid, example = "01936f5e-8e2a-7c3b-9d4e-000000000001")]
    clinic_id: ClinicId,
    /// The user.
    #[schema(value_type = uuid::Uuid, example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")]
    user_id: UserId,
    /// What they log in with.
    #[schema(example = "bia@example.com")]
    email: String,
    /// What they are in the clinic.
    role: RoleForm,
    /// Whether the account is new.
    user_created: bool,
}

impl From<Accepted> for AcceptedAnswer {
    fn from(accepted: Accepted) -> Self {
        Self {
            clinic_id: accepted.clinic,
            user_id: accepted.user,
            email: accepted.email.as_str().to_owned(),
            role: accepted.role.into(),
            user_created: accepted.user_created,
        }
    }
}

/// Accept an invitation
///
/// The link's token proves the mailbox and is good once. Where the address has no account yet,
/// `password` makes one, without `Authorization`; where it has one, its owner logs in first and
/// sends the token with their access token. Then log in, or choose the clinic.
///
/// The mail's link is the front end's page `/accept-invitation#token=…`; what stands behind `#` is
/// read by that page alone.
#[utoipa::path(
    operation_id = "invitation_accept",
    tag = "access",
    request_body(content = AcceptRequest, example = json!({
        "token": "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA", "name": "Bia Prado",
        "password": "correct horse battery staple",
    })),
    extensions(("x-permission" = json!("public"))),
    responses(
        (status = 200, description = "The user is the clinic's now.", body = AcceptedAnswer,
            example = json!({
                "clinicId": "01936f5e-8e2a-7c3b-9d4e-000000000001",
                "userId": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "email": "bia@example.com",
                "role": "receptionist", "userCreated": true,
            })),
        (status = 401, description = "The address has an account: log in as it, and send the \
            token with its access token.",
            body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "The access token is another account's.",
            body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "The user is the clinic's already.",
            body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "The link is used, has ended, was revoked or never was.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/auth/invitations/accept")]
async fn accept(
    request: RequestInfo,
    signed: Option<Signed>,
    body: Body<AcceptRequest>,
    invitations: web::Data<Invitations>,
) -> Result<HttpResponse, Problem> {
    let AcceptRequest {
        token,
        name,
        password,
    } = body.read()?;
    let name = name
        .map(|name| PersonName::parse(&name))
        .transpose()
        .map_err(|rule| Problem::invalid_field("name", "length", rule.to_string()))?;
    let token = OneTimeToken::parse(&token).map_err(|_| ProblemCode::InvalidLink)?;
    let acceptance = Acceptance {
        token,
        identity: signed.map(|signed| signed.identity),
        name,
        password,
    };
    let accepted = invitations.accept(request.origin, acceptance).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(AcceptedAnswer::from(accepted)))
}

pub(crate) fn no_mail() -> Problem {
    Problem::new(ProblemCode::MailNotConfigured)
}

impl From<InviteError> for Problem {
    fn from(error: InviteError) -> Self {
        let exists = |detail: &'static str| {
            Self::new(ProblemCode::AlreadyExists).detail(detail).param(
                "email",
                "taken",
                "must be of nobody who is here or invited",
            )
        };
        match error {
            InviteError::Denied(denied) => denied.into(),
            InviteError::NoMail => no_mail(),
            InviteError::NotFound => Self::not_found(),
            InviteError::NotPending(status) => {
                Self::new(ProblemCode::Conflict).detail(match status {
                    InvitationStatus::Pending => "The invitation is pending.",
                    InvitationStatus::Accepted => "The invitation was accepted.",
                    InvitationStatus::Revoked => "The invitation was revoked: make a new one.",
                    InvitationStatus::Expired => "The invitation has ended: make a new one.",
                })
            }
            InviteError::TooSoon => Self::new(ProblemCode::TooManyRequests)
                .header(header::RETRY_AFTER, HeaderValue::from_static("60"))
                .detail("A mail of this invitation was sent less than a minute ago."),
            InviteError::AlreadyMember => {
                exists("The address is a user's of this clinic, active or not.")
            }
            InviteError::AlreadyInvited => {
                exists("The address has a pending invitation: send that one again, or revoke it.")
            }
            InviteError::UnknownBranch => unknown_branch(),
            InviteError::BeyondScope => beyond_scope(),
            InviteError::VersionConflict => Self::new(ProblemCode::Conflict)
                .detail("The invitation was changed at the same time: read it again."),
            InviteError::Store(error) => error.into(),
        }
    }
}

impl From<AcceptError> for Problem {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::InvalidLink => ProblemCode::InvalidLink.into(),
            AcceptError::LoginRequired => Self::new(ProblemCode::LoginRequired)
                .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            AcceptError::OtherAccount => ProblemCode::OtherAccount.into(),
            AcceptError::AlreadyMember => {
                Self::new(ProblemCode::AlreadyExists).detail("The user is this clinic's already.")
            }
            AcceptError::PasswordRequired => {
                Self::invalid_field("password", "required", "is required for a new account")
            }
            AcceptError::Password(rule) => bad_password(rule),
            AcceptError::Busy => Self::new(ProblemCode::Unavailable)
                .header(header::RETRY_AFTER, HeaderValue::from_static("2"))
                .caused_by("too many passwords at once"),
            AcceptError::Store(error) => error.into(),
            AcceptError::Failed(source) => Self::new(ProblemCode::Internal).caused_by(source),
        }
    }
}
