//! What was measured, as a table for people and as JSON for machines.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context;
use serde::Serialize;

use super::measure::{Ratio, Series};

/// The document that holds the table, between these two lines.
pub(crate) const DOCUMENT: &str = "docs/performance.md";

/// Where a table stands in the document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) begin: &'static str,
    pub(crate) end: &'static str,
}

/// The table of ratios.
pub(crate) const BENCH: Place = Place {
    begin: "<!-- bench: written by `cargo xtask bench` -->",
    end: "<!-- end of bench -->",
};

/// The table of what the product promised.
pub(crate) const LOAD: Place = Place {
    begin: "<!-- load: written by `cargo xtask load` -->",
    end: "<!-- end of load -->",
};

/// How a goal came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "why")]
pub(crate) enum Verdict {
    Reached,
    Missed,
    /// A wrong answer, which no rate makes up for.
    Failed(String),
    /// Why it could not be measured.
    NotMeasured(String),
}

impl Verdict {
    fn text(&self) -> String {
        match self {
            Self::Reached => "reached".to_owned(),
            Self::Missed => "**missed**".to_owned(),
            Self::Failed(why) => format!("**failed**: {why}"),
            Self::NotMeasured(why) => format!("not measured: {why}"),
        }
    }
}

/// One line of the table: one goal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Line {
    pub(crate) what: String,
    pub(crate) measured: String,
    pub(crate) goal: String,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    /// Rates, times and CPU that the figure stands on.
    pub(crate) beside: String,
}

/// A row of the goals, measured.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) lines: Vec<Line>,
    /// Every round of every contender.
    pub(crate) series: Vec<Series>,
}

/// Is it at least so much, or at most?
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn met(self, value: f64) -> Verdict {
        let met = match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        };
        if met {
            Verdict::Reached
        } else {
            Verdict::Missed
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}{unit}"),
            Self::AtMost(most) => format!("≤ {most}{unit}"),
        }
    }
}

impl Row {
    pub(crate) fn not_measured(what: &str, goal: &str, why: impl Into<String>) -> Self {
        let line = Line {
            what: what.to_owned(),
            measured: "–".to_owned(),
            goal: goal.to_owned(),
            verdict: Verdict::NotMeasured(why.into()),
            beside: String::new(),
        };
        Self {
            lines: vec![line],
            series: Vec::new(),
        }
    }

    /// A ratio, judged by its median; the worst round is told.
    pub(crate) fn ratio(
        &mut self,
        what: impl Into<String>,
        ratio: Ratio,
        goal: Goal,
        of: &[&Series],
    ) {
        let worst = match goal {
            Goal::AtLeast(_) => ratio.least,
            Goal::AtMost(_) => ratio.most,
        };
        self.push(
            what,
            format!("{:.2} × ({worst:.2})", ratio.median),
            goal.met(ratio.median),
            goal.text(" ×"),
            of,
        );
    }

    /// A figure in a unit, and the worst of the rounds.
    pub(crate) fn figure(
        &mut self,
        what: impl Into<String>,
        (median, worst): (f64, f64),
        unit: &str,
        goal: Goal,
        of: &[&Series],
    ) {
        self.push(
            what,
            format!("{median:.1} {unit} ({worst:.1})"),
            goal.met(median),
            goal.text(&format!(" {unit}")),
            of,
        );
    }

    fn push(
        &mut self,
        what: impl Into<String>,
        measured: String,
        verdict: Verdict,
        goal: String,
        of: &[&Series],
    ) {
        // One wrong answer fails the row, whatever its rate.
        let failed: u64 = of.iter().map(|series| series.failed()).sum();
        let verdict = if failed == 0 {
            verdict
        } else {
            let fault = of.iter().find_map(|series| series.first_fault());
            Verdict::Failed(format!(
                "{failed} wrong answers, {}",
                fault.unwrap_or("unknown")
            ))
        };
        // What an earlier line has told already is not told again.
        let beside: Vec<String> = of
            .iter()
            .filter(|series| !series.outcomes.is_empty())
            .map(|series| told(series))
            .filter(|told| !self.lines.iter().any(|line| line.beside.contains(told)))
            .collect();
        self.lines.push(Line {
            what: what.into(),
            measured,
            goal,
            verdict,
            beside: beside.join("; "),
        });
    }

    /// Takes the last line's success back.
    pub(crate) fn fail(&mut self, why: &str) {
        if let Some(line) = self.lines.last_mut() {
            line.verdict = Verdict::Failed(why.to_owned());
        }
    }

    pub(crate) fn keep(&mut self, series: Vec<Series>) {
        self.series.extend(series);
    }
}

/// A contender's medians, for the last column.
fn told(series: &Series) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{}: {:.0}/s", series.name, series.rate());
    let (program, postgres, redis) = (
        series.program_cpu(),
        series.postgres_cpu(),
        series.redis_cpu(),
    );
    let parts: Vec<String> = [("", program), ("PostgreSQL ", postgres), ("Redis ", redis)]
        .into_iter()
        .filter(|(_, micros)| *micros >= 0.05)
        .map(|(name, micros)| format!("{name}{micros:.0}"))
        .collect();
    if !parts.is_empty() {
        let _infallible = write!(text, ", CPU {} µs", parts.join(" + "));
    }
    if series.p99() > 0.0 {
        let _infallible = write!(
            text,
            ", p50 {:.2}, p99 {:.2} ms",
            series.p50(),
            series.p99()
        );
    }
    text
}

