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

    /// The same, for reckoning with numbers of pages.
    const fn rows_u32(self) -> u32 {
        self.0.get() as u32
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

/// Which page, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberedPage {
    number: u32,
    limit: PageLimit,
}

/// No page has this number: it is 0, or its rows stand too far from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPage {
    /// Pages are counted from 1.
    #[error("must be 1 or more")]
    Zero,
    /// Whoever goes so deep goes on by the cursor.
    #[error("must not lead beyond row 10000: go on by the cursor")]
    TooDeep,
}

impl NumberedPage {
    /// The last row that a numbered page may have. A list is walked to a numbered page from its
    /// beginning, whereas a cursor leads there at once.
    pub const LAST_ROW: u32 = 10_000;

    /// The page of that number, from 1.
    pub fn new(number: u32, limit: PageLimit) -> Result<Self, InvalidPage> {
        if number == 0 {
            return Err(InvalidPage::Zero);
        }
        match number.checked_mul(limit.rows_u32()) {
            Some(last) if last <= Self::LAST_ROW => Ok(Self { number, limit }),
            _ => Err(InvalidPage::TooDeep),
        }
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.number
    }

    /// How many rows it has.
    pub const fn limit(self) -> PageLimit {
        self.limit
    }

    /// How many rows stand before it: fewer than [`Self::LAST_ROW`].
    pub fn skipped(self) -> u16 {
        u16::try_from((self.number - 1) * self.limit.rows_u32()).unwrap_or(u16::MAX)
    }
}

/// What stands on a numbered page, and how many rows there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered<T> {
    /// The rows.
    pub items: Vec<T>,
    /// How many rows there are; at least so many, where `is_exact` is false.
    pub total: u64,
    /// Whether all rows were counted.
    pub is_exact: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn a_numbered_page_begins_where_the_one_before_it_ends() {
        let limit = PageLimit::new(30).unwrap();
        let page = |number| NumberedPage::new(number, limit).unwrap();
        assert_eq!([page(1).skipped(), page(2).skipped()], [0, 30]);
        assert_eq!(page(333).skipped(), 9_960);
    }

    #[test]
    fn there_is_no_page_zero_and_none_beyond_the_last_row() {
        let limit = PageLimit::new(100).unwrap();
        assert_eq!(NumberedPage::new(0, limit), Err(InvalidPage::Zero));
        assert!(NumberedPage::new(100, limit).is_ok());
        for deep in [101, u32::MAX] {
            assert_eq!(NumberedPage::new(deep, limit), Err(InvalidPage::TooDeep));
        }
    }
}
