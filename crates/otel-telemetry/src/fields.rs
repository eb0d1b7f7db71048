//! Every field a span or a log line may carry: its name, and the shape its value must have.
//!
//! This is an allow-list, and it fails closed. A field that is not here, or whose value has
//! another shape, is dropped on its way out and counted ([`crate::Telemetry::dropped_fields`]).
//! The types that print `***` for personal data are the first net; this is the second, for the day
//! somebody writes `#[instrument]` without `skip_all` and every argument becomes an attribute.
//!
//! To add a field, add it here and say what it holds. Names that semantic conventions 1.44 define
//! are used as they are; ours begin with `acolhe.` on spans, and are plain words on log lines.
//! **Never** add one whose value a person typed, or that names, describes or numbers a patient.
//!
//! The list is closed over keys, so a message built with `format!` escapes it. Free text
//! ([`Shape::Text`], the message included) is therefore scrubbed of what looks like an e-mail
//! address, a document or a telephone number.

use std::borrow::Cow;

/// `GET`, `POST`, … or `_OTHER` for a method outside RFC 9110 and PATCH.
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// The route's pattern (`/api/v1/contacts/{id}`), never the path; [`ROUTE_UNMATCHED`] if there is
/// none, or the cardinality is the callers'.
pub const HTTP_ROUTE: &str = "http.route";
/// The answer's status.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// `http` or `https`.
pub const URL_SCHEME: &str = "url.scheme";
/// A class of failure with few values: a status code, a `code` of ours, a type's name.
pub const ERROR_TYPE: &str = "error.type";
/// The host of a provider that we call.
pub const SERVER_ADDRESS: &str = "server.address";
/// The clinic. On spans and logs, never on metrics.
pub const CLINIC_ID: &str = "acolhe.clinic_id";
/// The request, also shown to the caller.
pub const REQUEST_ID: &str = "acolhe.request_id";
/// Always `postgresql`.
pub const DB_SYSTEM_NAME: &str = "db.system.name";
/// The statement's verb: `SELECT`, `INSERT`, …
pub const DB_OPERATION_NAME: &str = "db.operation.name";
/// The table that the statement is about.
pub const DB_COLLECTION_NAME: &str = "db.collection.name";
/// Verb and tables (`SELECT contacts`): never the text, never a value.
pub const DB_QUERY_SUMMARY: &str = "db.query.summary";
/// SQLSTATE of a failed statement.
pub const DB_RESPONSE_STATUS_CODE: &str = "db.response.status_code";
/// `process`, `send`, `receive`.
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// The queue: `message-worker`, …
pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
/// The job.
pub const JOB_ID: &str = "acolhe.job_id";
/// The job's kind, a constant of the source.
pub const JOB_KIND: &str = "acolhe.job_kind";

/// What [`HTTP_ROUTE`] holds when no route matched.
pub const ROUTE_UNMATCHED: &str = "unmatched";

/// What the value of a field may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A UUID, hyphenated.
    Id,
    /// A name of the source code's or of a protocol's: at most 128 of `A-Z a-z 0-9 _ . : / { } [ ] *
    /// -` and space, without a run of eight digits (a telephone number has ten).
    Word,
    /// A number; a whole one stays whole. Decimal digits that arrive as text (`%count`) are made
    /// a number again.
    Number,
    /// Free text, scrubbed and cut at [`MAX_TEXT`] bytes.
    Text,
}

