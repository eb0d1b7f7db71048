//! Pages of a list: bounded, by keyset, with an opaque cursor.

use std::num::NonZeroU8;

/// How many rows a page may have: 1 to 100, 20 by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit(NonZeroU8);

/// The asked limit is not from 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be from 1 to 100")]
pub struct InvalidLimit;

impl PageLimit {
    /// The largest page.
    pub const MAX: u8 = 100;

    /// A limit from 1 to 100.
    pub fn new(rows: u32) -> Result<Self, InvalidLimit> {
        u8::try_from(rows)
            .ok()
            .filter(|rows| *rows <= Self::MAX)
            .and_then(NonZeroU8::new)
            .map(Self)
            .ok_or(InvalidLimit)
    }

    /// Rows to answer.
    pub const fn rows(self) -> usize {
        self.0.get() as usize
    }

    /// Rows to fetch: one more than is answered, to know whether there are more.
    pub const fn rows_to_fetch(self) -> i64 {
        self.0.get() as i64 + 1
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        const TWENTY: NonZeroU8 = NonZeroU8::new(20).unwrap();
        Self(TWENTY)
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last.
    pub next_cursor: Option<String>,
}
