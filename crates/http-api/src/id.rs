//! The id in a path. One that is malformed names no record: it answers exactly as a random id
//! does, so that a caller learns nothing from trying.

use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::problem::Problem;

/// The path's `{id}`, as `T`. 404 when it is malformed.
///
/// For a record within another, take the ids with `web::Path<(Uuid, Uuid)>`, which refuses alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id<T>(pub T);

impl<T: FromStr> FromRequest for Id<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let id = request
            .match_info()
            .get("id")
            .and_then(|id| id.parse().ok());
        ready(id.map(Self).ok_or_else(Problem::not_found))
    }
}
