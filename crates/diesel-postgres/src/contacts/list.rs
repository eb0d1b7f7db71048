//! The list of contacts: one statement, whose text varies with what is asked for. Text is chosen
//! from constants; everything that was asked goes in as binds.

use contacts::{ContactOrder, ContactQuery, ContactStatus};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Bytea, Text, Timestamptz, Uuid as SqlUuid};
use kernel::cursor::SortValue;
use kernel::text::prefix_bounds;
use uuid::Uuid;

use crate::TenantSelect;
use crate::contacts::rows::SummaryColumns;

/// Most contacts of the rarest word that are looked at. A search whose every word is more common
/// than that shows the newest of them only.
const MOST_CANDIDATES: &str = "2000";

/// The list, with all binds owned.
pub(super) struct ListStatement {
    order: ContactOrder,
    with_notes: bool,
    statuses: Vec<&'static str>,
    tag: Option<String>,
    owner: Option<Uuid>,
    source: Option<String>,
    created_from: Option<chrono::DateTime<chrono::Utc>>,
    created_before: Option<chrono::DateTime<chrono::Utc>>,
    words: Option<Words>,
    after: Option<(SortValue, Uuid)>,
    rows: i64,
}

/// The ranges of a search's words, and the keyed hash of the document that the text may be.
struct Words {
    lows: Vec<String>,
    highs: Vec<String>,
    document_mac: Option<Vec<u8>>,
}

impl ListStatement {
    /// `document_mac` is the keyed hash of the searched document, where one is searched.
    pub(super) fn new(query: &ContactQuery, document_mac: Option<Vec<u8>>) -> Self {
        let filter = &query.filter;
        let words = filter.search.as_ref().map(|search| {
            let (lows, highs) = search
                .words
                .iter()
                .map(|word| {
                    let (low, high) = prefix_bounds(word);
                    // Nothing sorts above U+10FFFF repeated.
                    (low, high.unwrap_or_else(|| "\u{10FFFF}".repeat(8)))
                })
                .unzip();
            Words {
                lows,
                highs,
                document_mac,
            }
        });
        Self {
            order: query.order,
            with_notes: query.with_notes,
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
const fn sorting(order: ContactOrder) -> (&'static str, bool) {
    match order {
        ContactOrder::NewestFirst => ("c.created_at", true),
        ContactOrder::OldestFirst => ("c.created_at", false),
        ContactOrder::LatestChangeFirst => ("c.updated_at", true),
        ContactOrder::EarliestChangeFirst => ("c.updated_at", false),
        ContactOrder::ByName => ("c.name_key", false),
        ContactOrder::ByNameDescending => ("c.name_key", true),
    }
}

impl QueryFragment<Pg> for ListStatement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT c.id, c.name, c.name_key, c.social_name, c.birth_date, c.status, c.source, \
             c.owner_id, c.tags, c.primary_phone, c.primary_email, ",
        );
        out.push_sql(if self.with_notes {
            "c.notes"
        } else {
            "NULL::text"
        });
        out.push_sql(", c.row_version, c.created_at, c.updated_at FROM ");
        if let Some(words) = &self.words {
            candidates(words, &mut out)?;
        }
        out.push_sql("app.contacts c WHERE c.clinic_id = s.t AND c.merged_into IS NULL");
        if let Some(words) = &self.words {
            every_word(words, &mut out)?;
        }
        match self.statuses.as_slice() {
            [] => out.push_sql(" AND c.status <> 'archived'"),
            // One status alone can use the order of its index.
            [status] => {
                out.push_sql(" AND c.status = ");
                out.push_bind_param::<Text, _>(status)?;
            }
            _ => {
                out.push_sql(" AND c.status = ANY (");
                out.push_bind_param::<Array<Text>, _>(&self.statuses)?;
                out.push_sql(")");
            }
        }
        if let Some(tag) = &self.tag {
            out.push_sql(
                " AND EXISTS (SELECT FROM app.contact_tags t WHERE t.clinic_id = s.t AND t.tag = ",
            );
            out.push_bind_param::<Text, _>(tag)?;
            out.push_sql(" AND t.contact_id = c.id)");
        }
        if let Some(owner) = &self.owner {
            out.push_sql(" AND c.owner_id = ");
            out.push_bind_param::<SqlUuid, _>(owner)?;
        }
        if let Some(source) = &self.source {
            out.push_sql(" AND c.source = ");
            out.push_bind_param::<Text, _>(source)?;
        }
        if let Some(from) = &self.created_from {
            out.push_sql(" AND c.created_at >= ");
            out.push_bind_param::<Timestamptz, _>(from)?;
        }
        if let Some(before) = &self.created_before {
            out.push_sql(" AND c.created_at < ");
            out.push_bind_param::<Timestamptz, _>(before)?;
        }
        let (column, descending) = sorting(self.order);
        if let Some((sort, id)) = &self.after {
            out.push_sql(" AND (");
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
        }
        out.push_sql(" ORDER BY ");
        out.push_sql(column);
        out.push_sql(if descending {
            " DESC, c.id DESC LIMIT "
        } else {
            ", c.id LIMIT "
        });
        out.push_bind_param::<BigInt, _>(&self.rows)
    }
}

