//! Page cursors: opaque, authenticated, and bound to what they were made for.
//!
//! A cursor holds the sort value of the last row, which may be a person's name, so it is sealed
//! and not merely signed. It opens only for the same clinic, the same scope, the same list, and
//! the same filter and order: anything else is [`InvalidCursor`], and which of these differed is
//! not told.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::TenantContext;
use crate::ports::{KeyOwner, KeyPurpose, Keys};

/// Longest cursor that is looked at: a longer one was not made here. It has room for the longest
/// position that a list gives, a name's key of 800 bytes and a message's id of 255.
const MAX_LENGTH: usize = 2048;

/// The value a list is sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortValue {
    /// An instant, in whole microseconds.
    Instant(DateTime<Utc>),
    /// A text, compared by its bytes.
    Text(String),
}

/// Where a page ended: the sort value of its last row, and a tie-breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The sort value.
    pub sort: SortValue,
    /// The row's id, where ids break ties.
    pub id: Uuid,
    /// A second key, where something else breaks ties before the id.
    pub tie: Option<String>,
}

/// What a cursor is bound to, beside the clinic and the scope.
#[derive(Debug, Clone)]
pub struct ListIdentity<'a> {
    /// Which list, such as `contacts`.
    pub list: &'static str,
    /// Its order, such as `-createdAt`.
    pub sort: &'a str,
    /// Its filter in a canonical form: the same filter gives the same bytes.
    pub filter: &'a [u8],
}

/// The cursor was not made for this request, or was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("was not issued for this list, filter and order")]
pub struct InvalidCursor;

