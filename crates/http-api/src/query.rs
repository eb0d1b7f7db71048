//! Query strings: only known parameters, each at most once, strictly UTF-8.

use std::fmt;
use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use percent_encoding::percent_decode;
use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor, value::MapDeserializer};
use std::future::{Ready, ready};

use crate::body::{explain, shown_path};
use crate::catalogue::ProblemCode;
use crate::problem::Problem;

/// The parameter that names the clinic; every tenant path accepts it.
pub const CLINIC_PARAMETER: &str = "clinic_id";

/// The query as `T`, whose fields are the allowed parameters.
///
/// `T` derives `Deserialize` with `#[serde(rename_all = "camelCase", deny_unknown_fields)]`;
/// parameters that may be absent are `Option` or have a default. An unknown, repeated or
/// unreadable parameter is 400 and named. `clinic_id` needs no field: [`crate::Tenant`] reads it.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T> Query<T> {
    /// The decoded value.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Query<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(decode(request.query_string()).map(Self))
    }
}

/// The parameters in order, decoded; 400 when one is not UTF-8.
pub(crate) fn parameters(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let text = |part: &str| {
        let spaced = part.replace('+', " ");
        percent_decode(spaced.as_bytes())
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| {
                Problem::new(ProblemCode::InvalidQuery).detail("The query is not valid UTF-8.")
            })
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((text(name)?, text(value)?))
        })
        .collect()
}

pub(crate) fn decode<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = parameters(query)?
        .into_iter()
        .filter(|(name, _)| name != CLINIC_PARAMETER)
        .map(|(name, value)| (name, Value(value)));
    let map = MapDeserializer::<_, Unreadable>::new(pairs);
    serde_path_to_error::deserialize(map).map_err(|error| {
        let (code, reason, missing) = explain(&error.inner().0);
        let name = match missing {
            Some(missing) => missing.into(),
            None => shown_path(&error.path().to_string()),
        };
        Problem::new(ProblemCode::InvalidQuery).param(name, code, reason)
    })
}

/// A parameter's value, from which text, numbers, booleans and enums are read.
struct Value(String);

/// Serde's own text, from which [`explain`] takes what may be shown.
#[derive(Debug)]
struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

impl de::Error for Unreadable {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

impl IntoDeserializer<'_, Unreadable> for Value {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident, $visit:ident, $expected:literal;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
            match self.0.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => Err(Unreadable(concat!("invalid value, expected ", $expected).to_owned())),
            }
        }
    )+};
}

impl<'de> de::Deserializer<'de> for Value {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_string(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        let text: de::value::StringDeserializer<Unreadable> = self.0.into_deserializer();
        text.deserialize_enum(name, variants, visitor)
    }

    parsed! {
        deserialize_bool, visit_bool, "true or false";
        deserialize_i16, visit_i16, "i16";
        deserialize_i32, visit_i32, "i32";
        deserialize_i64, visit_i64, "i64";
        deserialize_u8, visit_u8, "u8";
        deserialize_u16, visit_u16, "u16";
        deserialize_u32, visit_u32, "u32";
        deserialize_u64, visit_u64, "u64";
    }

    serde::forward_to_deserialize_any! {
        i8 i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    struct Filter {
        limit: Option<u32>,
        search: Option<String>,
        has_phone: Option<bool>,
        order: Option<Order>,
        created_after: Option<chrono::DateTime<chrono::Utc>>,
        owner: Option<kernel::UserId>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase")]
    enum Order {
        Asc,
        Desc,
    }

    fn refused(query: &str) -> (String, String, String) {
        let problem = decode::<Filter>(query).unwrap_err();
        assert_eq!(problem.code(), ProblemCode::InvalidQuery);
        let param = &problem.invalid_params()[0];
        (
            param.name.to_string(),
            param.code.to_string(),
            param.reason.to_string(),
        )
    }

    #[test]
    fn known_parameters_are_read() {
        let query = "limit=5&search=jos%C3%A9+lima&hasPhone=true&order=desc&clinic_id=x\
                     &createdAfter=2026-01-02T03:04:05Z&owner=01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e";
        let filter = decode::<Filter>(query).unwrap();
        assert_eq!(filter.limit, Some(5));
        assert_eq!(filter.search.as_deref(), Some("josé lima"));
        assert_eq!(filter.has_phone, Some(true));
        assert_eq!(filter.order, Some(Order::Desc));
        assert!(filter.created_after.is_some() && filter.owner.is_some());
        assert_eq!(decode::<Filter>("").unwrap(), Filter::default());
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        let (name, code, reason) = refused("limt=5");
        assert_eq!((name.as_str(), code.as_str()), ("limt", "unknown"));
        assert!(reason.contains("limit"), "{reason}");
    }

    #[test]
    fn a_repeated_parameter_is_named() {
        let (name, code, _) = refused("limit=5&limit=6");
        assert_eq!((name.as_str(), code.as_str()), ("limit", "duplicate"));
    }

    #[test]
    fn an_unreadable_value_says_what_would_be_right() {
        assert_eq!(
            refused("limit=Canaria").2,
            "must be a whole number, zero or more"
        );
        assert_eq!(refused("hasPhone=1").2, "must be true or false");
        assert!(refused("order=up").2.contains("asc"));
        assert!(!refused("owner=Canaria").2.contains("Canaria"));
        assert!(!refused("createdAfter=Canaria").2.contains("Canaria"));
    }

    #[test]
    fn a_query_that_is_not_utf8_is_refused() {
        assert!(decode::<Filter>("search=%FF").is_err());
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic(query in "[ -~]{0,60}") {
            let _ = decode::<Filter>(&query);
        }
    }
}
