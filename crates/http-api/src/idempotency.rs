//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a request that creates may be
//! sent again with the same key when its answer was lost, and is answered as it was the first
//! time, byte for byte, with `Idempotency-Replayed: true`.
//!
//! A key is good for one actor and one route of one clinic, for 24 hours. A handler makes its
//! answer by [`IdempotencyKey::answering`], hands [`Answering::once`] to the service, and answers
//! with [`Answering::about`]; all else follows from the store's error.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use kernel::{Once, OnceKey, TenantContext, Toolkit};
use serde::{Deserialize, Serialize};

use crate::catalogue::ProblemCode;
use crate::problem::Problem;
use crate::{Body, EntityTag};

/// The header that names the key.
pub const KEY_HEADER: &str = "Idempotency-Key";
/// The header of an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key.
const MAX_KEY: usize = 255;

/// The key of a request, where it has one, with the route and the path that it is sent to.
#[derive(Debug)]
pub struct IdempotencyKey {
    key: Result<Option<String>, Problem>,
    route: String,
    path: String,
}

impl FromRequest for IdempotencyKey {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let pattern = request.match_pattern().unwrap_or_default();
        ready(Ok(Self {
            // Judged by the handler, once it is decided that the caller may act.
            key: key(request),
            route: format!("{} {pattern}", request.method()),
            path: request.path().to_owned(),
        }))
    }
}

fn key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let malformed = || {
        let detail = "Idempotency-Key must be one text of 1 to 255 visible ASCII characters, in \
                      quotes or without.";
        Problem::new(ProblemCode::MalformedRequest).detail(detail)
    };
    let mut values = request.headers().get_all(KEY_HEADER);
    let (Some(value), None) = (values.next(), values.next()) else {
        let absent = request.headers().get(KEY_HEADER).is_none();
        return if absent { Ok(None) } else { Err(malformed()) };
    };
    let text = value.to_str().map_err(|_| malformed())?;
    parse(text).map(Some).ok_or_else(malformed)
}

/// The key of a header's value: a string of RFC 8941 section 3.3.3, or a bare word.
fn parse(text: &str) -> Option<String> {
    let text = text.trim_matches([' ', '\t']);
    let key = if let Some(rest) = text.strip_prefix('"') {
        unquoted(rest.strip_suffix('"')?)?
    } else {
        let bare = |b: u8| b.is_ascii_graphic() && !b"\"\\,;".contains(&b);
        text.bytes().all(bare).then(|| text.to_owned())?
    };
    (1..=MAX_KEY).contains(&key.len()).then_some(key)
}

fn unquoted(inner: &str) -> Option<String> {
    let mut key = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            '"' => return None,
            ' '..='~' => key.push(c),
            _ => return None,
        }
    }
    Some(key)
}

impl IdempotencyKey {
    /// For what must not be done twice: a request without a key is 400.
    pub fn required(self) -> Result<Self, Problem> {
        match &self.key {
            Ok(None) => Err(ProblemCode::IdempotencyKeyRequired.into()),
            _ => Ok(self),
        }
    }

    /// How the request will be answered: by `show`, which must be a function of what is made
    /// alone. A key that is none is 400.
    pub fn answering<B, T>(
        self,
        tools: &Toolkit,
        cx: &TenantContext,
        body: &Body<B>,
        show: impl Fn(&T) -> Answer + Send + Sync + 'static,
    ) -> Result<Answering<T>, Problem>
    where
        B: serde::de::DeserializeOwned + validator::Validate,
    {
        let key = self.key?.map(|key| {
            // The path too: a route with an id in it is of many records.
            let mut request = self.path.into_bytes();
            request.push(b'\n');
            request.extend_from_slice(&body.canonical());
            OnceKey::new(cx, tools.keys(), &self.route, &key, &request)
        });
        Ok(Answering {
            key,
            show: Arc::new(show),
        })
    }
}

/// How a request that creates is answered.
pub struct Answering<T> {
    key: Option<OnceKey>,
    show: Arc<dyn Fn(&T) -> Answer + Send + Sync>,
}

impl<T: 'static> Answering<T> {
    /// For the service: `None` where the caller sent no key.
    pub fn once(&self) -> Option<Once<T>> {
        let show = Arc::clone(&self.show);
        let bytes = move |made: &T| show(made).to_bytes();
        self.key.map(|key| Once::new(key, Arc::new(bytes)))
    }

    /// The answer about what was made just now.
    pub fn about(&self, made: &T) -> HttpResponse {
        (self.show)(made).response()
    }
}

impl<T> std::fmt::Debug for Answering<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answering")
    }
}