/// All there is, in the order of the alphabet: looked up by bisection.
pub const FIELDS: &[(&str, Shape)] = &[
    ("acolhe.caller_request_id", Shape::Id),
    ("acolhe.channel_id", Shape::Id),
    (CLINIC_ID, Shape::Id),
    ("acolhe.endpoint_id", Shape::Id),
    ("acolhe.event_type", Shape::Word),
    (JOB_ID, Shape::Id),
    (JOB_KIND, Shape::Word),
    (REQUEST_ID, Shape::Id),
    ("action", Shape::Word),
    ("address", Shape::Word),
    ("attempt", Shape::Number),
    ("capacity", Shape::Number),
    ("code", Shape::Word),
    ("constraint", Shape::Word),
    ("count", Shape::Number),
    (DB_COLLECTION_NAME, Shape::Word),
    ("db.namespace", Shape::Word),
    (DB_OPERATION_NAME, Shape::Word),
    (DB_QUERY_SUMMARY, Shape::Word),
    ("db.response.returned_rows", Shape::Number),
    (DB_RESPONSE_STATUS_CODE, Shape::Word),
    (DB_SYSTEM_NAME, Shape::Word),
    ("duration_ms", Shape::Number),
    ("elapsed_ms", Shape::Number),
    ("error", Shape::Text),
    (ERROR_TYPE, Shape::Word),
    ("expected", Shape::Number),
    (HTTP_REQUEST_METHOD, Shape::Word),
    (HTTP_RESPONSE_STATUS_CODE, Shape::Number),
    (HTTP_ROUTE, Shape::Word),
    ("lag_ms", Shape::Number),
    ("lane", Shape::Word),
    ("limit_bytes", Shape::Number),
    ("max_connections", Shape::Number),
    ("memory_bytes", Shape::Number),
    (MESSAGING_DESTINATION_NAME, Shape::Word),
    (MESSAGING_OPERATION_NAME, Shape::Word),
    ("messaging.operation.type", Shape::Word),
    ("messaging.system", Shape::Word),
    ("migration", Shape::Word),
    ("moved", Shape::Number),
    ("open_gaps", Shape::Number),
    ("operation", Shape::Word),
    ("outcome", Shape::Word),
    ("port", Shape::Number),
    ("position", Shape::Number),
    ("provider", Shape::Word),
    ("query", Shape::Word),
    ("queue", Shape::Word),
    ("raised_to", Shape::Number),
    ("reason", Shape::Text),
    ("retries", Shape::Number),
    ("retry_in_ms", Shape::Number),
    (SERVER_ADDRESS, Shape::Word),
    ("server.port", Shape::Number),
    ("setting", Shape::Word),
    ("shards", Shape::Number),
    ("signal", Shape::Word),
    ("sqlstate", Shape::Word),
    ("state", Shape::Word),
    ("suppressed", Shape::Number),
    ("timeout_ms", Shape::Number),
    (URL_SCHEME, Shape::Word),
    ("url.template", Shape::Word),
    ("version", Shape::Word),
    ("worker", Shape::Number),
    ("workers", Shape::Number),
];

/// Free text is cut after so many bytes.
pub const MAX_TEXT: usize = 2_000;

/// The longest [`Shape::Word`], in bytes.
const MAX_WORD: usize = 128;

/// The value of a field on its way out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FieldValue {
    Int(i64),
    Float(f64),
    Text(String),
}

/// The shape a field must have, `None` for a field that is not listed.
pub fn shape_of(key: &str) -> Option<Shape> {
    FIELDS
        .binary_search_by(|(name, _)| (*name).cmp(key))
        .ok()
        .and_then(|at| FIELDS.get(at))
        .map(|(_, shape)| *shape)
}

impl Shape {
    /// Whether a text has the shape as it stands.
    pub(crate) fn holds(self, text: &str) -> bool {
        match self {
            Self::Id => is_id(text),
            Self::Word => is_word(text),
            Self::Number => text.parse::<i64>().is_ok(),
            Self::Text => true,
        }
    }
}

