//! What one transaction of the server wrote, row by row, and the same as a script for `pgbench`.
//!
//! Written off from the rows themselves, so that the limit is always the inserts that the product
//! does now: a table or a column more is in it by itself.

use std::{collections::BTreeMap, fmt::Write as _};

use ::postgres::Client as Sql;
use anyhow::{Context, ensure};

use crate::postgres::address::explain;

/// Rows of one table: the columns, and for each row its values as literals with their types.
#[derive(Debug, Clone, PartialEq)]
struct Inserted {
    columns: Vec<Column>,
    rows: Vec<Vec<Option<String>>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: String,
    kind: String,
    /// No two rows may have it alike, perhaps with other columns.
    unique: bool,
}

/// What one transaction wrote, by table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written {
    tables: BTreeMap<String, Inserted>,
}

impl Written {
    /// Everything that the transaction wrote which made this contact and that is still there.
    pub(super) fn by_the_creation_of(sql: &mut Sql, contact: &str) -> anyhow::Result<Self> {
        let row = sql
            .query_one(
                "SELECT xmin::text FROM app.contacts WHERE id = $1::text::uuid",
                &[&contact],
            )
            .map_err(explain)?;
        let transaction: String = row.get(0);
        let tables = sql
            .query(
                "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = 'app' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                 ORDER BY 1",
                &[],
            )
            .map_err(explain)?;
        let mut written = BTreeMap::new();
        for table in tables {
            let table: String = table.get(0);
            let inserted = Inserted::read(sql, &table, &transaction)?;
            if !inserted.rows.is_empty() {
                written.insert(table, inserted);
            }
        }
        ensure!(
            written.contains_key("contacts"),
            "the new contact has no row"
        );
        Ok(Self { tables: written })
    }

    /// How many rows of which tables.
    pub(super) fn describe(&self) -> String {
        let parts: Vec<String> = self
            .tables
            .iter()
            .map(|(table, inserted)| format!("{} {}", inserted.rows.len(), table))
            .collect();
        parts.join(", ")
    }

    /// The script: BEGIN, the tenant, the inserts, COMMIT in a pipeline. Ids that the transaction
    /// made become new ones each time; `digits`, eight of them, which only this contact has, become
    /// others. Needs the variables `i`, `ms` and `run`.
    pub(super) fn script(&self, clinic: &str, known: &[String], digits: &str) -> String {
        let fresh = self.fresh_ids(known);
        let mut text = String::from(
            "-- The limit of row 3: what creating a contact wrote, in a pipeline.\n\
             \\set i :i + 1\n\\set k :run + :client_id * 50000 + :i\n\\set at :ms + :i\n",
        );
        let _infallible = write!(
            text,
            "\\startpipeline\nBEGIN;\nSELECT set_config('app.clinic_id', '{clinic}', true);\n"
        );
        // The order of references and of the product: the contact first, the outbox last.
        let rank = |table: &str| match table {
            "contacts" => 0,
            "outbox" => 2,
            _ => 1,
        };
        let mut tables: Vec<_> = self.tables.iter().collect();
        tables.sort_by_key(|(table, _)| rank(table));
        for (table, inserted) in tables {
            text.push_str(&inserted.statement(table, &fresh, digits));
        }
        text.push_str("COMMIT;\n\\endpipeline\n");
        text
    }

    /// Every id among the values that was not there before.
    fn fresh_ids(&self, known: &[String]) -> Vec<String> {
        let mut fresh = Vec::new();
        for inserted in self.tables.values() {
            for row in &inserted.rows {
                for value in row.iter().flatten() {
                    for id in ids_in(value) {
                        if !known.contains(&id) && !fresh.contains(&id) {
                            fresh.push(id);
                        }
                    }
                }
            }
        }
        fresh
    }
}

impl Inserted {
    fn read(sql: &mut Sql, table: &str, transaction: &str) -> anyhow::Result<Self> {
        let columns = sql
            .query(
                "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod),
                        EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid
                                AND i.indisunique AND a.attnum = ANY (i.indkey))
                 FROM pg_attribute a
                 WHERE a.attrelid = ('app.' || $1::text)::regclass AND a.attnum > 0
                       AND NOT a.attisdropped AND a.attidentity = '' AND a.attgenerated = ''
                 ORDER BY a.attnum",
                &[&table],
            )
            .map_err(explain)?
            .iter()
            .map(|row| Column {
                name: row.get(0),
                kind: row.get(1),
                unique: row.get(2),
            })
            .collect::<Vec<_>>();
        let list: Vec<String> = columns
            .iter()
            .map(|column| format!("t.{}::text", column.name))
            .collect();
        // Names of the catalogue's own, not a caller's.
        let text = format!(
            "SELECT {} FROM app.{table} t WHERE t.xmin::text = $1",
            list.join(", ")
        );
        let rows = sql
            .query(&text, &[&transaction])
            .map_err(explain)
            .with_context(|| format!("app.{table} could not be read"))?
            .iter()
            .map(|row| (0..columns.len()).map(|index| row.get(index)).collect())
            .collect();
        Ok(Self { columns, rows })
    }

    fn statement(&self, table: &str, fresh: &[String], digits: &str) -> String {
        let names: Vec<&str> = self
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let values: Vec<String> = row
                    .iter()
                    .zip(&self.columns)
                    .map(|(value, column)| value_of(value.as_deref(), column, fresh, digits))
                    .collect();
                format!("({})", values.join(", "))
            })
            .collect();
        format!(
            "INSERT INTO app.{table} ({}) VALUES {};\n",
            names.join(", "),
            rows.join(", ")
        )
    }
}

