//! Every span and event that the other crates write keeps to the conventions of this one, read
//! from their source: listed fields only, constant messages, no `#[instrument]` without `skip_all`.
//!
//! At run time an unlisted field is dropped; here its author is told.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use otel_telemetry::fields::shape_of;
use otel_telemetry::filter::QUIET;

#[test]
fn every_crate_keeps_to_the_conventions() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(crates).unwrap() {
        let source = entry.unwrap().path().join("src");
        for file in rust_files(&source) {
            let text = std::fs::read_to_string(&file).unwrap();
            let name = file.strip_prefix(crates).unwrap().display().to_string();
            found.extend(violations(&text).into_iter().map(|v| format!("{name}:{v}")));
        }
    }
    assert!(
        found.is_empty(),
        "see crates/otel-telemetry/src/fields.rs:\n{}",
        found.join("\n")
    );
}

#[test]
fn no_crate_of_ours_is_quiet_by_its_name() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for entry in std::fs::read_dir(crates).unwrap() {
        let name = entry
            .unwrap()
            .file_name()
            .into_string()
            .unwrap()
            .replace('-', "_");
        for quiet in QUIET {
            assert!(!name.starts_with(quiet), "{name} begins with {quiet}");
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

const EVENTS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "event"];
const SPANS: [&str; 6] = [
    "trace_span",
    "debug_span",
    "info_span",
    "warn_span",
    "error_span",
    "span",
];

/// `line: what is wrong`, for each thing that is.
fn violations(source: &str) -> Vec<String> {
    let text = without_comments(source);
    let mut found = Vec::new();
    let mut report = |at: usize, what: String| {
        let line = text[..at].matches('\n').count() + 1;
        found.push(format!("{line}: {what}"));
    };
    for (at, _) in text.match_indices("!(") {
        let before = &text[..at];
        let name = &before[before
            .rfind(|c: char| !c.is_alphanumeric() && c != '_')
            .map_or(0, |i| i + 1)..];
        let is_span = SPANS.contains(&name);
        if !is_span && !EVENTS.contains(&name) {
            continue;
        }
        for (place, argument) in arguments(&text[at + 2..]).into_iter().enumerate() {
            match read(argument) {
                Argument::Text(message) if !is_span => {
                    if message.replace("{{", "").contains('{') {
                        report(
                            at,
                            format!("the message {message} is not constant: use a field"),
                        );
                    }
                    // What follows would fill its braces.
                    break;
                }
                // `span!(level, …)` and `event!(level, …)` begin with one.
                Argument::Field(_) if place == 0 && ["span", "event"].contains(&name) => {}
                Argument::Field(key) if !listed(&key) => {
                    report(at, format!("the field {key} is not listed"));
                }
                _ => {}
            }
        }
    }
    for (at, attribute) in text.match_indices("instrument") {
        let opens = text[..at].trim_end_matches("tracing::").ends_with("#[");
        let inside = text[at + attribute.len()..]
            .split(']')
            .next()
            .unwrap_or_default();
        if opens && !inside.contains("skip_all") {
            report(at, "#[instrument] without skip_all".to_owned());
        }
    }
    for (at, call) in text.match_indices(".record(\"") {
        let key = text[at + call.len()..]
            .split('"')
            .next()
            .unwrap_or_default();
        if !listed(key) {
            report(at, format!("the field {key} is not listed"));
        }
        let value = text[at + call.len() + key.len()..].trim_start_matches("\", ");
        if key == "otel.status_code"
            && !["\"error\"", "\"ok\""]
                .iter()
                .any(|it| value.starts_with(it))
        {
            report(at, "a span's status is \"error\" or \"ok\"".to_owned());
        }
    }
    found
}

fn listed(key: &str) -> bool {
    key == "message" || key.starts_with("otel.") || shape_of(key).is_some()
}

/// Comments become spaces, so that offsets and lines stay.
fn without_comments(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    for line in source.split_inclusive('\n') {
        if line.trim_start().starts_with("//") {
            text.push_str(if line.ends_with('\n') { "\n" } else { "" });
        } else {
            text.push_str(line);
        }
    }
    text
}

enum Argument<'a> {
    /// A span's name, an event's message.
    Text(&'a str),
    Field(String),
    /// `target: "…"`, `Level::INFO`, …
    Other,
}

fn read(argument: &str) -> Argument<'_> {
    let argument = argument.trim();
    if argument.starts_with('"') && !argument.contains("\" =") {
        return Argument::Text(argument);
    }
    if ["target:", "parent:", "name:"]
        .iter()
        .any(|meta| argument.starts_with(meta))
    {
        return Argument::Other;
    }
    let key = argument.split(" = ").next().unwrap_or_default();
    let key = key
        .trim()
        .trim_start_matches(['%', '?', '&'])
        .trim_matches('"');
    let is_name = key.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    if is_name {
        Argument::Field(key.to_owned())
    } else {
        Argument::Other
    }
}

/// The arguments of a call whose parenthesis was just opened.
fn arguments(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut depth, mut from, mut quoted, mut escaped) = (0, 0, false, false);
    for (at, c) in text.char_indices() {
        if quoted {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match c {
            '"' => quoted = true,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => {
                found.push(&text[from..at]);
                break;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|argument| !argument.trim().is_empty());
    found
}

#[test]
fn the_reading_of_source_finds_what_it_should() {
    let good = r#"
        // tracing::info!(patient, "a comment");
        tracing::info_span!("db.contacts.find", otel.kind = "client", db.collection.name = "contacts");
        tracing::warn!(target: "server", error = %error, attempt, "it (still, perhaps) failed {{}}");
        span!(Level::INFO, "step", %count);
        #[tracing::instrument(skip_all, fields(count = 1))]
        span.record("http.response.status_code", 200_i64);
        span.record("otel.status_code", "error");
        assert!(patient, "not ours");
    "#;
    assert_eq!(violations(good), Vec::<String>::new());
    for (bad, what) in [
        (
            "info!(patient = %name, \"x\")",
            "the field patient is not listed",
        ),
        ("info!(?patient, \"x\")", "the field patient is not listed"),
        (
            "tracing::error!(\n  a.b = 1,\n)",
            "the field a.b is not listed",
        ),
        (
            "info_span!(\"x\", user.name = name)",
            "the field user.name is not listed",
        ),
        (
            "warn!(\"no {name}\")",
            "the message \"no {name}\" is not constant: use a field",
        ),
        ("#[instrument]\nfn f() {}", "#[instrument] without skip_all"),
        (
            "#[tracing::instrument(err)]",
            "#[instrument] without skip_all",
        ),
        ("span.record(\"cpf\", x)", "the field cpf is not listed"),
        (
            "span.record(\"otel.status_code\", \"failed\")",
            "a span's status is \"error\" or \"ok\"",
        ),
    ] {
        assert_eq!(violations(bad), [format!("1: {what}")], "{bad}");
    }
}
