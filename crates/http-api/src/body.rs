//! JSON bodies: decoded with the failing field named, checked for shape.
//! What was sent is never repeated: texts are made from our own types' expectations.

use std::borrow::Cow;
use std::marker::PhantomData;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

use crate::catalogue::ProblemCode;
use crate::payload;
use crate::problem::Problem;
use crate::strict::Strict;

/// A JSON body of type `T`, as it came.
///
/// [`Body::read`] decodes and checks it. A handler first asks whether the caller may act at all,
/// so that one who may not learns that, and nothing of the body's rules.
///
/// `T` derives `Deserialize` with `#[serde(rename_all = "camelCase", deny_unknown_fields)]` and
/// `Validate`.
#[derive(Debug)]
pub struct Body<T> {
    bytes: Result<Bytes, Problem>,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + Validate> Body<T> {
    /// The value, valid in shape. Wrong media type is 415, too large is 413, too slow is 408,
    /// everything else 400.
    pub fn read(self) -> Result<T, Problem> {
        decode(&self.bytes?)
    }

    /// One form of what was sent, whatever the white space and the order of its keys: by it two
    /// requests are known for the same. Of what is no JSON, the bytes themselves.
    pub(crate) fn canonical(&self) -> Vec<u8> {
        let Ok(bytes) = &self.bytes else {
            return Vec::new();
        };
        match serde_json::from_slice::<serde_json::Value>(bytes) {
            Ok(mut value) => {
                value.sort_all_objects();
                serde_json::to_vec(&value).unwrap_or_default()
            }
            Err(_) => bytes.to_vec(),
        }
    }
}

impl<T: 'static> FromRequest for Body<T> {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let reading = payload::read_json(request, payload.take());
        Box::pin(async move {
            Ok(Self {
                bytes: reading.await,
                of: PhantomData,
            })
        })
    }
}

/// How deep a JSON body may nest: no shape of ours comes near, and what is stored as it came must
/// be readable by whoever reads it.
pub const JSON_DEPTH: u32 = 32;

/// Whether arrays and objects nest deeper than [`JSON_DEPTH`]. Whether it is JSON at all, the
/// parser says.
fn is_too_deep(json: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    for byte in json {
        if escaped {
            escaped = false;
            continue;
        }
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => escaped = true,
            b'[' | b'{' if !quoted => {
                depth += 1;
                if depth > JSON_DEPTH {
                    return true;
                }
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Decodes and checks a JSON body.
pub(crate) fn decode<T: DeserializeOwned + Validate>(bytes: &[u8]) -> Result<T, Problem> {
    if is_too_deep(bytes) {
        return Err(ProblemCode::BodyTooDeep.into());
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value: T = serde_path_to_error::deserialize(Strict(&mut json)).map_err(|error| {
        let path = error.path().to_string();
        unreadable(&path, error.inner())
    })?;
    json.end().map_err(|error| malformed(&error))?;
    value.validate().map_err(|errors| broken_rules(&errors))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(ProblemCode::MalformedJson).detail(format!(
        "The body is not JSON: see line {}, column {}.",
        error.line(),
        error.column()
    ))
}

fn unreadable(path: &str, error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => {
            let text = error.to_string();
            let (code, reason, field) = explain(&text);
            let path = shown_path(path);
            let name = match field {
                // Ours, and already the path's end when the field was read twice.
                Some(field) if path == "." || path == field => field.into(),
                Some(field) if path.ends_with(&format!(".{field}")) => path,
                Some(field) => format!("{path}.{field}").into(),
                None => path,
            };
            Problem::new(ProblemCode::InvalidBody).param(name, code, reason)
        }
        Category::Syntax | Category::Eof | Category::Io => malformed(error),
    }
}

/// What of serde's text may be shown: only what comes from our own types. Everything up to the
/// last `expected` may repeat input.
pub(crate) fn explain(text: &str) -> (&'static str, String, Option<String>) {
    let text = text.rsplit_once(" at line ").map_or(text, |(text, _)| text);
    if let Some(rest) = text.strip_prefix("missing field `") {
        let field = rest.trim_end_matches('`').to_owned();
        return ("required", "is required".to_owned(), Some(field));
    }
    if let Some(rest) = text.strip_prefix("duplicate field `") {
        let field = rest.trim_end_matches('`').to_owned();
        return ("duplicate", "is given twice".to_owned(), Some(field));
    }
    let expected = text
        .rsplit_once(", expected ")
        .map(|(_, expected)| expected)
        .filter(|expected| !expected.is_empty());
    if text.starts_with("unknown field") {
        let reason = expected.map_or_else(
            || "is not known here".to_owned(),
            |names| format!("is not known here; known: {}", names.replace('`', "")),
        );
        return ("unknown", reason, None);
    }
    if text.starts_with("unknown variant") {
        let reason = expected.map_or_else(
            || "is not a known value".to_owned(),
            |names| format!("must be {}", names.replace('`', "")),
        );
        return ("unknown-value", reason, None);
    }
    if text.starts_with("invalid ") {
        let reason = expected.map_or_else(
            || "is not valid".to_owned(),
            |expected| format!("must be {}", plain(expected)),
        );
        return ("type", reason, None);
    }
    ("invalid", "is not valid".to_owned(), None)
}

fn plain(expected: &str) -> &str {
    match expected {
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, zero or more",
        "f32" | "f64" => "a number",
        "a formatted date and time string" | "an RFC 3339 formatted date and time string" => {
            "an instant in RFC 3339 form"
        }
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    }
}

/// A field's path, as far as it looks like one: anything else may be somebody's data.
pub(crate) fn shown_path(path: &str) -> Cow<'static, str> {
    let ours = |part: &str| {
        let part = part.split('[').next().unwrap_or_default();
        part.len() <= 64
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !part.starts_with(|c: char| c.is_ascii_digit())
    };
    if path == "." {
        return ".".into();
    }
    let mut shown = String::new();
    for part in path.split('.') {
        if !ours(part) {
            break;
        }
        if !shown.is_empty() {
            shown.push('.');
        }
        shown.push_str(part);
    }
    if shown.is_empty() {
        ".".into()
    } else {
        shown.into()
    }
}

/// Every rule of shape that is broken, as one problem.
pub(crate) fn broken_rules(errors: &ValidationErrors) -> Problem {
    let mut found = Vec::new();
    collect("", errors, &mut found);
    // A hash map gave them: the answer must not differ from one request to the next.
    found.sort();
    found.into_iter().fold(
        Problem::new(ProblemCode::InvalidBody),
        |problem, (name, code, reason)| problem.param(name, code, reason),
    )
}

fn collect(prefix: &str, errors: &ValidationErrors, found: &mut Vec<(String, String, String)>) {
    for (field, kind) in errors.errors() {
        let name = camel_case(field);
        let path = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}.{name}")
        };
        match kind {
            ValidationErrorsKind::Struct(inner) => collect(&path, inner, found),
            ValidationErrorsKind::List(items) => {
                for (index, inner) in items {
                    collect(&format!("{path}[{index}]"), inner, found);
                }
            }
            ValidationErrorsKind::Field(broken) => {
                for error in broken {
                    found.push((path.clone(), error.code.to_string(), rule(error)));
                }
            }
        }
    }
}

