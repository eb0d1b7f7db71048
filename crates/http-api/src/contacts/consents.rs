//! `/contacts/{id}/consents` and `/consent-texts`: what people allow, and what they were asked with.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use contacts::consent::{
    Consent, ConsentAct, ConsentBody, ConsentChannel, ConsentPurpose, ConsentText, Proof,
};
use contacts::{Consents, GiveConsent, ReadConsentError, WriteConsentError};
use kernel::{ConsentId, ConsentTextId, ContactId, TenantContext, Toolkit, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use crate::catalogue::ProblemCode;
use crate::problem::{Problem, ProblemDocument};
use crate::rules::Rules;
use crate::{Answer, Body, EntityTag, Id, IdempotencyKey, IfNoneMatch, Tenant};

/// Adds the handlers of this file.
pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list)
        .service(give)
        .service(revoke)
        .service(list_texts)
        .service(create_text);
}

/// What the data may be used for.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ConsentPurpose)]
enum PurposeForm {
    Reminders,
    Marketing,
    Surveys,
    DataSharing,
    ImageUse,
    Research,
}

impl From<PurposeForm> for ConsentPurpose {
    fn from(form: PurposeForm) -> Self {
        match form {
            PurposeForm::Reminders => Self::Reminders,
            PurposeForm::Marketing => Self::Marketing,
            PurposeForm::Surveys => Self::Surveys,
            PurposeForm::DataSharing => Self::DataSharing,
            PurposeForm::ImageUse => Self::ImageUse,
            PurposeForm::Research => Self::Research,
        }
    }
}

/// By which way the person may be reached for it.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = ConsentChannel)]
enum ChannelForm {
    Any,
    Whatsapp,
    Sms,
    Phone,
    Email,
}

impl From<ChannelForm> for ConsentChannel {
    fn from(form: ChannelForm) -> Self {
        match form {
            ChannelForm::Any => Self::Any,
            ChannelForm::Whatsapp => Self::Whatsapp,
            ChannelForm::Sms => Self::Sms,
            ChannelForm::Phone => Self::Phone,
            ChannelForm::Email => Self::Email,
        }
    }
}

/// A consent that a contact gave.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GiveConsent)]
struct GiveRequest {
    /// What for.
    purpose: PurposeForm,
    /// By which way.
    channel: ChannelForm,
    /// The text that the person was asked with: one of the same purpose.
    #[schema(value_type = Option<uuid::Uuid>)]
    text_id: Option<ConsentTextId>,
    /// When the person gave it; now, when not given. Not to come.
    given_at: Option<DateTime<Utc>>,
    /// How it can be shown, 1 to 2,000 characters: where the signed sheet lies, which message said so.
    #[schema(example = "Folha assinada, pasta 12")]
    proof: Option<String>,
}

/// How a consent was revoked. An empty object will do.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RevokeConsent)]
struct RevokeRequest {
    /// When the person revoked it; now, when not given. Neither to come nor before it was given.
    revoked_at: Option<DateTime<Utc>>,
    /// How it can be shown, 1 to 2,000 characters.
    proof: Option<String>,
}

fn proof_of(rules: &mut Rules, proof: Option<String>) -> Option<Proof> {
    proof.and_then(|proof| rules.keep("proof", "length", Proof::parse(&proof)))
}

/// One act: a consent was given, or revoked.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConsentAct)]
struct ActAnswer {
    /// When the person did it.
    at: DateTime<Utc>,
    /// When it was written down.
    recorded_at: DateTime<Utc>,
    /// The kind of actor that wrote it down: `user`, `job`, `channel`, `operator`; more may be added.
    #[schema(value_type = String, example = "user")]
    recorded_by_kind: String,
    /// The user, where it was one.
    #[schema(required = true, value_type = Option<uuid::Uuid>)]
    recorded_by: Option<UserId>,
    /// How it can be shown.
    #[schema(required = true)]
    proof: Option<String>,
}

impl From<&ConsentAct> for ActAnswer {
    fn from(act: &ConsentAct) -> Self {
        Self {
            at: act.at,
            recorded_at: act.recorded_at,
            recorded_by_kind: act.recorded_by.kind.clone().into_owned(),
            recorded_by: act.recorded_by.user,
            proof: act.proof.as_ref().map(|proof| proof.expose().to_owned()),
        }
    }
}

