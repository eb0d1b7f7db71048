//! The list of contacts: one statement, whose text varies with what is asked for. Text is chosen
//! from constants; everything that was asked goes in as binds.

use chrono::{DateTime, TimeDelta, Utc};
use contacts::{ContactOrder, ContactQuery, ContactStatus};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Text, Timestamptz, Uuid as SqlUuid};
use kernel::cursor::SortValue;
use uuid::Uuid;

use crate::TenantSelect;
use crate::contacts::rows::SummaryColumns;
use crate::contacts::words::{RARE, Words};

/// The most rows that a page is asked for: the longest page and one. Written out, because the planner
/// takes a bound limit for a tenth of all rows.
const LONGEST_PAGE: &str = "101";

/// A contact is changed after it is created, as far as the clocks of two servers agree.
const CLOCKS_APART: TimeDelta = TimeDelta::days(1);

/// The list, with all binds owned.
pub(super) struct ListStatement {
    pub(super) order: ContactOrder,
    with_notes: bool,
    with_custom_fields: bool,
    statuses: Vec<&'static str>,
    tag: Option<String>,
    owner: Option<Uuid>,
    source: Option<String>,
    created_from: Option<DateTime<Utc>>,
    created_before: Option<DateTime<Utc>>,
    /// Nothing that passes was changed before this instant.
    updated_from: Option<DateTime<Utc>>,
    pub(super) words: Option<Words>,
    after: Option<(SortValue, Uuid)>,
    rows: i64,
}

impl ListStatement {
    /// `document_mac` is the keyed hash of the searched document, where one is searched.
    pub(super) fn new(query: &ContactQuery, document_mac: Option<Vec<u8>>) -> Self {
        let filter = &query.filter;
        let search = filter.search.as_ref();
        let words = search.map(|search| Words::new(search, document_mac));
        Self {
            order: query.order,
            with_notes: query.with_notes,
            with_custom_fields: query.with_custom_fields,
            statuses: filter
                .statuses
                .iter()
                .copied()
                .map(ContactStatus::name)
                .collect(),
            tag: filter.tag.as_ref().map(|tag| tag.as_str().to_owned()),
            owner: filter.owner.map(Into::into),
            source: filter
                .source
                .as_ref()
                .map(|source| source.as_str().to_owned()),
            created_from: filter.created_from,
            created_before: filter.created_before,
            updated_from: filter
                .created_from
                .and_then(|from| from.checked_sub_signed(CLOCKS_APART)),
            words,
            after: query
                .after
                .as_ref()
                .map(|after| (after.sort.clone(), after.id)),
            rows: query.rows,
        }
    }
}

impl QueryId for ListStatement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for ListStatement {
    type SqlType = SummaryColumns;
}

impl TenantSelect for ListStatement {}

/// Column, direction and comparison of an order.
pub(super) const fn sorting(order: ContactOrder) -> (&'static str, bool) {
    match order {
        ContactOrder::NewestFirst => ("created_at", true),
        ContactOrder::OldestFirst => ("created_at", false),
        ContactOrder::LatestChangeFirst => ("updated_at", true),
        ContactOrder::EarliestChangeFirst => ("updated_at", false),
        ContactOrder::ByName => ("name_key", false),
        ContactOrder::ByNameDescending => ("name_key", true),
    }
}

/// The columns of a row, but for whether it matches and is a stop.
pub(super) fn columns(with_notes: bool, with_custom_fields: bool, out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql(
        "SELECT c.id, c.name, c.name_key, c.social_name, c.birth_date, c.status, c.source, \
         c.owner_id, c.tags, c.primary_phone, c.primary_email, ",
    );
    out.push_sql(if with_notes {
        "c.notes"
    } else {
        "NULL::text AS notes"
    });
    out.push_sql(if with_custom_fields {
        ", c.custom_fields"
    } else {
        ", NULL::jsonb AS custom_fields"
    });
    out.push_sql(", c.row_version, c.created_at, c.updated_at");
}

impl QueryFragment<Pg> for ListStatement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if let Some(words) = &self.words {
            return self.searched(words, &mut out);
        }
        if self.must_gather() {
            return self.gathered(&mut out);
        }
        columns(self.with_notes, self.with_custom_fields, &mut out);
        out.push_sql(", true, false FROM app.contacts c WHERE ");
        self.conditions(Filters::Plain, &mut out)?;
        self.page_order("c", &mut out);
        out.push_bind_param::<BigInt, _>(&self.rows)
    }
}

