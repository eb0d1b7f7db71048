//! The handlers of `/contacts`.

use actix_web::http::header;
use actix_web::{HttpResponse, get, patch, post, web};
use contacts::error::Taken;
use contacts::{
    ArchiveContactError, BrokenField, Contact, Contacts, CreateContactError, ListContactsError,
    ReadContactError, UpdateContactError,
};
use kernel::{ContactId, TenantContext, Toolkit, TypedId as _};
use utoipa_actix_web::service_config::ServiceConfig;

use super::answer::{ContactAnswer, ContactSchema, Fields, RowAnswer, example};
use super::request::{
    CreateContactRequest, ListContactsQuery, ReadContactQuery, UpdateContactRequest,
};
use crate::catalogue::ProblemCode;
use crate::id::Id;
use crate::kept::{ContactList, ContactRead, Finished, Reader};
use crate::page::{ListAnswer, NumberedPageAnswer, page_too_deep};
use crate::problem::{Problem, ProblemDocument};
use crate::{Answer, Body, EntityTag, IdempotencyKey, IfMatch, PageAnswer, Query, Tenant};

/// Adds the handlers of this file.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list)
        .service(create)
        .service(read)
        .service(update)
        .service(archive)
        .service(restore);
}

fn tag(tools: &Toolkit, cx: &TenantContext, contact: &Contact, fields: Fields) -> EntityTag {
    let view = fields.canonical();
    EntityTag::of_record(tools, cx, "contact", contact.id, contact.version, &view)
}

/// The answer about a new contact.
fn created(tools: &Toolkit, cx: &TenantContext) -> impl Fn(&Contact) -> Answer + use<> {
    let (tools, cx) = (tools.clone(), cx.clone());
    move |contact| {
        let fields = Fields::of_contact();
        let location = format!("/api/v1/contacts/{}", contact.id);
        let tag = tag(&tools, &cx, contact, fields);
        Answer::created(&location, &tag, &ContactAnswer { contact, fields })
    }
}

/// The contact as it is after an act, with its new tag.
fn answer(
    mut response: actix_web::HttpResponseBuilder,
    tools: &Toolkit,
    cx: &TenantContext,
    contact: &Contact,
) -> HttpResponse {
    let fields = Fields::of_contact();
    response
        .insert_header((header::ETAG, tag(tools, cx, contact, fields).to_string()))
        .json(ContactAnswer { contact, fields })
}

/// List contacts
///
/// Newest first unless `sort` says otherwise, without the archived ones unless `status` names
/// them. Filters are joined by *and*. Pages follow each other by the cursor; asked for by its number
/// (`page`), a page tells the total as well, as far as that is counted.
#[utoipa::path(
    operation_id = "contact_list",
    tag = "contacts",
    params(ListContactsQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a page you have.")),
    extensions(("x-permission" = json!("contact.read"))),
    responses(
        (status = 200, description = "A page of contacts.", body = ListAnswer<RowAnswer>,
            headers(("ETag" = String, description = "Of this page.")),
            example = json!({"data": [{
                "id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "name": "Helena Nakamura Dias",
                "socialName": null, "birthDate": "1987-03-14", "status": "active",
                "source": "instagram", "ownerId": null, "tags": ["retorno"],
                "phoneNumber": "+5511987654321", "email": "helena@example.com",
                "createdAt": "2026-11-03T12:30:00Z", "updatedAt": "2026-11-03T12:30:00Z",
            }], "nextCursor": null, "hasMore": false})),
        (status = 304, description = "The page is the one you have."),
    )
)]
#[get("/contacts")]
async fn list(
    tenant: Tenant,
    query: Query<ListContactsQuery>,
    reader: Reader,
    tools: web::Data<Toolkit>,
    contacts: web::Data<Contacts>,
) -> Result<HttpResponse, Problem> {
    contacts.prepare_list(&tenant).await?;
    reader
        .answer::<ContactList, _>(&tenant, b"", async || {
            let (ask, fields, page) = query.into_inner().into_domain()?;
            let row = |row| RowAnswer { row, fields };
            let answer = match page {
                None => ListAnswer::Keyset(PageAnswer::of(contacts.list(&tenant, ask).await?, row)),
                Some(page) => {
                    let found = contacts.list_numbered(&tenant, ask, page).await?;
                    ListAnswer::Numbered(NumberedPageAnswer::of(page, found, row))
                }
            };
            Finished::of_content(&tools, &tenant, &answer)
        })
        .await
}

