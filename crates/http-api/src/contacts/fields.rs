//! `/contact-fields`: what a clinic wants to know of its contacts beside what every clinic does.

use actix_web::http::header;
use actix_web::{HttpResponse, HttpResponseBuilder, get, patch, post, web};
use chrono::{DateTime, Utc};
use contacts::field::{
    ContactField, ContactFieldPatch, FieldKey, FieldKind, FieldLabel, FieldOptions, LAST_PLACE,
    NewContactField, UnfitOptions,
};
use contacts::{ContactFields, ReadContactFieldError, WriteContactFieldError};
use kernel::{ContactFieldId, TenantContext, Toolkit};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use crate::catalogue::ProblemCode;
use crate::patch::given;
use crate::problem::{Problem, ProblemDocument};
use crate::rules::Rules;
use crate::{Answer, Body, EntityTag, Id, IdempotencyKey, IfMatch, IfNoneMatch, Tenant};

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

/// What values a field takes: a text of up to 2,000 characters; a whole number; a decimal number as
/// text, such as `"12.50"`; true or false; a date such as `"2026-03-14"`; the key of an option; or a list
/// of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ContactFieldType)]
enum TypeForm {
    Text,
    Integer,
    Decimal,
    Boolean,
    Date,
    SingleChoice,
    MultiChoice,
}

impl From<TypeForm> for FieldKind {
    fn from(form: TypeForm) -> Self {
        match form {
            TypeForm::Text => Self::Text,
            TypeForm::Integer => Self::Integer,
            TypeForm::Decimal => Self::Decimal,
            TypeForm::Boolean => Self::Boolean,
            TypeForm::Date => Self::Date,
            TypeForm::SingleChoice => Self::SingleChoice,
            TypeForm::MultiChoice => Self::MultiChoice,
        }
    }
}

/// An option of a choice.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ContactFieldOption)]
struct OptionForm {
    /// What a value holds: lower-case letters and digits in words joined by `-`.
    #[schema(example = "unimed")]
    key: String,
    /// What it is called, 1 to 80 characters.
    #[schema(example = "Unimed")]
    label: String,
}

/// A field to create.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CreateContactField)]
struct CreateFieldRequest {
    /// Its name in `customFields`: 1 to 40 lower-case letters and digits in words joined by `-`,
    /// beginning with a letter. It never changes.
    #[schema(example = "health-plan")]
    key: String,
    /// What it is called, 1 to 80 characters.
    #[schema(example = "Convênio")]
    label: String,
    /// What values it takes. It never changes.
    r#type: TypeForm,
    /// Of `single-choice` and `multi-choice` alone: 1 to 100.
    #[serde(default)]
    options: Vec<OptionForm>,
    /// Whether a contact that is created must have it, and none may lose it.
    #[serde(default)]
    required: bool,
    /// Its place among the others, 0 to 1000; ties are broken by key.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1000)]
    place: i16,
}

/// A change of a field: what is not named stays.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UpdateContactField)]
struct UpdateFieldRequest {
    /// What it is called, 1 to 80 characters.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false)]
    label: Option<String>,
    /// All options anew. One that is left out is removed: values that hold it can still be read, and
    /// none may be given it until it is named again.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Vec<OptionForm>, required = false)]
    options: Option<Vec<OptionForm>>,
    /// Whether a contact that is created must have it, and none may lose it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = bool, required = false)]
    required: Option<bool>,
    /// Its place among the others, 0 to 1000.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = i16, required = false, minimum = 0, maximum = 1000)]
    place: Option<i16>,
}

fn options_of(rules: &mut Rules, forms: &[OptionForm]) -> Option<FieldOptions> {
    let mut options = Vec::with_capacity(forms.len());
    for (index, form) in forms.iter().enumerate() {
        let name = |field: &str| format!("options[{index}].{field}");
        let key = rules.keep(name("key"), "format", FieldKey::parse(&form.key));
        let label = rules.keep(name("label"), "length", FieldLabel::parse(&form.label));
        options.extend(key.zip(label));
    }
    if options.len() < forms.len() {
        return None;
    }
    rules.keep("options", "length", FieldOptions::new(options))
}

fn check_place(rules: &mut Rules, place: i16) {
    if !(0..=LAST_PLACE).contains(&place) {
        rules.broken("place", "range", "must be from 0 to 1000");
    }
}

