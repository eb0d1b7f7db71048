//! `/branches`: the places where a clinic works.

use actix_web::http::header;
use actix_web::{HttpResponse, HttpResponseBuilder, get, patch, post, web};
use chrono::{DateTime, Utc};
use clinics::error::{CreateBranchError, UpdateBranchError};
use clinics::{
    Address, Branch, BranchPatch, BranchStatus, Branches, Name, NewBranch, OpeningHours,
    OpeningPeriod, TimeZone, WallTime,
};
use kernel::{BranchId, PageLimit, TenantContext, Toolkit, TypedId as _};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use crate::catalogue::ProblemCode;
use crate::kept::{BranchList, BranchRead, Finished, Reader};
use crate::patch::{PatchField, given};
use crate::problem::{Problem, ProblemDocument};
use crate::rules::Rules;
use crate::{Answer, Body, EntityTag, Id, IdempotencyKey, IfMatch, PageAnswer, Query, Tenant};

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list)
        .service(create)
        .service(read)
        .service(update);
}

/// A postal address; every part may be missing.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Address)]
struct AddressForm {
    /// Street, avenue, square.
    #[schema(example = "Rua das Acácias")]
    street: Option<String>,
    /// Number in it, as text.
    #[schema(example = "120")]
    number: Option<String>,
    /// Floor, room.
    #[schema(example = "Sala 3")]
    complement: Option<String>,
    /// Bairro.
    #[schema(example = "Boa Vista")]
    district: Option<String>,
    /// City.
    #[schema(example = "Recife")]
    city: Option<String>,
    /// State: two letters.
    #[schema(example = "PE")]
    state: Option<String>,
    /// CEP: eight digits; a hyphen is dropped.
    #[schema(example = "50050000")]
    postal_code: Option<String>,
}

impl From<AddressForm> for Address {
    fn from(form: AddressForm) -> Self {
        Self {
            street: form.street,
            number: form.number,
            complement: form.complement,
            district: form.district,
            city: form.city,
            state: form.state,
            postal_code: form.postal_code,
        }
    }
}