/// A whole answer with a JSON body, as it is sent and kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    head: Head,
    body: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Answer {
    /// 201 with the new record, its address and its tag.
    pub fn created(location: &str, tag: &EntityTag, body: &impl Serialize) -> Self {
        let header = |name: HeaderName, value: String| (name.as_str().to_owned(), value);
        Self {
            head: Head {
                status: StatusCode::CREATED.as_u16(),
                headers: vec![
                    header(header::LOCATION, location.to_owned()),
                    header(header::ETAG, tag.to_string()),
                ],
            },
            body: serde_json::to_vec(body).unwrap_or_default(),
        }
    }

    /// 202 with the new record, of which something is still under way, and its address.
    pub fn accepted(location: &str, body: &impl Serialize) -> Self {
        Self {
            head: Head {
                status: StatusCode::ACCEPTED.as_u16(),
                headers: vec![(header::LOCATION.as_str().to_owned(), location.to_owned())],
            },
            body: serde_json::to_vec(body).unwrap_or_default(),
        }
    }

    /// The head as one line of JSON, then the body.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(&self.head).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, body) = bytes.split_at(end);
        let head: Head = serde_json::from_slice(head).ok()?;
        StatusCode::from_u16(head.status).ok()?;
        Some(Self {
            head,
            body: body[1..].to_vec(),
        })
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.head.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status());
        for (name, value) in &self.head.headers {
            response.insert_header((name.as_str(), value.as_str()));
        }
        response
            .content_type("application/json")
            .body(self.body.clone())
    }

    /// The same, said to be of before.
    pub(crate) fn replayed(&self) -> HttpResponse {
        let mut response = self.response();
        let value = header::HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, value);
        response
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The body may be anybody's data.
        f.debug_tuple("Answer").field(&self.head.status).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[&str]) -> Result<Option<String>, ProblemCode> {
        let mut request = TestRequest::post();
        for value in values {
            request = request.append_header((KEY_HEADER, *value));
        }
        key(&request.to_http_request()).map_err(|problem| problem.code())
    }

    #[test]
    fn a_key_comes_in_quotes_or_bare() {
        let uuid = "8e03978e-40d5-43dd-bc93-6894a57f9324";
        let quoted = format!("\"{uuid}\"");
        assert_eq!(of(&[uuid]), Ok(Some(uuid.to_owned())));
        assert_eq!(of(&[&quoted]), Ok(Some(uuid.to_owned())));
        assert_eq!(
            of(&[r#""a \"b\" \\c""#]),
            Ok(Some(r#"a "b" \c"#.to_owned()))
        );
        assert_eq!(of(&[]), Ok(None));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let (long, quoted) = ("a".repeat(256), format!("\"{}\"", "a".repeat(256)));
        for wrong in [
            "",
            "\"\"",
            "\"",
            "\"a",
            "a\"",
            "a b",
            "a,b",
            "a;b=1",
            "\"a\";b=1",
            "\"a\"b\"",
            r#""a\b""#,
            r#""a\""#,
            &long,
            &quoted,
            "é",
        ] {
            assert_eq!(of(&[wrong]), Err(ProblemCode::MalformedRequest), "{wrong}");
        }
        assert_eq!(of(&["a", "a"]), Err(ProblemCode::MalformedRequest));
        assert!(of(&[&"a".repeat(255)]).unwrap().is_some());
    }

    #[test]
    fn where_a_key_is_required_its_absence_is_told() {
        let sent = |request: TestRequest| {
            let request = request.to_http_request();
            let key = IdempotencyKey::from_request(&request, &mut Payload::None);
            key.into_inner().unwrap().required().map(drop)
        };
        let missing = sent(TestRequest::post()).unwrap_err();
        assert_eq!(missing.code(), ProblemCode::IdempotencyKeyRequired);
        assert!(sent(TestRequest::post().insert_header((KEY_HEADER, "a"))).is_ok());
    }

    proptest! {
        #[test]
        fn a_quoted_key_is_read_as_it_was_meant(key in "[ -~]{1,255}") {
            let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
            prop_assert_eq!(parse(&quoted), Some(key));
        }

        #[test]
        fn an_answer_is_kept_whole(
            status in 200_u16..300,
            headers in proptest::collection::vec(("[a-z-]{1,20}", "\\PC{0,40}"), 0..4),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let answer = Answer { head: Head { status, headers }, body };
            prop_assert_eq!(Answer::from_bytes(&answer.to_bytes()), Some(answer));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _answer = Answer::from_bytes(&bytes);
        }
    }
}