/// The rule in words. Only its own parameters are shown, never `value`.
fn rule(error: &ValidationError) -> String {
    if let Some(message) = &error.message {
        return message.to_string();
    }
    let number = |name: &str| error.params.get(name).map(ToString::to_string);
    match (
        error.code.as_ref(),
        number("min"),
        number("max"),
        number("equal"),
    ) {
        ("length", _, _, Some(equal)) => format!("must have a length of {equal}"),
        ("length", Some(min), Some(max), _) => format!("must have a length from {min} to {max}"),
        ("length", Some(min), None, _) => format!("must have a length of at least {min}"),
        ("length", None, Some(max), _) => format!("must have a length of at most {max}"),
        ("range", Some(min), Some(max), _) => format!("must be from {min} to {max}"),
        ("range", Some(min), None, _) => format!("must be at least {min}"),
        ("range", None, Some(max), _) => format!("must be at most {max}"),
        ("email", ..) => "must be an e-mail address".to_owned(),
        ("url", ..) => "must be a URL".to_owned(),
        ("required", ..) => "is required".to_owned(),
        _ => "is not valid".to_owned(),
    }
}

fn camel_case(field: &str) -> String {
    let mut name = String::with_capacity(field.len());
    let mut upper = false;
    for c in field.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            name.extend(c.to_uppercase());
            upper = false;
        } else {
            name.push(c);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, Validate)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Visit {
        #[validate(length(min = 1, max = 5))]
        full_name: String,
        #[validate(range(min = 1, max = 9))]
        room: i64,
        #[serde(default)]
        #[validate(nested)]
        phones: Vec<Phone>,
        #[serde(default, rename = "kind")]
        _kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize, Validate)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Phone {
        #[validate(length(equal = 3))]
        number: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Kind {
        First,
        Return,
    }

    fn refused(json: &str) -> Problem {
        decode::<Visit>(json.as_bytes()).unwrap_err()
    }

    fn only(problem: &Problem) -> (String, String, String) {
        let [param] = problem.invalid_params() else {
            panic!("{problem:?}")
        };
        (
            param.name.to_string(),
            param.code.to_string(),
            param.reason.to_string(),
        )
    }

    #[test]
    fn a_wrong_type_names_the_field_and_what_would_be_right() {
        let problem = refused(r#"{"fullName":"Ana","room":"Maria Canaria"}"#);
        let (name, code, reason) = only(&problem);
        assert_eq!((name.as_str(), code.as_str()), ("room", "type"));
        assert_eq!(reason, "must be a whole number");
    }

    #[test]
    fn input_that_imitates_our_texts_is_not_repeated() {
        let problem = refused(r#"{"fullName":"Ana","room":"x, expected Maria Canaria"}"#);
        assert!(!format!("{:?}", problem.invalid_params()).contains("Maria"));
    }

    #[test]
    fn an_unknown_field_is_named_with_the_known_ones() {
        let (name, code, reason) = only(&refused(r#"{"fullName":"Ana","room":1,"zip":2}"#));
        assert_eq!((name.as_str(), code.as_str()), ("zip", "unknown"));
        assert!(reason.contains("fullName"), "{reason}");
    }

    #[test]
    fn a_field_name_that_looks_like_data_is_not_repeated() {
        for json in [
            r#"{"Maria Canaria":1}"#,
            r#"{"11987654321":1}"#,
            r#"{"maria@canaria.test":1}"#,
        ] {
            let problem = refused(json);
            let shown = format!("{:?}", problem.invalid_params());
            assert!(
                !shown.contains("anaria") && !shown.contains("1198"),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_missing_field_is_named_where_it_is_missing() {
        assert_eq!(only(&refused(r#"{"room":1}"#)).0, "fullName");
        let nested = refused(r#"{"fullName":"Ana","room":1,"phones":[{}]}"#);
        assert_eq!(only(&nested).0, "phones[0].number");
    }

    #[test]
    fn an_unknown_value_lists_the_known_ones() {
        let (_, code, reason) = only(&refused(r#"{"fullName":"Ana","room":1,"kind":"third"}"#));
        assert_eq!(code, "unknown-value");
        assert!(
            reason.contains("first") && reason.contains("return"),
            "{reason}"
        );
    }

    #[test]
    fn all_broken_rules_are_told_at_once() {
        let problem = refused(r#"{"fullName":"","room":10,"phones":[{"number":"1"}]}"#);
        let names: Vec<_> = problem.invalid_params().iter().map(|p| &*p.name).collect();
        assert_eq!(names, ["fullName", "phones[0].number", "room"]);
        assert_eq!(problem.invalid_params()[2].reason, "must be from 1 to 9");
    }

    #[test]
    fn broken_json_says_where() {
        for json in [
            "",
            "{",
            "{\"room\" 1}",
            "{\"fullName\":\"Ana\",\"room\":1} x",
        ] {
            let problem = decode::<Visit>(json.as_bytes()).unwrap_err();
            assert_eq!(problem.code(), ProblemCode::MalformedJson, "{json}");
        }
    }

    #[test]
    fn a_body_that_nests_too_deep_is_refused_before_it_is_parsed() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_too_deep(nested(32).as_bytes()));
        assert!(is_too_deep(nested(33).as_bytes()));
        assert!(!is_too_deep(nested(3).repeat(50).as_bytes()));
        // Brackets within texts are texts.
        let text = format!("[\"{}\\\"{}\"]", "[".repeat(40), "{".repeat(40));
        assert!(!is_too_deep(text.as_bytes()));
        let problem = decode::<Visit>(nested(100_000).as_bytes()).unwrap_err();
        assert_eq!(problem.code(), ProblemCode::BodyTooDeep);
    }

    #[test]
    fn an_array_is_no_object() {
        assert_eq!(
            only(&refused(r#" ["Ana", 1, [], null]"#)).2,
            "must be an object"
        );
        let nested = refused(r#"{"fullName":"Ana","room":1,"phones":[["123"]]}"#);
        let (name, code, reason) = only(&nested);
        assert_eq!((name.as_str(), code.as_str()), ("phones[0]", "type"));
        assert_eq!(reason, "must be an object");
    }

    #[test]
    fn a_field_given_twice_is_named() {
        let (name, code, _) = only(&refused(r#"{"room":1,"room":2}"#));
        assert_eq!((name.as_str(), code.as_str()), ("room", "duplicate"));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Visit>(&bytes);
        }

        #[test]
        fn a_planted_value_is_never_repeated(noise in "[ -~]{0,20}") {
            let value = serde_json::Value::String(format!("Canaria{noise}"));
            for field in ["room", "kind", "phones"] {
                let json = format!(r#"{{"fullName":"Ana","room":1,"{field}":{value}}}"#);
                let problem = decode::<Visit>(json.as_bytes()).unwrap_err();
                let document = serde_json::to_string(&problem.document(None, None)).unwrap();
                prop_assert!(!document.contains("Canaria"), "{}", document);
            }
        }
    }
}
