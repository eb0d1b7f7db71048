//! The tables in Diesel's words, as `crates/diesel-postgres/src/schema.rs` holds them.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use ::postgres::Client;
use anyhow::{Context, bail, ensure};

use crate::{checkout::Checkout, postgres::address::explain};

/// The schema that holds the tables. Partitions lie elsewhere and are reached through their table.
const SCHEMA: &str = "app";

const HEAD: &str = "\
//! The tables of the schema `app`, as Diesel sees them.
//!
//! Written by `cargo xtask db schema` from the migrations, and checked by `cargo xtask check`:
//! changes by hand are lost.
#![allow(missing_docs, reason = \"the migrations describe tables and columns\")]
";

#[derive(Debug)]
struct Table {
    name: String,
    comment: Option<String>,
    key: Vec<String>,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    name: String,
    comment: Option<String>,
    sql_type: String,
    not_null: bool,
}

pub(super) fn render(checkout: &Checkout, client: &mut Client) -> anyhow::Result<String> {
    formatted(checkout, &text(&tables(client)?)?)
}

fn tables(client: &mut Client) -> anyhow::Result<Vec<Table>> {
    let rows = client
        .query(
            "SELECT c.oid, c.relname::text, obj_description(c.oid, 'pg_class'),
                    ARRAY(SELECT a.attname::text
                          FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k(attnum, place)
                          JOIN pg_attribute a ON a.attnum = k.attnum
                          WHERE i.indrelid = c.oid AND i.indisprimary AND a.attrelid = c.oid
                          ORDER BY k.place)
             FROM pg_class c
             WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
             ORDER BY c.relname",
            &[&SCHEMA],
        )
        .map_err(explain)?;
    let mut tables = Vec::new();
    for row in rows {
        let oid: u32 = row.get(0);
        let columns = client
            .query(
                "SELECT attname::text, col_description(attrelid, attnum), format_type(atttypid, NULL), attnotnull
                 FROM pg_attribute
                 WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
                 ORDER BY attnum",
                &[&oid],
            )
            .map_err(explain)?
            .iter()
            .map(|row| Column {
                name: row.get(0),
                comment: row.get(1),
                sql_type: row.get(2),
                not_null: row.get(3),
            })
            .collect();
        tables.push(Table {
            name: row.get(1),
            comment: row.get(2),
            key: row.get(3),
            columns,
        });
    }
    Ok(tables)
}

fn text(tables: &[Table]) -> anyhow::Result<String> {
    let mut text = String::from(HEAD);
    for table in tables {
        ensure!(
            !table.key.is_empty(),
            "{SCHEMA}.{} has no primary key, and Diesel needs one",
            table.name
        );
        let key: Vec<String> = table.key.iter().map(|name| ident(name)).collect();
        text.push_str("\ndiesel::table! {\n");
        document(&mut text, "    ", table.comment.as_deref());
        writeln!(text, "    {SCHEMA}.{} ({}) {{", table.name, key.join(", "))?;
        for column in &table.columns {
            let name = ident(&column.name);
            document(&mut text, "        ", column.comment.as_deref());
            if name != column.name {
                writeln!(text, "        #[sql_name = \"{}\"]", column.name)?;
            }
            let rust = diesel_type(&column.sql_type, column.not_null)
                .with_context(|| format!("{SCHEMA}.{}.{}", table.name, column.name))?;
            writeln!(text, "        {name} -> {rust},")?;
        }
        text.push_str("    }\n}\n");
    }
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    writeln!(
        text,
        "\ndiesel::allow_tables_to_appear_in_same_query!({});",
        names.join(", ")
    )?;
    Ok(text)
}

/// A comment becomes documentation: of a column it is the class of its data, and `none` need not
/// be said.
fn document(text: &mut String, indent: &str, comment: Option<&str>) {
    for line in comment.unwrap_or_default().trim().lines() {
        if line != "none" {
            let _ = writeln!(text, "{indent}/// {line}");
        }
    }
}

