//! `/users`: who works in the clinic, and what they may do there. Invitations have a file of their
//! own.

use actix_web::http::header;
use actix_web::{HttpResponse, get, patch, post, web};
use chrono::{DateTime, Utc};
use clinics::members::{MemberFilter, MemberPatch, UpdateMemberError};
use clinics::{Member, Members, MembershipStatus, Role};
use kernel::{BranchId, PageLimit, TenantContext, Toolkit, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use crate::catalogue::ProblemCode;
use crate::patch::{PatchField, given};
use crate::problem::{Problem, ProblemDocument};
use crate::{Body, EntityTag, Id, IfMatch, IfNoneMatch, PageAnswer, Query, Tenant};

/// Most branches that one membership names.
pub(crate) const MOST_BRANCHES: u64 = 200;

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list)
        .service(read)
        .service(update)
        .service(deactivate)
        .service(reactivate);
}

/// What a user is in the clinic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Role)]
pub(crate) enum RoleForm {
    /// Answers for the clinic.
    Owner,
    /// Runs it from day to day.
    Admin,
    /// Treats patients.
    Professional,
    /// The front desk.
    Receptionist,
    /// The money.
    Finance,
    /// Looks on.
    Readonly,
}

impl From<RoleForm> for Role {
    fn from(form: RoleForm) -> Self {
        match form {
            RoleForm::Owner => Self::Owner,
            RoleForm::Admin => Self::Admin,
            RoleForm::Professional => Self::Professional,
            RoleForm::Receptionist => Self::Receptionist,
            RoleForm::Finance => Self::Finance,
            RoleForm::Readonly => Self::Readonly,
        }
    }
}

impl From<Role> for RoleForm {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Admin => Self::Admin,
            Role::Professional => Self::Professional,
            Role::Receptionist => Self::Receptionist,
            Role::Finance => Self::Finance,
            Role::Readonly => Self::Readonly,
        }
    }
}

/// Whether a membership stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MembershipStatus)]
enum StatusForm {
    Active,
    Disabled,
}

impl From<StatusForm> for MembershipStatus {
    fn from(form: StatusForm) -> Self {
        match form {
            StatusForm::Active => Self::Active,
            StatusForm::Disabled => Self::Disabled,
        }
    }
}

impl From<MembershipStatus> for StatusForm {
    fn from(status: MembershipStatus) -> Self {
        match status {
            MembershipStatus::Active => Self::Active,
            MembershipStatus::Disabled => Self::Disabled,
        }
    }
}

/// A user of the clinic, with what they are there.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ClinicUser)]
struct MemberAnswer {
    /// The user's id, the same in every clinic.
    #[schema(value_type = uuid::Uuid, example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")]
    id: UserId,
    /// Their name. Theirs to change.
    #[schema(example = "Ana Lima")]
    name: String,
    /// What they log in with. Theirs to change.
    #[schema(example = "ana@example.com")]
    email: String,
    /// What they are in this clinic.
    role: RoleForm,
    /// The branches they work at; null is all of them.
    #[schema(required = true, value_type = Option<Vec<uuid::Uuid>>)]
    branches: Option<Vec<BranchId>>,
    /// Whether they see no agenda but their own.
    own_agenda_only: bool,
    /// Whether they may act in this clinic.
    status: StatusForm,
    /// When they became a user of this clinic.
    created_at: DateTime<Utc>,
    /// When what they are here was last changed.
    updated_at: DateTime<Utc>,
}

impl From<Member> for MemberAnswer {
    fn from(member: Member) -> Self {
        Self {
            id: member.user,
            name: member.name.as_str().to_owned(),
            email: member.email.as_str().to_owned(),
            role: member.role.into(),
            branches: member.branches,
            own_agenda_only: member.own_agenda_only,
            status: member.status.into(),
            created_at: member.created_at,
            updated_at: member.updated_at,
        }
    }
}

/// What the document shows.
fn example() -> serde_json::Value {
    json!({
        "id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "name": "Ana Lima",
        "email": "ana@example.com", "role": "receptionist", "branches": null,
        "ownAgendaOnly": false, "status": "active", "createdAt": "2026-11-03T12:30:00Z",
        "updatedAt": "2026-11-03T12:30:00Z",
    })
}

/// Which users, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListUsersQuery {
    /// Rows of a page, 1 to 100; 20 when not given.
    #[param(minimum = 1, maximum = 100, example = 20)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Of this role.
    #[param(inline)]
    role: Option<RoleForm>,
    /// Of this status; of either when not given.
    #[param(inline)]
    status: Option<StatusForm>,
    /// With this in their name or e-mail, whatever its accents and case; at most 100 characters.
    #[param(max_length = 100, example = "ana")]
    search: Option<String>,
}

/// A change of what a user is in the clinic: what is not named stays. Null gives all `branches`,
/// and is refused elsewhere.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UpdateClinicUser)]
struct UpdateUserRequest {
    /// What they become. Owners alone make and unmake owners.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = RoleForm, required = false)]
    role: Option<RoleForm>,
    /// The branches they work at, at most 200; null is all of them.
    #[serde(default)]
    #[schema(value_type = Option<Vec<uuid::Uuid>>)]
    branches: PatchField<Vec<BranchId>>,
    /// Whether they see no agenda but their own.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool, required = false)]
    own_agenda_only: Option<bool>,
}

