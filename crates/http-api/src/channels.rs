//! `/channels`: the WhatsApp numbers of a clinic.

use actix_web::http::header;
use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, TimeDelta, Utc};
use conversations::channel::{
    ChannelName, CreateChannel, DEFAULT_OVERLAP, DisplayPhone, ExternalId, Secret,
};
use conversations::error::{
    AccessError, CreateChannelError, ListError, RotateSecretError, SwitchChannelError,
};
use conversations::service::CreatedChannel;
use conversations::{Channel, Channels, Provider};
use kernel::{ChannelId, PageLimit, TenantContext, Toolkit};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use crate::catalogue::ProblemCode;
use crate::id::Id;
use crate::problem::{Problem, ProblemDocument};
use crate::rules::Rules;
use crate::webhooks::webhook_path;
use crate::{
    Answer, Body, EntityTag, IdempotencyKey, IfMatch, IfNoneMatch, PageAnswer, Query, Tenant,
};

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .service(list)
        .service(create)
        .service(read)
        .service(rotate_secret)
        .service(disable)
        .service(enable);
}

/// Who carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum ProviderName {
    /// Meta's WhatsApp Cloud API.
    WhatsappCloud,
    /// Evolution API; not supported yet.
    Evolution,
}

/// A channel to create.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = CreateChannel)]
struct CreateChannelRequest {
    /// What the clinic calls it: 1 to 200 characters on one line.
    #[schema(example = "Recepção")]
    name: String,
    provider: ProviderName,
    /// The provider's id of the number, which its deliveries are routed by: 1 to 120 visible
    /// ASCII characters.
    #[schema(example = "106540352242922")]
    phone_number_id: String,
    /// The number as people know it: 1 to 40 characters on one line.
    #[schema(example = "+55 11 3003-4000")]
    display_phone_number: Option<String>,
    /// What the provider signs its deliveries with: 8 to 512 visible ASCII characters. Never
    /// answered again.
    app_secret: String,
    /// What the provider shows at the handshake; made up when not given.
    verify_token: Option<String>,
}

/// A new secret of a channel.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RotateChannelSecret)]
struct RotateSecretRequest {
    /// The new secret. The older one stays good during the overlap.
    app_secret: String,
    /// A new verify token; the present one stays when not given.
    verify_token: Option<String>,
    /// Seconds during which the older secret is still taken, up to 604800 (a week); 86400 (a day)
    /// when not given.
    #[schema(example = 86400)]
    overlap_seconds: Option<i64>,
}

/// A page of channels.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct ListChannelsQuery {
    /// Rows of a page, 1 to 100; 20 when not given.
    #[param(minimum = 1, maximum = 100, example = 20)]
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// A channel. Its secrets are never shown.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Channel)]
struct ChannelAnswer {
    id: uuid::Uuid,
    #[schema(example = "Recepção")]
    name: String,
    /// `whatsapp-cloud`; more may be added.
    #[schema(example = "whatsapp-cloud")]
    provider: &'static str,
    /// `active` or `disabled`; more may be added.
    #[schema(example = "active")]
    status: &'static str,
    #[schema(example = "106540352242922")]
    phone_number_id: String,
    #[schema(example = "+55 11 3003-4000")]
    display_phone_number: Option<String>,
    /// Where the provider delivers, below this server's address. Null for a channel of a shared
    /// endpoint and for callers who may not manage channels.
    #[schema(example = "/api/v1/webhooks/whatsapp-cloud/kFq1f0c2r9mB3v7Xn5Yw8A")]
    webhook_path: Option<String>,
    /// What the provider shows at the handshake. Only in the answer that creates the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    verify_token: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Channel> for ChannelAnswer {
    fn from(channel: Channel) -> Self {
        let path = channel.path_key.as_deref();
        Self {
            id: channel.id.into(),
            webhook_path: path.map(|key| webhook_path(channel.provider, key)),
            name: channel.name,
            provider: channel.provider.name(),
            status: channel.status.name(),
            phone_number_id: channel.external_id,
            display_phone_number: channel.display_phone,
            verify_token: None,
            created_at: channel.created_at,
            updated_at: channel.updated_at,
        }
    }
}

/// A channel for the OpenAPI document's examples.
fn example() -> serde_json::Value {
    serde_json::json!({
        "id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "name": "Recepção",
        "provider": "whatsapp-cloud", "status": "active",
        "phoneNumberId": "106540352242922", "displayPhoneNumber": "+55 11 3003-4000",
        "webhookPath": "/api/v1/webhooks/whatsapp-cloud/kFq1f0c2r9mB3v7Xn5Yw8A",
        "createdAt": "2026-11-03T12:30:00Z", "updatedAt": "2026-11-03T12:30:00Z",
    })
}

