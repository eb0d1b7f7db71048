//! Holds the plans of the product's lists and searches to their budgets, on a crowd.
//!
//! `cargo xtask plans` starts PostgreSQL, builds this and runs it; by hand:
//!
//! ```text
//! cargo run -p diesel-postgres --example plans -- <superuser's URL> [options]
//! ```
//!
//! Nothing of the statements is repeated here: the stores of this crate are asked, on connections of
//! the server's role under row security, and PostgreSQL's `auto_explain` hands each plan to the
//! connection that caused it. So what is judged is the statement as it is sent, prepared, with the
//! generic plan that the role is given, in the transaction that the store makes.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for developers"
)]
#![allow(clippy::cast_precision_loss, reason = "ratios")]

mod cases;
mod database;
mod judge;
mod plan;
mod probe;

use std::process::ExitCode;

use test_support::Crowd;

use crate::cases::Case;
use crate::database::Filled;
use crate::judge::{Indexes, Verdict};
use crate::probe::Probe;

/// What was asked for.
struct Options {
    server: String,
    crowd: Crowd,
    fresh: bool,
    remove: bool,
    /// Only cases with this in their name.
    only: Option<String>,
    /// Cases with this in their name, whose plans are shown.
    show: Option<String>,
}

impl Options {
    fn read() -> Result<Self, String> {
        let mut options = Self {
            server: String::new(),
            crowd: Crowd {
                contacts: 1_000_000,
                largest: 100_000,
                others: 45,
            },
            fresh: false,
            remove: false,
            only: None,
            show: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{text} is no number"));
            match word.as_str() {
                "--contacts" => options.crowd.contacts = number(value()?)?,
                "--largest" => options.crowd.largest = number(value()?)?,
                "--fresh" => options.fresh = true,
                "--remove" => options.remove = true,
                "--only" => options.only = Some(value()?),
                "--show" => options.show = Some(value()?),
                _ if options.server.is_empty() && !word.starts_with('-') => options.server = word,
                _ => return Err(format!("{word} is not understood")),
            }
        }
        if options.server.is_empty() {
            return Err("the address of a superuser is missing".to_owned());
        }
        if options.crowd.largest * 2 > options.crowd.contacts {
            return Err("the largest clinic may have half of the contacts at most".to_owned());
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    let options = match Options::read() {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::FAILURE;
        }
    };
    probe::listen();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(run(&options))
}

async fn run(options: &Options) -> ExitCode {
    if options.remove {
        database::remove(&options.server).await;
        return ExitCode::SUCCESS;
    }
    let filled = Filled::open(&options.server, options.crowd, options.fresh).await;
    let behind = filled.superuser().await;
    let indexes = Indexes::read(&behind).await;
    let mut cases = cases::all(&behind, options.crowd).await;
    if let Some(only) = &options.only {
        cases.retain(|case| case.name.contains(only.as_str()));
    }
    let probe = Probe::attach(&filled, &behind).await;
    println!(
        "{}, PostgreSQL {}",
        filled.label(),
        filled.version(&behind).await
    );
    println!(
        "{:<52} {:>5} {:>8} {:>7} {:>8} {:>8}  indexes",
        "case", "rows", "visited", "per row", "buffers", "ms"
    );
    let mut failed = Vec::new();
    for case in &cases {
        let seen = probe.explain(case).await;
        let verdict = Verdict::of(case, &seen.plan, &indexes);
        print_line(case, &seen, &verdict);
        let wanted = options.show.as_ref();
        if !verdict.faults.is_empty() || wanted.is_some_and(|text| case.name.contains(text)) {
            println!("{}", seen.plan.tree());
        }
        if !verdict.faults.is_empty() {
            failed.push((case.name.clone(), verdict.faults.join("; ")));
        }
    }
    probe.detach(&behind).await;
    if failed.is_empty() {
        println!("{} cases, each within its budget.", cases.len());
        return ExitCode::SUCCESS;
    }
    println!("{} of {} cases failed:", failed.len(), cases.len());
    for (name, faults) in failed {
        println!("  {name}: {faults}");
    }
    ExitCode::FAILURE
}

fn print_line(case: &Case, seen: &probe::Seen, verdict: &Verdict) {
    let rows = seen.plan.rows();
    println!(
        "{:<52} {:>5} {:>8.0} {:>7.1} {:>8} {:>8.2}  {}{}",
        case.name,
        rows,
        verdict.visited,
        verdict.visited / rows.max(1.0),
        seen.plan.buffers(),
        seen.ms,
        verdict.indexes.join(" "),
        if verdict.faults.is_empty() {
            String::new()
        } else {
            format!("\n  FAILED: {}", verdict.faults.join("; "))
        }
    );
}
