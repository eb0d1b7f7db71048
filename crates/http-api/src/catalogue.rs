//! The catalogue of problems: every code an answer can have, from which `docs/errors.md` is
//! generated. A code never changes its meaning; clients decide by it.

use std::fmt::Write as _;

use actix_web::http::StatusCode;

macro_rules! problem_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $status:ident, $title:literal;)+) => {
        /// What went wrong, as a stable code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProblemCode { $($(#[doc = $doc])+ $variant),+ }

        impl ProblemCode {
            /// Every code, in the catalogue's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable code, such as `not-found`.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// The HTTP status.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status),+ }
            }

            /// A short title, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }

            /// What it means and what to do.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii()),+ }
            }
        }
    };
}

problem_codes! {
    // 400: the request itself.
    /// The request is not what HTTP or this API asks for; `detail` says what.
    MalformedRequest = "malformed-request", BAD_REQUEST, "Malformed request";
    /// The body is not JSON; `detail` says at which line and column.
    MalformedJson = "malformed-json", BAD_REQUEST, "Malformed JSON";
    /// The body nests deeper than 32 levels.
    BodyTooDeep = "body-too-deep", BAD_REQUEST, "Body too deep";
    /// Fields of the body break a rule; `invalidParams` names each and what would be right.
    InvalidBody = "invalid-body", BAD_REQUEST, "Invalid body";
    /// Query parameters are unknown or break a rule; `invalidParams` names each.
    InvalidQuery = "invalid-query", BAD_REQUEST, "Invalid query";
    /// The cursor was not issued for this clinic, list, filter and order: start from the first page.
    InvalidCursor = "invalid-cursor", BAD_REQUEST, "Invalid cursor";
    /// The clinic is missing or malformed: send its id in `X-Clinic-Id` or `clinic_id`, or in both alike.
    ClinicRequired = "clinic-required", BAD_REQUEST, "Clinic required";
    /// This needs an `Idempotency-Key`: send a random one, and the same one when you try again.
    IdempotencyKeyRequired = "idempotency-key-required", BAD_REQUEST, "Idempotency key required";
    // 401 and 403: who asks.
    /// The access token is missing, malformed, expired or not ours: log in again.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "Not authenticated";
    /// E-mail and password do not match an active user.
    InvalidCredentials = "invalid-credentials", UNAUTHORIZED, "Invalid credentials";
    /// The refresh token is missing, not ours, used before, or its session is over: log in again.
    RefreshRejected = "refresh-rejected", UNAUTHORIZED, "Refresh rejected";
    /// The address of this invitation has an account: log in as it, then send the link's token with its access token.
    LoginRequired = "login-required", UNAUTHORIZED, "Login required";
    /// The signature is missing, or is not that of the raw body with the endpoint's secret.
    InvalidSignature = "invalid-signature", UNAUTHORIZED, "Invalid signature";
    /// The present password is another than the one that was given.
    WrongPassword = "wrong-password", FORBIDDEN, "Wrong password";
    /// The token of the handshake is not the endpoint's.
    HandshakeRefused = "handshake-refused", FORBIDDEN, "Handshake refused";
    /// The role in this clinic does not allow this; the attempt was recorded.
    Forbidden = "forbidden", FORBIDDEN, "Not permitted";
    /// The invitation is for another account than the one that is logged in: log in as that one, or log out.
    OtherAccount = "other-account", FORBIDDEN, "Another account";
    /// The caller has no membership in this clinic, or there is no such clinic.
    NoClinicAccess = "no-clinic-access", FORBIDDEN, "No access to this clinic";
    // 404 and 405: what is asked for.
    /// No record has this id in this clinic.
    NotFound = "not-found", NOT_FOUND, "Not found";
    /// There is no such path.
    UnknownRoute = "unknown-route", NOT_FOUND, "Unknown path";
    /// The path exists, its method does not; `Allow` lists those that do.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "Method not allowed";
    // 409 to 428: what stands in the way.
    /// The record's present state does not allow this; `detail` says which does.
    Conflict = "conflict", CONFLICT, "Conflict";
    /// Another record of this clinic already holds a value that must be unique.
    AlreadyExists = "already-exists", CONFLICT, "Already exists";
    /// A request with this `Idempotency-Key` has not ended yet: try again as `Retry-After` says.
    IdempotencyInFlight = "idempotency-in-flight", CONFLICT, "Request in flight";
    /// The record changed since it was read: read it again, then retry with its new `ETag`.
    PreconditionFailed = "precondition-failed", PRECONDITION_FAILED, "Precondition failed";
    /// The one-time link is used, has ended, was withdrawn or never was: ask for a new one.
    InvalidLink = "invalid-link", GONE, "Invalid link";
    /// The body did not arrive in time; the connection is closed. Send it again.
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT, "Request timeout";
    /// The body is larger than this path accepts.
    PayloadTooLarge = "payload-too-large", PAYLOAD_TOO_LARGE, "Body too large";
    /// The path and query together are longer than 8 KiB.
    UriTooLong = "uri-too-long", URI_TOO_LONG, "URI too long";
    /// The body must be sent as `application/json`, uncompressed.
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type";
    /// The request is well formed, but a rule of the domain forbids it; `detail` says which.
    RuleViolated = "rule-violated", UNPROCESSABLE_ENTITY, "Not possible";
    /// This `Idempotency-Key` was sent before, with another body: send a new request with a key of its own.
    IdempotencyKeyReused = "idempotency-key-reused", UNPROCESSABLE_ENTITY, "Idempotency key reused";
    /// Changing this record needs `If-Match` with the `ETag` it was read with.
    PreconditionRequired = "precondition-required", PRECONDITION_REQUIRED, "Precondition required";
    /// Too many requests: wait as long as `Retry-After` says.
    TooManyRequests = "too-many-requests", TOO_MANY_REQUESTS, "Too many requests";
    /// Too many failures to log in, on this account or from this address: wait as long as `Retry-After` says.
    TooManyAttempts = "too-many-attempts", TOO_MANY_REQUESTS, "Too many attempts";
    // 5xx: us.
    /// A defect of ours. Report it with the `traceId`.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error";
    /// This installation sends no mail, so nothing that needs one is done: its operator sets `mail.…`.
    MailNotConfigured = "mail-not-configured", SERVICE_UNAVAILABLE, "No mail";
    /// Something this needs does not answer now: retry as `Retry-After` says.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Unavailable";
    /// The server has too much to do to take this on: retry as `Retry-After` says, and later each time.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Overloaded";
    /// As many users are active as this installation takes; those who are active already may go on. Retry as `Retry-After` says.
    TooManyUsers = "too-many-users", SERVICE_UNAVAILABLE, "Too many users";
    /// The answer took too long and was given up. A change may have been made or not: read before you try again.
    TimedOut = "timed-out", SERVICE_UNAVAILABLE, "Timed out";
}