/// The same, as the answer that creates it shows it.
fn created_example() -> serde_json::Value {
    let mut example = example();
    example["verifyToken"] = "u8J0mZ1y3QKcWf5bT7rXg2LhVn9sEaPd".into();
    example
}

impl CreateChannelRequest {
    /// The domain's command; every broken rule at once otherwise.
    fn into_domain(self) -> Result<CreateChannel, Problem> {
        let mut rules = Rules::new(ProblemCode::InvalidBody);
        let name = rules.keep("name", "length", ChannelName::parse(&self.name));
        let number = ExternalId::parse(&self.phone_number_id);
        let external_id = rules.keep("phoneNumberId", "format", number);
        let display_phone = self.display_phone_number.and_then(|phone| {
            rules.keep("displayPhoneNumber", "length", DisplayPhone::parse(&phone))
        });
        let secret = rules.keep("appSecret", "length", Secret::new(&self.app_secret));
        let verify_token = self
            .verify_token
            .and_then(|token| rules.keep("verifyToken", "length", Secret::new(&token)));
        let (Some(name), Some(external_id), Some(secret)) = (name, external_id, secret) else {
            return Err(rules.into_problem());
        };
        rules.done(CreateChannel {
            provider: match self.provider {
                ProviderName::WhatsappCloud => Provider::WhatsappCloud,
                ProviderName::Evolution => Provider::Evolution,
            },
            name,
            external_id,
            display_phone,
            secret,
            verify_token,
        })
    }
}

fn secret(name: &'static str, text: &str) -> Result<Secret, Problem> {
    Secret::new(text).map_err(|rule| Problem::invalid_field(name, "length", rule.to_string()))
}

/// The version to change, where `If-Match` is given and names the present one. `None` is any.
async fn expected_version(
    cx: &TenantContext,
    id: ChannelId,
    if_match: &IfMatch,
    tools: &Toolkit,
    channels: &Channels,
) -> Result<Option<i64>, Problem> {
    if !if_match.is_given() {
        return Ok(None);
    }
    let present = channels.prepare_change(cx, id).await?;
    if_match.check(&tag(tools, cx, &present))?;
    Ok(Some(present.row_version))
}

fn tag(tools: &Toolkit, cx: &TenantContext, channel: &Channel) -> EntityTag {
    // Who may manage channels sees more of them: the scope is part of every tag.
    EntityTag::of_record(tools, cx, "channel", channel.id, channel.row_version, "")
}

/// The answer about a new channel: the one moment when its verify token is shown, and again to
/// who repeats the request with its key, within a day.
fn created(tools: &Toolkit, cx: &TenantContext) -> impl Fn(&CreatedChannel) -> Answer + use<> {
    let (tools, cx) = (tools.clone(), cx.clone());
    move |created| {
        let tag = tag(&tools, &cx, &created.channel);
        let mut answer = ChannelAnswer::from(created.channel.clone());
        answer.verify_token = Some(created.verify_token.reveal());
        let location = format!("/api/v1/channels/{}", answer.id);
        Answer::created(&location, &tag, &answer)
    }
}

fn changed(tools: &Toolkit, cx: &TenantContext, channel: Channel) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::ETAG, tag(tools, cx, &channel).to_string()))
        .json(ChannelAnswer::from(channel))
}

/// List channels
///
/// Newest first.
#[utoipa::path(
    operation_id = "channel_list",
    tag = "channels",
    params(ListChannelsQuery,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a page you have.")),
    extensions(("x-permission" = json!("channel.read"))),
    responses(
        (status = 200, description = "A page of channels.", body = PageAnswer<ChannelAnswer>,
            headers(("ETag" = String, description = "Of this page.")),
            example = json!({"data": [example()], "nextCursor": null, "hasMore": false})),
        (status = 304, description = "The page is the one you have."),
    )
)]
#[get("/channels")]
async fn list(
    tenant: Tenant,
    query: Query<ListChannelsQuery>,
    if_none_match: IfNoneMatch,
    tools: web::Data<Toolkit>,
    channels: web::Data<Channels>,
) -> Result<HttpResponse, Problem> {
    let limit = page_limit(query.limit)?;
    let page = channels
        .list(&tenant, query.cursor.as_deref(), limit)
        .await?;
    let page = PageAnswer::of(page, ChannelAnswer::from);
    if_none_match.answer_content(&tools, &tenant, &page)
}

