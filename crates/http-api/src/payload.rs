//! Bodies as bytes: read within a limit of size and of time, each refusal a problem.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderValue};
use actix_web::rt::time::timeout;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;

use crate::catalogue::ProblemCode;
use crate::problem::Problem;

/// Largest JSON body, in bytes.
pub const JSON_LIMIT: usize = 1024 * 1024;
/// Largest raw body ([`RawBody`]), in bytes: webhooks come with up to 3 MB.
pub const RAW_LIMIT: usize = 4 * 1024 * 1024;
/// How long a body may take to arrive where nothing else is configured.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a body may take to arrive, as the application's data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyTimeout(pub(crate) Duration);

/// A body as it came, whatever it is. Over 4 MiB is 413, too slow is 408.
#[derive(Debug)]
pub struct RawBody(pub Bytes);

impl FromRequest for RawBody {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = read(request, payload.take(), RAW_LIMIT);
        Box::pin(async move { reading.await.map(Self) })
    }
}

/// The bytes of a body that is said to be JSON. One that is not is never read.
pub(crate) fn read_json(
    request: &HttpRequest,
    payload: Payload,
) -> impl Future<Output = Result<Bytes, Problem>> + use<> {
    let refusal = no_plain_json(request);
    let reading = read(request, payload, JSON_LIMIT);
    async move {
        match refusal {
            Some(problem) => Err(problem),
            None => reading.await,
        }
    }
}

fn no_plain_json(request: &HttpRequest) -> Option<Problem> {
    if request.headers().get_all(header::CONTENT_TYPE).count() > 1 {
        let problem = Problem::new(ProblemCode::MalformedRequest);
        return Some(problem.detail("Content-Type is given more than once."));
    }
    if !is_json(request) {
        return Some(ProblemCode::UnsupportedMediaType.into());
    }
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING);
    if encodings.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let problem = Problem::new(ProblemCode::UnsupportedMediaType)
            .detail("A compressed body is not read: send it without Content-Encoding.")
            // What would be read (RFC 9110 section 15.5.16).
            .header(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            );
        return Some(problem);
    }
    None
}

fn is_json(request: &HttpRequest) -> bool {
    let Ok(Some(mime)) = request.mime_type() else {
        return false;
    };
    let json = mime.subtype() == "json" || mime.suffix().is_some_and(|suffix| suffix == "json");
    let utf8 = mime
        .get_param("charset")
        .is_none_or(|charset| charset.as_str().eq_ignore_ascii_case("utf-8"));
    mime.type_() == "application" && json && utf8
}

/// All of a body, within `limit` bytes and the configured time.
fn read(
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> impl Future<Output = Result<Bytes, Problem>> + use<> {
    let declared = declared_length(request);
    let patience = request
        .app_data::<BodyTimeout>()
        .map_or(BODY_TIMEOUT, |timeout| timeout.0);
    async move {
        timeout(patience, read_within(payload, declared, limit))
            .await
            .unwrap_or_else(|_elapsed| Err(ProblemCode::RequestTimeout.into()))
    }
}

fn declared_length(request: &HttpRequest) -> Option<usize> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

async fn read_within(
    mut payload: Payload,
    declared: Option<usize>,
    limit: usize,
) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(ProblemCode::PayloadTooLarge);
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    // What is declared is not believed for more than a page: a caller may declare much and send
    // nothing.
    let mut bytes = BytesMut::with_capacity(declared.unwrap_or(1024).min(16 * 1024));
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_cut_off| {
            Problem::new(ProblemCode::MalformedRequest).detail("The body ended too early.")
        })?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use actix_web::test::TestRequest;
    use actix_web::web;
    use futures_util::stream;

    use super::*;

    /// A body of these chunks that never ends.
    fn stalled(chunks: &'static [&'static str]) -> Payload {
        let sent = chunks
            .iter()
            .map(|chunk| Ok(web::Bytes::from_static(chunk.as_bytes())));
        let body = stream::iter(sent).chain(stream::pending());
        Payload::Stream {
            payload: Box::pin(body),
        }
    }

    fn json_request() -> TestRequest {
        TestRequest::post()
            .insert_header(("Content-Type", "application/json"))
            .app_data(BodyTimeout(Duration::from_millis(20)))
    }

    #[actix_web::test]
    async fn a_body_that_does_not_arrive_is_waited_for_no_longer_than_configured() {
        let request = json_request().to_http_request();
        let refused = read_json(&request, stalled(&["{\"a\":"]))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), ProblemCode::RequestTimeout);
        let raw = RawBody::from_request(&request, &mut stalled(&[])).await;
        assert_eq!(raw.unwrap_err().code(), ProblemCode::RequestTimeout);
    }

    #[actix_web::test]
    async fn what_is_no_plain_json_is_refused_before_it_is_read() {
        for (name, value, code) in [
            (
                "Content-Encoding",
                "gzip",
                ProblemCode::UnsupportedMediaType,
            ),
            (
                "Content-Encoding",
                "gzip, identity",
                ProblemCode::UnsupportedMediaType,
            ),
            (
                "Content-Type",
                "application/json",
                ProblemCode::MalformedRequest,
            ),
            ("Content-Type", "text/plain", ProblemCode::MalformedRequest),
        ] {
            let request = json_request()
                .append_header((name, value))
                .to_http_request();
            let refused = read_json(&request, stalled(&[])).await.unwrap_err();
            assert_eq!(refused.code(), code, "{name}: {value}");
        }
        let request = TestRequest::post().to_http_request();
        let refused = read_json(&request, stalled(&[])).await.unwrap_err();
        assert_eq!(refused.code(), ProblemCode::UnsupportedMediaType);
    }
}
