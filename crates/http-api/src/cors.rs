//! Cross-origin requests: which pages of other origins may read answers. None, unless configured.
//!
//! A refused origin gets no header of these: the browser refuses for it. Nothing here grants
//! anything by itself: a request is authenticated all the same.

use std::str::FromStr;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};

/// What a page of an allowed origin may send beside what every page may.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, If-Match, If-None-Match, \
     Idempotency-Key, Traceparent, X-Clinic-Id, X-Request-Id";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// What it may read beside the body.
const EXPOSED: &str = "Content-Disposition, Deprecation, ETag, Idempotency-Replayed, Link, \
     Location, RateLimit, RateLimit-Policy, Retry-After, Server-Timing, Sunset, X-Cache, X-Request-Id, X-Response-Time";

/// Who may read answers from another origin.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    /// The origins. Empty: no answer says anything of origins.
    pub origins: Vec<Origin>,
    /// How long a browser may remember what it may send.
    pub max_age: Duration,
}

/// An origin as browsers send it: `https://painel.clinica.example`, with a port where it is not
/// the scheme's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl FromStr for Origin {
    type Err = ();

    /// TLS is demanded, except of this machine.
    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.to_ascii_lowercase();
        let (scheme, place) = text.split_once("://").ok_or(())?;
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (place, None),
        };
        let of_name = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        let port_is_right = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        let right = !host.is_empty()
            && host.bytes().all(of_name)
            && port_is_right
            && (scheme == "https" || (scheme == "http" && local));
        if right { Ok(Self(text)) } else { Err(()) }
    }
}

impl Cors {
    /// The request's origin, where it is allowed.
    pub(crate) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.origins.is_empty() {
            return None;
        }
        let mut sent = headers.get_all(header::ORIGIN);
        let origin = sent.next()?;
        let text = origin.to_str().ok()?;
        let known = self.origins.iter().any(|known| known.0 == text);
        (known && sent.next().is_none()).then(|| origin.clone())
    }

    /// The answer to a browser that asks before it sends, if this is one and its page is allowed.
    pub(crate) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
        allowed: Option<&HeaderValue>,
    ) -> Option<HttpResponse> {
        let asked = method == Method::OPTIONS
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asked || allowed.is_none() {
            return None;
        }
        let mut answer = HttpResponse::build(StatusCode::NO_CONTENT);
        answer
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS))
            .insert_header((
                header::ACCESS_CONTROL_MAX_AGE,
                self.max_age.as_secs().to_string(),
            ));
        Some(answer.finish())
    }

    /// Completes an answer: what the page may read, and that this depends on its origin.
    pub(crate) fn complete(&self, headers: &mut HeaderMap, allowed: Option<&HeaderValue>) {
        const YES: HeaderValue = HeaderValue::from_static("true");
        if self.origins.is_empty() {
            return;
        }
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = allowed else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        // The refresh cookie.
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, YES);
        let exposed: HeaderName = header::ACCESS_CONTROL_EXPOSE_HEADERS;
        headers.insert(exposed, HeaderValue::from_static(EXPOSED));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for right in [
            "https://painel.example",
            "https://painel.example:8443",
            "http://localhost:5173",
            "http://[::1]:5173",
            "http://127.0.0.1",
        ] {
            assert!(right.parse::<Origin>().is_ok(), "{right}");
        }
        for wrong in [
            "*",
            "null",
            "",
            "painel.example",
            "http://painel.example",
            "https://",
            "https://painel.example/",
            "https://painel.example:0",
            "https://*.example",
            "https://a@painel.example",
            "ftp://painel.example",
        ] {
            assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
        }
    }
}
