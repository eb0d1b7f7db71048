//! The words of a search of contacts, in the text of the list's statement.
//!
//! Where one of the words is rare, whoever has it is fetched by the index of tokens, and is all
//! that needs looking at. Where each is common, the list is walked in its order, and each contact
//! is held against the words. Neither cuts anybody off: what one page has no time for is the
//! next one's.

use contacts::search::Search;
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Array, Bytea, Text};
use kernel::text::prefix_bounds;

/// Most tokens that begin with a rare word. Also most contacts that one page walks past: about as
/// much work.
pub(super) const RARE: i64 = 2_000;

/// [`RARE`], written out: the planner takes a bound limit for a tenth of all rows.
const RARE_WRITTEN: &str = "2000";

/// [`RARE`] and one.
const MORE_THAN_RARE: &str = "2001";

/// The ranges of a search's words, and the keyed hash of the document that the text may be.
pub(super) struct Words {
    lows: Vec<String>,
    highs: Vec<String>,
    document_mac: Option<Vec<u8>>,
}

impl Words {
    /// `document_mac` is the keyed hash of the searched document, where one is searched.
    pub(super) fn new(search: &Search, document_mac: Option<Vec<u8>>) -> Self {
        let (lows, highs) = search
            .words
            .iter()
            .map(|word| {
                let (low, high) = prefix_bounds(word);
                // Nothing sorts above U+10FFFF repeated.
                (low, high.unwrap_or_else(|| "\u{10FFFF}".repeat(8)))
            })
            .unzip();
        Self {
            lows,
            highs,
            document_mac,
        }
    }

    /// The ids of all contacts that match, or NULL where each word is common. Of the rarest word,
    /// those that have the others too. How rare a word is, is counted no further than it matters.
    /// Only indexes of tokens are read.
    pub(super) fn few<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("(SELECT CASE WHEN rare.found <= ");
        out.push_sql(RARE_WRITTEN);
        // Ordered and limited, though nothing is cut off, so that the index is read in its order.
        out.push_sql(
            " THEN ARRAY (SELECT DISTINCT k.contact_id FROM (SELECT t.contact_id \
             FROM app.contact_tokens t WHERE t.clinic_id = s.t \
             AND t.token >= rare.low COLLATE \"C\" AND t.token < rare.high COLLATE \"C\" \
             ORDER BY t.clinic_id DESC, t.token DESC, t.contact_id DESC LIMIT ",
        );
        out.push_sql(RARE_WRITTEN);
        out.push_sql(") k");
        if self.lows.len() > 1 {
            out.push_sql(" WHERE ");
            self.has_each("k.contact_id", " AND w.low <> rare.low", out)?;
        }
        if let Some(mac) = &self.document_mac {
            // Documents are indexed for contacts that were not merged away.
            out.push_sql(
                " UNION SELECT d.id FROM app.contacts d WHERE d.clinic_id = s.t \
                 AND d.merged_into IS NULL AND d.document_mac = ",
            );
            out.push_bind_param::<Bytea, _>(mac)?;
        }
        out.push_sql(") END FROM (SELECT w.low, w.high, n.found FROM ");
        self.unnested(out)?;
        out.push_sql(
            ", LATERAL (SELECT count(*) AS found FROM (SELECT FROM app.contact_tokens t \
             WHERE t.clinic_id = s.t AND t.token >= w.low COLLATE \"C\" \
             AND t.token < w.high COLLATE \"C\" LIMIT ",
        );
        out.push_sql(MORE_THAN_RARE);
        out.push_sql(") x) n ORDER BY n.found LIMIT 1) rare)");
        Ok(())
    }

    /// Whether the contact `c` matches. Read from the index of its own tokens.
    pub(super) fn matching<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("(");
        self.has_each("c.id", "", out)?;
        if let Some(mac) = &self.document_mac {
            out.push_sql(" OR c.document_mac = ");
            out.push_bind_param::<Bytea, _>(mac)?;
        }
        out.push_sql(")");
        Ok(())
    }

    /// No word that is `also` so is one which the contact lacks.
    fn has_each<'b>(
        &'b self,
        contact: &'static str,
        also: &'static str,
        out: &mut AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        out.push_sql("NOT EXISTS (SELECT FROM ");
        self.unnested(out)?;
        for part in [
            // The limit keeps it from being made a join, which reads all tokens of the contact.
            " WHERE (SELECT true FROM app.contact_tokens t \
             WHERE t.clinic_id = s.t AND t.contact_id = ",
            contact,
            " AND t.token >= w.low COLLATE \"C\" AND t.token < w.high COLLATE \"C\" LIMIT 1) IS NULL",
            also,
            ")",
        ] {
            out.push_sql(part);
        }
        Ok(())
    }

    /// The words' ranges as `w`.
    fn unnested<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("unnest(");
        out.push_bind_param::<Array<Text>, _>(&self.lows)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.highs)?;
        out.push_sql(") AS w (low, high)");
        Ok(())
    }
}
