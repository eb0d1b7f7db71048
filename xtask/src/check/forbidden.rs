//! Constructs that no lint of the compiler's bans, found by reading the source.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::verdict;
use crate::checkout::Checkout;

/// A search over files, and why what it finds is banned.
struct Ban {
    why: &'static str,
    /// Which files it is for.
    concerns: fn(&Path) -> bool,
    /// The byte offsets of what it finds. Comments are blanked; strings are not.
    find: fn(&str) -> Vec<usize>,
}

const BANS: &[Ban] = &[
    Ban {
        why: "an instrumented function records its arguments, patients' among them: write skip_all",
        concerns: is_crate_source,
        find: recording_spans,
    },
    Ban {
        why: "SQL is never built from text: bind the value, or use a statement of Diesel's",
        concerns: is_database_adapter,
        find: sql_from_text,
    },
    Ban {
        why: "unfinished code does not land",
        concerns: is_rust,
        find: |code| calls_of(code, &["todo!", "unimplemented!"]),
    },
    Ban {
        why: "kernel and domains do no I/O: files, environment, threads, network come through ports",
        concerns: is_pure_source,
        find: |code| {
            words(
                code,
                &[
                    "std::fs",
                    "std::env",
                    "std::process",
                    "std::thread",
                    "std::io",
                    "TcpStream",
                    "UdpSocket",
                ],
            )
        },
    },
];

pub(super) fn check(checkout: &Checkout) -> anyhow::Result<String> {
    let mut faults = Vec::new();
    let mut seen = 0;
    let files: Vec<PathBuf> = checkout
        .files()?
        .into_iter()
        .filter(|file| is_rust(file))
        .collect();
    for file in &files {
        seen += 1;
        let text = fs::read_to_string(checkout.root().join(file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        faults.extend(faults_in(file, &text));
    }
    verdict(&faults, "Each says why.", format!("{seen} files"))
}

fn faults_in(file: &Path, text: &str) -> Vec<String> {
    let code = without_comments(text);
    let mut faults = Vec::new();
    for ban in BANS.iter().filter(|ban| (ban.concerns)(file)) {
        for offset in (ban.find)(&code) {
            let line = code[..offset].matches('\n').count() + 1;
            faults.push(format!("{}:{line} {}", file.display(), ban.why));
        }
    }
    faults
}

fn is_rust(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "rs")
}

/// Product code: `crates/*/src`.
fn is_crate_source(file: &Path) -> bool {
    let mut parts = file.iter();
    is_rust(file)
        && parts.next().is_some_and(|part| part == "crates")
        && parts.nth(1).is_some_and(|part| part == "src")
}

fn is_database_adapter(file: &Path) -> bool {
    is_crate_source(file) && file.starts_with("crates/diesel-postgres")
}

fn is_pure_source(file: &Path) -> bool {
    is_crate_source(file)
        && ["kernel", "clinics", "contacts", "conversations"]
            .iter()
            .any(|name| file.starts_with(Path::new("crates").join(name)))
}

/// `#[instrument]` and `#[tracing::instrument(…)]` without `skip_all`.
fn recording_spans(code: &str) -> Vec<usize> {
    ["#[instrument", "#[tracing::instrument"]
        .iter()
        .flat_map(|start| code.match_indices(start))
        .filter(|(offset, _)| {
            let attribute = &code[*offset..];
            let end = attribute
                .find(")]")
                .or_else(|| attribute.find(']'))
                .unwrap_or(attribute.len());
            !attribute[..end].contains("skip_all")
        })
        .map(|(offset, _)| offset)
        .collect()
}

/// Text that is put together and begins as SQL does, and anything put together where SQL is run.
fn sql_from_text(code: &str) -> Vec<usize> {
    const VERBS: &[&str] = &[
        "ALTER", "BEGIN", "COPY", "CREATE", "DELETE", "DROP", "GRANT", "INSERT", "NOTIFY",
        "REVOKE", "SELECT", "SET", "TRUNCATE", "UPDATE", "WITH",
    ];
    let made = calls_of(code, &["format!", "write!", "writeln!", "concat_string!"])
        .into_iter()
        .filter(|offset| {
            let arguments = arguments_of(&code[*offset..]);
            let literal = arguments.split('"').nth(1).unwrap_or_default();
            literal
                .split_whitespace()
                .next()
                .is_some_and(|word| VERBS.contains(&word))
        });
    let run = [
        "sql_query(",
        "batch_execute(",
        "dsl::sql::<",
        "simple_query(",
    ]
    .iter()
    .flat_map(|call| code.match_indices(call))
    .map(|(offset, _)| offset)
    .filter(|offset| {
        let arguments = arguments_of(&code[*offset..]);
        arguments.contains(concat!("format", "!("))
            || arguments.contains(".as_str()")
            || arguments.contains(".join(")
    });
    let mut found: Vec<usize> = made.chain(run).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// From the first parenthesis to its partner.
fn arguments_of(call: &str) -> &str {
    let start = call.find('(').unwrap_or(call.len());
    let mut depth = 0_usize;
    for (offset, c) in call[start..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return &call[start..start + offset];
        }
    }
    &call[start..]
}

/// Where one of these macros is called.
fn calls_of(code: &str, macros: &[&str]) -> Vec<usize> {
    words(code, macros)
        .into_iter()
        .filter(|offset| {
            let after = code[*offset..]
                .split_once('!')
                .map_or("", |(_, after)| after);
            after.starts_with(['(', '[', '{'])
        })
        .collect()
}

/// Where one of these stands by itself, not as the end of a longer name.
fn words(code: &str, wanted: &[&str]) -> Vec<usize> {
    let mut found: Vec<usize> = wanted
        .iter()
        .flat_map(|word| code.match_indices(word))
        .map(|(offset, _)| offset)
        .filter(|offset| {
            let before = code[..*offset].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "_\"'`".contains(c))
        })
        .collect();
    found.sort_unstable();
    found
}