/// The value as it may leave, or `None` if it has not the shape.
pub(crate) fn admit(shape: Shape, value: FieldValue) -> Option<FieldValue> {
    match (shape, value) {
        (Shape::Number, FieldValue::Text(text)) => text.parse().ok().map(FieldValue::Int),
        (Shape::Number, number) => Some(number),
        (Shape::Text, FieldValue::Text(text)) => Some(FieldValue::Text(match scrub(&text) {
            Cow::Borrowed(whole) if whole.len() == text.len() => text,
            other => other.into_owned(),
        })),
        (_, FieldValue::Text(text)) if shape.holds(&text) => Some(FieldValue::Text(text)),
        _ => None,
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether a text is a [`Shape::Word`].
pub(crate) fn is_word(text: &str) -> bool {
    let mut digits = 0;
    !text.is_empty()
        && text.len() <= MAX_WORD
        && text.bytes().all(|byte| {
            digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
            digits < 8 && (byte.is_ascii_alphanumeric() || b"_.:/{}[]*- ".contains(&byte))
        })
}

/// The text with what looks like an e-mail address, a document or a telephone number replaced by
/// `***`, cut at [`MAX_TEXT`] bytes.
///
/// A number is a run of digits and of ` .-/()+` that holds ten digits or more: a CPF has eleven, a
/// CNPJ fourteen, a telephone number with its area code ten. UUIDs pass. A date with its hour does
/// not; a message has no need of one.
pub fn scrub(text: &str) -> Cow<'_, str> {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    if !text
        .bytes()
        .any(|byte| byte == b'@' || byte.is_ascii_digit())
    {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut hidden: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let next = if *byte == b'@' {
            hide_address(text, at, &mut hidden)
        } else if byte.is_ascii_digit() {
            hide_number(text, at, &mut hidden)
        } else {
            at + 1
        };
        at = next.max(at + 1);
    }
    if hidden.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    for (start, end) in hidden {
        clean.push_str(text.get(from..start).unwrap_or_default());
        clean.push_str("***");
        from = end.max(from);
    }
    clean.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(clean)
}

/// Hides the word around the `@` at `at`, answers where to go on.
fn hide_address(text: &str, at: usize, hidden: &mut Vec<(usize, usize)>) -> usize {
    let outside = |c: char| c.is_whitespace() || "<>\"'(),;=".contains(c);
    let start = text[..at].rfind(outside).map_or(0, |found| {
        found + text[found..].chars().next().map_or(1, char::len_utf8)
    });
    let end = text[at..]
        .find(outside)
        .map_or(text.len(), |found| at + found);
    if start < at && end > at + 1 {
        // A number that was hidden inside the address is inside it still.
        while hidden.last().is_some_and(|(from, _)| *from >= start) {
            hidden.pop();
        }
        let start = hidden.last().map_or(start, |(_, until)| start.max(*until));
        hidden.push((start, end));
        return end;
    }
    at + 1
}

/// Hides the run that begins with the digit at `at` if it is long enough, answers where to go on.
fn hide_number(text: &str, at: usize, hidden: &mut Vec<(usize, usize)>) -> usize {
    if let Some(end) = id_around(text, at) {
        return end;
    }
    let (mut digits, mut end) = (0, at);
    for (offset, byte) in text.as_bytes()[at..].iter().enumerate() {
        if byte.is_ascii_digit() {
            if id_around(text, at + offset).is_some() {
                break;
            }
            digits += 1;
            end = at + offset + 1;
        } else if !b" .-/()+".contains(byte) {
            break;
        }
    }
    if digits >= 10 {
        hidden.push((at, end));
    }
    end
}

/// Where the UUID ends that the byte at `at` begins or stands in.
fn id_around(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let part = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    let start = at
        - bytes[..at]
            .iter()
            .rev()
            .take(36)
            .take_while(|b| part(b))
            .count();
    let end = at + bytes[at..].iter().take(37).take_while(|b| part(b)).count();
    (end - start == 36 && is_id(&text[start..end])).then_some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_list_is_sorted_and_names_nothing_twice() {
        for pair in FIELDS.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} before {}", pair[0].0, pair[1].0);
        }
    }

    #[test]
    fn every_listed_field_is_found_and_no_other() {
        for (name, shape) in FIELDS {
            assert_eq!(shape_of(name), Some(*shape));
        }
        for name in ["", "patient", "acolhe", "http.request.body", "zzz"] {
            assert_eq!(shape_of(name), None);
        }
    }

    #[test]
    fn a_telephone_number_is_no_word_and_no_id() {
        let text = |t: &str| FieldValue::Text(t.to_owned());
        for bad in [
            "5511987654321",
            "52998224725",
            "Ana@example.com",
            "João",
            "",
        ] {
            assert_eq!(admit(Shape::Word, text(bad)), None, "{bad}");
            assert_eq!(admit(Shape::Id, text(bad)), None, "{bad}");
        }
        for good in [
            "GET",
            "/api/v1/contacts/{id}",
            "23505",
            "db.contacts.find",
            "127.0.0.1:8080",
        ] {
            assert_eq!(admit(Shape::Word, text(good)), Some(text(good)));
        }
        let id = "0197f0a1-0000-7000-8000-00000000000a";
        assert_eq!(admit(Shape::Id, text(id)), Some(text(id)));
    }

    #[test]
    fn a_number_that_came_as_text_is_a_number_again() {
        let came = FieldValue::Text("200".to_owned());
        assert_eq!(admit(Shape::Number, came), Some(FieldValue::Int(200)));
        let wrong = FieldValue::Text("Maria".to_owned());
        assert_eq!(admit(Shape::Number, wrong), None);
    }

    #[test]
    fn free_text_loses_documents_telephones_and_addresses() {
        for (text, clean) in [
            ("cpf 529.982.247-25 refused", "cpf *** refused"),
            ("cpf 52998224725", "cpf ***"),
            ("to +55 (11) 98765-4321: timeout", "to +***: timeout"),
            ("cnpj 12.345.678/0001-95", "cnpj ***"),
            ("user <ana.silva@example.com> failed", "user <***> failed"),
            ("mail=11987654321@example.com.", "mail=***"),
            ("cannot bind 127.0.0.1:8080", "cannot bind 127.0.0.1:8080"),
            (
                "constraint contacts_pkey, 23505",
                "constraint contacts_pkey, 23505",
            ),
            ("at @ nothing", "at @ nothing"),
            ("não há ligação", "não há ligação"),
        ] {
            assert_eq!(scrub(text), clean);
        }
    }

    #[test]
    fn an_id_in_free_text_stays() {
        for text in [
            "clinic 01976543-2109-7654-8210-012345678901 unknown",
            "01976543-2109-7654-8210-012345678901",
            "ids 01976543-2109-7654-8210-012345678901,01976543-2109-7654-8210-012345678902",
        ] {
            assert_eq!(scrub(text), text);
        }
        assert_eq!(
            scrub("11 98765-4321 01976543-2109-7654-8210-012345678901"),
            "*** 01976543-2109-7654-8210-012345678901"
        );
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "é".repeat(MAX_TEXT);
        assert_eq!(scrub(&text).len(), MAX_TEXT);
    }

    proptest! {
        #[test]
        fn no_run_of_ten_digits_survives(before in "[a-z ]{0,8}", digits in "[0-9]{10,14}", after in "[a-zé ]{0,8}") {
            let text = format!("{before}{digits}{after}");
            prop_assert!(!scrub(&text).contains(&digits[..8]));
        }

        #[test]
        fn no_address_survives(before in ".{0,12}", name in "[a-z]{4,8}", after in ".{0,12}") {
            let text = format!("{before} {name}@example.com {after}");
            let address = format!("{name}@");
            prop_assert!(!scrub(&text).contains(&address));
        }

        #[test]
        fn scrubbing_never_fails_and_keeps_what_has_no_digit_and_no_at(text in "\\PC{0,80}") {
            let clean = scrub(&text);
            if !text.contains(|c: char| c == '@' || c.is_ascii_digit()) {
                prop_assert_eq!(clean, text.as_str());
            }
        }
    }
}