impl From<&Address> for AddressForm {
    fn from(address: &Address) -> Self {
        let address = address.clone();
        Self {
            street: address.street,
            number: address.number,
            complement: address.complement,
            district: address.district,
            city: address.city,
            state: address.state,
            postal_code: address.postal_code,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl From<Weekday> for chrono::Weekday {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

impl From<chrono::Weekday> for Weekday {
    fn from(day: chrono::Weekday) -> Self {
        match day {
            chrono::Weekday::Mon => Self::Monday,
            chrono::Weekday::Tue => Self::Tuesday,
            chrono::Weekday::Wed => Self::Wednesday,
            chrono::Weekday::Thu => Self::Thursday,
            chrono::Weekday::Fri => Self::Friday,
            chrono::Weekday::Sat => Self::Saturday,
            chrono::Weekday::Sun => Self::Sunday,
        }
    }
}

/// One open stretch of a weekday, in the branch's wall time.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = OpeningPeriod)]
struct OpeningPeriodForm {
    /// The day.
    weekday: Weekday,
    /// First open minute, `HH:MM`.
    #[schema(example = "08:00")]
    opens: String,
    /// First minute that is no longer open, `HH:MM`, to `24:00`; after `opens`.
    #[schema(example = "18:00")]
    closes: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BranchStatus)]
enum StatusForm {
    Active,
    Closed,
}

impl From<StatusForm> for BranchStatus {
    fn from(status: StatusForm) -> Self {
        match status {
            StatusForm::Active => Self::Active,
            StatusForm::Closed => Self::Closed,
        }
    }
}

impl From<BranchStatus> for StatusForm {
    fn from(status: BranchStatus) -> Self {
        match status {
            BranchStatus::Active => Self::Active,
            BranchStatus::Closed => Self::Closed,
        }
    }
}

/// A branch.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Branch)]
struct BranchAnswer {
    /// Its id.
    #[schema(value_type = uuid::Uuid, example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")]
    id: BranchId,
    /// Its name, unique in the clinic.
    #[schema(example = "Centro")]
    name: String,
    /// The IANA zone in which its wall times are reckoned.
    #[schema(example = "America/Recife")]
    time_zone: &'static str,
    /// Where it is.
    #[schema(required = true)]
    address: Option<AddressForm>,
    /// When it is open, from Monday on; null where nobody has said.
    #[schema(required = true)]
    opening_hours: Option<Vec<OpeningPeriodForm>>,
    /// Whether it works.
    status: StatusForm,
    /// When it was created.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<&Branch> for BranchAnswer {
    fn from(branch: &Branch) -> Self {
        let hours = branch.opening_hours.as_ref().map(OpeningHours::periods);
        let opening_hours = hours.map(|periods| {
            let form = |period: &OpeningPeriod| OpeningPeriodForm {
                weekday: period.weekday.into(),
                opens: period.opens.to_string(),
                closes: period.closes.to_string(),
            };
            periods.iter().map(form).collect()
        });
        Self {
            id: branch.id,
            name: branch.name.as_str().to_owned(),
            time_zone: branch.time_zone.name(),
            address: branch.address.as_ref().map(Into::into),
            opening_hours,
            status: branch.status.into(),
            created_at: branch.created_at,
            updated_at: branch.updated_at,
        }
    }
}

/// What the document shows.
fn example() -> serde_json::Value {
    json!({
        "id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "name": "Centro",
        "timeZone": "America/Recife",
        "address": {"street": "Rua da Aurora", "number": "120", "complement": null,
            "district": "Boa Vista", "city": "Recife", "state": "PE", "postalCode": "50050000"},
        "openingHours": [{"weekday": "monday", "opens": "08:00", "closes": "18:00"}],
        "status": "active", "createdAt": "2026-11-03T12:30:00Z",
        "updatedAt": "2026-11-03T12:30:00Z",
    })
}

/// A branch to create.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CreateBranch)]
struct CreateBranchRequest {
    /// 1 to 200 characters, unique in the clinic whatever the case of its letters.
    #[schema(example = "Centro")]
    name: String,
    /// An IANA zone; the clinic's when not given.
    #[schema(example = "America/Recife")]
    time_zone: Option<String>,
    /// Where it is.
    address: Option<AddressForm>,
    /// When it is open: at most 50 periods, those of a day not overlapping.
    opening_hours: Option<Vec<OpeningPeriodForm>>,
}

/// A change of a branch: what is not named stays, opening hours are replaced whole. Null empties
/// `address` and `openingHours`, and is refused elsewhere.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UpdateBranch)]
struct UpdateBranchRequest {
    /// 1 to 200 characters, unique in the clinic whatever the case of its letters.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false)]
    name: Option<String>,
    /// An IANA zone.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false)]
    time_zone: Option<String>,
    /// Where it is.
    #[serde(default)]
    #[schema(value_type = Option<AddressForm>)]
    address: PatchField<AddressForm>,
    /// When it is open, anew.
    #[serde(default)]
    #[schema(value_type = Option<Vec<OpeningPeriodForm>>)]
    opening_hours: PatchField<Vec<OpeningPeriodForm>>,
    /// Closes or reopens it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = StatusForm, required = false)]
    status: Option<StatusForm>,
}

fn name_of(rules: &mut Rules, text: &str) -> Option<Name> {
    rules.keep("name", "length", Name::parse(text))
}

fn zone_of(rules: &mut Rules, text: &str) -> Option<TimeZone> {
    rules.keep("timeZone", "unknown-value", TimeZone::parse(text))
}

fn address_of(rules: &mut Rules, form: AddressForm) -> Option<Address> {
    rules.keep("address", "format", Address::from(form).validated())
}

fn hours_of(rules: &mut Rules, forms: &[OpeningPeriodForm]) -> Option<OpeningHours> {
    let mut periods = Vec::with_capacity(forms.len());
    for (index, form) in forms.iter().enumerate() {
        let mut time = |field: &str, text: &str| {
            let name = format!("openingHours[{index}].{field}");
            rules.keep(name, "format", WallTime::parse(text))
        };
        let (opens, closes) = (time("opens", &form.opens), time("closes", &form.closes));
        if let Some((opens, closes)) = opens.zip(closes) {
            periods.push(OpeningPeriod {
                weekday: form.weekday.into(),
                opens,
                closes,
            });
        }
    }
    if periods.len() < forms.len() {
        return None;
    }
    rules.keep("openingHours", "order", OpeningHours::new(periods))
}

impl CreateBranchRequest {
    fn into_domain(self) -> Result<NewBranch, Problem> {
        let mut rules = Rules::new(ProblemCode::InvalidBody);
        let name = name_of(&mut rules, &self.name);
        let time_zone = self.time_zone.and_then(|zone| zone_of(&mut rules, &zone));
        let address = self.address.and_then(|form| address_of(&mut rules, form));
        let opening_hours = self
            .opening_hours
            .and_then(|forms| hours_of(&mut rules, &forms));
        let name = rules.done(name)?;
        Ok(NewBranch {
            // A name that is none was noted, and told by the line above.
            name: name.ok_or(ProblemCode::InvalidBody)?,
            time_zone,
            address,
            opening_hours,
        })
    }
}

impl UpdateBranchRequest {
    fn into_domain(self) -> Result<BranchPatch, Problem> {
        let mut rules = Rules::new(ProblemCode::InvalidBody);
        let name = self.name.and_then(|name| name_of(&mut rules, &name));
        let time_zone = self.time_zone.and_then(|zone| zone_of(&mut rules, &zone));
        let address = match self.address {
            PatchField::Absent => None,
            PatchField::Null => Some(None),
            PatchField::Value(form) => Some(address_of(&mut rules, form)),
        };
        let opening_hours = match self.opening_hours {
            PatchField::Absent => None,
            PatchField::Null => Some(None),
            PatchField::Value(forms) => Some(hours_of(&mut rules, &forms)),
        };
        rules.done(BranchPatch {
            name,
            time_zone,
            address,
            opening_hours,
            status: self.status.map(Into::into),
        })
    }
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListBranchesQuery {
    /// Rows of a page, 1 to 100; 20 when not given.
    #[param(minimum = 1, maximum = 100, example = 20)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

fn tag(tools: &Toolkit, cx: &TenantContext, branch: &Branch) -> EntityTag {
    EntityTag::of_record(tools, cx, "branch", branch.id, branch.version, "")
}

/// The answer about a new branch.
fn created(tools: &Toolkit, cx: &TenantContext) -> impl Fn(&Branch) -> Answer + use<> {
    let (tools, cx) = (tools.clone(), cx.clone());
    move |branch| {
        let location = format!("/api/v1/branches/{}", branch.id);
        let tag = tag(&tools, &cx, branch);
        Answer::created(&location, &tag, &BranchAnswer::from(branch))
    }
}

/// The branch as it is after an act, with its new tag.
fn answer(
    mut response: HttpResponseBuilder,
    tools: &Toolkit,
    cx: &TenantContext,
    branch: &Branch,
) -> HttpResponse {
    response
        .insert_header((header::ETAG, tag(tools, cx, branch).to_string()))
        .json(BranchAnswer::from(branch))
}

/// List branches
///
/// Newest first, of those the caller may see.
#[utoipa::path(
    operation_id = "branch_list",
    tag = "branches",
    params(ListBranchesQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a page you have.")),
    extensions(("x-permission" = json!("branch.read"))),
    responses(
        (status = 200, description = "A page of branches.", body = PageAnswer<BranchAnswer>,
            headers(("ETag" = String, description = "Of this page.")),
            example = json!({"data": [example()], "nextCursor": null, "hasMore": false})),
        (status = 304, description = "The page is the one you have."),
    )
)]
#[get("/branches")]
async fn list(
    tenant: Tenant,
    query: Query<ListBranchesQuery>,
    reader: Reader,
    tools: web::Data<Toolkit>,
    branches: web::Data<Branches>,
) -> Result<HttpResponse, Problem> {
    branches.prepare_list(&tenant).await?;
    reader
        .answer::<BranchList, _>(&tenant, b"", async || {
            let limit = query
                .limit
                .map_or(Ok(PageLimit::default()), PageLimit::new)
                .map_err(|rule| Problem::invalid_query("limit", "range", rule.to_string()))?;
            let page = branches
                .list(&tenant, limit, query.cursor.as_deref())
                .await?;
            let page = PageAnswer::of(page, |branch| BranchAnswer::from(&branch));
            Finished::of_content(&tools, &tenant, &page)
        })
        .await
}

/// Create a branch
///
/// In the clinic's zone unless it names its own.
#[utoipa::path(
    operation_id = "branch_create",
    tag = "branches",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body(content = CreateBranchRequest, example = json!({
        "name": "Centro", "address": {"city": "Recife", "state": "PE", "postalCode": "50050-000"},
        "openingHours": [{"weekday": "monday", "opens": "08:00", "closes": "18:00"}],
    })),
    extensions(("x-permission" = json!("branch.manage"))),
    responses(
        (status = 201, description = "The new branch.", body = BranchAnswer,
            headers(("ETag" = String, description = "Its version."),
                ("Location" = String, description = "Where it is.")),
            example = json!(example())),
        (status = 409, description = "Another branch has that name.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/branches")]
async fn create(
    tenant: Tenant,
    key: IdempotencyKey,
    body: Body<CreateBranchRequest>,
    tools: web::Data<Toolkit>,
    branches: web::Data<Branches>,
) -> Result<HttpResponse, Problem> {
    branches.prepare_create(&tenant).await?;
    let answer = key.answering(&tools, &tenant, &body, created(&tools, &tenant))?;
    let new = body.read()?.into_domain()?;
    let branch = branches.create(&tenant, new, answer.once()).await?;
    Ok(answer.about(&branch))
}

/// Read a branch
///
/// A branch that the caller may not see answers as one that does not exist.
#[utoipa::path(
    operation_id = "branch_read",
    tag = "branches",
    params(
        ("id" = uuid::Uuid, Path, description = "The branch.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` you have.")),
    extensions(("x-permission" = json!("branch.read"))),
    responses(
        (status = 200, description = "The branch.", body = BranchAnswer,
            headers(("ETag" = String, description = "Its version.")),
            example = json!(example())),
        (status = 304, description = "It is as you have it."),
    )
)]
#[get("/branches/{id}")]
async fn read(
    tenant: Tenant,
    id: Id<BranchId>,
    reader: Reader,
    tools: web::Data<Toolkit>,
    branches: web::Data<Branches>,
) -> Result<HttpResponse, Problem> {
    branches.prepare_read(&tenant, id.0).await?;
    reader
        .answer::<BranchRead, _>(&tenant, id.0.as_uuid().as_bytes(), async || {
            let branch = branches
                .read(&tenant, id.0)
                .await?
                .ok_or_else(Problem::not_found)?;
            let tag = tag(&tools, &tenant, &branch);
            Finished::of_record(&tag, &BranchAnswer::from(&branch))
        })
        .await
}

/// Change a branch
///
/// What is not named stays, null empties a field. Needs `If-Match`.
#[utoipa::path(
    operation_id = "branch_update",
    tag = "branches",
    params(
        ("id" = uuid::Uuid, Path, description = "The branch.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = String, Header, description = "The `ETag` it was read with.")),
    request_body(content = UpdateBranchRequest, example = json!({
        "name": "Centro Histórico", "address": null,
    })),
    extensions(("x-permission" = json!("branch.manage"))),
    responses(
        (status = 200, description = "The branch as it is now.", body = BranchAnswer,
            headers(("ETag" = String, description = "Its new version.")),
            example = json!(example())),
        (status = 409, description = "Another branch has that name.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[patch("/branches/{id}")]
async fn update(
    tenant: Tenant,
    id: Id<BranchId>,
    if_match: IfMatch,
    body: Body<UpdateBranchRequest>,
    tools: web::Data<Toolkit>,
    branches: web::Data<Branches>,
) -> Result<HttpResponse, Problem> {
    let present = branches
        .prepare_update(&tenant, id.0)
        .await?
        .ok_or_else(Problem::not_found)?;
    let patch = body.read()?.into_domain()?;
    if_match.require(&tag(&tools, &tenant, &present))?;
    let branch = branches
        .update(&tenant, id.0, present.version, patch)
        .await?;
    Ok(answer(HttpResponse::Ok(), &tools, &tenant, &branch))
}

fn name_taken() -> Problem {
    Problem::new(ProblemCode::AlreadyExists)
        .detail("Another branch of this clinic has that name.")
        .param("name", "taken", "must not be another branch's")
}

impl From<CreateBranchError> for Problem {
    fn from(error: CreateBranchError) -> Self {
        match error {
            CreateBranchError::Denied(denied) => denied.into(),
            CreateBranchError::NameTaken => name_taken(),
            CreateBranchError::Store(error) => error.into(),
        }
    }
}

impl From<UpdateBranchError> for Problem {
    fn from(error: UpdateBranchError) -> Self {
        match error {
            UpdateBranchError::Denied(denied) => denied.into(),
            UpdateBranchError::NotFound => Self::not_found(),
            UpdateBranchError::VersionConflict => ProblemCode::PreconditionFailed.into(),
            UpdateBranchError::NameTaken => name_taken(),
            UpdateBranchError::Store(error) => error.into(),
        }
    }
}