impl UpdateUserRequest {
    fn into_domain(self) -> Result<MemberPatch, Problem> {
        Ok(MemberPatch {
            role: self.role.map(Into::into),
            branches: match self.branches {
                PatchField::Absent => None,
                PatchField::Null => Some(None),
                PatchField::Value(branches) => Some(Some(bounded(branches)?)),
            },
            own_agenda_only: self.own_agenda_only,
            status: None,
        })
    }
}

/// A membership without a branch could do nothing and would look as one of all.
pub(crate) fn bounded(branches: Vec<BranchId>) -> Result<Vec<BranchId>, Problem> {
    let count = u64::try_from(branches.len()).unwrap_or(u64::MAX);
    if (1..=MOST_BRANCHES).contains(&count) {
        Ok(branches)
    } else {
        Err(Problem::invalid_field(
            "branches",
            "length",
            "must name 1 to 200 branches; null is all of them",
        ))
    }
}

fn tag(tools: &Toolkit, cx: &TenantContext, member: &Member) -> EntityTag {
    // Name and address are the user's own and change apart from the membership: they are part of
    // the view, not of the version that a change is conditional on.
    let view = format!("{}\n{}", member.name.as_str(), member.email.as_str());
    EntityTag::of_record(tools, cx, "user", member.user, member.version, &view)
}

/// The user as they are after an act, with the new tag.
fn answer(tools: &Toolkit, cx: &TenantContext, member: Member) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::ETAG, tag(tools, cx, &member).to_string()))
        .json(MemberAnswer::from(member))
}

/// List users
///
/// The clinic's own, newest first. Nobody else is found by `search`.
#[utoipa::path(
    operation_id = "user_list",
    tag = "users",
    params(ListUsersQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a page you have.")),
    extensions(("x-permission" = json!("user.read"))),
    responses(
        (status = 200, description = "A page of users.", body = PageAnswer<MemberAnswer>,
            headers(("ETag" = String, description = "Of this page.")),
            example = json!({"data": [example()], "nextCursor": null, "hasMore": false})),
        (status = 304, description = "The page is the one you have."),
    )
)]
#[get("/users")]
async fn list(
    tenant: Tenant,
    query: Query<ListUsersQuery>,
    if_none_match: IfNoneMatch,
    tools: web::Data<Toolkit>,
    members: web::Data<Members>,
) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let limit = query
        .limit
        .map_or(Ok(PageLimit::default()), PageLimit::new)
        .map_err(|rule| Problem::invalid_query("limit", "range", rule.to_string()))?;
    let search = query.search.filter(|text| !text.trim().is_empty());
    if search
        .as_ref()
        .is_some_and(|text| text.chars().count() > 100)
    {
        let rule = "must have at most 100 characters";
        return Err(Problem::invalid_query("search", "length", rule));
    }
    // What no text can hold is in no name either, and the database would refuse it.
    if search.as_ref().is_some_and(|text| text.contains('\0')) {
        let rule = "must have no control characters";
        return Err(Problem::invalid_query("search", "format", rule));
    }
    let filter = MemberFilter {
        role: query.role.map(Into::into),
        status: query.status.map(Into::into),
        search,
    };
    let page = members
        .list(&tenant, filter, limit, query.cursor.as_deref())
        .await?;
    let page = PageAnswer::of(page, MemberAnswer::from);
    if_none_match.answer_content(&tools, &tenant, &page)
}

/// Read a user
///
/// A user who is not the clinic's answers as one that does not exist.
#[utoipa::path(
    operation_id = "user_read",
    tag = "users",
    params(
        ("id" = uuid::Uuid, Path, description = "The user.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` you have.")),
    extensions(("x-permission" = json!("user.read"))),
    responses(
        (status = 200, description = "The user.", body = MemberAnswer,
            headers(("ETag" = String, description = "Their version.")),
            example = json!(example())),
        (status = 304, description = "They are as you have them."),
    )
)]
#[get("/users/{id}")]
async fn read(
    tenant: Tenant,
    id: Id<UserId>,
    if_none_match: IfNoneMatch,
    tools: web::Data<Toolkit>,
    members: web::Data<Members>,
) -> Result<HttpResponse, Problem> {
    let member = members
        .read(&tenant, id.0)
        .await?
        .ok_or_else(Problem::not_found)?;
    let tag = tag(&tools, &tenant, &member);
    Ok(if_none_match.answer(&tag, &MemberAnswer::from(member)))
}