/// Create a contact
///
/// A phone, e-mail or document that another contact of the clinic has is a 409 that names the
/// field; `detail` tells that contact's id.
#[utoipa::path(
    operation_id = "contact_create",
    tag = "contacts",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body(content = CreateContactRequest, example = json!({
        "name": "Helena Nakamura Dias", "birthDate": "1987-03-14", "document": "111.444.777-35",
        "status": "active", "source": "instagram", "tags": ["retorno"],
        "phones": [{"value": "+5511987654321", "label": "celular"}],
        "emails": [{"value": "helena@example.com"}],
    })),
    extensions(("x-permission" = json!("contact.write"))),
    responses(
        (status = 201, description = "The new contact.", body = ContactSchema,
            headers(("ETag" = String, description = "Its version."),
                ("Location" = String, description = "Where it is.")),
            example = json!(example())),
        (status = 409, description = "Another contact has a phone, e-mail or the document.",
            body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "The owner is no member of the clinic, or an entry is repeated.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/contacts")]
async fn create(
    tenant: Tenant,
    key: IdempotencyKey,
    body: Body<CreateContactRequest>,
    tools: web::Data<Toolkit>,
    contacts: web::Data<Contacts>,
) -> Result<HttpResponse, Problem> {
    contacts.prepare_create(&tenant).await?;
    let answer = key.answering(&tools, &tenant, &body, created(&tools, &tenant))?;
    let new = body.read()?.into_domain(tools.now())?;
    let contact = contacts.create(&tenant, new, answer.once()).await?;
    Ok(answer.about(&contact))
}

/// Read a contact
///
/// A contact that was merged into another is answered too, and says into which.
#[utoipa::path(
    operation_id = "contact_read",
    tag = "contacts",
    params(ReadContactQuery,
        ("id" = uuid::Uuid, Path, description = "The contact.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` you have.")),
    extensions(("x-permission" = json!("contact.read"))),
    responses(
        (status = 200, description = "The contact.", body = ContactSchema,
            headers(("ETag" = String, description = "Its version.")),
            example = json!(example())),
        (status = 304, description = "It is as you have it."),
    )
)]
#[get("/contacts/{id}")]
async fn read(
    tenant: Tenant,
    id: Id<ContactId>,
    query: Query<ReadContactQuery>,
    reader: Reader,
    tools: web::Data<Toolkit>,
    contacts: web::Data<Contacts>,
) -> Result<HttpResponse, Problem> {
    contacts.prepare_read(&tenant, id.0).await?;
    reader
        .answer::<ContactRead, _>(&tenant, id.0.as_uuid().as_bytes(), async || {
            let fields = match query.fields.as_deref() {
                None => Fields::of_contact(),
                Some(text) => Fields::parse_contact(text).map_err(|rule| {
                    Problem::invalid_query("fields", "unknown-value", rule.to_string())
                })?,
            };
            let contact = contacts
                .read(&tenant, id.0)
                .await?
                .ok_or_else(Problem::not_found)?;
            let tag = tag(&tools, &tenant, &contact, fields);
            let contact = &contact;
            Finished::of_record(&tag, &ContactAnswer { contact, fields })
        })
        .await
}