impl ProblemCode {
    /// The code for a bare status, for failures that were no [`crate::Problem`] at first.
    pub fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Unauthenticated,
            403 => Self::Forbidden,
            404 => Self::UnknownRoute,
            405 => Self::MethodNotAllowed,
            408 => Self::RequestTimeout,
            409 => Self::Conflict,
            412 => Self::PreconditionFailed,
            413 => Self::PayloadTooLarge,
            414 => Self::UriTooLong,
            415 => Self::UnsupportedMediaType,
            422 => Self::RuleViolated,
            428 => Self::PreconditionRequired,
            429 => Self::TooManyRequests,
            502..=504 => Self::Unavailable,
            500.. => Self::Internal,
            _ => Self::MalformedRequest,
        }
    }
}

/// `docs/errors.md`: generated, so that it never differs from what is answered.
pub fn errors_markdown() -> String {
    let mut text = String::from(
        "# Errors\n\n\
         Generated by `cargo xtask openapi` from the catalogue in `crates/http-api/src/catalogue.rs`: \
         change it there.\n\n\
         Every failure is an [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problem, \
         `application/problem+json`:\n\n\
         ```json\n\
         {\n  \"type\": \"/docs/errors#invalid-body\",\n  \"title\": \"Invalid body\",\n  \
         \"status\": 400,\n  \"detail\": \"One field breaks a rule.\",\n  \
         \"instance\": \"urn:uuid:01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e\",\n  \
         \"code\": \"invalid-body\",\n  \"invalidParams\": [\n    \
         { \"name\": \"name\", \"code\": \"required\", \"reason\": \"is required\" }\n  ],\n  \
         \"traceId\": \"4bf92f3577b34da6a3ce929d0e0e4736\"\n}\n\
         ```\n\n\
         Decide by `code`: it is stable. `title` and `detail` are for people and may change. \
         No answer repeats what was sent, but for names of fields and parameters. \
         New codes may be added: treat an unknown one by its status.\n\n\
         | code | status | meaning |\n|---|---|---|\n",
    );
    for code in ProblemCode::ALL {
        let _infallible = writeln!(
            text,
            "| <a id=\"{0}\"></a>`{0}` | {1} | {2} |",
            code.code(),
            code.status().as_u16(),
            code.explanation(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_kebab_case_unique_and_explained() {
        let mut seen = HashSet::new();
        for code in ProblemCode::ALL {
            assert!(seen.insert(code.code()), "{} is there twice", code.code());
            assert!(
                code.code()
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c == '-')
            );
            assert!(code.explanation().ends_with('.'), "{}", code.code());
            assert!(code.status().is_client_error() || code.status().is_server_error());
        }
    }

    #[test]
    fn a_bare_status_finds_a_code_of_the_same_status() {
        for status in [
            400, 401, 403, 404, 405, 408, 409, 412, 413, 414, 415, 422, 428, 429, 500, 503,
        ] {
            let status = StatusCode::from_u16(status).unwrap_or_default();
            assert_eq!(ProblemCode::of_status(status).status(), status);
        }
    }
}