/// The lines of the table that belong to each row of the goals.
pub(crate) type Table = BTreeMap<u8, Vec<String>>;

const HEAD: &str = "| # | what | median (worst round) | goal | | beside it | on |\n\
                    |---|---|---|---|---|---|---|\n";

/// The lines of one row. `on` says when and of which commit.
pub(crate) fn lines(number: u8, row: &Row, on: &str) -> Vec<String> {
    row.lines
        .iter()
        .map(|line| {
            let cells = [
                line.what.as_str(),
                &line.measured,
                &line.goal,
                &line.verdict.text(),
                &line.beside,
                on,
            ];
            // A bar would end the cell.
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "/")).collect();
            format!("| {number} | {} |", cells.join(" | "))
        })
        .collect()
}

/// Writes the lines into the document, in place of those of the same rows; others stay.
pub(crate) fn write(root: &Path, new: &Table, preface: &str) -> anyhow::Result<()> {
    let file = root.join(DOCUMENT);
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut table = read(&text, BENCH);
    table.extend(new.clone());
    let body: Vec<&str> = table.values().flatten().map(String::as_str).collect();
    let body = body.join("\n");
    let text = put(&text, BENCH, &format!("{preface}\n\n{HEAD}{body}"))?;
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// The lines that are there, by their row.
fn read(text: &str, place: Place) -> Table {
    let mut table = Table::new();
    let inside = between(text, place).unwrap_or_default();
    for line in inside.lines() {
        let number = line
            .strip_prefix("| ")
            .and_then(|rest| rest.split(' ').next()?.parse::<u8>().ok());
        if let Some(number) = number {
            table.entry(number).or_default().push(line.to_owned());
        }
    }
    table
}

fn between(text: &str, place: Place) -> Option<&str> {
    let (_, rest) = text.split_once(place.begin)?;
    Some(rest.split_once(place.end)?.0)
}

/// The text with `body` at that place.
pub(crate) fn put(text: &str, place: Place, body: &str) -> anyhow::Result<String> {
    let missing = || format!("{DOCUMENT} has no place for the table: {}", place.begin);
    let (before, rest) = text.split_once(place.begin).with_context(missing)?;
    let (_, after) = rest.split_once(place.end).with_context(missing)?;
    Ok(format!(
        "{before}{}\n{}\n{}{after}",
        place.begin,
        body.trim_end(),
        place.end
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measure::Outcome;

    fn series(failed: u64) -> Series {
        Series {
            name: "list".to_owned(),
            outcomes: vec![Outcome {
                requests: 100.0,
                seconds: 1.0,
                p50: Some(1.0),
                p99: Some(2.0),
                failed,
                faults: vec!["status 500".to_owned()],
                ..Outcome::default()
            }],
        }
    }

    const RATIO: Ratio = Ratio {
        median: 0.57,
        least: 0.51,
        most: 0.7,
    };

    #[test]
    fn one_wrong_answer_fails_a_row_that_is_fast_enough() {
        let mut row = Row::default();
        row.ratio("list", RATIO, Goal::AtLeast(0.5), &[&series(0)]);
        row.ratio("list", RATIO, Goal::AtLeast(0.5), &[&series(1)]);
        row.ratio("list", RATIO, Goal::AtLeast(0.6), &[&series(0)]);
        assert_eq!(row.lines[0].verdict, Verdict::Reached);
        assert_eq!(row.lines[0].measured, "0.57 × (0.51)");
        assert_eq!(row.lines[0].beside, "list: 100/s, p50 1.00, p99 2.00 ms");
        assert!(
            matches!(&row.lines[1].verdict, Verdict::Failed(why) if why.contains("status 500"))
        );
        assert_eq!(row.lines[2].verdict, Verdict::Missed);
    }

    #[test]
    fn rows_that_were_not_measured_this_time_keep_their_lines() {
        let document = format!("# P\n\n{}\n{}\n\nmore\n", BENCH.begin, BENCH.end);
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        let file = folder.path().join(DOCUMENT);
        fs::write(&file, document).unwrap();
        let mut row = Row::default();
        row.ratio("list", RATIO, Goal::AtLeast(0.5), &[&series(0)]);
        for (number, on) in [(2, "first"), (10, "first"), (2, "second")] {
            let new = Table::from([(number, lines(number, &row, on))]);
            write(folder.path(), &new, "By a command.").unwrap();
        }
        let text = fs::read_to_string(&file).unwrap();
        let table = read(&text, BENCH);
        assert_eq!(table[&2].len(), 1);
        assert!(table[&2][0].ends_with("| second |"), "{text}");
        assert!(table[&10][0].ends_with("| first |"), "{text}");
        assert_eq!(text.matches("By a command.").count(), 1);
        assert!(text.starts_with("# P\n\n<!-- bench") && text.ends_with("-->\n\nmore\n"));
    }
}
