//! What is measured against each other: a server over HTTP, `pgbench`, the store by itself.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{
    engine::{self, Load},
    machine::Watched,
    measure::{Contender, Outcome, Rounds},
    traffic::Traffic,
};
use crate::{environment, process};

/// A server over HTTP. Its load's times are those of the rounds.
pub(crate) struct Http<'a> {
    pub(crate) name: String,
    pub(crate) load: Load,
    pub(crate) traffic: Box<dyn Traffic + 'a>,
    pub(crate) watched: Watched,
}

impl Contender for Http<'_> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn round(&mut self, rounds: Rounds) -> anyhow::Result<Outcome> {
        let load = Load {
            warm: rounds.warm,
            time: rounds.time,
            ..self.load
        };
        let watched = self.watched;
        let mut before = None;
        let tally = engine::run(&load, self.traffic.as_mut(), &mut || {
            before = Some(watched.cpu()?);
            Ok(())
        })
        .with_context(|| self.name.clone())?;
        let cpu = watched.cpu()?.since(before.unwrap_or_default());
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let requests = tally.requests as f64;
        Ok(Outcome {
            requests,
            seconds: tally.seconds,
            p50: tally.percentile(500),
            p99: tally.percentile(990),
            slowest: tally.percentile(1000),
            cpu,
            failed: tally.failed,
            faults: tally.faults,
        })
    }
}

/// `pgbench` with a script of ours, as the server's role.
pub(crate) struct Pgbench {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) script: PathBuf,
    pub(crate) url: String,
    pub(crate) connections: usize,
    /// Variables of the script.
    pub(crate) variables: fn() -> Vec<(&'static str, u64)>,
    pub(crate) watched: Watched,
}

impl Pgbench {
    /// The program: on PATH, or where Debian keeps it.
    pub(crate) fn find() -> anyhow::Result<PathBuf> {
        let found = environment::find_program("pgbench").or_else(|| {
            let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
            let mut found: Vec<PathBuf> = versions
                .flatten()
                .map(|version| version.path().join("bin/pgbench"))
                .filter(|program| program.is_file())
                .collect();
            found.sort();
            found.pop()
        });
        found.context(
            "pgbench, the limit that stores are held against, is not on this machine.\n\
             Get it: apt install postgresql-client postgresql-contrib, dnf install \
             postgresql-contrib, or brew install postgresql",
        )
    }

    /// Runs the script for so long on so many connections; answers transactions and seconds.
    fn run(&self, seconds: u64) -> anyhow::Result<(f64, f64)> {
        let mut command = Command::new(&self.program);
        command
            .args(["-n", "-M", "prepared", "-j", "2", "-c"])
            .arg(self.connections.to_string())
            .args(["-T", &seconds.to_string()])
            .arg("-f")
            .arg(&self.script);
        for (name, value) in (self.variables)() {
            command.arg("-D").arg(format!("{name}={value}"));
        }
        command.arg(&self.url);
        let told = process::hushed(&mut command)?;
        let number = |before: &str, after: &str| {
            told.lines()
                .find(|line| line.starts_with(before))
                .and_then(|line| line.strip_prefix(before))
                .and_then(|rest| {
                    rest.split(after)
                        .next()?
                        .split('/')
                        .next()?
                        .trim()
                        .parse::<f64>()
                        .ok()
                })
        };
        let done = number("number of transactions actually processed: ", "\n");
        let rate = number("tps = ", " ");
        let failed = number("number of failed transactions: ", " ").unwrap_or_default();
        match (done, rate) {
            (Some(done), Some(rate)) if done > 0.0 && failed == 0.0 => Ok((done, done / rate)),
            _ => bail!("pgbench did not do its transactions:\n{told}"),
        }
    }
}

impl Contender for Pgbench {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn round(&mut self, rounds: Rounds) -> anyhow::Result<Outcome> {
        // It connects anew each time, without a warm-up; what that costs is a hundredth.
        let before = self.watched.cpu()?;
        let (requests, seconds) = self.run(rounds.time.as_secs().max(1))?;
        Ok(Outcome {
            requests,
            seconds,
            cpu: self.watched.cpu()?.since(before),
            ..Outcome::default()
        })
    }
}

/// The store without HTTP: the example `rate` of diesel-postgres, which keeps running.
pub(crate) struct Store {
    name: String,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    watched: Watched,
}

impl Store {
    pub(crate) fn start(
        program: &Path,
        act: &str,
        url: &str,
        connections: usize,
        clinics: usize,
        watched: Watched,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args([act, url, "--connections", &connections.to_string()])
            .args(["--clinics", &clinics.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("its pipes are missing");
        };
        Ok(Self {
            name: "the store alone".to_owned(),
            watched: Watched {
                program: Some(child.id()),
                ..watched
            },
            child,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("the store alone ended: see above");
        }
        Ok(line)
    }
}

impl Contender for Store {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn round(&mut self, rounds: Rounds) -> anyhow::Result<Outcome> {
        writeln!(
            self.stdin,
            "{} {}",
            rounds.warm.as_millis(),
            rounds.time.as_millis()
        )?;
        self.line()?;
        let before = self.watched.cpu()?;
        let told: Value = serde_json::from_str(&self.line()?)?;
        let number = |name: &str| told[name].as_f64();
        Ok(Outcome {
            requests: number("requests").context("no requests are told")?,
            seconds: number("seconds").context("no seconds are told")?,
            p50: number("p50").map(|micros| micros / 1e3),
            p99: number("p99").map(|micros| micros / 1e3),
            slowest: number("slowest").map(|micros| micros / 1e3),
            cpu: self.watched.cpu()?.since(before),
            ..Outcome::default()
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