/// Line comments blanked, so that prose may name what is banned; line numbers stay. A `//` within
/// a string (an address) blanks the rest of its line, which is harmless here.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let end = line.find("//").unwrap_or(line.len());
        code.push_str(&line[..end]);
        if end < line.len() && line.ends_with('\n') {
            code.push('\n');
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(file: &str, text: &str) -> Vec<String> {
        faults_in(Path::new(file), text)
            .into_iter()
            .map(|fault| {
                fault
                    .split(' ')
                    .next()
                    .unwrap()
                    .rsplit(':')
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    const DATABASE: &str = "crates/diesel-postgres/src/contacts.rs";

    #[test]
    fn a_span_must_skip_its_arguments() {
        let text = "#[tracing::instrument(skip_all, fields(a = 1))]\nfn a() {}\n#[instrument]\nfn b() {}\n\
                    #[tracing::instrument(\n    skip(self),\n)]\nfn c() {}\n";
        assert_eq!(lines("crates/http-api/src/lib.rs", text), ["3", "5"]);
    }

    #[test]
    fn sql_put_together_from_text_is_found() {
        for bad in [
            r#"let q = format!("SELECT * FROM {table}");"#,
            r#"sql_query(format!("{start} WHERE id = 1"))"#,
            r#"c.batch_execute(&format!("{x}"))"#,
            r#"write!(q, "  DELETE FROM x WHERE {c}")?;"#,
            "sql_query(parts.join(\" \"))",
        ] {
            assert_eq!(lines(DATABASE, bad), ["1"], "{bad}");
            assert_eq!(
                lines("crates/test-support/src/lib.rs", bad),
                Vec::<String>::new()
            );
        }
        for good in [
            r#"sql_query("SELECT 1").bind::<Text, _>(format!("{a}%"))"#,
            r#"format!("Selected {n}")"#,
            r#"// format!("SELECT {x}")"#,
            r#"batch_execute("SELECT 1")"#,
        ] {
            assert_eq!(lines(DATABASE, good), Vec::<String>::new(), "{good}");
        }
    }

    #[test]
    fn unfinished_code_is_found_and_prose_about_it_is_not() {
        let call = concat!("fn a() { to", "do!() }\n");
        assert_eq!(lines("crates/kernel/src/lib.rs", call), ["1"]);
        assert_eq!(
            lines("xtask/src/main.rs", concat!("// to", "do!()\n")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_domain_does_no_io() {
        let text = "use std::collections::BTreeMap;\nuse std::fs;\n";
        assert_eq!(lines("crates/contacts/src/lib.rs", text), ["2"]);
        assert_eq!(
            lines("crates/server/src/main.rs", text),
            Vec::<String>::new()
        );
    }
}
