//! What a migration may not do to a table that may have grown: build an index under a lock.
//!
//! An index on a table that the same migration makes is built at once. On any other it is built
//! by `CREATE INDEX CONCURRENTLY IF NOT EXISTS`, alone in its migration and outside a transaction,
//! so that a run that was cut can be run again. `ON ONLY` is let through: on a partitioned table
//! it builds nothing.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::Context;

/// The faults of one migration's `up.sql`; `concurrent` when it runs outside a transaction.
fn faults(sql: &str, concurrent: bool) -> Vec<String> {
    let statements = statements(sql);
    let mut made = BTreeSet::new();
    let mut faults = Vec::new();
    for statement in &statements {
        let words: Vec<&str> = statement.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["create", "table", "if", "not", "exists", table, ..]
            | ["create", "table", table, ..] => {
                made.insert((*table).to_owned());
            }
            ["create", "unique", "index", rest @ ..] | ["create", "index", rest @ ..] => {
                faults.extend(index(rest, &made));
            }
            ["alter", "table", "only", table, rest @ ..] | ["alter", "table", table, rest @ ..]
                if !made.contains(*table) && builds_an_index(rest) =>
            {
                faults.push(format!(
                    "a key of {table} builds its index under a lock: build a unique index \
                     concurrently, then ADD CONSTRAINT … USING INDEX"
                ));
            }
            _ => {}
        }
    }
    if concurrent && statements.len() != 1 {
        faults.push(format!(
            "runs outside a transaction with {} statements: several sent together are one again",
            statements.len()
        ));
    }
    if !concurrent
        && statements
            .iter()
            .flatten()
            .any(|word| word == "concurrently")
    {
        faults.push(
            "builds concurrently inside a transaction: metadata.toml must say \
             run_in_transaction = false"
                .to_owned(),
        );
    }
    faults
}

/// What is wrong with `CREATE [UNIQUE] INDEX` and what follows it.
fn index(rest: &[&str], made: &BTreeSet<String>) -> Option<String> {
    let on = rest.iter().position(|word| *word == "on")?;
    let table = *rest.get(on + 1)?;
    if table == "only" || made.contains(table) {
        return None;
    }
    if rest.starts_with(&["concurrently", "if", "not", "exists"]) {
        return None;
    }
    let name = rest.get(on.checked_sub(1)?)?;
    Some(format!(
        "{name} is built on {table}, which an earlier migration made: CREATE INDEX CONCURRENTLY IF \
         NOT EXISTS"
    ))
}

fn builds_an_index(rest: &[&str]) -> bool {
    let keys = rest.windows(2).any(|pair| pair == ["primary", "key"]);
    let unique = rest.contains(&"unique") || rest.contains(&"exclude");
    (keys || unique)
        && !rest.windows(2).any(|pair| pair == ["using", "index"])
        && (rest.contains(&"add"))
}

/// The words of each statement in lower case, without comments, texts and bodies of functions.
fn statements(sql: &str) -> Vec<Vec<String>> {
    let mut code = String::new();
    let mut rest = sql;
    while let Some(next) = rest.chars().next() {
        let cut = if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if next == '\'' {
            code.push_str("''");
            rest[1..].find('\'').map_or(rest.len(), |end| end + 2)
        } else if let Some(tag) = dollar_tag(rest) {
            code.push_str("''");
            let body = &rest[tag.len()..];
            body.find(tag).map_or(rest.len(), |end| end + 2 * tag.len())
        } else {
            match next {
                '(' | ')' | ',' => {
                    code.push(' ');
                    code.push(next);
                    code.push(' ');
                }
                _ => code.extend(next.to_lowercase()),
            }
            next.len_utf8()
        };
        rest = &rest[cut..];
    }
    code.split(';')
        .map(|one| one.split_whitespace().map(str::to_owned).collect())
        .filter(|words: &Vec<String>| !words.is_empty())
        .collect()
}

/// `$$` or `$name$` at the beginning.
fn dollar_tag(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('$')?;
    let end = inner.find('$')?;
    inner[..end]
        .chars()
        .all(|one| one.is_alphanumeric() || one == '_')
        .then(|| &text[..end + 2])
}

/// The faults of every migration, each with its folder.
pub(super) fn check(migrations: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let listed = fs::read_dir(migrations)
        .with_context(|| format!("cannot read {}", migrations.display()))?;
    for folder in listed.flatten().map(|entry| entry.path()) {
        if !folder.is_dir() {
            continue;
        }
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let sql = fs::read_to_string(folder.join("up.sql"))
            .with_context(|| format!("{name} has no up.sql"))?;
        let concurrent = fs::read_to_string(folder.join("metadata.toml"))
            .is_ok_and(|text| text.replace(' ', "").contains("run_in_transaction=false"));
        let faults = faults(&sql, concurrent);
        found.extend(
            faults
                .iter()
                .map(|fault| format!("migrations/{name}: {fault}")),
        );
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_on_an_older_table_is_built_concurrently() {
        for built in [
            "CREATE INDEX a ON app.t (b)",
            "create unique index a on app.t (b)",
            "CREATE TABLE app.other (id int); CREATE INDEX IF NOT EXISTS a ON app.t (b);",
            "ALTER TABLE app.t ADD CONSTRAINT a UNIQUE (b)",
            "ALTER TABLE ONLY app.t ADD CONSTRAINT a PRIMARY KEY (b)",
            "ALTER TABLE app.t ADD COLUMN b int CONSTRAINT a UNIQUE",
        ] {
            assert_eq!(faults(built, false).len(), 1, "{built}");
        }
        // A run that was cut would fail for ever.
        let again = "CREATE INDEX CONCURRENTLY a ON app.t (b)";
        assert_eq!(faults(again, true).len(), 1);
    }

    #[test]
    fn what_blocks_nobody_is_let_through() {
        for (built, concurrent) in [
            (
                "CREATE TABLE app.t (id int UNIQUE); CREATE INDEX a ON app.t(b)",
                false,
            ),
            (
                "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a ON app.t (b);",
                true,
            ),
            ("CREATE INDEX a ON ONLY app.t (b)", false),
            (
                "ALTER TABLE app.t ADD CONSTRAINT a UNIQUE USING INDEX a",
                false,
            ),
            (
                "-- CREATE INDEX a ON app.t (b)\nSELECT 'CREATE INDEX a ON app.t (b);'",
                false,
            ),
            (
                "CREATE FUNCTION f() AS $x$ CREATE INDEX a ON app.t (b); $x$",
                false,
            ),
            ("ALTER TABLE app.t ADD COLUMN b int", false),
        ] {
            assert_eq!(faults(built, concurrent), [""; 0], "{built}");
        }
    }

    #[test]
    fn what_is_built_concurrently_is_alone_and_outside_a_transaction() {
        let built = "CREATE INDEX CONCURRENTLY IF NOT EXISTS a ON app.t (b)";
        assert_eq!(faults(built, false).len(), 1);
        assert_eq!(faults(&format!("{built}; SELECT 1"), true).len(), 1);
    }
}
