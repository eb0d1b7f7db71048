//! Documents name only what exists: every path in a code span or link of every `*.md`.
//!
//! A code span is taken for a path when it begins with a folder or file of the top level, or ends
//! in a file's extension. A bare file name (`ports.rs`) must be the name of some file. `*` stands
//! for a part of a name, a placeholder in `<…>` or `{…}` keeps a span from being looked at, and so
//! does a place that tools make (`.acolhe/`, `target/`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::Context;

use super::verdict;
use crate::checkout::Checkout;

const EXTENSIONS: &[&str] = &[
    "json", "lock", "md", "proto", "rs", "sh", "snap", "sql", "toml", "yaml", "yml",
];

/// Made by tools, ignored by git.
const MADE: &[&str] = &[".acolhe", "target"];

pub(super) fn check(checkout: &Checkout) -> anyhow::Result<String> {
    let files = checkout.files()?;
    let tree = Tree::new(&files);
    let mut faults = Vec::new();
    let mut documents = 0;
    for file in files.iter().filter(|file| is_document(file)) {
        documents += 1;
        let text = fs::read_to_string(checkout.root().join(file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        for (line, named) in names(&text) {
            if !tree.has(file, &named) {
                faults.push(format!(
                    "{}:{line} names {}, which does not exist",
                    file.display(),
                    named.text()
                ));
            }
        }
    }
    verdict(
        &faults,
        "Correct the document, or the name.",
        format!("{documents} documents"),
    )
}

fn is_document(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "md")
        && file
            .iter()
            .next()
            .is_some_and(|first| !MADE.contains(&&*first.to_string_lossy()))
}

/// What a document points at.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// A code span, from the root.
    Span(String),
    /// A link, from the document's folder.
    Link(String),
}

impl Named {
    fn text(&self) -> &str {
        match self {
            Self::Span(text) | Self::Link(text) => text,
        }
    }
}

/// All files, and the folders above them.
struct Tree {
    paths: BTreeSet<PathBuf>,
    file_names: BTreeSet<String>,
}

impl Tree {
    fn new(files: &[PathBuf]) -> Self {
        let paths = files
            .iter()
            .flat_map(|file| file.ancestors())
            .map(Path::to_owned)
            .collect();
        let file_names = files
            .iter()
            .filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned()))
            .collect();
        Self { paths, file_names }
    }

    fn has(&self, document: &Path, named: &Named) -> bool {
        match named {
            Named::Link(link) => {
                let folder = document.parent().unwrap_or(Path::new(""));
                resolve(&folder.join(link)).is_some_and(|path| self.paths.contains(&path))
            }
            Named::Span(span) => !self.looks_like_a_path(span) || self.has_span(span),
        }
    }

    fn looks_like_a_path(&self, span: &str) -> bool {
        if span.contains(|c: char| c.is_whitespace() || "<>{}()$\"'=@?|…,".contains(c))
            || span.contains("://")
            || span.starts_with(['/', '~', '-'])
        {
            return false;
        }
        let path = Path::new(span);
        let first = path.iter().next().unwrap_or_default().to_string_lossy();
        if MADE.contains(&&*first) {
            return false;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_file = extension.is_some_and(|extension| EXTENSIONS.contains(&extension));
        let has_folder = span.contains('/');
        // `serde_json` is a crate and `Cargo.toml` a file; `crates/x` is a path, `text/plain` is not.
        is_file || (has_folder && self.paths.contains(Path::new(&*first)))
    }

    fn has_span(&self, span: &str) -> bool {
        let span = span.trim_end_matches('/');
        let span = match span.rsplit_once(':') {
            Some((path, line)) if line.bytes().all(|byte| byte.is_ascii_digit()) => path,
            _ => span,
        };
        if span.contains('*') {
            return self
                .paths
                .iter()
                .any(|path| fits(span, &path.to_string_lossy()));
        }
        self.paths.contains(Path::new(span))
            || (!span.contains('/') && self.file_names.contains(span))
    }
}

/// Without `.` and `..`; `None` when it leaves the repository.
fn resolve(path: &Path) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => resolved.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