/// The asked page size, or the usual one.
pub(crate) fn page_limit(asked: Option<u32>) -> Result<PageLimit, Problem> {
    match asked {
        None => Ok(PageLimit::default()),
        Some(rows) => PageLimit::new(rows)
            .map_err(|rule| Problem::invalid_query("limit", "range", rule.to_string())),
    }
}

/// Create a channel
///
/// It gets a webhook path of its own. Enter that and the verify token at the provider.
#[utoipa::path(
    operation_id = "channel_create",
    tag = "channels",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body(content = CreateChannelRequest, example = json!({
        "name": "Recepção", "provider": "whatsapp-cloud", "phoneNumberId": "106540352242922",
        "displayPhoneNumber": "+55 11 3003-4000", "appSecret": "5f4dcc3b5aa765d61d8327deb882cf99",
    })),
    extensions(("x-permission" = json!("channel.manage"))),
    responses(
        (status = 201, description = "The new channel, with its verify token.", body = ChannelAnswer,
            headers(("ETag" = String, description = "Its version."),
                ("Location" = String, description = "Where it is.")),
            example = json!(created_example())),
        (status = 409, description = "The clinic has a channel for this number already.",
            body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "The provider is not supported yet.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/channels")]
async fn create(
    tenant: Tenant,
    key: IdempotencyKey,
    body: Body<CreateChannelRequest>,
    tools: web::Data<Toolkit>,
    channels: web::Data<Channels>,
) -> Result<HttpResponse, Problem> {
    channels.prepare_create(&tenant).await?;
    let answer = key.answering(&tools, &tenant, &body, created(&tools, &tenant))?;
    let asked = body.read()?.into_domain()?;
    let channel = channels.create(&tenant, asked, answer.once()).await?;
    Ok(answer.about(&channel))
}

/// Read a channel
///
/// Never with its secrets.
#[utoipa::path(
    operation_id = "channel_read",
    tag = "channels",
    params(
        ("id" = uuid::Uuid, Path, description = "The channel.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` you have.")),
    extensions(("x-permission" = json!("channel.read"))),
    responses(
        (status = 200, description = "The channel.", body = ChannelAnswer,
            headers(("ETag" = String, description = "Its version.")),
            example = json!(example())),
        (status = 304, description = "It is as you have it."),
    )
)]
#[get("/channels/{id}")]
async fn read(
    tenant: Tenant,
    id: Id<ChannelId>,
    if_none_match: IfNoneMatch,
    tools: web::Data<Toolkit>,
    channels: web::Data<Channels>,
) -> Result<HttpResponse, Problem> {
    let channel = channels.read(&tenant, id.0).await?;
    let tag = tag(&tools, &tenant, &channel);
    Ok(if_none_match.answer(&tag, &ChannelAnswer::from(channel)))
}

/// Rotate a channel's secret
///
/// Deliveries signed with the older secret are taken until the overlap ends, so that none is lost
/// while the provider is told the new one.
#[utoipa::path(
    operation_id = "channel_rotate_secret",
    tag = "channels",
    params(
        ("id" = uuid::Uuid, Path, description = "The channel.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` it was read with, where \
            it must still be so.")),
    request_body(content = RotateSecretRequest, example = json!({
        "appSecret": "098f6bcd4621d373cade4e832627b4f6", "overlapSeconds": 3600,
    })),
    extensions(("x-permission" = json!("channel.manage"))),
    responses(
        (status = 200, description = "The channel.", body = ChannelAnswer,
            headers(("ETag" = String, description = "Its new version.")),
            example = json!(example())),
        (status = 409, description = "The endpoint is shared: its secret is the operator's.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/channels/{id}/rotate-secret")]
async fn rotate_secret(
    tenant: Tenant,
    id: Id<ChannelId>,
    if_match: IfMatch,
    body: Body<RotateSecretRequest>,
    tools: web::Data<Toolkit>,
    channels: web::Data<Channels>,
) -> Result<HttpResponse, Problem> {
    let present = channels.prepare_change(&tenant, id.0).await?;
    let request = body.read()?;
    let app_secret = secret("appSecret", &request.app_secret)?;
    let verify_token = request
        .verify_token
        .as_deref()
        .map(|token| secret("verifyToken", token))
        .transpose()?;
    let overlap = match request.overlap_seconds {
        None => DEFAULT_OVERLAP,
        // Out of range is refused by the service, in the same words.
        Some(seconds) => TimeDelta::try_seconds(seconds).unwrap_or(TimeDelta::MAX),
    };
    if_match.check(&tag(&tools, &tenant, &present))?;
    let expected = if_match.is_given().then_some(present.row_version);
    let verify_token = verify_token.as_ref();
    let channel = channels
        .rotate_secret(&tenant, id.0, expected, &app_secret, verify_token, overlap)
        .await?;
    Ok(changed(&tools, &tenant, channel))
}

