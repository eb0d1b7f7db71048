//! Conditional requests (RFC 9110 section 13): strong entity tags, `If-None-Match`, `If-Match`.
//!
//! A tag is keyed and covers the clinic and the caller's scope: it says nothing about the
//! record, and one caller's tag is never another's.

use std::fmt;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderName};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kernel::{KeyOwner, KeyPurpose, TenantContext, Toolkit};
use serde::Serialize;

use crate::catalogue::ProblemCode;
use crate::compress::plain_tag;
use crate::problem::Problem;

/// A strong entity tag.
///
/// Of a record it has two parts, `"state.view"`: the state stands for the record's version, the
/// view for the fields that were asked for. A change is conditional on the state alone, so that
/// a tag from any view of the record may be sent in `If-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    state: String,
    view: Option<String>,
}

impl EntityTag {
    /// The tag of one record: `kind` and `id` name it, `version` changes with each of its
    /// changes, `view` is the canonical list of fields, empty for all of them.
    pub fn of_record(
        tools: &Toolkit,
        cx: &TenantContext,
        kind: &'static str,
        id: impl Into<uuid::Uuid>,
        version: i64,
        view: &str,
    ) -> Self {
        let id = id.into();
        let state = [kind.as_bytes(), id.as_bytes(), &version.to_be_bytes()];
        let view = (!view.is_empty()).then(|| digest(tools, cx, &[b"view", view.as_bytes()]));
        Self {
            state: digest(tools, cx, &state),
            view,
        }
    }

    /// The tag of an answer's bytes: for lists.
    pub fn of_content(tools: &Toolkit, cx: &TenantContext, bytes: &[u8]) -> Self {
        Self {
            state: digest(tools, cx, &[b"content", bytes]),
            view: None,
        }
    }
}

fn digest(tools: &Toolkit, cx: &TenantContext, parts: &[&[u8]]) -> String {
    let mut data = Vec::new();
    let scope = cx.scope_bytes();
    for part in parts.iter().copied().chain([scope.as_slice()]) {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part);
    }
    let owner = KeyOwner::Clinic(cx.clinic());
    let mac = tools.keys().mac(owner, KeyPurpose::EntityTag, &data);
    URL_SAFE_NO_PAD.encode(&mac[..15])
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.view {
            Some(view) => write!(f, "\"{}.{view}\"", self.state),
            None => write!(f, "\"{}\"", self.state),
        }
    }
}

/// What `If-Match` asks: that the record is still as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfMatch(Condition);

impl IfMatch {
    /// `Ok` when the header is there and the record is as it was read: 428 without the header,
    /// 412 when the record has changed, 400 when the header is neither `*` nor entity tags. A
    /// weak tag never matches (RFC 9110 section 13.1.1).
    pub fn require(&self, present: &EntityTag) -> Result<(), Problem> {
        match &self.0 {
            Condition::Absent => Err(ProblemCode::PreconditionRequired.into()),
            _ => self.check(present),
        }
    }

    /// As [`Self::require`], where a change without a condition is allowed.
    pub fn check(&self, present: &EntityTag) -> Result<(), Problem> {
        let same_state = |tag: &str| {
            let bare = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            bare.is_some_and(|bare| bare.split('.').next() == Some(&present.state))
        };
        match &self.0 {
            Condition::Absent | Condition::Any => Ok(()),
            Condition::Tags(tags) if !tags.iter().all(|tag| is_entity_tag(tag)) => {
                Err(Problem::new(ProblemCode::MalformedRequest)
                    .detail("If-Match must be * or one or more entity tags, each in quotes."))
            }
            Condition::Tags(tags) if tags.iter().any(|tag| same_state(tag)) => Ok(()),
            Condition::Tags(_) => Err(ProblemCode::PreconditionFailed.into()),
        }
    }

    /// Whether the header is there.
    pub fn is_given(&self) -> bool {
        self.0 != Condition::Absent
    }
}

/// What `If-None-Match` asks: an answer only if it differs from what the caller has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfNoneMatch(Condition);

