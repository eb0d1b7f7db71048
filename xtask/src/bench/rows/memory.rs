//! Row 11: memory of a server that has just begun, and of one with 500 connections over minutes.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;

use super::{Bench, lists};
use crate::{
    bench::{
        engine::{self, Load, Pace},
        ground::Setup,
        machine,
        measure::{Outcome, Series},
        report::{Goal, Row},
    },
    terminal,
};

const CONNECTIONS: usize = 500;
/// Requests a second: half of what two busy cores can do uncached.
const RATE: f64 = 2_000.0;
/// The bound of the cache's first tier here, in megabytes.
const FIRST_TIER: &str = "cache.memory";

pub(crate) fn measure(bench: &Bench<'_>) -> anyhow::Result<Row> {
    let base = bench.base()?;
    let mut setup = Setup::default();
    if bench.ground.knows(FIRST_TIER) {
        setup.keys.push((FIRST_TIER, "16".to_owned()));
    }
    let mut row = Row::default();
    idle(bench, &base, &setup, &mut row)?;

    // Logins take memory of their own, for a moment: they happen at another server.
    let (serving, address, mut gets) = lists(bench, &base, &setup)?;
    let load = Load {
        address,
        connections: CONNECTIONS,
        pace: Pace::Open(RATE),
        // What the first requests allocate stays; "flat" begins after them.
        warm: bench.memory / 10,
        time: bench.memory,
    };
    let pid = serving.pid();
    let samples = Mutex::new(Vec::new());
    let (measuring, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let every = (bench.memory / 120).clamp(Duration::from_millis(200), Duration::from_secs(5));
    terminal::note(format!(
        "  row 11: {CONNECTIONS} connections, {RATE:.0} requests a second for {}",
        terminal::time(bench.memory)
    ));
    let watched = bench.ground.watch(pid);
    let mut before = None;
    let tally = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                thread::sleep(every);
                if measuring.load(Ordering::Relaxed)
                    && let Ok(resident) = machine::resident(pid)
                {
                    let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
                    samples.push(resident.all);
                }
            }
        });
        let tally = engine::run(&load, &mut gets, &mut || {
            measuring.store(true, Ordering::Relaxed);
            before = Some(watched.cpu()?);
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        tally
    })?;
    let cpu = watched.cpu()?.since(before.unwrap_or_default());
    let samples = samples.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(!samples.is_empty(), "no sample of memory was taken");
    let samples: Vec<f64> = samples.into_iter().map(megabytes).collect();
    let series = Series {
        name: format!("{CONNECTIONS} connections"),
        outcomes: vec![Outcome {
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            requests: tally.requests as f64,
            seconds: tally.seconds,
            p50: tally.percentile(500),
            p99: tally.percentile(990),
            slowest: tally.percentile(1000),
            cpu,
            failed: tally.failed,
            faults: tally.faults,
        }],
    };
    let told = Told::of(&samples);
    let tier = if setup.keys.is_empty() {
        "; no cache yet".to_owned()
    } else {
        format!("; {FIRST_TIER} at 16 MB")
    };
    row.figure(
        format!("memory at {CONNECTIONS} connections, no logins{tier}"),
        (told.mean, told.most),
        "MB",
        Goal::AtMost(64.0),
        &[&series],
    );
    row.figure(
        format!(
            "its swing over {}, {} samples from {:.1} to {:.1} MB",
            terminal::time(bench.memory),
            samples.len(),
            told.least,
            told.most
        ),
        (told.swing, told.swing),
        "%",
        Goal::AtMost(5.0),
        &[&series],
    );
    row.keep(vec![series]);
    Ok(row)
}

fn idle(
    bench: &Bench<'_>,
    base: &crate::bench::ground::Base,
    setup: &Setup,
    row: &mut Row,
) -> anyhow::Result<()> {
    let (serving, _) = bench.ground.serve(base, setup)?;
    let began = Instant::now();
    let mut samples = Vec::new();
    let mut files = 0.0;
    while began.elapsed() < Duration::from_secs(5) {
        crate::interrupt::check()?;
        thread::sleep(Duration::from_millis(250));
        let resident = machine::resident(serving.pid())?;
        samples.push(megabytes(resident.all));
        files = megabytes(resident.files);
    }
    let told = Told::of(&samples);
    let series = Series::default();
    row.figure(
        format!(
            "memory of a server that nobody asks ({files:.1} MB of it are the program's own file)"
        ),
        (told.mean, told.most),
        "MB",
        Goal::AtMost(25.0),
        &[&series],
    );
    Ok(())
}

pub(crate) fn megabytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let bytes = bytes as f64;
    bytes / 1_048_576.0
}

struct Told {
    mean: f64,
    least: f64,
    most: f64,
    /// How far it went from the middle, in percent.
    swing: f64,
}

impl Told {
    fn of(samples: &[f64]) -> Self {
        let least = samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = samples.iter().copied().fold(0.0, f64::max);
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let mean = samples.iter().sum::<f64>() / samples.len() as f64;
        Self {
            mean,
            least,
            most,
            swing: (most - least) / (most + least) * 100.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swing_is_told_from_the_middle() {
        let told = Told::of(&[95.0, 100.0, 105.0]);
        assert!((told.swing - 5.0).abs() < 1e-9);
        assert!((told.mean - 100.0).abs() < 1e-9);
    }
}