/// Change a user
///
/// What they are in the clinic: role, branches, own agenda. What is not named stays. Name, e-mail
/// and password are the user's own. Nobody changes themselves; owners alone make and unmake
/// owners; the last active owner stays one; who is bound to branches manages within them. Needs
/// `If-Match`.
#[utoipa::path(
    operation_id = "user_update",
    tag = "users",
    params(
        ("id" = uuid::Uuid, Path, description = "The user.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = String, Header, description = "The `ETag` they were read with.")),
    request_body(content = UpdateUserRequest, example = json!({
        "role": "finance", "branches": null, "ownAgendaOnly": false,
    })),
    extensions(("x-permission" = json!("user.manage"))),
    responses(
        (status = 200, description = "The user as they are now.", body = MemberAnswer,
            headers(("ETag" = String, description = "Their new version.")),
            example = json!(example())),
        (status = 422, description = "It is oneself, the last active owner, beyond one's own \
            branches, or a branch does not exist.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[patch("/users/{id}")]
async fn update(
    tenant: Tenant,
    id: Id<UserId>,
    if_match: IfMatch,
    body: Body<UpdateUserRequest>,
    tools: web::Data<Toolkit>,
    members: web::Data<Members>,
) -> Result<HttpResponse, Problem> {
    let present = members
        .prepare_update(&tenant, id.0)
        .await?
        .ok_or_else(Problem::not_found)?;
    let patch = body.read()?.into_domain()?;
    if_match.require(&tag(&tools, &tenant, &present))?;
    let member = members
        .update(&tenant, id.0, present.version, patch)
        .await?;
    Ok(answer(&tools, &tenant, member))
}

/// Deactivate a user
///
/// They may no longer act in this clinic, at once. In others nothing changes for them. Once more
/// changes nothing.
#[utoipa::path(
    operation_id = "user_deactivate",
    tag = "users",
    params(
        ("id" = uuid::Uuid, Path, description = "The user.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` they were read with, where \
            they must still be so.")),
    extensions(("x-permission" = json!("user.manage"))),
    responses(
        (status = 200, description = "The user as they are now.", body = MemberAnswer,
            headers(("ETag" = String, description = "Their version.")),
            example = json!(example())),
        (status = 422, description = "It is oneself, the last active owner, or beyond one's own \
            branches.", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/users/{id}/deactivate")]
async fn deactivate(
    tenant: Tenant,
    id: Id<UserId>,
    if_match: IfMatch,
    tools: web::Data<Toolkit>,
    members: web::Data<Members>,
) -> Result<HttpResponse, Problem> {
    let status = MembershipStatus::Disabled;
    set_status(&tenant, id.0, &if_match, &tools, &members, status).await
}

/// Reactivate a user
///
/// They may act in this clinic again, as what they were. Once more changes nothing.
#[utoipa::path(
    operation_id = "user_reactivate",
    tag = "users",
    params(
        ("id" = uuid::Uuid, Path, description = "The user.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` they were read with, where \
            they must still be so.")),
    extensions(("x-permission" = json!("user.manage"))),
    responses(
        (status = 200, description = "The user as they are now.", body = MemberAnswer,
            headers(("ETag" = String, description = "Their version.")),
            example = json!(example())),
        (status = 422, description = "It is oneself, or beyond one's own branches.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/users/{id}/reactivate")]
async fn reactivate(
    tenant: Tenant,
    id: Id<UserId>,
    if_match: IfMatch,
    tools: web::Data<Toolkit>,
    members: web::Data<Members>,
) -> Result<HttpResponse, Problem> {
    let status = MembershipStatus::Active;
    set_status(&tenant, id.0, &if_match, &tools, &members, status).await
}

async fn set_status(
    tenant: &Tenant,
    id: UserId,
    if_match: &IfMatch,
    tools: &Toolkit,
    members: &Members,
    status: MembershipStatus,
) -> Result<HttpResponse, Problem> {
    let present = members
        .prepare_update(tenant, id)
        .await?
        .ok_or_else(Problem::not_found)?;
    if_match.check(&tag(tools, tenant, &present))?;
    let patch = MemberPatch {
        status: Some(status),
        ..MemberPatch::default()
    };
    let member = members.update(tenant, id, present.version, patch).await?;
    Ok(answer(tools, tenant, member))
}

/// Which of the rules stands in the way.
pub(crate) fn violated(detail: &'static str) -> Problem {
    Problem::new(ProblemCode::RuleViolated).detail(detail)
}

pub(crate) fn unknown_branch() -> Problem {
    violated("A branch is not one of this clinic's.").param(
        "branches",
        "unknown-value",
        "must be branches of this clinic",
    )
}

pub(crate) fn beyond_scope() -> Problem {
    violated("Who is bound to branches manages users of those branches alone.")
}

impl From<UpdateMemberError> for Problem {
    fn from(error: UpdateMemberError) -> Self {
        match error {
            UpdateMemberError::Denied(denied) => denied.into(),
            UpdateMemberError::NotFound => Self::not_found(),
            UpdateMemberError::VersionConflict => ProblemCode::PreconditionFailed.into(),
            UpdateMemberError::OwnMembership => {
                violated("Nobody changes what they are themselves: ask another who may.")
            }
            UpdateMemberError::BeyondScope => beyond_scope(),
            UpdateMemberError::LastOwner => {
                violated("The last active owner of a clinic stays one: make another owner first.")
            }
            UpdateMemberError::UnknownBranch => unknown_branch(),
            UpdateMemberError::Store(error) => error.into(),
        }
    }
}
