//! What a request's limits are known by on its way, and what its answer says of them: `RateLimit`
//! and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11).

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::rc::Rc;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use kernel::counter::Quota;

use super::meter::Verdict;
use super::{Class, Limit};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Who asks for what, before anything else is known of them. In the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    pub(crate) class: Class,
    pub(crate) address: Option<IpAddr>,
    /// The path of a delivery; empty otherwise.
    pub(crate) endpoint: Rc<str>,
    pub(crate) has_token: bool,
    pub(crate) marks: Marks,
    /// Whether the answer must not be compressed.
    pub(crate) is_plain: Rc<Cell<bool>>,
}

/// One limit that was met.
#[derive(Debug, Clone, Copy)]
struct Mark {
    limit: Limit,
    quota: Quota,
    left: u32,
    full_in: u64,
}

/// All limits that a request met.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marks(Rc<RefCell<Vec<Mark>>>);

impl Marks {
    pub(super) fn add(&self, limit: Limit, quota: Quota, verdict: &Verdict) {
        let full_in = verdict.full_in;
        self.0.borrow_mut().push(Mark {
            limit,
            quota,
            left: verdict.left,
            full_in: full_in.as_secs() + u64::from(full_in.subsec_nanos() > 0),
        });
    }

    /// Whether the user was counted already.
    pub(super) fn is_of_user(&self) -> bool {
        let marks = self.0.borrow();
        marks.iter().any(|mark| mark.limit == Limit::User)
    }

    /// Adds the headers, the tightest limit first.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let mut marks = self.0.borrow_mut();
        if marks.is_empty() {
            return;
        }
        // The share that is left, without a division: a/b < c/d where a·d < c·b.
        marks.sort_by(|a, b| {
            let share = |x: &Mark, y: &Mark| u64::from(x.left) * u64::from(y.quota.units());
            share(a, b).cmp(&share(b, a))
        });
        let (mut policy, mut state) = (String::with_capacity(64), String::with_capacity(64));
        for mark in marks.iter() {
            let comma = if policy.is_empty() { "" } else { ", " };
            let name = mark.limit.name();
            let _infallible = write!(
                policy,
                "{comma}\"{name}\";q={};w={}",
                mark.quota.units(),
                mark.quota.window().as_secs()
            );
            let _infallible = write!(
                state,
                "{comma}\"{name}\";r={};t={}",
                mark.left, mark.full_in
            );
        }
        for (name, text) in [(POLICY, policy), (STATE, state)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}
