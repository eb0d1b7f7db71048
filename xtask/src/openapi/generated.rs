//! What the built server prints, written into files: whole ones, and parts between two marks.
//!
//! A part lies between a line that holds `generated: NAME` and one that holds `end of generated:
//! NAME`, in whatever the file takes for a comment. Its lines are indented as its first mark is.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail};

use crate::{checkout::Checkout, interrupt, process};

/// A file, or a part of one, and the server's command that prints it.
struct Generated {
    file: &'static str,
    /// The name in the marks; `None` when the whole file is generated.
    part: Option<&'static str>,
    command: &'static [&'static str],
}

pub(super) const DOCUMENT: &str = "openapi/acolhe.json";

const GENERATED: &[Generated] = &[
    Generated {
        file: DOCUMENT,
        part: None,
        command: &["openapi"],
    },
    Generated {
        file: "openapi/operators.json",
        part: None,
        command: &["openapi", "--operators"],
    },
    Generated {
        file: "docs/telemetry.md",
        part: Some("metrics"),
        command: &["telemetry", "page"],
    },
    Generated {
        file: "docs/errors.md",
        part: None,
        command: &["errors"],
    },
    Generated {
        file: "docs/operations.md",
        part: Some("configuration"),
        command: &["config", "--markdown"],
    },
    Generated {
        file: "deploy/collector/config.yaml",
        part: Some("fields of spans and logs"),
        command: &["telemetry", "fields"],
    },
    Generated {
        file: "deploy/collector/config.yaml",
        part: Some("attributes of metrics"),
        command: &["telemetry", "labels"],
    },
    Generated {
        file: "deploy/prometheus/metrics.txt",
        part: None,
        command: &["telemetry", "metrics"],
    },
];

impl Generated {
    /// The file as it stands, and as it should be.
    fn now_and_then(&self, root: &Path, program: &Path) -> anyhow::Result<(String, String)> {
        interrupt::check()?;
        let now = fs::read_to_string(root.join(self.file)).unwrap_or_default();
        let printed = process::quiet(Command::new(program).args(self.command))?;
        let then = match self.part {
            None => printed,
            Some(part) => with_part(&now, part, &printed)
                .with_context(|| format!("{} has lost its marks of {part:?}", self.file))?,
        };
        Ok((now, then))
    }
}

/// Writes what differs, and names it.
pub(super) fn write(checkout: &Checkout, program: &Path) -> anyhow::Result<Vec<&'static str>> {
    let mut written = Vec::new();
    for generated in GENERATED {
        let (now, then) = generated.now_and_then(checkout.root(), program)?;
        if now == then {
            continue;
        }
        let path = checkout.root().join(generated.file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, then).with_context(|| format!("cannot write {}", generated.file))?;
        if !written.contains(&generated.file) {
            written.push(generated.file);
        }
    }
    Ok(written)
}

/// Names all files; fails when a committed one is not what the code says.
pub(super) fn check(checkout: &Checkout, program: &Path) -> anyhow::Result<String> {
    let mut stale = Vec::new();
    for generated in GENERATED {
        let (now, then) = generated.now_and_then(checkout.root(), program)?;
        if now != then {
            stale.push(generated.file);
        }
    }
    stale.dedup();
    if !stale.is_empty() {
        bail!(
            "not what the code says: {}. Write anew: cargo xtask openapi",
            stale.join(", ")
        );
    }
    let mut files: Vec<_> = GENERATED.iter().map(|generated| generated.file).collect();
    files.dedup();
    Ok(files.join(", "))
}

/// The text with what is printed between the marks of `part`; `None` where a mark is missing.
fn with_part(text: &str, part: &str, printed: &str) -> Option<String> {
    let (begin, end) = (
        format!("generated: {part}"),
        format!("end of generated: {part}"),
    );
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().position(|line| line.contains(&end))?;
    let first = lines
        .get(..last)?
        .iter()
        .position(|line| line.contains(&begin))?;
    let mark = lines.get(first)?;
    let indent = &mark[..mark.len() - mark.trim_start().len()];
    let mut filled = String::new();
    let mut add = |indent: &str, line: &str| {
        if !line.is_empty() {
            filled.push_str(indent);
            filled.push_str(line);
        }
        filled.push('\n');
    };
    for line in lines.get(..=first)? {
        add("", line);
    }
    for line in printed.lines() {
        add(indent, line);
    }
    for line in lines.get(last..)? {
        add("", line);
    }
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a:\n  # generated: b (by x)\n  - old\n  # end of generated: b\nc\n";

    #[test]
    fn a_part_is_replaced_and_the_rest_stays() {
        let filled = with_part(TEXT, "b", "- one\n\n- two\n").unwrap();
        assert_eq!(
            filled,
            "a:\n  # generated: b (by x)\n  - one\n\n  - two\n  # end of generated: b\nc\n"
        );
        assert_eq!(with_part(&filled, "b", "- old\n").unwrap(), TEXT);
    }

    #[test]
    fn a_missing_mark_is_told_and_nothing_is_written_elsewhere() {
        assert_eq!(with_part(TEXT, "d", "x"), None);
        assert_eq!(with_part("# generated: b\n", "b", "x"), None);
        assert_eq!(with_part("# end of generated: b\n", "b", "x"), None);
    }
}