/// How a filter's conditions are written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Filters {
    /// So that an index may be read by them.
    Plain,
    /// So that none can: the page's order chooses the index, and the conditions are held against
    /// each row on the way. (`IS TRUE` is no condition of an index, and is estimated alike.)
    OnTheWay,
}

impl ListStatement {
    pub(super) const fn by_creation(&self) -> bool {
        matches!(
            self.order,
            ContactOrder::NewestFirst | ContactOrder::OldestFirst
        )
    }

    /// The instant at which the page before ended.
    const fn cursor(&self) -> Option<DateTime<Utc>> {
        match &self.after {
            Some((SortValue::Instant(at), _)) => Some(*at),
            _ => None,
        }
    }

    const fn has_range(&self) -> bool {
        self.created_from.is_some() || self.created_before.is_some()
    }

    /// Whether no index has both the filter and the order. How many contacts pass decides then
    /// whether to fetch and sort them or to read on in order until the page is full; a generic plan
    /// cannot know, and the wrong one reads the whole clinic.
    pub(super) fn must_gather(&self) -> bool {
        let single = [
            self.owner.is_some(),
            self.source.is_some(),
            self.statuses.len() == 1,
        ];
        let singles = single.iter().filter(|given| **given).count();
        let several = self.tag.is_some() || self.statuses.len() > 1;
        if self.by_creation() {
            several || singles > 1
        } else {
            several || singles > 0 || self.has_range()
        }
    }

    /// Two lists of which one is empty: where some filter lets few pass, theirs, sorted; where each
    /// lets many pass, the first that come in order.
    fn gathered<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT u.* FROM (SELECT coalesce(");
        self.few(true, out)?;
        // The limit keeps this from being worked out once for each list.
        out.push_sql(") AS ids LIMIT 1) n, LATERAL (SELECT p.* FROM ((");
        columns(self.with_notes, self.with_custom_fields, out);
        out.push_sql(
            ", true, false FROM unnest(n.ids) AS candidate (contact_id), app.contacts c \
             WHERE n.ids IS NOT NULL AND c.id = candidate.contact_id AND ",
        );
        self.conditions(Filters::Plain, out)?;
        self.page_order("c", out);
        out.push_sql(LONGEST_PAGE);
        out.push_sql(") UNION ALL (");
        columns(self.with_notes, self.with_custom_fields, out);
        out.push_sql(", true, false FROM app.contacts c WHERE n.ids IS NULL AND ");
        self.conditions(Filters::OnTheWay, out)?;
        self.page_order("c", out);
        out.push_sql(LONGEST_PAGE);
        out.push_sql(")) p");
        self.page_order("p", out);
        out.push_bind_param::<BigInt, _>(&self.rows)?;
        out.push_sql(") u");
        Ok(())
    }

    /// Two lists of which one is empty, as in [`Self::gathered`], where some word is a filter too.
    /// But the walk ends after so many contacts, whether the page is full by then or not: two words
    /// that are common may be nobody's together. Its last contact comes as a stop, and the next page
    /// begins after it.
    fn searched<'b>(&'b self, words: &'b Words, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT u.* FROM (SELECT k.ids IS NOT NULL AS have_words, coalesce(k.ids");
        self.few(false, out)?;
        out.push_sql(") AS ids FROM (SELECT ");
        words.few(out)?;
        // The limits keep this from being worked out once for each list.
        out.push_sql(" AS ids LIMIT 1) k LIMIT 1) n, LATERAL (SELECT p.* FROM ((");
        columns(self.with_notes, self.with_custom_fields, out);
        out.push_sql(
            ", true AS matches, false AS is_stop \
             FROM unnest(n.ids) AS candidate (contact_id), app.contacts c \
             WHERE n.ids IS NOT NULL AND c.id = candidate.contact_id AND ",
        );
        self.conditions(Filters::Plain, out)?;
        out.push_sql(" AND (n.have_words OR ");
        words.matching(out)?;
        out.push_sql(")");
        self.page_order("c", out);
        out.push_sql(LONGEST_PAGE);
        out.push_sql(") UNION ALL (");
        columns(self.with_notes, self.with_custom_fields, out);
        out.push_sql(", c.matches, c.is_stop FROM (SELECT c.*, (");
        words.matching(out)?;
        self.filters(")", out)?;
        self.range_of_creation(")", out)?;
        out.push_sql(") IS TRUE AS matches, row_number() OVER (");
        self.order_by("c", out);
        out.push_sql(") = ");
        out.push_bind_param::<BigInt, _>(&RARE)?;
        out.push_sql(
            " AS is_stop FROM (SELECT c.* FROM app.contacts c \
             WHERE n.ids IS NULL AND c.clinic_id = s.t AND c.merged_into IS NULL",
        );
        if self.by_creation() {
            self.range_of_creation(")", out)?;
        }
        self.earliest_change(out)?;
        self.after(out)?;
        self.page_order("c", out);
        // Bound, and so taken for a tenth of the clinic: for so many rows of a clinic that is taken
        // for a small one, all of it would be sorted.
        out.push_bind_param::<BigInt, _>(&RARE)?;
        out.push_sql(") c) c WHERE c.matches OR c.is_stop");
        self.page_order("c", out);
        out.push_sql(LONGEST_PAGE);
        out.push_sql(")) p");
        self.page_order("p", out);
        out.push_bind_param::<BigInt, _>(&self.rows)?;
        out.push_sql(") u");
        Ok(())
    }