/// A consent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Consent)]
struct ConsentAnswer {
    /// Its id.
    #[schema(value_type = uuid::Uuid, example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")]
    id: ConsentId,
    /// What for: `reminders`, `marketing`, `surveys`, `data-sharing`, `image-use`, `research`; more may
    /// be added.
    #[schema(example = "marketing")]
    purpose: &'static str,
    /// By which way: `any`, `whatsapp`, `sms`, `phone`, `email`; more may be added.
    #[schema(example = "whatsapp")]
    channel: &'static str,
    /// `given` while it is in force, then `revoked`.
    #[schema(example = "given")]
    state: &'static str,
    /// The text that the person was asked with.
    #[schema(required = true, value_type = Option<uuid::Uuid>)]
    text_id: Option<ConsentTextId>,
    /// That text's version.
    #[schema(required = true)]
    text_version: Option<i32>,
    /// How it was given.
    given: ActAnswer,
    /// How it was revoked; null while it is in force.
    #[schema(required = true)]
    revoked: Option<ActAnswer>,
}

impl From<&Consent> for ConsentAnswer {
    fn from(consent: &Consent) -> Self {
        Self {
            id: consent.id,
            purpose: consent.purpose.name(),
            channel: consent.channel.name(),
            state: if consent.is_in_force() {
                "given"
            } else {
                "revoked"
            },
            text_id: consent.text.map(|(id, _)| id),
            text_version: consent.text.map(|(_, version)| version),
            given: (&consent.given).into(),
            revoked: consent.revoked.as_ref().map(Into::into),
        }
    }
}

/// What is allowed at present.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConsentInForce)]
struct InForceAnswer {
    /// What for.
    #[schema(example = "marketing")]
    purpose: &'static str,
    /// By which way.
    #[schema(example = "whatsapp")]
    channel: &'static str,
}

/// A contact's consents.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConsentList)]
struct ConsentsAnswer {
    /// What is allowed at present; what is not named here is not.
    in_force: Vec<InForceAnswer>,
    /// Every consent there ever was, the last recorded first; never more than 500.
    data: Vec<ConsentAnswer>,
}

impl ConsentsAnswer {
    fn of(consents: &[Consent]) -> Self {
        let mut allowed: Vec<_> = consents
            .iter()
            .filter(|consent| consent.is_in_force())
            .map(|consent| (consent.purpose, consent.channel))
            .collect();
        allowed.sort_unstable();
        allowed.dedup();
        let in_force = allowed.into_iter().map(|(purpose, channel)| InForceAnswer {
            purpose: purpose.name(),
            channel: channel.name(),
        });
        Self {
            in_force: in_force.collect(),
            data: consents.iter().map(ConsentAnswer::from).collect(),
        }
    }
}

fn example() -> serde_json::Value {
    json!({
        "id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "purpose": "marketing", "channel": "whatsapp",
        "state": "given", "textId": null, "textVersion": null,
        "given": {"at": "2026-11-03T12:30:00Z", "recordedAt": "2026-11-03T12:31:00Z",
            "recordedByKind": "user", "recordedBy": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0f",
            "proof": "Folha assinada, pasta 12"},
        "revoked": null,
    })
}

/// The tag of a consent: it changes once, when it is revoked.
fn tag(tools: &Toolkit, cx: &TenantContext, consent: &Consent) -> EntityTag {
    let version = if consent.is_in_force() { 1 } else { 2 };
    EntityTag::of_record(tools, cx, "consent", consent.id, version, "")
}

/// List a contact's consents
///
/// What is allowed at present, and every consent there ever was: nothing of them is ever changed or
/// deleted here.
#[utoipa::path(
    operation_id = "consent_list",
    tag = "contacts",
    params(
        ("id" = uuid::Uuid, Path, description = "The contact.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of what you have.")),
    extensions(("x-permission" = json!("contact.read"))),
    responses(
        (status = 200, description = "The contact's consents.", body = ConsentsAnswer,
            headers(("ETag" = String, description = "Of this list.")),
            example = json!({"inForce": [{"purpose": "marketing", "channel": "whatsapp"}],
                "data": [example()]})),
        (status = 304, description = "They are as you have them."),
    )
)]
#[get("/contacts/{id}/consents")]
async fn list(
    tenant: Tenant,
    id: Id<ContactId>,
    if_none_match: IfNoneMatch,
    tools: web::Data<Toolkit>,
    consents: web::Data<Consents>,
) -> Result<HttpResponse, Problem> {
    let found = consents.list(&tenant, id.0).await?;
    let found = found.ok_or_else(Problem::not_found)?;
    if_none_match.answer_content(&tools, &tenant, &ConsentsAnswer::of(&found))
}