/// Change a contact
///
/// What is not named stays, null empties a field, lists are replaced whole. A change that changes
/// nothing leaves the contact and its `ETag` as they are. Needs `If-Match`.
/// An archived contact is restored first.
#[utoipa::path(
    operation_id = "contact_update",
    tag = "contacts",
    params(
        ("id" = uuid::Uuid, Path, description = "The contact.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = String, Header, description = "The `ETag` it was read with.")),
    request_body(content = UpdateContactRequest, example = json!({
        "status": "active", "notes": null, "tags": ["retorno", "convênio"],
    })),
    extensions(("x-permission" = json!("contact.write"))),
    responses(
        (status = 200, description = "The contact as it is now.", body = ContactSchema,
            headers(("ETag" = String, description = "Its new version.")),
            example = json!(example())),
        (status = 409, description = "It is archived, or another contact has a phone, e-mail or the \
            document.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "The owner is no member of the clinic, or an entry is repeated.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[patch("/contacts/{id}")]
async fn update(
    tenant: Tenant,
    id: Id<ContactId>,
    if_match: IfMatch,
    body: Body<UpdateContactRequest>,
    tools: web::Data<Toolkit>,
    contacts: web::Data<Contacts>,
) -> Result<HttpResponse, Problem> {
    let present = contacts
        .prepare_update(&tenant, id.0)
        .await?
        .ok_or_else(Problem::not_found)?;
    let patch = body.read()?.into_domain(tools.now())?;
    if_match.require(&tag(&tools, &tenant, &present, Fields::of_contact()))?;
    let expected = Some(present.version);
    let contact = contacts.update(&tenant, id.0, expected, patch).await?;
    Ok(answer(HttpResponse::Ok(), &tools, &tenant, &contact))
}

/// Archive a contact
///
/// It is no longer listed unless asked for. Archiving it again changes nothing.
#[utoipa::path(
    operation_id = "contact_archive",
    tag = "contacts",
    params(
        ("id" = uuid::Uuid, Path, description = "The contact.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` it was read with, where \
            it must still be so.")),
    extensions(("x-permission" = json!("contact.archive"))),
    responses((status = 200, description = "The contact as it is now.", body = ContactSchema,
        headers(("ETag" = String, description = "Its version.")),
            example = json!(example())))
)]
#[post("/contacts/{id}/archive")]
async fn archive(
    tenant: Tenant,
    id: Id<ContactId>,
    if_match: IfMatch,
    tools: web::Data<Toolkit>,
    contacts: web::Data<Contacts>,
) -> Result<HttpResponse, Problem> {
    let expected = expected_version(&tenant, id.0, &if_match, &tools, &contacts).await?;
    let contact = contacts.archive(&tenant, id.0, expected).await?;
    Ok(answer(HttpResponse::Ok(), &tools, &tenant, &contact))
}

/// Restore a contact
///
/// It gets the status back that it had before. Restoring it again changes nothing.
#[utoipa::path(
    operation_id = "contact_restore",
    tag = "contacts",
    params(
        ("id" = uuid::Uuid, Path, description = "The contact.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` it was read with, where \
            it must still be so.")),
    extensions(("x-permission" = json!("contact.archive"))),
    responses((status = 200, description = "The contact as it is now.", body = ContactSchema,
        headers(("ETag" = String, description = "Its version.")),
            example = json!(example())))
)]
#[post("/contacts/{id}/restore")]
async fn restore(
    tenant: Tenant,
    id: Id<ContactId>,
    if_match: IfMatch,
    tools: web::Data<Toolkit>,
    contacts: web::Data<Contacts>,
) -> Result<HttpResponse, Problem> {
    let expected = expected_version(&tenant, id.0, &if_match, &tools, &contacts).await?;
    let contact = contacts.restore(&tenant, id.0, expected).await?;
    Ok(answer(HttpResponse::Ok(), &tools, &tenant, &contact))
}

/// The version to archive or restore, where `If-Match` is given and names the present one. `None`
/// is any.
async fn expected_version(
    cx: &TenantContext,
    id: ContactId,
    if_match: &IfMatch,
    tools: &Toolkit,
    contacts: &Contacts,
) -> Result<Option<i64>, Problem> {
    if !if_match.is_given() {
        return Ok(None);
    }
    let present = contacts
        .prepare_archive(cx, id)
        .await?
        .ok_or_else(Problem::not_found)?;
    if_match.check(&tag(tools, cx, &present, Fields::of_contact()))?;
    Ok(Some(present.version))
}