    /// For each filter in turn, the ids that it lets pass, or NULL where they are too many. What
    /// follows an answer is not asked any more.
    pub(super) fn few<'b>(
        &'b self,
        mut first: bool,
        out: &mut AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        // A thousand are fetched and sorted about as fast as the walk fills a page where one in a
        // hundred passes.
        const BEGIN: &str = "(SELECT CASE WHEN count(*) <= 1000 \
            THEN coalesce(array_agg(x.id), '{}') END FROM (SELECT ";
        const END: &str = " LIMIT 1001) x)";
        const OF_CONTACTS: &str =
            "f.id FROM app.contacts f WHERE f.clinic_id = s.t AND f.merged_into IS NULL";
        let mut begin = |out: &mut AstPass<'_, 'b, Pg>, from: &'static str| {
            out.push_sql(if first { "" } else { ", " });
            first = false;
            out.push_sql(BEGIN);
            out.push_sql(from);
        };
        if let Some(tag) = &self.tag {
            begin(
                out,
                "f.contact_id AS id FROM app.contact_tags f WHERE f.clinic_id = s.t AND f.tag = ",
            );
            out.push_bind_param::<Text, _>(tag)?;
            out.push_sql(END);
        }
        if let Some(owner) = &self.owner {
            begin(out, OF_CONTACTS);
            out.push_sql(" AND f.owner_id = ");
            out.push_bind_param::<SqlUuid, _>(owner)?;
            out.push_sql(END);
        }
        if let Some(source) = &self.source {
            begin(out, OF_CONTACTS);
            out.push_sql(" AND f.source = ");
            out.push_bind_param::<Text, _>(source)?;
            out.push_sql(END);
        }
        if self.has_range() && !self.by_creation() {
            begin(out, OF_CONTACTS);
            if let Some(from) = &self.created_from {
                out.push_sql(" AND f.created_at >= ");
                out.push_bind_param::<Timestamptz, _>(from)?;
            }
            if let Some(before) = &self.created_before {
                out.push_sql(" AND f.created_at < ");
                out.push_bind_param::<Timestamptz, _>(before)?;
            }
            out.push_sql(END);
        }
        if !self.statuses.is_empty() {
            begin(out, OF_CONTACTS);
            out.push_sql(" AND f.status = ANY (");
            out.push_bind_param::<Array<Text>, _>(&self.statuses)?;
            out.push_sql(")");
            out.push_sql(END);
        }
        Ok(())
    }

    /// Everything that must hold of a contact `c`.
    pub(super) fn conditions<'b>(
        &'b self,
        filters: Filters,
        out: &mut AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        let on_the_way = filters == Filters::OnTheWay;
        let end = if on_the_way { ") IS TRUE" } else { ")" };
        out.push_sql("c.clinic_id = s.t AND c.merged_into IS NULL");
        self.filters(end, out)?;
        // The range of creation bounds the index of its own order.
        self.range_of_creation(if self.by_creation() { ")" } else { end }, out)?;
        if on_the_way {
            self.earliest_change(out)?;
        }
        self.after(out)
    }

    /// The filters but the range of creation, each after an AND and ended by `end`.
    pub(super) fn filters<'b>(
        &'b self,
        end: &'static str,
        out: &mut AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        match self.statuses.as_slice() {
            [] => out.push_sql(" AND c.status <> 'archived'"),
            // One status alone can use the order of its index.
            [status] => {
                out.push_sql(" AND (c.status = ");
                out.push_bind_param::<Text, _>(status)?;
                out.push_sql(end);
            }
            _ => {
                out.push_sql(" AND (c.status = ANY (");
                out.push_bind_param::<Array<Text>, _>(&self.statuses)?;
                out.push_sql(")");
                out.push_sql(end);
            }
        }
        if let Some(tag) = &self.tag {
            out.push_sql(" AND ");
            out.push_bind_param::<Text, _>(tag)?;
            out.push_sql(" = ANY (c.tags)");
        }
        if let Some(owner) = &self.owner {
            out.push_sql(" AND (c.owner_id = ");
            out.push_bind_param::<SqlUuid, _>(owner)?;
            out.push_sql(end);
        }
        if let Some(source) = &self.source {
            out.push_sql(" AND (c.source = ");
            out.push_bind_param::<Text, _>(source)?;
            out.push_sql(end);
        }
        Ok(())
    }

    /// The filter that has an index of its own in the order of creation, where there is one; for
    /// what [`Self::must_gather`] does not.
    pub(super) fn indexed<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if let [status] = self.statuses.as_slice() {
            out.push_sql(" AND c.status = ");
            out.push_bind_param::<Text, _>(status)?;
        }
        if let Some(owner) = &self.owner {
            out.push_sql(" AND c.owner_id = ");
            out.push_bind_param::<SqlUuid, _>(owner)?;
        }
        if let Some(source) = &self.source {
            out.push_sql(" AND c.source = ");
            out.push_bind_param::<Text, _>(source)?;
        }
        Ok(())
    }

    /// The range of creation, each bound ended by `end`. Beside a cursor the same bound is left out:
    /// of two, an index begins at the wider one, pages away.
    pub(super) fn range_of_creation<'b>(
        &'b self,
        end: &'static str,
        out: &mut AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        let cursor = self.cursor();
        let (oldest, newest) = (
            self.order == ContactOrder::OldestFirst,
            self.order == ContactOrder::NewestFirst,
        );
        if let Some(from) = &self.created_from
            && !(oldest && cursor.is_some_and(|at| at >= *from))
        {
            out.push_sql(" AND (c.created_at >= ");
            out.push_bind_param::<Timestamptz, _>(from)?;
            out.push_sql(end);
        }
        if let Some(before) = &self.created_before
            && !(newest && cursor.is_some_and(|at| at < *before))
        {
            out.push_sql(" AND (c.created_at < ");
            out.push_bind_param::<Timestamptz, _>(before)?;
            out.push_sql(end);
        }
        Ok(())
    }

    /// Or the walk to the range of creation would be through all that was changed last before it
    /// began.
    pub(super) fn earliest_change<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let begins = self.order == ContactOrder::EarliestChangeFirst && self.cursor().is_none();
        if let Some(from) = &self.updated_from
            && (begins || self.order == ContactOrder::LatestChangeFirst)
        {
            out.push_sql(" AND c.updated_at >= ");
            out.push_bind_param::<Timestamptz, _>(from)?;
        }
        Ok(())
    }

    /// Where the page before ended.
    fn after<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Some((sort, id)) = &self.after else {
            return Ok(());
        };
        let (column, descending) = sorting(self.order);
        out.push_sql(" AND (c.");
        out.push_sql(column);
        out.push_sql(if descending {
            ", c.id) < ("
        } else {
            ", c.id) > ("
        });
        match sort {
            SortValue::Instant(at) => out.push_bind_param::<Timestamptz, _>(at)?,
            SortValue::Text(text) => out.push_bind_param::<Text, _>(text)?,
        }
        out.push_sql(", ");
        out.push_bind_param::<SqlUuid, _>(id)?;
        out.push_sql(")");
        Ok(())
    }

    /// The order of a page of `table`.
    fn order_by(&self, table: &'static str, out: &mut AstPass<'_, '_, Pg>) {
        let (column, descending) = sorting(self.order);
        let direction = if descending { " DESC" } else { "" };
        for part in [" ORDER BY ", table, ".", column, direction] {
            out.push_sql(part);
        }
        for part in [", ", table, ".id", direction] {
            out.push_sql(part);
        }
    }

    /// The order of a page of `table`, up to its limit.
    pub(super) fn page_order(&self, table: &'static str, out: &mut AstPass<'_, '_, Pg>) {
        self.order_by(table, out);
        out.push_sql(" LIMIT ");
    }
}
