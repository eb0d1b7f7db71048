//! `cargo xtask bench`: how near the product is to what the machine can do, as ratios.
//!
//! Each row of [`ROWS`] measures the product against a limit in one run: interleaved rounds, order
//! reversed every second time, medians and worst rounds, CPU of each request beside every rate. On a
//! shared machine a rate says little, a ratio says much, and CPU of a request is the steadiest.

pub(crate) mod contenders;
pub(crate) mod engine;
pub(crate) mod ground;
pub(crate) mod http;
pub(crate) mod machine;
pub(crate) mod measure;
pub(crate) mod report;
pub(crate) mod rows;
pub(crate) mod sink;
pub(crate) mod traffic;

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::json;

use self::{
    ground::{Crowd, Ground},
    measure::Rounds,
    report::{Row, Table, Verdict},
    rows::Bench,
};
use crate::{checkout::Checkout, process, server::Build, terminal};

type Measure = fn(&Bench<'_>) -> anyhow::Result<Row>;

/// The rows, by the numbers that the goals have.
const ROWS: &[(u8, &str, Measure)] = &[
    (
        1,
        "cached read against a bare handler",
        rows::cached::measure,
    ),
    (2, "uncached list against pgbench", rows::lists::measure),
    (3, "create contact against pgbench", rows::create::measure),
    (9, "growth, and pages far back", rows::growth::measure),
    (10, "telemetry on against off", rows::telemetry::measure),
    (11, "memory", rows::memory::measure),
    (12, "Redis dead", rows::redis::measure),
];

/// Measure the product against the limits of this machine, and print the ratios.
///
/// Everything is built for release and runs beside this checkout's own PostgreSQL, in databases of
/// its own (acolhe_bench_…), which are filled once and kept. Telemetry goes to a collector that
/// accepts everything and keeps nothing. Each answer is checked: one wrong answer fails its row.
/// Prints the table, writes it into docs/performance.md and keeps every round under .acolhe/bench.
/// Needs pgbench, and Linux.
#[derive(clap::Args)]
#[command(
    after_help = "Rows: 1 cached read, 2 uncached list, 3 create contact, 9 growth, \
    10 telemetry, 11 memory, 12 Redis dead.\n\nExamples:\n  \
    cargo xtask bench                        all rows: an hour, and 60 GB of disk for row 9\n  \
    cargo xtask bench --rows 2000000         all rows, with a fifth of the disk\n  \
    cargo xtask bench --row 2 --row 3        these alone; the table's other rows stay\n  \
    cargo xtask bench --quick                all rows in some minutes, to see that they work\n  \
    cargo xtask bench --remove               drops the databases"
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct Args {
    /// Only this row; may be repeated. All when left out.
    #[arg(long, value_name = "NUMBER")]
    row: Vec<u8>,
    /// Rounds of each contender.
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// Seconds of each round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Contacts of the database that most rows read, in 46 clinics.
    #[arg(long, default_value_t = 300_000)]
    contacts: u64,
    /// Contacts of the grown database of row 9.
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// Minutes for which row 11 watches memory.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Two rounds of one second, small databases, memory for 20 s. Says whether everything works, and
    /// nothing of how fast it is; writes no document.
    #[arg(long)]
    quick: bool,
    /// With --quick: take the builds that tests have, which are there sooner.
    #[arg(long, requires = "quick")]
    debug: bool,
    /// Leave docs/performance.md as it is.
    #[arg(long)]
    no_write: bool,
    /// Where servers write their log: an access line for each request. Nowhere when left out.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Drop the databases, and do nothing else.
    #[arg(long)]
    remove: bool,
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let chosen = self.chosen()?;
        let build = if self.debug {
            build_bare(checkout)?;
            Build::Debug
        } else if cfg!(debug_assertions) {
            return in_release(checkout);
        } else {
            Build::Release
        };
        let ground = Ground::open(checkout, build, self.log.clone())?;
        if self.remove {
            ground.drop_all()?;
            return Ok(ExitCode::SUCCESS);
        }
        let bench = self.bench(&ground);
        let preface = self.preface(&ground)?;
        let on = stamp(checkout)?;
        warn_of_others();
        let began = Instant::now();
        let mut table = Table::new();
        let mut good = true;
        for (number, name, measure) in chosen {
            terminal::note(format!("Row {number}: {name}"));
            let row = measure(&bench).with_context(|| format!("row {number}"))?;
            good &= row
                .lines
                .iter()
                .all(|line| !matches!(line.verdict, Verdict::Failed(_)));
            keep(&ground, *number, &row, &preface, &on)?;
            let lines = report::lines(*number, &row, &on);
            for line in &lines {
                println!("{line}");
            }
            table.insert(*number, lines);
            // After each row: what was measured for long is not lost with a later one.
            if !self.quick && !self.no_write {
                report::write(checkout.root(), &table, &preface)?;
            }
        }
        terminal::note(format!(
            "Measured in {}. Every round: {}",
            terminal::time(began.elapsed()),
            ground.folder.display()
        ));
        Ok(if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn chosen(&self) -> anyhow::Result<Vec<&'static (u8, &'static str, Measure)>> {
        for number in &self.row {
            if !ROWS.iter().any(|(known, ..)| known == number) {
                let known: Vec<String> = ROWS.iter().map(|(known, ..)| known.to_string()).collect();
                bail!("there is no row {number}: {}", known.join(", "));
            }
        }
        if self.rounds == 0 || self.seconds == 0 {
            bail!("at least one round of one second is needed");
        }
        Ok(ROWS
            .iter()
            .filter(|(number, ..)| self.row.is_empty() || self.row.contains(number))
            .collect())
    }

    fn bench<'a>(&self, ground: &'a Ground) -> Bench<'a> {
        if self.quick {
            return quick(ground);
        }
        Bench {
            ground,
            rounds: Rounds {
                count: self.rounds,
                time: Duration::from_secs(self.seconds),
                warm: Duration::from_secs(1),
            },
            crowd: crowd(self.contacts),
            rows: self.rows,
            memory: Duration::from_secs(self.minutes * 60),
        }
    }

    /// What stands above the table.
    fn preface(&self, ground: &Ground) -> anyhow::Result<String> {
        let kernel = process::quiet(Command::new("uname").arg("-sr"))?;
        Ok(format!(
            "{}; {}; PostgreSQL {}; {} rounds of {} s. Generator, server, PostgreSQL and collector \
             share the processors. CPU is of one request: the program's, then PostgreSQL's.",
            machine::describe(),
            kernel.trim(),
            ground.postgres_version(),
            self.rounds,
            self.seconds,
        ))
    }
}