impl CreateFieldRequest {
    fn into_domain(self) -> Result<NewContactField, Problem> {
        let mut rules = Rules::new(ProblemCode::InvalidBody);
        let key = rules.keep("key", "format", FieldKey::parse(&self.key));
        let label = rules.keep("label", "length", FieldLabel::parse(&self.label));
        let options = options_of(&mut rules, &self.options);
        check_place(&mut rules, self.place);
        let (Some(key), Some(label), Some(options)) = (key, label, options) else {
            return Err(rules.into_problem());
        };
        rules.done(NewContactField {
            key,
            label,
            kind: self.r#type.into(),
            options,
            is_required: self.required,
            place: self.place,
        })
    }
}

impl UpdateFieldRequest {
    fn into_domain(self) -> Result<ContactFieldPatch, Problem> {
        let mut rules = Rules::new(ProblemCode::InvalidBody);
        let label = self
            .label
            .and_then(|label| rules.keep("label", "length", FieldLabel::parse(&label)));
        let options = self
            .options
            .and_then(|forms| options_of(&mut rules, &forms));
        if let Some(place) = self.place {
            check_place(&mut rules, place);
        }
        rules.done(ContactFieldPatch {
            label,
            options,
            is_required: self.required,
            place: self.place,
        })
    }
}

/// An option, on its way out.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ContactFieldOptionRow)]
struct OptionAnswer {
    /// What a value holds.
    key: String,
    /// What it is called.
    label: String,
    /// Whether it was removed: values may hold it, none may be given it.
    removed: bool,
}

/// A field of the clinic's own.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ContactField)]
struct FieldAnswer {
    /// Its id.
    #[schema(value_type = uuid::Uuid, example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")]
    id: ContactFieldId,
    /// Its name in `customFields`.
    #[schema(example = "health-plan")]
    key: String,
    /// What it is called.
    #[schema(example = "Convênio")]
    label: String,
    /// `text`, `integer`, `decimal`, `boolean`, `date`, `single-choice` or `multi-choice`; more may
    /// be added.
    #[schema(example = "single-choice")]
    r#type: &'static str,
    /// Of a choice, in the clinic's order, removed ones last.
    options: Vec<OptionAnswer>,
    /// Whether a contact that is created must have it.
    required: bool,
    /// Its place among the others.
    place: i16,
    /// When it was created.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
    /// When it was archived; null where it is not.
    #[schema(required = true)]
    archived_at: Option<DateTime<Utc>>,
}

impl From<&ContactField> for FieldAnswer {
    fn from(field: &ContactField) -> Self {
        let options = field.options.iter().map(|option| OptionAnswer {
            key: option.key.as_str().to_owned(),
            label: option.label.as_str().to_owned(),
            removed: option.is_removed,
        });
        Self {
            id: field.id,
            key: field.key.as_str().to_owned(),
            label: field.label.as_str().to_owned(),
            r#type: field.kind.name(),
            options: options.collect(),
            required: field.is_required,
            place: field.place,
            created_at: field.created_at,
            updated_at: field.updated_at,
            archived_at: field.archived_at,
        }
    }
}

/// Every field of the clinic.
#[derive(Serialize, ToSchema)]
#[schema(as = ContactFieldList)]
struct FieldsAnswer {
    /// In the clinic's order, archived ones too.
    data: Vec<FieldAnswer>,
}

fn example() -> serde_json::Value {
    json!({
        "id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "key": "health-plan", "label": "Convênio",
        "type": "single-choice", "options": [
            {"key": "unimed", "label": "Unimed", "removed": false},
            {"key": "particular", "label": "Particular", "removed": false},
        ],
        "required": false, "place": 0, "createdAt": "2026-11-03T12:30:00Z",
        "updatedAt": "2026-11-03T12:30:00Z", "archivedAt": null,
    })
}

fn tag(tools: &Toolkit, cx: &TenantContext, field: &ContactField) -> EntityTag {
    EntityTag::of_record(tools, cx, "contact-field", field.id, field.version, "")
}

fn created(tools: &Toolkit, cx: &TenantContext) -> impl Fn(&ContactField) -> Answer + use<> {
    let (tools, cx) = (tools.clone(), cx.clone());
    move |field| {
        let location = format!("/api/v1/contact-fields/{}", field.id);
        Answer::created(
            &location,
            &tag(&tools, &cx, field),
            &FieldAnswer::from(field),
        )
    }
}

fn answer(
    mut response: HttpResponseBuilder,
    tools: &Toolkit,
    cx: &TenantContext,
    field: &ContactField,
) -> HttpResponse {
    response
        .insert_header((header::ETAG, tag(tools, cx, field).to_string()))
        .json(FieldAnswer::from(field))
}