/// Record a consent
///
/// That a contact gave it, for one purpose and one channel (Lei 13.709/2018, article 8).
#[utoipa::path(
    operation_id = "consent_give",
    tag = "contacts",
    params(
        ("id" = uuid::Uuid, Path, description = "The contact.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("Idempotency-Key" = Option<String>, Header)),
    request_body(content = GiveRequest, example = json!({
        "purpose": "marketing", "channel": "whatsapp", "proof": "Folha assinada, pasta 12",
    })),
    extensions(("x-permission" = json!("contact.write"))),
    responses(
        (status = 201, description = "The consent.", body = ConsentAnswer,
            headers(("ETag" = String, description = "Its version."),
                ("Location" = String, description = "The list that it is in.")),
            example = json!(example())),
        (status = 422, description = "There is no such text of that purpose, the instant is still to \
            come, or the contact has 500 consents.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/contacts/{id}/consents")]
async fn give(
    tenant: Tenant,
    id: Id<ContactId>,
    key: IdempotencyKey,
    body: Body<GiveRequest>,
    tools: web::Data<Toolkit>,
    consents: web::Data<Consents>,
) -> Result<HttpResponse, Problem> {
    let present = consents.prepare_write(&tenant, id.0).await?;
    present.ok_or_else(Problem::not_found)?;
    let show = {
        let (tools, cx) = (tools.as_ref().clone(), (*tenant).clone());
        move |consent: &Consent| {
            let location = format!("/api/v1/contacts/{}/consents", consent.contact);
            let tag = tag(&tools, &cx, consent);
            Answer::created(&location, &tag, &ConsentAnswer::from(consent))
        }
    };
    let answer = key.answering(&tools, &tenant, &body, show)?;
    let request = body.read()?;
    let mut rules = Rules::new(ProblemCode::InvalidBody);
    let asked = GiveConsent {
        purpose: request.purpose.into(),
        channel: request.channel.into(),
        text: request.text_id,
        at: request.given_at,
        proof: proof_of(&mut rules, request.proof),
    };
    let asked = rules.done(asked)?;
    let consent = consents
        .give(&tenant, id.0, asked, answer.once())
        .await
        .map_err(|error| refused(error, "givenAt"))?;
    Ok(answer.about(&consent))
}

/// Revoke a consent
///
/// With it all that allow the same purpose and channel are revoked. Revoking it again changes nothing.
#[utoipa::path(
    operation_id = "consent_revoke",
    tag = "contacts",
    params(
        ("id" = uuid::Uuid, Path, description = "The contact.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("consentId" = uuid::Uuid, Path, description = "The consent.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")),
    request_body(content = RevokeRequest, example = json!({"proof": "Pediu por telefone"})),
    extensions(("x-permission" = json!("contact.write"))),
    responses(
        (status = 200, description = "The consent as it is now.", body = ConsentAnswer,
            headers(("ETag" = String, description = "Its version.")),
            example = json!(example())),
        (status = 422, description = "The instant is still to come, or before the consent.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/contacts/{id}/consents/{consentId}/revoke")]
async fn revoke(
    tenant: Tenant,
    path: web::Path<(uuid::Uuid, uuid::Uuid)>,
    body: Body<RevokeRequest>,
    tools: web::Data<Toolkit>,
    consents: web::Data<Consents>,
) -> Result<HttpResponse, Problem> {
    let (contact, id) = path.into_inner();
    let (contact, id) = (ContactId::from(contact), ConsentId::from(id));
    let present = consents.prepare_write(&tenant, contact).await?;
    let present = present.ok_or_else(Problem::not_found)?;
    if present.iter().all(|consent| consent.id != id) {
        return Err(Problem::not_found());
    }
    let request = body.read()?;
    let mut rules = Rules::new(ProblemCode::InvalidBody);
    let proof = proof_of(&mut rules, request.proof);
    let proof = rules.done(proof)?;
    let consent = consents
        .revoke(&tenant, contact, id, request.revoked_at, proof)
        .await
        .map_err(|error| refused(error, "revokedAt"))?;
    Ok(HttpResponse::Ok()
        .insert_header(("ETag", tag(&tools, &tenant, &consent).to_string()))
        .json(ConsentAnswer::from(&consent)))
}

/// A text to ask with.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CreateConsentText)]
struct CreateTextRequest {
    /// What it asks for.
    purpose: PurposeForm,
    /// The wording, 1 to 20,000 characters.
    #[schema(example = "Autorizo o envio de novidades por WhatsApp.")]
    text: String,
}

/// One version of a text. It is never changed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConsentText)]
struct TextAnswer {
    /// Its id.
    #[schema(value_type = uuid::Uuid, example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")]
    id: ConsentTextId,
    /// What it asks for.
    #[schema(example = "marketing")]
    purpose: &'static str,
    /// Counted from 1 for each purpose.
    version: i32,
    /// The wording.
    #[schema(example = "Autorizo o envio de novidades por WhatsApp.")]
    text: String,
    /// When it was written down.
    created_at: DateTime<Utc>,
}

impl From<&ConsentText> for TextAnswer {
    fn from(text: &ConsentText) -> Self {
        Self {
            id: text.id,
            purpose: text.purpose.name(),
            version: text.version,
            text: text.body.as_str().to_owned(),
            created_at: text.created_at,
        }
    }
}

/// Every text of the clinic.
#[derive(Serialize, ToSchema)]
#[schema(as = ConsentTextList)]
struct TextsAnswer {
    /// By purpose, the newest version first.
    data: Vec<TextAnswer>,
}

fn text_example() -> serde_json::Value {
    json!({
        "id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "purpose": "marketing", "version": 1,
        "text": "Autorizo o envio de novidades por WhatsApp.", "createdAt": "2026-11-03T12:30:00Z",
    })
}

/// List the texts that consent is asked with
///
/// Every version of each, the newest first.
#[utoipa::path(
    operation_id = "consent_text_list",
    tag = "contacts",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of what you have.")),
    extensions(("x-permission" = json!("contact.read"))),
    responses(
        (status = 200, description = "The clinic's texts.", body = TextsAnswer,
            headers(("ETag" = String, description = "Of this list.")),
            example = json!({"data": [text_example()]})),
        (status = 304, description = "They are as you have them."),
    )
)]
#[get("/consent-texts")]
async fn list_texts(
    tenant: Tenant,
    if_none_match: IfNoneMatch,
    tools: web::Data<Toolkit>,
    consents: web::Data<Consents>,
) -> Result<HttpResponse, Problem> {
    let texts = consents.list_texts(&tenant).await?;
    let data = texts.iter().map(TextAnswer::from).collect();
    if_none_match.answer_content(&tools, &tenant, &TextsAnswer { data })
}

/// Write down a text that consent is asked with
///
/// It is the next version of its purpose. Those before it stay, beside the consents that were given to
/// them.
#[utoipa::path(
    operation_id = "consent_text_create",
    tag = "contacts",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body(content = CreateTextRequest, example = json!({
        "purpose": "marketing", "text": "Autorizo o envio de novidades por WhatsApp.",
    })),
    extensions(("x-permission" = json!("contact.configure"))),
    responses(
        (status = 201, description = "The new version.", body = TextAnswer,
            headers(("ETag" = String, description = "Its version."),
                ("Location" = String, description = "The list that it is in.")),
            example = json!(text_example())),
    )
)]
#[post("/consent-texts")]
async fn create_text(
    tenant: Tenant,
    key: IdempotencyKey,
    body: Body<CreateTextRequest>,
    tools: web::Data<Toolkit>,
    consents: web::Data<Consents>,
) -> Result<HttpResponse, Problem> {
    consents.prepare_create_text(&tenant).await?;
    let show = {
        let (tools, cx) = (tools.as_ref().clone(), (*tenant).clone());
        move |text: &ConsentText| {
            let tag = EntityTag::of_record(&tools, &cx, "consent-text", text.id, 1, "");
            Answer::created("/api/v1/consent-texts", &tag, &TextAnswer::from(text))
        }
    };
    let answer = key.answering(&tools, &tenant, &body, show)?;
    let request = body.read()?;
    let mut rules = Rules::new(ProblemCode::InvalidBody);
    let text = rules.keep("text", "length", ConsentBody::parse(&request.text));
    let Some(text) = text else {
        return Err(rules.into_problem());
    };
    let text = consents
        .create_text(&tenant, request.purpose.into(), text, answer.once())
        .await
        .map_err(|error| refused(error, "purpose"))?;
    Ok(answer.about(&text))
}

