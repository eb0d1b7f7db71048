//! A page of contacts by its number: which contacts stand on it, and how many there are. Their
//! rows are fetched afterwards, by id.
//!
//! What is looked at is bounded whatever the clinic's size: where some filter lets few pass, all of
//! theirs; else so many contacts as [`WALKED`] says, in the asked order. Beyond them nothing is known,
//! neither of the page nor of the total, and the answer says so.

use contacts::ContactQuery;
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Uuid as SqlUuid};

use crate::TenantSelect;
use crate::contacts::list::{Filters, ListStatement, columns, sorting};
use crate::contacts::rows::SummaryColumns;

/// Most contacts that are looked at in the list's order: as many as a page's last row may stand
/// at, and one. Written out, because the planner takes a bound limit for a tenth of all rows.
const WALKED: &str = "10001";

/// The same for a search of common words, where each contact is held against each word.
const SEARCHED: &str = "2001";

/// Which contacts stand on a page, and how many there are. One row: the total, whether all were
/// looked at, and the ids of the page.
pub(super) struct NumberedStatement {
    list: ListStatement,
    /// The first row of the page and its last, from 1.
    first: i32,
    last: i32,
}

impl NumberedStatement {
    /// The page of `query.rows` rows that begins behind `skipped` others.
    pub(super) fn new(query: &ContactQuery, document_mac: Option<Vec<u8>>, skipped: u16) -> Self {
        let skipped = i32::from(skipped);
        let rows = i32::try_from(query.rows).unwrap_or(i32::MAX - skipped);
        Self {
            list: ListStatement::new(query, document_mac),
            first: skipped + 1,
            last: skipped + rows,
        }
    }
}

impl QueryId for NumberedStatement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for NumberedStatement {
    type SqlType = (BigInt, Bool, Nullable<Array<SqlUuid>>);
}

impl TenantSelect for NumberedStatement {}

impl QueryFragment<Pg> for NumberedStatement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let out = &mut out;
        let list = &self.list;
        let limit = if list.words.is_some() {
            SEARCHED
        } else {
            WALKED
        };
        let (column, descending) = sorting(list.order);
        let direction = if descending { " DESC" } else { "" };
        out.push_sql("SELECT count(*) FILTER (WHERE p.matches), coalesce(sum(p.walked), 0) < ");
        out.push_sql(limit);
        out.push_sql(", (array_agg(p.id ORDER BY p.");
        for part in [column, direction, ", p.id", direction] {
            out.push_sql(part);
        }
        out.push_sql(") FILTER (WHERE p.matches))[");
        out.push_bind_param::<Integer, _>(&self.first)?;
        out.push_sql(":");
        out.push_bind_param::<Integer, _>(&self.last)?;
        out.push_sql("] FROM ");
        let gathers = list.words.is_some() || list.must_gather();
        if gathers {
            self.gathered(column, out)?;
        } else {
            out.push_sql("(");
        }
        out.push_sql("SELECT c.id, c.");
        out.push_sql(column);
        out.push_sql(", (true");
        if let Some(words) = &list.words {
            out.push_sql(" AND ");
            words.matching(out)?;
        }
        list.filters(")", out)?;
        list.range_of_creation(")", out)?;
        out.push_sql(
            ") IS TRUE AS matches, 1 AS walked FROM (SELECT c.* FROM app.contacts c WHERE ",
        );
        if gathers {
            out.push_sql("n.ids IS NULL AND ");
        }
        out.push_sql("c.clinic_id = s.t AND c.merged_into IS NULL");
        if !gathers {
            // At most one, and with its index.
            list.indexed(out)?;
        }
        if list.by_creation() {
            list.range_of_creation(")", out)?;
        }
        list.earliest_change(out)?;
        list.page_order("c", out);
        out.push_sql(limit);
        out.push_sql(") c");
        out.push_sql(") p");
        Ok(())
    }
}

impl NumberedStatement {
    /// The contacts of the filter that lets few pass, where there is one.
    fn gathered<'b>(
        &'b self,
        column: &'static str,
        out: &mut AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        let list = &self.list;
        out.push_sql("(SELECT ");
        if let Some(words) = &list.words {
            out.push_sql("k.ids IS NOT NULL AS have_words, coalesce(k.ids");
            list.few(false, out)?;
            out.push_sql(") AS ids FROM (SELECT ");
            words.few(out)?;
            out.push_sql(" AS ids LIMIT 1) k");
        } else {
            out.push_sql("coalesce(");
            list.few(true, out)?;
            out.push_sql(") AS ids");
        }
        // The limit keeps this from being worked out once for each list.
        out.push_sql(" LIMIT 1) n, LATERAL (SELECT c.id, c.");
        out.push_sql(column);
        out.push_sql(
            ", true AS matches, 0 AS walked \
             FROM unnest(n.ids) AS candidate (contact_id), app.contacts c \
             WHERE n.ids IS NOT NULL AND c.id = candidate.contact_id AND ",
        );
        list.conditions(Filters::Plain, out)?;
        if let Some(words) = &list.words {
            out.push_sql(" AND (n.have_words OR ");
            words.matching(out)?;
            out.push_sql(")");
        }
        out.push_sql(" UNION ALL ");
        Ok(())
    }
}

/// Rows of the list by id, in no order.
pub(super) struct RowsById {
    pub(super) ids: Vec<uuid::Uuid>,
    pub(super) with_notes: bool,
    pub(super) with_custom_fields: bool,
}

impl QueryId for RowsById {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for RowsById {
    type SqlType = SummaryColumns;
}

impl TenantSelect for RowsById {}

impl QueryFragment<Pg> for RowsById {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        columns(self.with_notes, self.with_custom_fields, &mut out);
        out.push_sql(", true, false FROM app.contacts c WHERE c.clinic_id = s.t AND c.id = ANY (");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(")");
        Ok(())
    }
}