/// As Diesel names a column whose own name Rust keeps for itself.
fn ident(name: &str) -> String {
    const KEPT: &[&str] = &[
        "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
        "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
        "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub",
        "ref", "return", "self", "static", "struct", "super", "trait", "true", "try", "type",
        "typeof", "union", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
    ];
    if KEPT.contains(&name) {
        format!("{name}_")
    } else {
        name.to_owned()
    }
}

fn diesel_type(sql: &str, not_null: bool) -> anyhow::Result<String> {
    if !not_null {
        return Ok(format!("Nullable<{}>", diesel_type(sql, true)?));
    }
    if let Some(element) = sql.strip_suffix("[]") {
        // An array's elements are never null here: a check would have to say otherwise.
        return Ok(format!("Array<{}>", diesel_type(element, true)?));
    }
    let rust = match sql {
        "bigint" => "Int8",
        "boolean" => "Bool",
        "bytea" => "Bytea",
        "character varying" => "Varchar",
        "date" => "Date",
        "double precision" => "Float8",
        "inet" => "Inet",
        "integer" => "Int4",
        "interval" => "Interval",
        "json" => "Json",
        "jsonb" => "Jsonb",
        "numeric" => "Numeric",
        "real" => "Float4",
        "smallint" => "Int2",
        "text" => "Text",
        "time without time zone" => "Time",
        "timestamp with time zone" => "Timestamptz",
        "timestamp without time zone" => "Timestamp",
        "uuid" => "Uuid",
        _ => bail!(
            "the type {sql} has no name in Diesel yet: give it one in xtask/src/schema/rust.rs"
        ),
    };
    Ok(rust.to_owned())
}

/// By rustfmt with the checkout's settings, so that `cargo fmt` leaves the file alone.
fn formatted(checkout: &Checkout, text: &str) -> anyhow::Result<String> {
    let mut rustfmt = Command::new("rustfmt")
        .current_dir(checkout.root())
        .args(["--edition", "2024", "--emit", "stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run rustfmt. Get it: rustup component add rustfmt")?;
    // Short enough for the pipe to hold both ways is not to be relied on: write from a thread.
    let writer = rustfmt.stdin.take().map(|mut stdin| {
        let text = text.to_owned();
        std::thread::spawn(move || stdin.write_all(text.as_bytes()))
    });
    let output = rustfmt.wait_with_output()?;
    if let Some(writer) = writer
        && !matches!(writer.join(), Ok(Ok(())))
    {
        bail!("rustfmt did not read the schema");
    }
    ensure!(
        output.status.success(),
        "rustfmt refused the schema ({})",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, sql_type: &str, not_null: bool) -> Column {
        Column {
            name: name.to_owned(),
            comment: None,
            sql_type: sql_type.to_owned(),
            not_null,
        }
    }

    #[test]
    fn a_table_is_written_in_diesels_words() {
        let table = Table {
            name: "contacts".to_owned(),
            comment: Some("People.".to_owned()),
            key: vec!["clinic_id".to_owned(), "id".to_owned()],
            columns: vec![
                column("clinic_id", "uuid", true),
                column("id", "uuid", true),
                column("type", "text", false),
                Column {
                    comment: Some("personal".to_owned()),
                    ..column("tags", "text[]", true)
                },
            ],
        };
        let text = text(&[table]).unwrap();
        let expected = "
diesel::table! {
    /// People.
    app.contacts (clinic_id, id) {
        clinic_id -> Uuid,
        id -> Uuid,
        #[sql_name = \"type\"]
        type_ -> Nullable<Text>,
        /// personal
        tags -> Array<Text>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(contacts);
";
        assert_eq!(text, format!("{HEAD}{expected}"));
    }

    #[test]
    fn an_unknown_type_says_where_to_add_it() {
        let error = diesel_type("tsvector", true).unwrap_err();
        assert!(error.to_string().contains("xtask/src/schema/rust.rs"));
    }

    #[test]
    fn a_table_without_a_key_is_refused() {
        let table = Table {
            name: "x".to_owned(),
            comment: None,
            key: Vec::new(),
            columns: Vec::new(),
        };
        assert!(text(&[table]).is_err());
    }
}
