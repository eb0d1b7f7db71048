//! Which spans there are. Nobody invents another kind of name or field: the tests of this crate
//! read the source of the others, and the test collector ([`crate::sink`]) checks what arrives.
//!
//! A calling side or an adapter writes the span itself, with `tracing`, because it may not depend
//! on this crate. One request:
//!
//! ```
//! # let (method, route, request_id) = ("GET", Some("/api/v1/contacts/{id}"), "0197f0a1-0000-7000-8000-00000000000a");
//! let route = route.unwrap_or("unmatched");
//! let span = tracing::info_span!(
//!     "http.request",
//!     otel.name = %format_args!("{method} {route}"),
//!     otel.kind = "server",
//!     otel.status_code = tracing::field::Empty,
//!     http.request.method = method,
//!     http.route = route,
//!     http.response.status_code = tracing::field::Empty,
//!     url.scheme = "https",
//!     error.type = tracing::field::Empty,
//!     acolhe.request_id = request_id,
//!     acolhe.clinic_id = tracing::field::Empty,
//! );
//! // When the caller is known: span.record("acolhe.clinic_id", tracing::field::display(clinic));
//! let status: u16 = 503;
//! span.record("http.response.status_code", i64::from(status));
//! if status >= 500 {
//!     // A 4xx is the caller's error and leaves the server's span unset.
//!     span.record("otel.status_code", "error");
//!     span.record("error.type", "503");
//! }
//! ```
//!
//! One query, named `db.<entity>.<verb>` with the verb of the use case:
//!
//! ```
//! let span = tracing::info_span!(
//!     "db.contacts.find",
//!     otel.kind = "client",
//!     otel.status_code = tracing::field::Empty,
//!     db.system.name = "postgresql",
//!     db.operation.name = "SELECT",
//!     db.collection.name = "contacts",
//!     db.query.summary = "SELECT contacts",
//!     db.response.status_code = tracing::field::Empty,
//! );
//! // On failure, SQLSTATE: span.record("db.response.status_code", "23505");
//! ```
//!
//! One job, named `process <queue>`:
//!
//! ```
//! # let (job, clinic) = ("0197f0a1-0000-7000-8000-00000000000b", "0197f0a1-0000-7000-8000-00000000000c");
//! let span = tracing::info_span!(
//!     "job",
//!     otel.name = "process message-worker",
//!     otel.kind = "consumer",
//!     otel.status_code = tracing::field::Empty,
//!     messaging.operation.name = "process",
//!     messaging.destination.name = "message-worker",
//!     acolhe.job_id = job,
//!     acolhe.job_kind = "send-message",
//!     acolhe.clinic_id = clinic,
//!     attempt = 1_i64,
//! );
//! ```
//!
//! One call of a provider, named by the method and the URL's template:
//!
//! ```
//! let span = tracing::info_span!(
//!     "http.call",
//!     otel.name = "POST /{version}/{phone_number_id}/messages",
//!     otel.kind = "client",
//!     otel.status_code = tracing::field::Empty,
//!     http.request.method = "POST",
//!     url.template = "/{version}/{phone_number_id}/messages",
//!     server.address = "graph.facebook.com",
//!     http.response.status_code = tracing::field::Empty,
//!     error.type = tracing::field::Empty,
//! );
//! ```
//!
//! Sources: semantic conventions 1.44.0, pages "HTTP spans", "Database client spans" and
//! "Messaging spans".

use crate::fields::{
    CLINIC_ID, DB_COLLECTION_NAME, DB_OPERATION_NAME, DB_QUERY_SUMMARY, DB_RESPONSE_STATUS_CODE,
    DB_SYSTEM_NAME, ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE, JOB_ID,
    JOB_KIND, MESSAGING_DESTINATION_NAME, MESSAGING_OPERATION_NAME, REQUEST_ID, SERVER_ADDRESS,
    URL_SCHEME,
};

/// One sort of span: what it must carry, and what else it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convention {
    /// OpenTelemetry's span kind, as `otel.kind` spells it.
    pub kind: &'static str,
    /// Every finished span has these.
    pub required: &'static [&'static str],
    /// It may have these. Nothing else.
    pub optional: &'static [&'static str],
}

