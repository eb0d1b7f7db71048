//! Finished answers, kept: what a handler that reads hands its work to ([`Reader`]).
//!
//! The service's gate has decided before: a cache never answers who may not ask. The key is the
//! clinic, the caller's permissions and scope, the kind of answer and the query as it was written;
//! two spellings of one query are two entries.
//!
//! `X-Cache` tells where an answer came from, and `Server-Timing` how long the store took, in whole
//! milliseconds: both are for signed-in staff, whom alone these answers reach, for they tell what
//! others have read.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{FromRequest, HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use kernel::cache::{Answer, ByteCache, CacheKey, Cached, Found, Look};
use kernel::metrics::{CacheDomain, CacheOutcome};
use kernel::{TenantContext, Toolkit};
use serde::Serialize;

use crate::catalogue::ProblemCode;
use crate::compress::{self, THRESHOLD};
use crate::limits;
use crate::problem::Problem;
use crate::{EntityTag, IfNoneMatch};

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident: $domain:ident, $kind:literal;)+) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(crate) struct $name;

            impl Cached for $name {
                type Value = Answer;
                const DOMAIN: CacheDomain = CacheDomain::$domain;
                const KIND: &'static str = $kind;
            }
        )+
    };
}

kinds! {
    /// Pages of contacts.
    ContactList: Contacts, "contact_list";
    /// A contact.
    ContactRead: Contacts, "contact_read";
    /// Pages of conversations.
    ConversationList: Conversations, "conversation_list";
    /// A conversation.
    ConversationRead: Conversations, "conversation_read";
    /// Pages of a conversation's messages.
    MessageList: Conversations, "message_list";
    /// The clinic with its settings.
    ClinicRead: Settings, "clinic_read";
    /// Pages of branches.
    BranchList: Settings, "branch_list";
    /// A branch.
    BranchRead: Settings, "branch_read";
}

/// An answer's bytes and their tag, as the store's rows made them.
pub(crate) struct Finished {
    tag: String,
    body: Vec<u8>,
}

impl Finished {
    /// Of a record, whose tag is that of its version.
    pub(crate) fn of_record(tag: &EntityTag, body: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self {
            tag: tag.to_string(),
            body: bytes_of(body)?,
        })
    }

    /// Of a list, whose tag is that of its bytes.
    pub(crate) fn of_content(
        tools: &Toolkit,
        cx: &TenantContext,
        body: &impl Serialize,
    ) -> Result<Self, Problem> {
        let body = bytes_of(body)?;
        let tag = EntityTag::of_content(tools, cx, &body).to_string();
        Ok(Self { tag, body })
    }
}

fn bytes_of(body: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(body).map_err(|error| Problem::new(ProblemCode::Internal).caused_by(error))
}

/// The request as far as a kept answer depends on it, and the cache.
#[derive(Debug)]
pub(crate) struct Reader {
    request: HttpRequest,
    if_none_match: IfNoneMatch,
}

impl FromRequest for Reader {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self {
            request: request.clone(),
            if_none_match: IfNoneMatch::of(request),
        }))
    }
}

impl Reader {
    /// The answer of the kind `K`: a kept one, or that which `make` reads from the store. `of` is
    /// what decides the answer beside the query: the record's id.
    ///
    /// To be called when the service has allowed the caller to read this.
    pub(crate) async fn answer<K, F>(
        &self,
        cx: &TenantContext,
        of: &[u8],
        make: F,
    ) -> Result<HttpResponse, Problem>
    where
        K: Cached<Value = Answer>,
        F: AsyncFnOnce() -> Result<Finished, Problem>,
    {
        let query: [&[u8]; 2] = [of, self.request.query_string().as_bytes()];
        let key = CacheKey::<K>::new(cx, &query).of_answer();
        let cache = self.request.app_data::<web::Data<dyn ByteCache>>();
        let look = cache.map_or(Look::Bypass, |cache| cache.look(&key));
        let (lead, outcome) = match look {
            Look::Hit(answer) => return self.send(&answer, CacheOutcome::HitL1, None),
            Look::Bypass => (None, CacheOutcome::Bypass),
            Look::Absent(generation) => {
                let found = match cache {
                    Some(cache) => cache.find(&key, generation).await,
                    None => Found::Miss,
                };
                match found {
                    Found::Hit(answer, outcome) => return self.send(&answer, outcome, None),
                    Found::Lead(lead) => (Some(lead), CacheOutcome::Miss),
                    Found::Miss => (None, CacheOutcome::Miss),
                }
            }
        };
        let tools = self.request.app_data::<web::Data<Toolkit>>();
        let began = tools.map(|tools| tools.now());
        let made = make().await?;
        let took = tools.zip(began).map(|(tools, began)| tools.now() - began);
        let answer = Arc::new(Answer::new(made.tag, made.body));
        if let Some(lead) = lead {
            lead.fill(Arc::clone(&answer));
        }
        self.send(&answer, outcome, took.map(|took| took.num_milliseconds()))
    }

    fn send(
        &self,
        answer: &Answer,
        outcome: CacheOutcome,
        store_took: Option<i64>,
    ) -> Result<HttpResponse, Problem> {
        let tag = HeaderValue::from_maybe_shared(answer.tag().clone());
        let tag = tag.map_err(|error| Problem::new(ProblemCode::Internal).caused_by(error))?;
        let held = tag
            .to_str()
            .is_ok_and(|tag| self.if_none_match.holds_text(tag));
        let mut response = if held {
            HttpResponse::NotModified()
        } else {
            HttpResponse::Ok()
        };
        response
            .insert_header((header::ETAG, tag))
            .insert_header((X_CACHE, HeaderValue::from_static(said(outcome))));
        if let Some(took) = store_took
            && let Ok(timing) = HeaderValue::from_str(&format!("db;dur={took}"))
        {
            response.insert_header((SERVER_TIMING, timing));
        }
        Ok(if held {
            response.finish()
        } else {
            self.send_body(response, answer)
        })
    }

    /// In the encoding that the caller prefers, where that is worth it.
    fn send_body(&self, mut response: HttpResponseBuilder, answer: &Answer) -> HttpResponse {
        response.insert_header((
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ));
        let body = answer.body();
        if body.len() > THRESHOLD
            && !limits::is_answered_plainly(&self.request)
            && let Some(encoding) = compress::negotiate(self.request.headers())
            && let Some(encoded) = answer.encoded(encoding as usize, |plain: &Bytes| {
                let encoded = compress::compress(encoding, plain).ok()?;
                (encoded.len() < plain.len()).then_some(encoded)
            })
        {
            let name = HeaderValue::from_static(encoding.name());
            return response
                .insert_header((header::CONTENT_ENCODING, name))
                .body(encoded);
        }
        response.body(body.clone())
    }
}

const fn said(outcome: CacheOutcome) -> &'static str {
    match outcome {
        CacheOutcome::HitL1 => "HIT-L1",
        CacheOutcome::HitL2 => "HIT-L2",
        CacheOutcome::Miss => "MISS",
        CacheOutcome::Bypass => "BYPASS",
    }
}

#[cfg(test)]
mod tests {
    use crate::compress::Encoding;

    #[test]
    fn an_answer_has_room_for_every_encoding() {
        assert_eq!(kernel::cache::ENCODINGS, Encoding::ALL.len());
    }
}
