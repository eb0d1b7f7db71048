//! The answer of every list: `{data, nextCursor, hasMore}`.

use kernel::Page;
use serde::Serialize;
use utoipa::ToSchema;

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