/// A value as an expression of the script.
fn value_of(value: Option<&str>, column: &Column, fresh: &[String], digits: &str) -> String {
    let Some(value) = value else {
        return "NULL".to_owned();
    };
    let kind = &column.kind;
    // A keyed hash of what is unique must be another each time.
    if kind == "bytea" && column.unique && value.len() >= 18 {
        let rest = quoted(&value[18..]);
        return format!("('\\x' || lpad(to_hex(:k::bigint), 16, '0') || {rest})::bytea");
    }
    let mut expression = quoted(value);
    for (index, id) in fresh.iter().enumerate() {
        expression = expression.replace(id, &format!("' || {} || '", new_id(index)));
    }
    expression = expression.replace(
        digits,
        "' || lpad((60000000 + :k::bigint % 40000000)::text, 8, '0') || '",
    );
    format!("({expression})::{kind}")
}

/// The id of that index of this transaction, of version 7: time first, as the product's.
fn new_id(index: usize) -> String {
    format!(
        "lpad(to_hex(:at::bigint), 12, '0') || '7{index:03x}8' || lpad(to_hex(:k::bigint), 15, '0')"
    )
}

/// A literal. pgbench takes a colon before a letter for a variable, and there is no escaping it.
fn quoted(value: &str) -> String {
    let text = value.replace('\'', "''");
    let mut parts = text.split(':').peekable();
    let mut literal = String::from("'");
    while let Some(part) = parts.next() {
        literal.push_str(part);
        let Some(next) = parts.peek() else { break };
        let is_variable = next
            .chars()
            .next()
            .is_some_and(|c| !c.is_ascii() || c.is_ascii_alphanumeric() || c == '_');
        literal.push_str(if is_variable {
            "' || chr(58) || '"
        } else {
            ":"
        });
    }
    literal.push('\'');
    literal
}

/// Whatever looks like a UUID.
fn ids_in(value: &str) -> Vec<String> {
    const LENGTH: usize = 36;
    let is_id = |text: &str| {
        text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at + LENGTH <= value.len() {
        match value.get(at..at + LENGTH) {
            Some(text) if is_id(text) => {
                found.push(text.to_owned());
                at += LENGTH;
            }
            _ => at += 1,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "01a23456-7000-7000-8000-c20000000000";
    const NEW: &str = "01a1fe8c-4ac8-7784-bcc1-98ccdf8806db";

    fn column(name: &str, kind: &str, unique: bool) -> Column {
        Column {
            name: name.to_owned(),
            kind: kind.to_owned(),
            unique,
        }
    }

    fn written() -> Written {
        let contacts = Inserted {
            columns: vec![
                column("clinic_id", "uuid", true),
                column("id", "uuid", true),
                column("name", "text", false),
                column("document_mac", "bytea", true),
            ],
            rows: vec![vec![
                Some(OLD.to_owned()),
                Some(NEW.to_owned()),
                Some("D'Ávila 60012345".to_owned()),
                Some(format!("\\x{}", "ab".repeat(32))),
            ]],
        };
        let outbox = Inserted {
            columns: vec![column("payload", "jsonb", false)],
            rows: vec![vec![Some(format!("{{\"contact\":\"{NEW}\",\"n\":1}}"))]],
        };
        Written {
            tables: BTreeMap::from([
                ("contacts".to_owned(), contacts),
                ("outbox".to_owned(), outbox),
            ]),
        }
    }

    #[test]
    fn a_script_makes_new_ids_and_digits_and_keeps_the_rest() {
        let script = written().script(OLD, &[OLD.to_owned()], "60012345");
        assert!(
            !script.contains(NEW) && !script.contains("60012345"),
            "{script}"
        );
        assert_eq!(script.matches(OLD).count(), 2);
        assert!(script.contains("D''Ávila"));
        assert!(script.contains("'\\x' || lpad(to_hex(:k::bigint), 16, '0') || 'abab"));
        let at = |text: &str| script.find(text).unwrap();
        assert!(at("BEGIN") < at("app.contacts") && at("app.contacts") < at("app.outbox"));
        assert!(at("app.outbox") < at("COMMIT"));
        // The id within the payload is the contact's.
        assert_eq!(
            script.matches("'7000").count() + script.matches("'70008'").count(),
            4
        );
        assert_eq!(written().describe(), "1 contacts, 1 outbox");
    }

    #[test]
    fn a_colon_is_no_variable_of_pgbench() {
        assert_eq!(quoted("a:b"), "'a' || chr(58) || 'b'");
        assert_eq!(quoted("{\"a\": 1}"), "'{\"a\": 1}'");
        assert_eq!(
            quoted("12:30:00"),
            "'12' || chr(58) || '30' || chr(58) || '00'"
        );
        assert_eq!(quoted("it's:"), "'it''s:'");
    }

    #[test]
    fn ids_are_found_within_texts() {
        assert_eq!(ids_in(&format!("x{NEW},{OLD}!")), [NEW, OLD]);
        assert!(ids_in("Ávila, 01a1fe8c-4ac8-7784-bcc1-98ccdf8806d").is_empty());
    }
}
