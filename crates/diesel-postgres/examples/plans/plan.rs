//! A plan, as `auto_explain` tells it.

use std::fmt::Write as _;

use serde_json::Value;

/// A plan with what it did.
pub(crate) struct Plan {
    root: Value,
}

/// One node of a plan.
#[derive(Clone, Copy)]
pub(crate) struct Node<'p>(&'p Value);

impl Plan {
    /// Reads a notice: `NOTICE: duration: 0.123 ms  plan:` and JSON. Answers milliseconds too.
    pub(crate) fn read(notice: &str) -> Option<(f64, Self)> {
        let (_, told) = notice.split_once("duration: ")?;
        let (ms, rest) = told.split_once(" ms")?;
        let json = &rest[rest.find('{')?..];
        let mut read: Value = serde_json::from_str(json).ok()?;
        let root = read.get_mut("Plan")?.take();
        Some((ms.parse().ok()?, Self { root }))
    }

    /// Rows that were answered.
    pub(crate) fn rows(&self) -> f64 {
        Node(&self.root).rows()
    }

    /// Pages that were looked at, all nodes together.
    pub(crate) fn buffers(&self) -> u64 {
        Node(&self.root).buffers()
    }

    /// Every node, from the top.
    pub(crate) fn nodes(&self) -> Vec<Node<'_>> {
        let mut all = Vec::new();
        gather(&self.root, 0, &mut |node, _| all.push(node));
        all
    }

    /// The plan for people.
    pub(crate) fn tree(&self) -> String {
        let mut text = String::new();
        gather(&self.root, 0, &mut |node, depth| {
            let indent = "  ".repeat(depth + 2);
            let _ = write!(text, "{indent}{}", node.kind());
            for part in [node.text("Index Name"), node.text("Relation Name")] {
                let _ = write!(text, "{}{part}", if part.is_empty() { "" } else { " " });
            }
            let _ = write!(
                text,
                " rows={} loops={} (expected {})",
                node.0["Actual Rows"], node.0["Actual Loops"], node.0["Plan Rows"]
            );
            for name in [
                "Index Cond",
                "Filter",
                "One-Time Filter",
                "Sort Key",
                "Join Filter",
            ] {
                if !node.0[name].is_null() {
                    let _ = write!(text, "\n{indent}    {name}: {}", node.0[name]);
                }
            }
            if node.removed() > 0.0 {
                let _ = write!(text, "\n{indent}    removed: {}", node.removed());
            }
            text.push('\n');
        });
        text
    }
}

fn gather<'p>(value: &'p Value, depth: usize, see: &mut impl FnMut(Node<'p>, usize)) {
    see(Node(value), depth);
    for child in value["Plans"].as_array().into_iter().flatten() {
        gather(child, depth + 1, see);
    }
}

impl<'p> Node<'p> {
    fn number(self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or(0.0)
    }

    /// A text of the node; empty where it has none.
    pub(crate) fn text(self, name: &str) -> &'p str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// Such as `Index Scan`.
    pub(crate) fn kind(self) -> &'p str {
        self.text("Node Type")
    }

    /// Rows that came out of it, all loops together.
    pub(crate) fn rows(self) -> f64 {
        self.number("Actual Rows") * self.number("Actual Loops")
    }

    /// Rows that it looked at in vain, all loops together.
    pub(crate) fn removed(self) -> f64 {
        let all = self.number("Rows Removed by Filter")
            + self.number("Rows Removed by Join Filter")
            + self.number("Rows Removed by Index Recheck");
        all * self.number("Actual Loops")
    }

    /// Pages that it and those below it looked at.
    pub(crate) fn buffers(self) -> u64 {
        let count = |name| self.0[name].as_u64().unwrap_or(0);
        count("Shared Hit Blocks") + count("Shared Read Blocks")
    }

    /// Whether it reads a table of ours.
    pub(crate) fn reads_table(self) -> bool {
        ["app", "part"].contains(&self.text("Schema")) && !self.text("Relation Name").is_empty()
    }
}
