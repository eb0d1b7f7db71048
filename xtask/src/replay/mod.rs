//! `cargo xtask replay`: the same deliveries in any order, doubled and split, must leave one and
//! the same state. Everything runs for real: the server's binary, its webhook, its jobs, PostgreSQL.

mod folder;
mod payload;
pub(crate) mod stage;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::bail;
use fastrand::Rng;

use crate::{checkout::Checkout, environment, interrupt, server, terminal};
use folder::Folder;
use stage::{Arena, Stage};

/// The repository's own deliveries, in every shape.
const OWN: &str = "crates/whatsapp/fixtures/cloud";

/// Replay webhook payloads in order, shuffled, doubled and split, and compare the final states.
///
/// Each way runs against a fresh database. Payloads of providers that are not supported yet are
/// counted and named. Messages of each file get ids of their own, because public examples share
/// placeholder ids. Without a FOLDER, the one of ACOLHE_REPLAY_DIR, else the repository's own.
/// On the test cluster, or the server of DATABASE_URL (its account must be a superuser).
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask replay\n  \
    cargo xtask replay ~/captured/whatsapp --rounds 10\n  \
    cargo xtask replay --seed 7              the same shuffles again")]
pub(crate) struct Args {
    /// A folder of JSON files, one delivery each.
    folder: Option<PathBuf>,
    /// How many times to shuffle.
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// The seed of the shuffles.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Args {
    /// As CI runs it, over one folder.
    pub(crate) fn over(folder: PathBuf) -> Self {
        Self {
            folder: Some(folder),
            rounds: 1,
            seed: 1,
        }
    }

    /// As CI runs it, over the repository's own folder.
    pub(crate) fn own(checkout: &Checkout) -> Self {
        Self::over(checkout.root().join(OWN))
    }

    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let folder = self
            .folder
            .or_else(|| environment::text("ACOLHE_REPLAY_DIR").map(PathBuf::from))
            .unwrap_or_else(|| checkout.root().join(OWN));
        let folder = Folder::read(&folder)?;
        folder.describe();
        if folder.deliveries.is_empty() {
            bail!("no delivery of a supported provider is there: nothing was replayed");
        }
        let arena = Arena::open(checkout, server::Build::Debug)?;
        let mut rng = Rng::with_seed(self.seed);

        let mut ways = vec![("in order".to_owned(), folder.in_order())];
        for round in 1..=self.rounds {
            ways.push((format!("shuffled ({round})"), folder.shuffled(&mut rng)));
            ways.push((
                format!("doubled and shuffled ({round})"),
                folder.doubled(&mut rng),
            ));
            ways.push((
                format!("split and shuffled ({round})"),
                folder.split(&mut rng),
            ));
        }
        let mut first: Option<Vec<String>> = None;
        for (name, deliveries) in ways {
            interrupt::check()?;
            let began = Instant::now();
            let stage = Stage::set(&arena, &folder.numbers)?;
            let posted = stage.post_all(&deliveries)?;
            let state = stage.final_state()?;
            drop(stage);
            terminal::note(format!(
                "  {name}: {posted} deliveries, {} facts, {}",
                state.len(),
                terminal::time(began.elapsed())
            ));
            match &first {
                None if state.is_empty() => bail!("nothing was made of the deliveries"),
                None => first = Some(state),
                Some(expected) if *expected == state => {}
                Some(expected) => bail!(
                    "\"{name}\" (seed {}) ends in another state than \"in order\":\n{}",
                    self.seed,
                    difference(expected, &state)
                ),
            }
        }
        terminal::note("One and the same final state in every way.");
        Ok(ExitCode::SUCCESS)
    }
}

/// The first lines that one state has and the other has not.
fn difference(expected: &[String], found: &[String]) -> String {
    let only = |sign: char, these: &[String], others: &[String]| {
        let lines: Vec<_> = these
            .iter()
            .filter(|line| !others.contains(line))
            .take(8)
            .map(|line| format!("{sign} {line}"))
            .collect();
        lines.join("\n")
    };
    format!(
        "{}\n{}",
        only('-', expected, found),
        only('+', found, expected)
    )
}