/// Disable a channel
///
/// What its provider delivers is stored and waits until the channel is enabled again.
#[utoipa::path(
    operation_id = "channel_disable",
    tag = "channels",
    params(
        ("id" = uuid::Uuid, Path, description = "The channel.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` it was read with, where \
            it must still be so.")),
    extensions(("x-permission" = json!("channel.manage"))),
    responses((status = 200, description = "The channel.", body = ChannelAnswer,
        headers(("ETag" = String, description = "Its version.")),
            example = json!(example())))
)]
#[post("/channels/{id}/disable")]
async fn disable(
    tenant: Tenant,
    id: Id<ChannelId>,
    if_match: IfMatch,
    tools: web::Data<Toolkit>,
    channels: web::Data<Channels>,
) -> Result<HttpResponse, Problem> {
    let expected = expected_version(&tenant, id.0, &if_match, &tools, &channels).await?;
    let channel = channels.disable(&tenant, id.0, expected).await?;
    Ok(changed(&tools, &tenant, channel))
}

/// Enable a channel
///
/// What had waited is processed.
#[utoipa::path(
    operation_id = "channel_enable",
    tag = "channels",
    params(
        ("id" = uuid::Uuid, Path, description = "The channel.",
            example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` it was read with, where \
            it must still be so.")),
    extensions(("x-permission" = json!("channel.manage"))),
    responses((status = 200, description = "The channel.", body = ChannelAnswer,
        headers(("ETag" = String, description = "Its version.")),
            example = json!(example())))
)]
#[post("/channels/{id}/enable")]
async fn enable(
    tenant: Tenant,
    id: Id<ChannelId>,
    if_match: IfMatch,
    tools: web::Data<Toolkit>,
    channels: web::Data<Channels>,
) -> Result<HttpResponse, Problem> {
    let expected = expected_version(&tenant, id.0, &if_match, &tools, &channels).await?;
    let channel = channels.enable(&tenant, id.0, expected).await?;
    Ok(changed(&tools, &tenant, channel))
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Denied(denied) => denied.into(),
            AccessError::NotFound => Self::not_found(),
            AccessError::Store(error) => error.into(),
        }
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Denied(denied) => denied.into(),
            ListError::NotFound => Self::not_found(),
            ListError::Cursor(_) => ProblemCode::InvalidCursor.into(),
            ListError::Store(error) => error.into(),
        }
    }
}

impl From<CreateChannelError> for Problem {
    fn from(error: CreateChannelError) -> Self {
        match error {
            CreateChannelError::Denied(denied) => denied.into(),
            CreateChannelError::NumberTaken => Self::new(ProblemCode::AlreadyExists)
                .detail("The clinic has a channel for this number already.")
                .param("phoneNumberId", "taken", "must not be another channel's"),
            CreateChannelError::ProviderUnsupported => Self::new(ProblemCode::RuleViolated)
                .detail("The provider is not supported yet.")
                .param("provider", "unsupported", "must be whatsapp-cloud"),
            CreateChannelError::Store(error) => error.into(),
        }
    }
}

impl From<RotateSecretError> for Problem {
    fn from(error: RotateSecretError) -> Self {
        match error {
            RotateSecretError::Denied(denied) => denied.into(),
            RotateSecretError::NotFound => Self::not_found(),
            RotateSecretError::VersionMismatch => ProblemCode::PreconditionFailed.into(),
            RotateSecretError::EndpointShared => Self::new(ProblemCode::Conflict)
                .detail("The channel's endpoint is shared: the operator rotates its secret."),
            RotateSecretError::OverlapOutOfRange => {
                Self::invalid_field("overlapSeconds", "range", "must be from 0 to 604800")
            }
            RotateSecretError::Store(error) => error.into(),
        }
    }
}

impl From<SwitchChannelError> for Problem {
    fn from(error: SwitchChannelError) -> Self {
        match error {
            SwitchChannelError::Denied(denied) => denied.into(),
            SwitchChannelError::NotFound => Self::not_found(),
            SwitchChannelError::VersionMismatch => ProblemCode::PreconditionFailed.into(),
            SwitchChannelError::Store(error) => error.into(),
        }
    }
}
