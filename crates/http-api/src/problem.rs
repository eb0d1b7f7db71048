//! Failures as RFC 9457 problems. What is shown ([`Problem`]'s text) and what is logged (its
//! source) are two texts: nothing that was sent or stored ever enters the shown one.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use kernel::{Denied, Repeat, RequestId, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalogue::ProblemCode;
use crate::idempotency::Answer;

/// The media type of every failure.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A failure on its way to the caller.
///
/// Handlers answer `Result<_, Problem>`; the edge adds the request's id and writes it.
#[derive(Debug)]
pub struct Problem {
    code: ProblemCode,
    detail: Cow<'static, str>,
    invalid_params: Vec<InvalidParam>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What is answered in its place: the answer of an act that was done before.
    replay: Option<Box<Answer>>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// One field or parameter that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InvalidParam {
    /// Which one: a parameter's name, or a path into the body such as `phones[0].number`.
    #[schema(example = "name")]
    pub name: Cow<'static, str>,
    /// The broken rule as a stable code.
    #[schema(example = "required")]
    pub code: Cow<'static, str>,
    /// The rule in words: what would be right.
    #[schema(example = "is required")]
    pub reason: Cow<'static, str>,
}

impl Problem {
    /// A problem of `code`, with the catalogue's explanation as its detail.
    pub fn new(code: ProblemCode) -> Self {
        Self {
            code,
            detail: Cow::Borrowed(code.explanation()),
            invalid_params: Vec::new(),
            headers: Vec::new(),
            replay: None,
            source: None,
        }
    }

    /// The record is absent, or another clinic's: which of both is never told.
    pub fn not_found() -> Self {
        Self::new(ProblemCode::NotFound)
    }

    /// One field of the body breaks a rule.
    pub fn invalid_field(
        name: impl Into<Cow<'static, str>>,
        code: &'static str,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ProblemCode::InvalidBody).param(name, code, reason)
    }

    /// One query parameter breaks a rule.
    pub fn invalid_query(
        name: impl Into<Cow<'static, str>>,
        code: &'static str,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ProblemCode::InvalidQuery).param(name, code, reason)
    }

    /// Says what happened this time. Never from input, never from an error's own text.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds a field or parameter that breaks a rule.
    #[must_use]
    pub fn param(
        mut self,
        name: impl Into<Cow<'static, str>>,
        code: impl Into<Cow<'static, str>>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.invalid_params.push(InvalidParam {
            name: name.into(),
            code: code.into(),
            reason: reason.into(),
        });
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer of an act that was done before, under the same key. It is no failure: it stops a
    /// handler as one does, and goes out as it went out then.
    fn replay(answer: Answer) -> Self {
        Self {
            replay: Some(Box::new(answer)),
            ..Self::new(ProblemCode::Conflict)
        }
    }

    /// What caused it: logged once by the edge, never shown.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Its code.
    pub const fn code(&self) -> ProblemCode {
        self.code
    }

    /// The fields or parameters it names.
    pub fn invalid_params(&self) -> &[InvalidParam] {
        &self.invalid_params
    }

    /// Its cause with the causes behind it, for the log.
    pub(crate) fn cause(&self) -> Option<String> {
        let first: &(dyn Error + 'static) = self.source.as_deref()?;
        let mut text = first.to_string();
        let mut next = first.source();
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        Some(text)
    }

    pub(crate) fn document(
        &self,
        request: Option<RequestId>,
        trace: Option<&str>,
    ) -> ProblemDocument {
        let instance = request.map(|id| format!("urn:uuid:{id}"));
        let trace_id = trace
            .map(str::to_owned)
            .or_else(|| request.map(|id| id.to_string()));
        ProblemDocument {
            r#type: format!("/docs/errors#{}", self.code.code()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: self.detail.clone(),
            instance,
            code: self.code.code(),
            invalid_params: self.invalid_params.clone(),
            trace_id,
        }
    }

    pub(crate) fn response(&self, request: Option<RequestId>, trace: Option<&str>) -> HttpResponse {
        if let Some(answer) = &self.replay {
            return answer.replayed();
        }
        let mut response = HttpResponse::build(self.code.status());
        for (name, value) in &self.headers {
            response.append_header((name.clone(), value.clone()));
        }
        if self.code == ProblemCode::RequestTimeout {
            // The rest of the body may still come: it must not be taken for a request.
            response.force_close();
        }
        let body = serde_json::to_vec(&self.document(request, trace)).unwrap_or_default();
        response
            .insert_header((header::CONTENT_TYPE, PROBLEM_JSON))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .body(body)
    }
}

/// A failure, as `application/problem+json` (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDocument {
    /// Where the code is explained, relative to this server.
    #[schema(example = "/docs/errors#invalid-body", format = "uri-reference")]
    pub r#type: String,
    /// A short title, the same for every occurrence.
    #[schema(example = "Invalid body")]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(example = 400)]
    pub status: u16,
    /// What happened this time, for people. Never repeats what was sent.
    #[schema(example = "Fields of the body break a rule.")]
    pub detail: Cow<'static, str>,
    /// This occurrence: the request's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "urn:uuid:01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")]
    pub instance: Option<String>,
    /// The stable code: decide by it.
    #[schema(example = "invalid-body")]
    pub code: &'static str,
    /// The fields or parameters that break a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invalid_params: Vec<InvalidParam>,
    /// Name it when reporting the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "4bf92f3577b34da6a3ce929d0e0e4736")]
    pub trace_id: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.code())
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        let replayed = self.replay.as_ref().map(|answer| answer.status());
        replayed.unwrap_or(self.code.status())
    }

    fn error_response(&self) -> HttpResponse {
        self.response(None, None)
    }
}

impl From<ProblemCode> for Problem {
    fn from(code: ProblemCode) -> Self {
        Self::new(code)
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        Self::new(ProblemCode::Forbidden).detail(format!(
            "The role in this clinic does not allow {}.",
            denied.action
        ))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::Repeat(repeat) = error {
            return repeat.into();
        }
        let problem = if error.is_transient() {
            Self::new(ProblemCode::Unavailable)
                .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        } else {
            Self::new(ProblemCode::Internal)
        };
        problem.caused_by(error)
    }
}

impl From<Repeat> for Problem {
    fn from(repeat: Repeat) -> Self {
        match repeat {
            Repeat::Done(bytes) => match Answer::from_bytes(&bytes) {
                Some(answer) => Self::replay(answer),
                None => Self::new(ProblemCode::Internal).caused_by("a kept answer is none"),
            },
            Repeat::InFlight => Self::new(ProblemCode::IdempotencyInFlight)
                .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
            Repeat::OtherRequest => ProblemCode::IdempotencyKeyReused.into(),
        }
    }
}