impl From<ReadConsentError> for Problem {
    fn from(error: ReadConsentError) -> Self {
        match error {
            ReadConsentError::Denied(denied) => denied.into(),
            ReadConsentError::Store(error) => error.into(),
        }
    }
}

/// `instant` is the field in which the caller named the instant.
fn refused(error: WriteConsentError, instant: &'static str) -> Problem {
    let violated = |detail| Problem::new(ProblemCode::RuleViolated).detail(detail);
    match error {
        WriteConsentError::Denied(denied) => denied.into(),
        WriteConsentError::NotFound => Problem::not_found(),
        WriteConsentError::UnknownText => violated("There is no such text of that purpose.").param(
            "textId",
            "unknown",
            "must be the id of a text of the same purpose",
        ),
        WriteConsentError::ImpossibleInstant => violated("That cannot have been then.").param(
            instant,
            "range",
            "must not be to come, nor before 1900, nor before the consent that is revoked",
        ),
        WriteConsentError::TooMany => violated("The contact has as many consents as it may: 500."),
        // The service settles both; seen here, trying again settles them.
        WriteConsentError::AlreadyRevoked | WriteConsentError::VersionTaken => {
            ProblemCode::Conflict.into()
        }
        WriteConsentError::Store(error) => error.into(),
    }
}
