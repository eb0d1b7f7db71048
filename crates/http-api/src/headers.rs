//! Headers of every answer: what browsers must not do with it, and who may keep it.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Of every answer; what a handler has set stays.
///
/// No page may frame an answer, load it into itself, or guess its type, and an answer that is
/// shown by itself may load and do nothing. The pages for people under `/docs` say what they may.
static ALWAYS: [(HeaderName, &str); 9] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "private, no-cache"),
    (header::VARY, "Authorization, X-Clinic-Id, Accept-Encoding"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "accelerometer=(), autoplay=(), browsing-topics=(), camera=(), display-capture=(), \
         fullscreen=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), \
         payment=(), usb=()",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// For two years TLS alone: said over TLS only, where alone it counts (RFC 6797 section 7.2).
const STRICT_TRANSPORT: &str = "max-age=63072000";

/// Adds what every answer has.
pub(crate) fn complete(headers: &mut HeaderMap, is_https: bool) {
    for (name, value) in &ALWAYS {
        if !headers.contains_key(name) {
            headers.insert(name.clone(), HeaderValue::from_static(value));
        }
    }
    if is_https && !headers.contains_key(header::STRICT_TRANSPORT_SECURITY) {
        let value = HeaderValue::from_static(STRICT_TRANSPORT);
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
}
