//! The answers of lists: `{data, nextCursor, hasMore}`, and `{data, total, pages, …}` of a page that is
//! asked for by its number.

use kernel::{Numbered, NumberedPage, Page, PageLimit};
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Problem;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageAnswer<T> {
    /// The rows, in the asked order.
    pub data: Vec<T>,
    /// Send it as `cursor` to get the next page; null on the last. Opaque, and good only for
    /// the same clinic, filter and order.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    /// Whether there is a next page, however many rows this one has.
    pub has_more: bool,
}

impl<T> PageAnswer<T> {
    /// The page, each row turned into its wire type.
    pub fn of<R>(page: Page<R>, row: impl FnMut(R) -> T) -> Self {
        Self {
            data: page.items.into_iter().map(row).collect(),
            has_more: page.next_cursor.is_some(),
            next_cursor: page.next_cursor,
        }
    }
}

/// A page of a list, asked for by its number.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NumberedPageAnswer<T> {
    /// The rows, in the asked order. None on a page behind the last.
    pub data: Vec<T>,
    /// How many rows there are; at least so many, where `totalIsExact` is false. No more than 10000
    /// are counted.
    #[schema(example = 1)]
    pub total: u64,
    /// Whether all rows were counted. Where they were not, go on by the cursor behind the last page.
    pub total_is_exact: bool,
    /// The page's number, from 1.
    #[schema(example = 1)]
    pub page: u32,
    /// How many pages `total` rows fill.
    #[schema(example = 1)]
    pub pages: u64,
}

impl<T> NumberedPageAnswer<T> {
    /// The page, each row turned into its wire type.
    pub fn of<R>(page: NumberedPage, found: Numbered<R>, row: impl FnMut(R) -> T) -> Self {
        let total = found.total.min(u64::from(NumberedPage::LAST_ROW));
        Self {
            data: found.items.into_iter().map(row).collect(),
            total,
            total_is_exact: found.is_exact,
            page: page.number(),
            pages: total.div_ceil(page.limit().rows() as u64),
        }
    }
}

/// The numbered page that a query asks for, where it asks for one: `page` and `cursor` exclude each
/// other.
pub(crate) fn numbered_page(
    page: Option<u32>,
    cursor: Option<&str>,
    limit: PageLimit,
) -> Result<Option<NumberedPage>, Problem> {
    let Some(number) = page else { return Ok(None) };
    if cursor.is_some() {
        let reason = "must not be given beside a cursor";
        return Err(Problem::invalid_query("page", "conflict", reason));
    }
    NumberedPage::new(number, limit)
        .map(Some)
        .map_err(|rule| Problem::invalid_query("page", "range", rule.to_string()))
}

/// A page that may exist lies beyond what is looked at for a number.
pub(crate) fn page_too_deep() -> Problem {
    let reason = "must not lead beyond what is counted: go on by the cursor";
    Problem::invalid_query("page", "range", reason)
}

/// What a list that has both kinds of pages answers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ListAnswer<T> {
    /// Without `page`.
    Keyset(PageAnswer<T>),
    /// With it.
    Numbered(NumberedPageAnswer<T>),
}