/// A request that we answer: `{method} {route}`.
pub const HTTP_SERVER: Convention = Convention {
    kind: "server",
    required: &[
        HTTP_REQUEST_METHOD,
        HTTP_ROUTE,
        HTTP_RESPONSE_STATUS_CODE,
        URL_SCHEME,
        REQUEST_ID,
    ],
    optional: &[CLINIC_ID, ERROR_TYPE],
};

/// A query: `db.<entity>.<verb>`.
pub const DB_QUERY: Convention = Convention {
    kind: "client",
    required: &[
        DB_SYSTEM_NAME,
        DB_OPERATION_NAME,
        DB_COLLECTION_NAME,
        DB_QUERY_SUMMARY,
    ],
    optional: &[
        CLINIC_ID,
        DB_RESPONSE_STATUS_CODE,
        "db.namespace",
        "db.response.returned_rows",
        ERROR_TYPE,
    ],
};

/// A job or an event that a worker processes: `process {queue}`.
pub const JOB: Convention = Convention {
    kind: "consumer",
    required: &[MESSAGING_OPERATION_NAME, MESSAGING_DESTINATION_NAME],
    optional: &[
        "acolhe.event_type",
        "attempt",
        CLINIC_ID,
        ERROR_TYPE,
        JOB_ID,
        JOB_KIND,
        "messaging.operation.type",
        "messaging.system",
    ],
};

/// A call of a provider: `{method} {template}`.
pub const HTTP_CLIENT: Convention = Convention {
    kind: "client",
    required: &[HTTP_REQUEST_METHOD, SERVER_ADDRESS],
    optional: &[
        ERROR_TYPE,
        HTTP_RESPONSE_STATUS_CODE,
        "provider",
        "server.port",
        "url.template",
    ],
};

/// What a span breaks of its convention, one sentence each; empty for a good one. `kind` as
/// `otel.kind` spells it, `field` gives an attribute as text.
pub fn violations<'a>(
    name: &str,
    kind: &str,
    keys: impl Iterator<Item = &'a str>,
    field: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let text = |key| field(key).unwrap_or_default();
    let (convention, expected) = match kind {
        "server" => (
            HTTP_SERVER,
            Some(format!(
                "{} {}",
                text(HTTP_REQUEST_METHOD),
                text(HTTP_ROUTE)
            )),
        ),
        "client" if field(DB_SYSTEM_NAME).is_some() => (DB_QUERY, None),
        "client" => (HTTP_CLIENT, None),
        "consumer" => (
            JOB,
            Some(format!(
                "{} {}",
                text(MESSAGING_OPERATION_NAME),
                text(MESSAGING_DESTINATION_NAME)
            )),
        ),
        // A step within ours: any listed field, a plain name.
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    if let Some(expected) = expected
        && name != expected
    {
        found.push(format!("{name}: the name should be {expected}"));
    }
    if convention == DB_QUERY && !is_query_name(name) {
        found.push(format!("{name}: the name should be db.<entity>.<verb>"));
    }
    for key in convention.required {
        if field(key).is_none() {
            found.push(format!("{name}: {key} is missing"));
        }
    }
    for key in keys {
        if !convention.required.contains(&key) && !convention.optional.contains(&key) {
            found.push(format!("{name}: {key} does not belong there"));
        }
    }
    found
}

/// `db.<entity>.<verb>`, in snake case.
fn is_query_name(name: &str) -> bool {
    let mut parts = name.split('.');
    let word = |part: Option<&str>| {
        part.is_some_and(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        })
    };
    parts.next() == Some("db") && word(parts.next()) && word(parts.next()) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::shape_of;

    #[test]
    fn every_field_of_a_convention_is_listed() {
        for convention in [HTTP_SERVER, DB_QUERY, JOB, HTTP_CLIENT] {
            for field in convention.required.iter().chain(convention.optional) {
                assert!(shape_of(field).is_some(), "{field}");
            }
        }
    }

    #[test]
    fn a_query_is_named_by_entity_and_verb() {
        for good in ["db.contacts.find", "db.webhook_inbox.insert"] {
            assert!(is_query_name(good), "{good}");
        }
        for bad in [
            "db.contacts",
            "contacts.find",
            "db.contacts.find.one",
            "db.Contacts.find",
            "db..find",
        ] {
            assert!(!is_query_name(bad), "{bad}");
        }
    }
}
