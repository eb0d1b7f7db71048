//! Who asks ([`Signed`]) and for which clinic ([`Tenant`]). These extractors authenticate; what
//! may be done is decided by the services.
//!
//! A wrong request is refused in this order: two `Authorization` headers (400), no valid token
//! (401), no clinic named (400), no membership in it (403, the same for a clinic that does not
//! exist).

use std::ops::Deref;
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{FromRequest, HttpRequest, web};
use async_trait::async_trait;
use clinics::Flag;
use clinics::access::Access;
use clinics::error::{InvalidToken, VerifyError};
use clinics::user::Identity;
use futures_util::future::LocalBoxFuture;
use kernel::{ClinicId, Grant, Origin, StoreError, TenantContext};

use crate::catalogue::ProblemCode;
use crate::edge::RequestInfo;
use crate::feature_flags;
use crate::limits;
use crate::problem::Problem;
use crate::query::{CLINIC_PARAMETER, parameters};

/// The header that names the clinic.
pub const CLINIC_HEADER: &str = "X-Clinic-Id";

/// What the extractors need to know about tokens and memberships.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The user an access token stands for, where their session is in force.
    async fn verify(&self, origin: &Origin, token: &str) -> Result<Identity, VerifyError>;

    /// The user's resolved membership in `clinic`; `None` without one, or without such a clinic.
    async fn grant(
        &self,
        origin: Origin,
        identity: Identity,
        clinic: ClinicId,
    ) -> Result<Option<Grant>, StoreError>;
}

#[async_trait]
impl Authenticator for Access {
    async fn verify(&self, origin: &Origin, token: &str) -> Result<Identity, VerifyError> {
        self.verify(origin, token).await
    }

    async fn grant(
        &self,
        origin: Origin,
        identity: Identity,
        clinic: ClinicId,
    ) -> Result<Option<Grant>, StoreError> {
        self.grant(origin, identity, clinic).await
    }
}

/// A caller with a valid access token, of no clinic yet.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Who it is.
    pub identity: Identity,
    /// Where the request came from.
    pub origin: Origin,
}

impl FromRequest for Signed {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { signed(&request).await })
    }
}

/// A caller with a valid access token and a membership in the clinic it names.
#[derive(Debug, Clone)]
pub struct Tenant(TenantContext);

impl Deref for Tenant {
    type Target = TenantContext;
    fn deref(&self) -> &TenantContext {
        &self.0
    }
}

impl FromRequest for Tenant {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let caller = signed(&request).await?;
            let clinic = named_clinic(&request)?;
            let grant = authenticator(&request)?
                .grant(caller.origin.clone(), caller.identity, clinic)
                .await?
                .ok_or(ProblemCode::NoClinicAccess)?;
            limits::count_clinic(&request, clinic)?;
            if !feature_flags::is_on(&request, clinic, Flag::CompressedAnswers) {
                limits::answer_plainly(&request);
            }
            tracing::Span::current().record("acolhe.clinic_id", tracing::field::display(clinic));
            RequestInfo::note_clinic(&request, clinic);
            #[expect(
                clippy::disallowed_methods,
                reason = "the one legal site: the identity is verified and the membership resolved"
            )]
            Ok(Self(TenantContext::for_member(grant, caller.origin)))
        })
    }
}

fn authenticator(request: &HttpRequest) -> Result<Arc<dyn Authenticator>, Problem> {
    request
        .app_data::<web::Data<dyn Authenticator>>()
        .map(|data| Arc::clone(data))
        .ok_or_else(|| Problem::new(ProblemCode::Internal).caused_by("no authenticator is wired"))
}

async fn signed(request: &HttpRequest) -> Result<Signed, Problem> {
    // Whoever stands between may have taken the other one for the caller's.
    if request.headers().get_all(header::AUTHORIZATION).count() > 1 {
        let detail = "The header Authorization may be sent only once.";
        return Err(Problem::new(ProblemCode::MalformedRequest).detail(detail));
    }
    let token = bearer(request).ok_or_else(|| unauthenticated("Bearer"))?;
    let origin = RequestInfo::of(request)?.origin.clone();
    let identity = match authenticator(request)?.verify(&origin, token).await {
        Ok(identity) => identity,
        Err(VerifyError::Invalid(InvalidToken)) => {
            // Too many of them are told that instead.
            limits::count_refusal(request)?;
            return Err(unauthenticated("Bearer error=\"invalid_token\""));
        }
        Err(VerifyError::Store(error)) => return Err(error.into()),
    };
    limits::count_user(request, identity.user)?;
    Ok(Signed { identity, origin })
}

pub(crate) fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request
        .headers()
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?;
    let (scheme, token) = value.split_once(' ')?;
    // RFC 9110 section 11.1: the scheme's case does not matter.
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

pub(crate) fn unauthenticated(challenge: &'static str) -> Problem {
    Problem::new(ProblemCode::Unauthenticated).header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(challenge),
    )
}

/// The one form in which a clinic is named: 36 characters with hyphens, in either case. The parser
/// would also take the forms with braces, with `urn:uuid:` and without hyphens, which whoever
/// reads the header on the way here may not know for the same clinic.
fn clinic_id(text: &str) -> Option<ClinicId> {
    const HYPHENATED: usize = 36;
    (text.len() == HYPHENATED)
        .then(|| text.parse().ok())
        .flatten()
}

/// The clinic the request names, in the header, the query, or both alike.
fn named_clinic(request: &HttpRequest) -> Result<ClinicId, Problem> {
    let required = |detail: &'static str| Problem::new(ProblemCode::ClinicRequired).detail(detail);
    let mut named: Option<ClinicId> = None;
    let headers = request.headers().get_all(CLINIC_HEADER);
    let headers = headers.map(|value| value.to_str().unwrap_or_default().to_owned());
    let query = parameters(request.query_string())?
        .into_iter()
        .filter(|(name, _)| name == CLINIC_PARAMETER)
        .map(|(_, value)| value);
    for text in headers.chain(query) {
        let clinic = clinic_id(&text).ok_or_else(|| {
            required(
                "The clinic's id must be a UUID of 36 characters with hyphens, such as \
                 01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e.",
            )
        })?;
        if named.is_some_and(|named| named != clinic) {
            return Err(required("The header and the query name two clinics."));
        }
        named = Some(clinic);
    }
    named.ok_or_else(|| required("Name the clinic in the header X-Clinic-Id or in clinic_id."))
}