/// List contact fields
///
/// All of them, archived ones too, in the clinic's order: never more than 200.
#[utoipa::path(
    operation_id = "contact_field_list",
    tag = "contacts",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of what you have.")),
    extensions(("x-permission" = json!("contact.read"))),
    responses(
        (status = 200, description = "The clinic's fields.", body = FieldsAnswer,
            headers(("ETag" = String, description = "Of this list.")),
            example = json!({"data": [example()]})),
        (status = 304, description = "They are as you have them."),
    )
)]
#[get("/contact-fields")]
async fn list(
    tenant: Tenant,
    if_none_match: IfNoneMatch,
    tools: web::Data<Toolkit>,
    fields: web::Data<ContactFields>,
) -> Result<HttpResponse, Problem> {
    let all = fields.list(&tenant).await?;
    let data = all.iter().map(FieldAnswer::from).collect();
    if_none_match.answer_content(&tools, &tenant, &FieldsAnswer { data })
}

/// Create a contact field
///
/// At most 50 that are not archived, and 200 in all.
#[utoipa::path(
    operation_id = "contact_field_create",
    tag = "contacts",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body(content = CreateFieldRequest, example = json!({
        "key": "health-plan", "label": "Convênio", "type": "single-choice",
        "options": [{"key": "unimed", "label": "Unimed"},
            {"key": "particular", "label": "Particular"}],
    })),
    extensions(("x-permission" = json!("contact.configure"))),
    responses(
        (status = 201, description = "The new field.", body = FieldAnswer,
            headers(("ETag" = String, description = "Its version."),
                ("Location" = String, description = "Where it is.")),
            example = json!(example())),
        (status = 409, description = "Another field has that key, an archived one perhaps.",
            body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "The clinic has as many fields as it may.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/contact-fields")]
async fn create(
    tenant: Tenant,
    key: IdempotencyKey,
    body: Body<CreateFieldRequest>,
    tools: web::Data<Toolkit>,
    fields: web::Data<ContactFields>,
) -> Result<HttpResponse, Problem> {
    fields.prepare_create(&tenant).await?;
    let answer = key.answering(&tools, &tenant, &body, created(&tools, &tenant))?;
    let new = body.read()?.into_domain()?;
    let field = fields.create(&tenant, new, answer.once()).await?;
    Ok(answer.about(&field))
}

/// Read a contact field
///
/// An archived one is read as any other.
#[utoipa::path(
    operation_id = "contact_field_read",
    tag = "contacts",
    params(
        ("id" = uuid::Uuid, Path, description = "The field.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` you have.")),
    extensions(("x-permission" = json!("contact.read"))),
    responses(
        (status = 200, description = "The field.", body = FieldAnswer,
            headers(("ETag" = String, description = "Its version.")),
            example = json!(example())),
        (status = 304, description = "It is as you have it."),
    )
)]
#[get("/contact-fields/{id}")]
async fn read(
    tenant: Tenant,
    id: Id<ContactFieldId>,
    if_none_match: IfNoneMatch,
    tools: web::Data<Toolkit>,
    fields: web::Data<ContactFields>,
) -> Result<HttpResponse, Problem> {
    let field = fields.read(&tenant, id.0).await?;
    let field = field.ok_or_else(Problem::not_found)?;
    let tag = tag(&tools, &tenant, &field);
    Ok(if_none_match.answer(&tag, &FieldAnswer::from(&field)))
}

/// Change a contact field
///
/// What is not named stays. Its key and its type never change. Needs `If-Match`.
#[utoipa::path(
    operation_id = "contact_field_update",
    tag = "contacts",
    params(
        ("id" = uuid::Uuid, Path, description = "The field.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = String, Header, description = "The `ETag` it was read with.")),
    request_body(content = UpdateFieldRequest, example = json!({
        "label": "Plano de saúde", "required": true,
    })),
    extensions(("x-permission" = json!("contact.configure"))),
    responses(
        (status = 200, description = "The field as it is now.", body = FieldAnswer,
            headers(("ETag" = String, description = "Its new version.")),
            example = json!(example())),
    )
)]
#[patch("/contact-fields/{id}")]
async fn update(
    tenant: Tenant,
    id: Id<ContactFieldId>,
    if_match: IfMatch,
    body: Body<UpdateFieldRequest>,
    tools: web::Data<Toolkit>,
    fields: web::Data<ContactFields>,
) -> Result<HttpResponse, Problem> {
    let present = fields.prepare_change(&tenant, id.0).await?;
    let present = present.ok_or_else(Problem::not_found)?;
    let patch = body.read()?.into_domain()?;
    if_match.require(&tag(&tools, &tenant, &present))?;
    let field = fields.update(&tenant, id.0, present.version, patch).await?;
    Ok(answer(HttpResponse::Ok(), &tools, &tenant, &field))
}