/// `*` stands for anything within a name, `**` for anything.
fn fits(pattern: &str, path: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("**/") {
        return fits(rest, path)
            || path
                .match_indices('/')
                .any(|(at, _)| fits(rest, &path[at + 1..]));
    }
    let Some(first) = pattern.chars().next() else {
        return path.is_empty();
    };
    let rest = &pattern[first.len_utf8()..];
    if first == '*' {
        let end = path.find('/').unwrap_or(path.len());
        return (0..=end).any(|at| path.is_char_boundary(at) && fits(rest, &path[at..]));
    }
    path.strip_prefix(first)
        .is_some_and(|path| fits(rest, path))
}

/// What a text names, with line numbers. Fenced blocks are examples and are passed over.
fn names(text: &str) -> Vec<(usize, Named)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let start = line.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => {}
            (None, None) => {
                let (spans, prose) = split_spans(line);
                found.extend(spans.into_iter().map(|span| (index + 1, Named::Span(span))));
                found.extend(
                    links(&prose)
                        .into_iter()
                        .map(|link| (index + 1, Named::Link(link))),
                );
            }
        }
    }
    found
}

/// The code spans of a line, and the line without them.
fn split_spans(line: &str) -> (Vec<String>, String) {
    let mut spans = Vec::new();
    let mut prose = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let ticks = rest[start..]
            .bytes()
            .take_while(|byte| *byte == b'`')
            .count();
        let mark = &rest[start..start + ticks];
        let after = &rest[start + ticks..];
        let Some(end) = after.find(mark) else { break };
        prose.push_str(&rest[..start]);
        spans.push(after[..end].trim().to_owned());
        rest = &after[end + ticks..];
    }
    prose.push_str(rest);
    (spans, prose)
}

/// The relative targets of `[…](…)`, without their anchors.
fn links(prose: &str) -> Vec<String> {
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .filter_map(|target| target.split('#').next())
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(document: &str, text: &str) -> Vec<String> {
        let files = [
            "README.md",
            "docs/architecture.md",
            "docs/decisions/0001-hexagon.md",
            "crates/kernel/src/phone.rs",
            "migrations/2026-01-01-000001_first/down.sql",
            ".ci/run",
        ]
        .map(PathBuf::from);
        let tree = Tree::new(&files);
        names(text)
            .into_iter()
            .filter(|(_, named)| !tree.has(Path::new(document), named))
            .map(|(line, named)| format!("{line} {}", named.text()))
            .collect()
    }

    #[test]
    fn paths_that_exist_are_fine() {
        let text = "`crates/kernel/src/phone.rs`, `crates/kernel/`, `crates/kernel/src/phone.rs:12`, `.ci/run`, \
                    `down.sql`, `migrations/*/down.sql`, `docs/**/*.md`, [it](docs/architecture.md#map), [b](./README.md)";
        assert_eq!(missing("README.md", text), Vec::<String>::new());
        let from_below = "[up](../architecture.md) and ``docs/architecture.md``";
        assert_eq!(
            missing("docs/decisions/0001-hexagon.md", from_below),
            Vec::<String>::new()
        );
    }

    #[test]
    fn every_document_is_read_wherever_it_lies() {
        for file in [
            "README.md",
            "migrations/README.md",
            "crates/kernel/README.md",
        ] {
            assert!(is_document(Path::new(file)), "{file}");
        }
        assert!(!is_document(Path::new("crates/kernel/src/lib.rs")));
    }

    #[test]
    fn what_is_no_path_is_left_alone() {
        let text = "`application/problem+json`, `serde_json`, `GET /api/v1/contacts`, `crates/<name>/src/lib.rs`, \
                    `target/debug`, `.acolhe/demo.json`, `{data, nextCursor}`, `https://a.example/b.md`, [x](https://a.example), [y](#here)\n\
                    ```\n`crates/none.rs`\n```\n";
        assert_eq!(missing("README.md", text), Vec::<String>::new());
    }

    #[test]
    fn paths_that_are_gone_are_told_with_their_line() {
        let text = "One\n`crates/kernel/src/fax.rs` and `gone.rs`\n`crates/none` [x](docs/none.md) [y](../../etc/passwd)\n\
                    `migrations/*/sideways.sql`";
        assert_eq!(
            missing("README.md", text),
            [
                "2 crates/kernel/src/fax.rs",
                "2 gone.rs",
                "3 crates/none",
                "3 docs/none.md",
                "3 ../../etc/passwd",
                "4 migrations/*/sideways.sql",
            ]
        );
    }
}
