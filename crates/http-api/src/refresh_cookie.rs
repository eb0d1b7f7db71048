//! The cookie in which a browser keeps its refresh token.
//!
//! No script can read it (`HttpOnly`), no other site's request carries it (`SameSite=Strict`), it
//! travels over TLS alone (`Secure`, and the `__Secure-` prefix by which browsers refuse one that
//! was set otherwise), and it is sent to the paths of `/auth` alone. Those answer under two
//! prefixes, `/api/v1/auth` and its alias `/api/auth`, and a cookie has one path: it is set once
//! for each, so that a request carries one of them and never both.
//!
//! What it allows is safe from forged requests beside that: every operation that looks at it wants
//! `Content-Type: application/json`, which another site's page can only send after a preflight.

use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{FromRequest, HttpRequest, HttpResponseBuilder};
use kernel::Sensitive;

use crate::problem::Problem;

/// Its name, as in the OpenAPI document.
pub(crate) const NAME: &str = "__Secure-acolhe_refresh";
const PLAIN_NAME: &str = "acolhe_refresh";
const PATHS: [&str; 2] = ["/api/v1/auth", "/api/auth"];

/// How the cookie is written here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefreshCookie {
    secure: bool,
}

impl RefreshCookie {
    pub(crate) const fn new(secure: bool) -> Self {
        Self { secure }
    }

    const fn name(self) -> &'static str {
        if self.secure { NAME } else { PLAIN_NAME }
    }

    /// Adds the cookie to an answer.
    pub(crate) fn set(
        self,
        answer: &mut HttpResponseBuilder,
        token: &Sensitive<String>,
        lasts: Duration,
    ) {
        for value in self.values(token.expose(), lasts.as_secs()) {
            answer.append_header((header::SET_COOKIE, value));
        }
    }

    /// Has the browser forget it.
    pub(crate) fn forget(self, answer: &mut HttpResponseBuilder) {
        for value in self.values("", 0) {
            answer.append_header((header::SET_COOKIE, value));
        }
    }

    /// [`Self::forget`] for an answer that is a problem.
    pub(crate) fn forgotten(self, problem: Problem) -> Problem {
        self.values("", 0).fold(problem, |problem, value| {
            problem.header(header::SET_COOKIE, value)
        })
    }

    fn values(self, token: &str, max_age: u64) -> impl Iterator<Item = HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        PATHS.into_iter().filter_map(move |path| {
            let name = self.name();
            let value = format!(
                "{name}={token}; Path={path}; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}"
            );
            HeaderValue::from_str(&value).ok()
        })
    }

    /// The token that a request carries.
    fn find(self, request: &HttpRequest) -> Option<Sensitive<String>> {
        request
            .headers()
            .get_all(header::COOKIE)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, value)| *name == self.name() && !value.is_empty())
            .map(|(_, value)| Sensitive::new(value.to_owned()))
    }
}

/// The cookie's writer, and the token that this request carries in it.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) cookie: RefreshCookie,
    pub(crate) token: Option<Sensitive<String>>,
}

impl FromRequest for Carried {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let cookie = request.app_data::<RefreshCookie>().copied();
        // Never weaker than it must be where nothing was said.
        let cookie = cookie.unwrap_or(RefreshCookie::new(true));
        ready(Ok(Self {
            cookie,
            token: cookie.find(request),
        }))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_cookie_is_for_the_paths_of_auth_and_for_no_script_or_other_site() {
        let written: Vec<String> = RefreshCookie::new(true)
            .values("acr_x", 60)
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect();
        assert_eq!(
            written,
            [
                "__Secure-acolhe_refresh=acr_x; Path=/api/v1/auth; Max-Age=60; HttpOnly; SameSite=Strict; Secure",
                "__Secure-acolhe_refresh=acr_x; Path=/api/auth; Max-Age=60; HttpOnly; SameSite=Strict; Secure",
            ]
        );
        let plain = RefreshCookie::new(false);
        let written = plain.values("acr_x", 60).next();
        assert!(written.is_some_and(|value| !value.as_bytes().ends_with(b"Secure")));
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let find = |name: &str| {
            let request = TestRequest::get()
                .append_header(("Cookie", format!("a=b; {name}=acr_x")))
                .append_header(("Cookie", "c=d"))
                .to_http_request();
            let found = RefreshCookie::new(true).find(&request);
            found.map(Sensitive::into_inner)
        };
        assert_eq!(find(NAME).as_deref(), Some("acr_x"));
        assert_eq!(find(PLAIN_NAME), None, "one that was set without TLS");
    }
}