impl IfNoneMatch {
    /// What the request's header asks.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        Self(Condition::of(request, &header::IF_NONE_MATCH))
    }

    /// Whether the caller already has this.
    pub fn holds(&self, tag: &EntityTag) -> bool {
        self.holds_text(&tag.to_string())
    }

    /// The same, of a tag as it is sent.
    pub(crate) fn holds_text(&self, tag: &str) -> bool {
        match &self.0 {
            Condition::Absent => false,
            Condition::Any => true,
            // Weak comparison: RFC 9110 section 13.1.2.
            Condition::Tags(tags) => tags
                .iter()
                .any(|given| plain_tag(given.strip_prefix("W/").unwrap_or(given)) == tag),
        }
    }

    /// 304 when the caller already has it, otherwise 200 with `body` as JSON; both with the tag.
    pub fn answer(&self, tag: &EntityTag, body: &impl Serialize) -> HttpResponse {
        if self.holds(tag) {
            return not_modified(tag);
        }
        HttpResponse::Ok()
            .insert_header((header::ETAG, tag.to_string()))
            .json(body)
    }

    /// As [`Self::answer`], for a list: its tag is that of its bytes.
    pub fn answer_content(
        &self,
        tools: &Toolkit,
        cx: &TenantContext,
        body: &impl Serialize,
    ) -> Result<HttpResponse, Problem> {
        let bytes = serde_json::to_vec(body)
            .map_err(|error| Problem::new(ProblemCode::Internal).caused_by(error))?;
        let tag = EntityTag::of_content(tools, cx, &bytes);
        if self.holds(&tag) {
            return Ok(not_modified(&tag));
        }
        Ok(HttpResponse::Ok()
            .insert_header((header::ETAG, tag.to_string()))
            .content_type("application/json")
            .body(bytes))
    }
}

fn not_modified(tag: &EntityTag) -> HttpResponse {
    HttpResponse::NotModified()
        .insert_header((header::ETAG, tag.to_string()))
        .finish()
}

/// Whether the text is an entity tag (RFC 9110 section 8.8.3), strong or weak.
fn is_entity_tag(text: &str) -> bool {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let inner = opaque
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| inner.bytes().all(|b| b > b' ' && b != b'"' && b != 0x7F))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Absent,
    Any,
    /// As sent, quotes and weakness kept.
    Tags(Vec<String>),
}

impl Condition {
    fn of(request: &HttpRequest, name: &HeaderName) -> Self {
        let mut tags = Vec::new();
        let mut given = false;
        for value in request.headers().get_all(name) {
            given = true;
            let mut quoted = false;
            let outside = |c: char| {
                quoted ^= c == '"';
                c == ',' && !quoted
            };
            // What cannot be read is no tag, and is judged as such.
            for tag in value.to_str().unwrap_or("?").split(outside) {
                match tag.trim() {
                    "*" => return Self::Any,
                    "" => {}
                    tag => tags.push(tag.to_owned()),
                }
            }
        }
        if given {
            Self::Tags(tags)
        } else {
            Self::Absent
        }
    }
}

impl FromRequest for IfMatch {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(Condition::of(request, &header::IF_MATCH))))
    }
}

impl FromRequest for IfNoneMatch {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use kernel::{Action, ClinicId, ContactId, Permissions, UserId};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::testing;

    fn member(clinic: u128, permissions: Permissions) -> TenantContext {
        let user = UserId::from(Uuid::from_u128(7));
        TenantContext::for_test(ClinicId::from(Uuid::from_u128(clinic)), user, permissions)
    }

    fn tag(cx: &TenantContext, version: i64, view: &str) -> EntityTag {
        let id = ContactId::from(Uuid::from_u128(9));
        EntityTag::of_record(&testing::tools(), cx, "contact", id, version, view)
    }

    fn if_match(value: &str) -> IfMatch {
        let request = TestRequest::get()
            .insert_header(("If-Match", value))
            .to_http_request();
        IfMatch(Condition::of(&request, &header::IF_MATCH))
    }

    fn if_none_match(value: &str) -> IfNoneMatch {
        let request = TestRequest::get()
            .insert_header(("If-None-Match", value))
            .to_http_request();
        IfNoneMatch(Condition::of(&request, &header::IF_NONE_MATCH))
    }

    fn refusal(result: Result<(), Problem>) -> Option<ProblemCode> {
        result.err().map(|problem| problem.code())
    }