/// Archive a contact field
///
/// Values that contacts have of it can still be read; none may be given. Archiving it again changes
/// nothing.
#[utoipa::path(
    operation_id = "contact_field_archive",
    tag = "contacts",
    params(
        ("id" = uuid::Uuid, Path, description = "The field.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` it was read with, where \
            it must still be so.")),
    extensions(("x-permission" = json!("contact.configure"))),
    responses((status = 200, description = "The field as it is now.", body = FieldAnswer,
        headers(("ETag" = String, description = "Its version.")), example = json!(example())))
)]
#[post("/contact-fields/{id}/archive")]
async fn archive(
    tenant: Tenant,
    id: Id<ContactFieldId>,
    if_match: IfMatch,
    tools: web::Data<Toolkit>,
    fields: web::Data<ContactFields>,
) -> Result<HttpResponse, Problem> {
    let expected = expected_version(&tenant, id.0, &if_match, &tools, &fields).await?;
    let field = fields.archive(&tenant, id.0, expected).await?;
    Ok(answer(HttpResponse::Ok(), &tools, &tenant, &field))
}

/// Restore a contact field
///
/// Restoring it again changes nothing.
#[utoipa::path(
    operation_id = "contact_field_restore",
    tag = "contacts",
    params(
        ("id" = uuid::Uuid, Path, description = "The field.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` it was read with, where \
            it must still be so.")),
    extensions(("x-permission" = json!("contact.configure"))),
    responses(
        (status = 200, description = "The field as it is now.", body = FieldAnswer,
            headers(("ETag" = String, description = "Its version.")), example = json!(example())),
        (status = 422, description = "The clinic has as many fields as it may.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/contact-fields/{id}/restore")]
async fn restore(
    tenant: Tenant,
    id: Id<ContactFieldId>,
    if_match: IfMatch,
    tools: web::Data<Toolkit>,
    fields: web::Data<ContactFields>,
) -> Result<HttpResponse, Problem> {
    let expected = expected_version(&tenant, id.0, &if_match, &tools, &fields).await?;
    let field = fields.restore(&tenant, id.0, expected).await?;
    Ok(answer(HttpResponse::Ok(), &tools, &tenant, &field))
}

/// The version to archive or restore, where `If-Match` is given. `None` is any.
async fn expected_version(
    cx: &TenantContext,
    id: ContactFieldId,
    if_match: &IfMatch,
    tools: &Toolkit,
    fields: &ContactFields,
) -> Result<Option<i64>, Problem> {
    if !if_match.is_given() {
        return Ok(None);
    }
    let present = fields.prepare_change(cx, id).await?;
    let present = present.ok_or_else(Problem::not_found)?;
    if_match.check(&tag(tools, cx, &present))?;
    Ok(Some(present.version))
}

impl From<ReadContactFieldError> for Problem {
    fn from(error: ReadContactFieldError) -> Self {
        match error {
            ReadContactFieldError::Denied(denied) => denied.into(),
            ReadContactFieldError::Store(error) => error.into(),
        }
    }
}

impl From<WriteContactFieldError> for Problem {
    fn from(error: WriteContactFieldError) -> Self {
        match error {
            WriteContactFieldError::Denied(denied) => denied.into(),
            WriteContactFieldError::NotFound => Self::not_found(),
            WriteContactFieldError::VersionMismatch => ProblemCode::PreconditionFailed.into(),
            WriteContactFieldError::KeyTaken => Self::new(ProblemCode::AlreadyExists)
                .detail("Another field of this clinic has that key, an archived one perhaps.")
                .param("key", "taken", "must not be another field's"),
            WriteContactFieldError::TooMany => Self::new(ProblemCode::RuleViolated).detail(
                "The clinic has as many fields as it may: 50 that are not archived, and 200 in all.",
            ),
            WriteContactFieldError::Options(rule) => {
                let code = match rule {
                    UnfitOptions::Missing => "required",
                    UnfitOptions::Unexpected => "unexpected",
                    UnfitOptions::Invalid(_) => "length",
                };
                Self::invalid_field("options", code, rule.to_string())
            }
            WriteContactFieldError::Store(error) => error.into(),
        }
    }
}