/// The contacts of the rarest word, as `candidate`. How rare a word is, is counted no further than
/// the cap; newest contacts come first, so that the cap cuts off the oldest.
fn candidates<'b>(words: &'b Words, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    out.push_sql("(SELECT DISTINCT k.contact_id FROM (SELECT w.low, w.high FROM unnest(");
    out.push_bind_param::<Array<Text>, _>(&words.lows)?;
    out.push_sql(", ");
    out.push_bind_param::<Array<Text>, _>(&words.highs)?;
    out.push_sql(
        ") AS w (low, high), LATERAL (SELECT count(*) AS found FROM (SELECT FROM \
         app.contact_tokens t WHERE t.clinic_id = s.t AND t.token >= w.low COLLATE \"C\" \
         AND t.token < w.high COLLATE \"C\" LIMIT ",
    );
    out.push_sql(MOST_CANDIDATES);
    out.push_sql(
        ") x) n ORDER BY n.found LIMIT 1) rare, LATERAL (SELECT t.contact_id FROM \
         app.contact_tokens t WHERE t.clinic_id = s.t AND t.token >= rare.low COLLATE \"C\" \
         AND t.token < rare.high COLLATE \"C\" \
         ORDER BY t.clinic_id DESC, t.token DESC, t.contact_id DESC LIMIT ",
    );
    out.push_sql(MOST_CANDIDATES);
    out.push_sql(") k");
    if let Some(mac) = &words.document_mac {
        out.push_sql(
            " UNION SELECT d.id FROM app.contacts d WHERE d.clinic_id = s.t AND d.document_mac = ",
        );
        out.push_bind_param::<Bytea, _>(mac)?;
    }
    out.push_sql(") candidate, ");
    Ok(())
}

/// Holds each candidate against every word.
fn every_word<'b>(words: &'b Words, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    out.push_sql(" AND c.id = candidate.contact_id AND (NOT EXISTS (SELECT FROM unnest(");
    out.push_bind_param::<Array<Text>, _>(&words.lows)?;
    out.push_sql(", ");
    out.push_bind_param::<Array<Text>, _>(&words.highs)?;
    out.push_sql(
        ") AS w (low, high) WHERE NOT EXISTS (SELECT FROM app.contact_tokens t \
         WHERE t.clinic_id = s.t AND t.contact_id = c.id \
         AND t.token >= w.low COLLATE \"C\" AND t.token < w.high COLLATE \"C\"))",
    );
    if let Some(mac) = &words.document_mac {
        out.push_sql(" OR c.document_mac = ");
        out.push_bind_param::<Bytea, _>(mac)?;
    }
    out.push_sql(")");
    Ok(())
}