    #[test]
    fn a_tag_differs_by_version_view_clinic_and_scope() {
        let cx = member(1, Permissions::NONE);
        let tags = [
            tag(&cx, 1, ""),
            tag(&cx, 2, ""),
            tag(&cx, 1, "id,name"),
            tag(&member(2, Permissions::NONE), 1, ""),
            tag(&member(1, Permissions::of(&[Action::ContactRead])), 1, ""),
        ];
        let texts: std::collections::HashSet<_> = tags.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), tags.len());
        assert_eq!(tag(&cx, 1, ""), tag(&cx, 1, ""));
    }

    #[test]
    fn if_match_takes_the_tag_of_any_view() {
        let cx = member(1, Permissions::NONE);
        let present = tag(&cx, 3, "");
        for sent in [tag(&cx, 3, ""), tag(&cx, 3, "id,name")] {
            assert!(if_match(&sent.to_string()).require(&present).is_ok());
            assert!(
                if_match(&format!("\"x\", {sent}"))
                    .require(&present)
                    .is_ok()
            );
        }
        assert!(if_match("*").require(&present).is_ok());
        let older = if_match(&tag(&cx, 2, "").to_string());
        assert_eq!(
            refusal(older.require(&present)),
            Some(ProblemCode::PreconditionFailed)
        );
    }

    #[test]
    fn the_tag_of_a_compressed_answer_stands_for_the_same_state() {
        let cx = member(1, Permissions::NONE);
        for present in [tag(&cx, 3, ""), tag(&cx, 3, "id,name")] {
            for form in ["br", "gzip", "zstd"] {
                let plain = present.to_string();
                let sent = format!("{}.{form}\"", plain.trim_end_matches('"'));
                assert!(if_match(&sent).require(&present).is_ok(), "{sent}");
                assert!(if_none_match(&sent).holds(&present), "{sent}");
            }
        }
    }

    #[test]
    fn a_weak_tag_never_matches_a_change() {
        let present = tag(&member(1, Permissions::NONE), 3, "");
        let weak = if_match(&format!("W/{present}"));
        assert_eq!(
            refusal(weak.require(&present)),
            Some(ProblemCode::PreconditionFailed)
        );
        assert!(if_none_match(&format!("W/{present}")).holds(&present));
    }

    #[test]
    fn a_change_without_a_condition_is_asked_for_one() {
        let present = tag(&member(1, Permissions::NONE), 3, "");
        let absent = IfMatch(Condition::Absent);
        assert_eq!(
            refusal(absent.require(&present)),
            Some(ProblemCode::PreconditionRequired)
        );
        assert!(absent.check(&present).is_ok() && !absent.is_given());
        let empty = if_match("");
        assert_eq!(
            refusal(empty.require(&present)),
            Some(ProblemCode::PreconditionFailed)
        );
    }

    #[test]
    fn a_condition_that_is_no_entity_tag_is_malformed() {
        let present = tag(&member(1, Permissions::NONE), 3, "");
        for garbage in ["abc", "\"open", "\"a\", b", "W/x", "\"a b\"", "1,2"] {
            assert_eq!(
                refusal(if_match(garbage).check(&present)),
                Some(ProblemCode::MalformedRequest),
                "{garbage}"
            );
        }
        // Another's tag, well-formed.
        assert_eq!(
            refusal(if_match("\"a,b\"").check(&present)),
            Some(ProblemCode::PreconditionFailed)
        );
    }

    #[test]
    fn an_answer_the_caller_has_is_not_sent_again() {
        let cx = member(1, Permissions::NONE);
        let present = tag(&cx, 3, "id");
        let unchanged = if_none_match(&present.to_string()).answer(&present, &1);
        assert_eq!(unchanged.status().as_u16(), 304);
        assert!(unchanged.headers().contains_key("etag"));
        // Another view is another answer.
        assert!(!if_none_match(&tag(&cx, 3, "").to_string()).holds(&present));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(value in "[ -~]{0,60}") {
            let present = tag(&member(1, Permissions::NONE), 3, "");
            let _ = if_match(&value).require(&present);
            let _ = if_none_match(&value).holds(&present);
        }
    }
}