fn binding(cx: &TenantContext, list: &ListIdentity<'_>) -> Vec<u8> {
    let scope = cx.scope_bytes();
    let mut bytes = Vec::with_capacity(64 + list.filter.len() + scope.len());
    for part in [
        list.list.as_bytes(),
        list.sort.as_bytes(),
        &scope,
        list.filter,
    ] {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Makes the cursor of a position.
pub fn seal_cursor(
    cx: &TenantContext,
    keys: &dyn Keys,
    list: &ListIdentity<'_>,
    position: &Position,
) -> String {
    let sealed = keys.seal(
        KeyOwner::Clinic(cx.clinic()),
        KeyPurpose::Cursor,
        &binding(cx, list),
        &encode(position),
    );
    URL_SAFE_NO_PAD.encode(sealed)
}

/// Opens a cursor of the same clinic, scope, list, filter and order.
pub fn open_cursor(
    cx: &TenantContext,
    keys: &dyn Keys,
    list: &ListIdentity<'_>,
    cursor: &str,
) -> Result<Position, InvalidCursor> {
    if cursor.len() > MAX_LENGTH {
        return Err(InvalidCursor);
    }
    let sealed = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| InvalidCursor)?;
    let plain = keys
        .open(
            KeyOwner::Clinic(cx.clinic()),
            KeyPurpose::Cursor,
            &binding(cx, list),
            &sealed,
        )
        .map_err(|_| InvalidCursor)?;
    decode(&plain).ok_or(InvalidCursor)
}

const NO_TIE: u8 = 0;
const TIE: u8 = 1;
const INSTANT: u8 = 1;
const TEXT: u8 = 2;

fn encode(position: &Position) -> Vec<u8> {
    let mut bytes = position.id.as_bytes().to_vec();
    match position.tie.as_deref() {
        None => bytes.push(NO_TIE),
        Some(tie) => {
            bytes.push(TIE);
            bytes.extend_from_slice(&(tie.len() as u64).to_be_bytes());
            bytes.extend_from_slice(tie.as_bytes());
        }
    }
    match &position.sort {
        SortValue::Instant(at) => {
            bytes.push(INSTANT);
            bytes.extend_from_slice(&at.timestamp_micros().to_be_bytes());
        }
        SortValue::Text(text) => {
            bytes.push(TEXT);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Position> {
    let (id, rest) = bytes.split_first_chunk::<16>()?;
    let (tie, rest) = decode_tie(rest)?;
    let (kind, value) = rest.split_first()?;
    let sort = match *kind {
        INSTANT => {
            let micros = i64::from_be_bytes(value.try_into().ok()?);
            SortValue::Instant(DateTime::from_timestamp_micros(micros)?)
        }
        TEXT => SortValue::Text(String::from_utf8(value.to_vec()).ok()?),
        _ => return None,
    };
    Some(Position {
        sort,
        id: Uuid::from_bytes(*id),
        tie,
    })
}

/// The tie, if there is one, and what follows it.
fn decode_tie(bytes: &[u8]) -> Option<(Option<String>, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    match *kind {
        NO_TIE => Some((None, rest)),
        TIE => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
            let (tie, rest) = rest.split_at_checked(length)?;
            Some((Some(String::from_utf8(tie.to_vec()).ok()?), rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

    use proptest::prelude::*;

    use super::*;
    use crate::access::Permissions;
    use crate::ports::CannotOpen;
    use crate::text::{PersonName, name_key};
    use crate::{ClinicId, UserId};

    const LIST: ListIdentity<'_> = ListIdentity {
        list: "contacts",
        sort: "name",
        filter: b"",
    };

    /// Hides nothing, and makes values longer by as much as a header, nonce and tag do.
    struct Glass;

    const OVERHEAD: usize = 31;

    impl Keys for Glass {
        fn seal(&self, _: KeyOwner, _: KeyPurpose, _: &[u8], plain: &[u8]) -> Vec<u8> {
            [&[0; OVERHEAD], plain].concat()
        }

        fn open(
            &self,
            _: KeyOwner,
            _: KeyPurpose,
            _: &[u8],
            sealed: &[u8],
        ) -> Result<Vec<u8>, CannotOpen> {
            Ok(sealed.get(OVERHEAD..).ok_or(CannotOpen)?.to_vec())
        }

        fn is_current(&self, _: &[u8]) -> bool {
            true
        }

        fn mac(&self, _: KeyOwner, _: KeyPurpose, _: &[u8]) -> [u8; 32] {
            [0; 32]
        }
    }

    fn round_trip(position: &Position) -> Result<Position, InvalidCursor> {
        let clinic = ClinicId::from(Uuid::nil());
        let cx = TenantContext::for_test(clinic, UserId::from(Uuid::nil()), Permissions::NONE);
        let cursor = seal_cursor(&cx, &Glass, &LIST, position);
        open_cursor(&cx, &Glass, &LIST, &cursor)
    }

    fn positions() -> impl Strategy<Value = Position> {
        let sort = prop_oneof![
            any::<i32>().prop_map(|seconds| {
                let micros = i64::from(seconds) * 1_000_003;
                SortValue::Instant(DateTime::from_timestamp_micros(micros).unwrap())
            }),
            ".{0,40}".prop_map(SortValue::Text),
        ];
        let tie = prop::option::of(".{0,20}");
        (sort, any::<u128>(), tie).prop_map(|(sort, id, tie)| Position {
            sort,
            id: Uuid::from_u128(id),
            tie,
        })
    }

    proptest! {
        #[test]
        fn a_position_comes_back_as_it_was(position in positions()) {
            prop_assert_eq!(round_trip(&position), Ok(position));
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic_and_in_one_way(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            if let Some(position) = decode(&bytes) {
                prop_assert_eq!(encode(&position), bytes);
            }
        }
    }

    #[test]
    fn an_empty_tie_is_not_taken_for_none() {
        let position = Position {
            sort: SortValue::Text(String::new()),
            id: Uuid::nil(),
            tie: Some(String::new()),
        };
        assert_eq!(round_trip(&position), Ok(position));
    }

    #[test]
    fn the_longest_name_and_tie_still_give_a_cursor_that_opens() {
        for letter in ["x", "\u{10FFFF}", "\u{FDFA}", "\u{3300}", "\u{1E9E}"] {
            let name = PersonName::parse(&letter.repeat(PersonName::MAX)).unwrap();
            let position = Position {
                sort: SortValue::Text(name_key(name.as_str())),
                id: Uuid::nil(),
                tie: Some("x".repeat(255)),
            };
            assert_eq!(round_trip(&position), Ok(position), "{letter}");
        }
    }
}
