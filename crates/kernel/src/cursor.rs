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

/// Longest cursor that is looked at: a longer one was not made here.
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

const INSTANT: u8 = 1;
const TEXT: u8 = 2;

fn encode(position: &Position) -> Vec<u8> {
    let mut bytes = position.id.as_bytes().to_vec();
    let tie = position.tie.as_deref().unwrap_or_default().as_bytes();
    bytes.extend_from_slice(&(tie.len() as u64).to_be_bytes());
    bytes.extend_from_slice(tie);
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
    let (length, rest) = rest.split_first_chunk::<8>()?;
    let (tie, rest) = rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)?;
    let (kind, value) = rest.split_first()?;
    let sort = match *kind {
        INSTANT => {
            let micros = i64::from_be_bytes(value.try_into().ok()?);
            SortValue::Instant(DateTime::from_timestamp_micros(micros)?)
        }
        TEXT => SortValue::Text(String::from_utf8(value.to_vec()).ok()?),
        _ => return None,
    };
    let tie = if tie.is_empty() {
        None
    } else {
        Some(String::from_utf8(tie.to_vec()).ok()?)
    };
    Some(Position {
        sort,
        id: Uuid::from_bytes(*id),
        tie,
    })
}
