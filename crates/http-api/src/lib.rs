//! The side people call: routes, request and response types, extractors, problem answers and the
//! OpenAPI document. Wire types live here and nowhere else.
//!
//! A handler is short: its extractors authenticate ([`Tenant`], [`Signed`]) and check shape
//! ([`Body`], [`Query`]), it calls one service method and answers. Services decide what may be
//! done, and a handler asks them before it judges a body or a precondition. No adapter is known here: the server gives services and ports to an [`Api`].
//!
//! Every failure, also an unknown route or a panic, is an RFC 9457 problem ([`Problem`]) with a
//! stable code of [`ProblemCode`]. Names below `/api/v1` are the present version; [`alias`]
//! lists what else answers.
//!
//! To add an endpoint: write its module (request, answer, handlers, tests together), name its
//! handlers and its tag in [`routes`], and hand its service to the `Api` in the server's wiring.

#![warn(missing_docs)]

pub mod address;
pub mod alias;
pub mod app;
pub mod auth;
pub mod body;
pub mod branches;
pub mod catalogue;
pub mod channels;
pub mod clinics;
pub mod compress;
pub mod contacts;
pub mod conversations;
pub mod cors;
pub mod docs_page;
pub mod edge;
pub mod etag;
pub mod feature_flags;
mod headers;
pub mod health;
pub mod id;
pub mod idempotency;
pub mod invitations;
mod kept;
pub mod limits;
pub mod me;
pub mod openapi;
pub mod operators;
pub mod page;
pub mod password_reset;
pub mod patch;
pub mod payload;
pub mod problem;
pub mod query;
mod refresh_cookie;
pub mod routes;
mod rules;
pub mod sessions;
mod strict;
pub mod tenant;
pub mod users;
pub mod webhooks;

#[cfg(test)]
pub(crate) mod testing;

pub use address::TrustedProxies;
pub use app::{Api, ApiHooks, ApiSettings, app};
pub use body::Body;
pub use catalogue::{ProblemCode, errors_markdown};
pub use cors::Cors;
pub use edge::RequestInfo;
pub use etag::{EntityTag, IfMatch, IfNoneMatch};
pub use id::Id;
pub use idempotency::{Answer, IdempotencyKey};
pub use limits::{LimitSettings, Limits};
pub use openapi::openapi_document;
pub use operators::{CacheSwitch, OperatorsApi, OperatorsParts, operators_app, operators_document};
pub use page::PageAnswer;
pub use payload::RawBody;
pub use problem::{InvalidParam, Problem};
pub use query::Query;
pub use tenant::{Authenticator, Signed, Tenant};