fn taken(taken: Taken) -> Problem {
    let name = match taken.field {
        "document" => "document".to_owned(),
        field => format!("{field}[{}].value", taken.index),
    };
    Problem::new(ProblemCode::AlreadyExists)
        .detail(format!(
            "The contact {} of this clinic already has it.",
            taken.by
        ))
        .param(name, "taken", "must not be another contact's")
}

fn repeated(field: &'static str, index: usize) -> Problem {
    let name = format!("{field}[{index}].value");
    Problem::new(ProblemCode::RuleViolated)
        .detail("An entry is there twice.")
        .param(name, "repeated", "must not repeat an earlier entry")
}

fn unknown_owner() -> Problem {
    Problem::new(ProblemCode::RuleViolated)
        .detail("The owner is no member of this clinic.")
        .param(
            "ownerId",
            "unknown",
            "must be the id of a member of the clinic",
        )
}

/// Each broken rule under its field's key.
fn custom_fields(broken: Vec<BrokenField>) -> Problem {
    let problem = Problem::new(ProblemCode::InvalidBody);
    broken.into_iter().fold(problem, |problem, it| {
        let name = match &it.key {
            Some(key) => format!("customFields.{}", key.as_str()),
            None => "customFields".to_owned(),
        };
        problem.param(name, it.code, it.rule)
    })
}

fn archived_status() -> Problem {
    Problem::new(ProblemCode::RuleViolated)
        .detail("A contact is archived by an act of its own.")
        .param(
            "status",
            "unknown-value",
            "must be lead, active or inactive",
        )
}

impl From<CreateContactError> for Problem {
    fn from(error: CreateContactError) -> Self {
        match error {
            CreateContactError::Denied(denied) => denied.into(),
            CreateContactError::Taken(by) => taken(by),
            CreateContactError::Repeated { field, index } => repeated(field, index),
            CreateContactError::UnknownOwner => unknown_owner(),
            CreateContactError::ArchivedStatus => archived_status(),
            // The service says which, unless it was given or archived meanwhile.
            CreateContactError::FieldMissing => custom_fields(Vec::new()),
            CreateContactError::CustomFields(broken) => custom_fields(broken),
            CreateContactError::Store(error) => error.into(),
        }
    }
}

impl From<UpdateContactError> for Problem {
    fn from(error: UpdateContactError) -> Self {
        match error {
            UpdateContactError::Denied(denied) => denied.into(),
            UpdateContactError::NotFound => Self::not_found(),
            UpdateContactError::VersionMismatch => ProblemCode::PreconditionFailed.into(),
            UpdateContactError::Archived => Self::new(ProblemCode::Conflict)
                .detail("The contact is archived: restore it first."),
            UpdateContactError::Taken(by) => taken(by),
            UpdateContactError::Repeated { field, index } => repeated(field, index),
            UpdateContactError::UnknownOwner => unknown_owner(),
            UpdateContactError::ArchivedStatus => archived_status(),
            UpdateContactError::CustomFields(broken) => custom_fields(broken),
            UpdateContactError::Store(error) => error.into(),
        }
    }
}

impl From<ArchiveContactError> for Problem {
    fn from(error: ArchiveContactError) -> Self {
        match error {
            ArchiveContactError::Denied(denied) => denied.into(),
            ArchiveContactError::NotFound => Self::not_found(),
            ArchiveContactError::VersionMismatch => ProblemCode::PreconditionFailed.into(),
            ArchiveContactError::Store(error) => error.into(),
        }
    }
}

impl From<ReadContactError> for Problem {
    fn from(error: ReadContactError) -> Self {
        match error {
            ReadContactError::Denied(denied) => denied.into(),
            ReadContactError::Store(error) => error.into(),
        }
    }
}

impl From<ListContactsError> for Problem {
    fn from(error: ListContactsError) -> Self {
        match error {
            ListContactsError::Denied(denied) => denied.into(),
            ListContactsError::PageTooDeep => page_too_deep(),
            ListContactsError::Cursor(_) => ProblemCode::InvalidCursor.into(),
            ListContactsError::Store(error) => error.into(),
        }
    }
}