/// Small and short.
pub(crate) fn quick(ground: &Ground) -> Bench<'_> {
    Bench {
        ground,
        rounds: Rounds {
            count: 2,
            time: Duration::from_secs(1),
            warm: Duration::from_millis(500),
        },
        crowd: crowd(20_000),
        rows: 60_000,
        memory: Duration::from_secs(20),
    }
}

/// A tenth of them in the largest of 46 clinics.
pub(crate) fn crowd(contacts: u64) -> Crowd {
    Crowd {
        contacts,
        largest: contacts / 10,
        others: 45,
    }
}

/// Runs this very command again, optimised: the load generator must not be what is measured.
pub(crate) fn in_release(checkout: &Checkout) -> anyhow::Result<ExitCode> {
    terminal::note("Building for release (the first time, all dependencies: some minutes) …");
    let mut command = checkout.cargo();
    // With its example, the bare handler: built apart, each would be built for the other again.
    command.args(["build", "--release", "--package", "xtask"]);
    command.args(["--bin", "xtask", "--example", "bare"]);
    if !process::run(&mut command)?.success() {
        bail!("it could not be built: see above");
    }
    let program = checkout.target_folder()?.join("release/xtask");
    // In our place: Ctrl-C is its own then. Returns only when it could not be run.
    Err(Command::new(&program)
        .args(std::env::args_os().skip(1))
        .exec())
    .with_context(|| format!("cannot run {}", program.display()))
}

/// The bare handler, as tests are built.
fn build_bare(checkout: &Checkout) -> anyhow::Result<()> {
    let mut command = checkout.cargo();
    command.args(["build", "--package", "xtask", "--example", "bare"]);
    if !process::run(&mut command)?.success() {
        bail!("the bare handler could not be built: see above");
    }
    Ok(())
}

/// Tells when the machine is busy with something else.
pub(crate) fn warn_of_others() {
    if let Some(load) = machine::load_average().filter(|load| *load > 0.7) {
        terminal::note(format!(
            "The machine is busy (load {load:.1}): what is measured now is worth little."
        ));
    }
}

/// The day, and the commit that is measured.
pub(crate) fn stamp(checkout: &Checkout) -> anyhow::Result<String> {
    let git = |arguments: &[&str]| {
        process::quiet(
            Command::new("git")
                .current_dir(checkout.root())
                .args(arguments),
        )
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    // The table itself is written into one of the files.
    let changed = changed
        .lines()
        .any(|line| !line.ends_with(report::DOCUMENT));
    let day = process::quiet(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    Ok(format!(
        "{} {}{}",
        day.trim(),
        commit.trim(),
        if changed { " (changed)" } else { "" }
    ))
}

/// Keeps every round as JSON: the latest, and each by its time.
fn keep(ground: &Ground, number: u8, row: &Row, preface: &str, on: &str) -> anyhow::Result<()> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let text = serde_json::to_string_pretty(&json!({
        "row": number,
        "on": on,
        "machine": preface,
        "command": format!("cargo xtask {}", command.join(" ")),
        "lines": row.lines,
        "series": row.series,
    }))?;
    let moment = process::quiet(Command::new("date").args(["-u", "+%Y%m%dT%H%M%S"]))?;
    let results = ground.folder.join("results");
    fs::create_dir_all(&results)?;
    let file = results.join(format!("row-{number}-{}.json", moment.trim()));
    ground::write(&file, &text)?;
    ground::write(&ground.folder.join(format!("row-{number}.json")), &text)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn chosen(words: &[&str]) -> anyhow::Result<Vec<u8>> {
        let line = Line::try_parse_from([&["bench"], words].concat())?;
        let rows = line.args.chosen()?;
        Ok(rows.iter().map(|(number, ..)| *number).collect())
    }

    #[test]
    fn only_a_quick_run_takes_the_builds_of_tests() {
        assert!(chosen(&["--debug"]).is_err());
        assert_eq!(chosen(&["--quick", "--debug", "--row", "2"]).unwrap(), [2]);
    }

    #[test]
    fn all_rows_are_measured_unless_some_are_named() {
        assert_eq!(chosen(&[]).unwrap(), [1, 2, 3, 9, 10, 11, 12]);
        assert_eq!(chosen(&["--row", "3", "--row", "2"]).unwrap(), [2, 3]);
        assert!(chosen(&["--row", "4"]).is_err());
        assert!(chosen(&["--rounds", "0"]).is_err());
    }
}
