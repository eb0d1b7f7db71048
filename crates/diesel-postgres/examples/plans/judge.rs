//! What a plan may do.

use std::collections::{BTreeSet, HashMap};

use tokio_postgres::Client;

use crate::cases::Case;
use crate::plan::Plan;

/// The first column of every index.
pub(crate) struct Indexes(HashMap<String, String>);

impl Indexes {
    pub(crate) async fn read(client: &Client) -> Self {
        let rows = client
            .query(
                "SELECT i.relname::text, a.attname::text
                 FROM pg_index x
                 JOIN pg_class i ON i.oid = x.indexrelid
                 JOIN pg_namespace n ON n.oid = i.relnamespace AND n.nspname IN ('app', 'part')
                 JOIN pg_attribute a ON a.attrelid = x.indexrelid AND a.attnum = 1",
                &[],
            )
            .await
            .expect("indexes can be listed");
        Self(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}

/// What was found of a case.
pub(crate) struct Verdict {
    /// Rows of tables that were looked at, kept or not.
    pub(crate) visited: f64,
    /// The indexes that were used.
    pub(crate) indexes: Vec<String>,
    /// Why it fails; empty where it does not.
    pub(crate) faults: Vec<String>,
}

impl Verdict {
    pub(crate) fn of(case: &Case, plan: &Plan, indexes: &Indexes) -> Self {
        let mut visited = 0.0;
        let mut used = BTreeSet::new();
        let mut faults = Vec::new();
        for node in plan.nodes() {
            let (kind, index) = (node.kind(), node.text("Index Name"));
            if !index.is_empty() {
                used.insert(index.to_owned());
                if indexes.0.get(index).map(String::as_str) != Some("clinic_id") {
                    faults.push(format!("{index} does not begin with clinic_id"));
                } else if !node.text("Index Cond").contains("clinic_id") {
                    faults.push(format!("{index} is read for every clinic"));
                }
            }
            if node.reads_table() {
                visited += node.rows() + node.removed();
                // An empty partition, or one that was left out, has nothing to be read.
                if kind.contains("Seq Scan") && node.buffers() > 0 {
                    let table = node.text("Relation Name");
                    faults.push(format!("{table} is read from end to end"));
                }
            }
        }
        let budget = case.budget.visited(plan.rows());
        if visited > budget {
            faults.push(format!(
                "{visited:.0} rows are visited for {}, {budget:.0} at most",
                plan.rows()
            ));
        }
        // An index condition that does not bound the range shows in pages alone.
        let pages = 30.0 + 6.0 * visited;
        if plan.buffers() as f64 > pages {
            faults.push(format!(
                "{} pages for {visited:.0} rows visited",
                plan.buffers()
            ));
        }
        Self {
            visited,
            indexes: used.into_iter().collect(),
            faults,
        }
    }
}
