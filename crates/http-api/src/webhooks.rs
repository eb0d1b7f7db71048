//! `/webhooks`: where providers deliver. No token and no clinic: the path names an endpoint, and
//! a signature over the raw body proves who speaks.

use actix_web::http::header::{self, ContentType};
use actix_web::{HttpRequest, HttpResponse, get, post, web};
use conversations::error::{HandshakeError, ReceiveError};
use conversations::ports::Handshake;
use conversations::{Provider, WebhookIngress};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::catalogue::ProblemCode;
use crate::problem::{Problem, ProblemDocument};
use crate::query::parameters;
use crate::{RawBody, RequestInfo};

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(answer_handshake).service(receive);
}

/// The path under which an endpoint of `provider` is reached.
pub fn webhook_path(provider: Provider, path_key: &str) -> String {
    format!("/api/v1/webhooks/{}/{path_key}", provider.name())
}

fn provider(name: &str) -> Result<Provider, Problem> {
    name.parse().map_err(|_| Problem::not_found())
}

/// Answer a provider's handshake
///
/// The provider asks once, when the address is entered: with the right token it gets its
/// challenge back as plain text.
#[utoipa::path(
    operation_id = "webhook_answer_handshake",
    tag = "webhooks",
    params(
        ("provider" = String, Path, description = "`whatsapp-cloud`.", example = "whatsapp-cloud"),
        ("pathKey" = String, Path, description = "Names the endpoint; a channel's `webhookPath` \
            has it.", example = "kFq1f0c2r9mB3v7Xn5Yw8A"),
        ("hub.mode" = Option<String>, Query, description = "`subscribe`."),
        ("hub.verify_token" = Option<String>, Query, description = "The channel's verify token."),
        ("hub.challenge" = Option<String>, Query, description = "What to answer."),
    ),
    extensions(("x-permission" = json!("public"))),
    responses(
        (status = 200, description = "The challenge.", body = String, content_type = "text/plain",
            example = "1158201444"),
        (status = 403, description = "The token is not the endpoint's.", body = ProblemDocument,
            content_type = "application/problem+json"),
    )
)]
#[get("/webhooks/{provider}/{pathKey}")]
async fn answer_handshake(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    info: RequestInfo,
    ingress: web::Data<WebhookIngress>,
) -> Result<HttpResponse, Problem> {
    let (name, path_key) = path.into_inner();
    let asked = parameters(request.query_string())?;
    let first = |wanted: &str| {
        asked
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    };
    let handshake = Handshake {
        mode: first("hub.mode"),
        token: first("hub.verify_token"),
        challenge: first("hub.challenge"),
    };
    let challenge = ingress
        .answer_handshake(&info.origin, provider(&name)?, &path_key, handshake)
        .await?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::plaintext())
        .body(challenge))
}

/// Receive a provider's delivery
///
/// The body is kept as it came, change by change, before this answers 200; everything else
/// happens afterwards. A delivery that comes again is stored once. A shape that is not known is
/// stored too. Anything but 200 asks the provider to try again.
#[utoipa::path(
    operation_id = "webhook_receive",
    tag = "webhooks",
    params(
        ("provider" = String, Path, description = "`whatsapp-cloud`.", example = "whatsapp-cloud"),
        ("pathKey" = String, Path, description = "Names the endpoint.",
            example = "kFq1f0c2r9mB3v7Xn5Yw8A"),
        ("X-Hub-Signature-256" = String, Header, description = "`sha256=` and the HMAC-SHA256 of \
            the raw body in lower-case hex, with the endpoint's secret."),
    ),
    request_body(content = Object, description = "As the provider sends it, up to 4 MiB.",
        example = json!({"object": "whatsapp_business_account", "entry": []})),
    extensions(("x-permission" = json!("public")), ("x-raw-body" = json!(true))),
    responses(
        (status = 200, description = "It is durable.", body = Object, example = json!({})),
        (status = 401, description = "The signature is missing or wrong; nothing was stored.",
            body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
#[post("/webhooks/{provider}/{pathKey}")]
async fn receive(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    info: RequestInfo,
    body: RawBody,
    ingress: web::Data<WebhookIngress>,
) -> Result<HttpResponse, Problem> {
    let (name, path_key) = path.into_inner();
    let provider = provider(&name)?;
    let proof = ingress
        .proof_header(provider)
        .and_then(|header| request.headers().get(header))
        .map(header::HeaderValue::as_bytes);
    ingress
        .receive(&info.origin, provider, &path_key, proof, &body.0)
        .await?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .body("{}"))
}

impl From<HandshakeError> for Problem {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::NotFound => Self::not_found(),
            HandshakeError::Refused => ProblemCode::HandshakeRefused.into(),
            HandshakeError::Store(error) => error.into(),
        }
    }
}

impl From<ReceiveError> for Problem {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::NotFound => Self::not_found(),
            ReceiveError::NotAuthentic => ProblemCode::InvalidSignature.into(),
            ReceiveError::Store(error) => error.into(),
        }
    }
}
