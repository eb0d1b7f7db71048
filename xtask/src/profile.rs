//! `cargo xtask profile`: where the running server spends its processor time, as a flame graph.
//!
//! Sampled with `perf`: the release binary as it is, whose stacks perf unwinds by the tables that
//! every Rust binary has for panics. Nothing is built otherwise for it, so what is seen is what runs.

use std::{
    collections::HashMap,
    fs,
    io::BufReader,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use inferno::{
    collapse::{
        Collapse as _,
        perf::{Folder, Options as Collapsing},
    },
    flamegraph::{self, Options as Drawing},
};

use crate::{
    bench::{
        self,
        engine::{self, Load, Pace},
        ground::{Ground, Setup},
        in_release, quick,
        rows::{Bench, Scene, cached, create, lists},
        traffic::Gets,
    },
    checkout::Checkout,
    environment,
    server::Build,
    terminal,
};

/// Samples a second of each processor: no round number, so that nothing regular hides from it.
const FREQUENCY: u32 = 499;
/// Bytes of stack that are copied with each sample: deep enough for a handler within actix.
const STACK: u32 = 32_768;
/// Functions that are listed.
const LISTED: usize = 25;

/// Draw a flame graph of the release server under a row's load, and list its busiest functions.
///
/// Needs perf (Debian: `apt install linux-perf`) and Linux. An ordinary user may sample their own
/// programs while /proc/sys/kernel/perf_event_paranoid is 2 or less, without what the kernel does for
/// them; root sees that too.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask profile                      the uncached list\n  \
    cargo xtask profile --row 1              the cached read\n  \
    cargo xtask profile --row 3 --seconds 30 new contacts")]
pub(crate) struct Args {
    /// Whose load: 1 cached read, 2 uncached list, 3 create contact.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    row: u8,
    /// How long to sample.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Contacts of the database, in 46 clinics.
    #[arg(long, default_value_t = 300_000)]
    contacts: u64,
    /// Where the flame graph goes; .acolhe/bench/profile-ROW.svg when left out.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Without telemetry, to see the rest.
    #[arg(long)]
    no_telemetry: bool,
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let perf = Perf::find()?;
        if cfg!(debug_assertions) {
            return in_release(checkout);
        }
        let ground = Ground::open(checkout, Build::Release, None)?;
        bench::warn_of_others();
        let bench = Bench {
            crowd: bench::crowd(self.contacts),
            ..quick(&ground)
        };
        let data = ground.folder.join("perf.data");
        if self.row == 3 {
            let (_copy, scene) = create::scene(&bench)?;
            self.sample(&perf, scene, &data)?;
        } else {
            self.sample(&perf, self.reads(&bench)?, &data)?;
        }
        let output = self
            .output
            .clone()
            .unwrap_or_else(|| ground.folder.join(format!("profile-{}.svg", self.row)));
        let folded = terminal::step("Reading the samples", || perf.fold(&data))?;
        let _ = fs::remove_file(&data);
        draw(&folded, self.row, &output)?;
        list(&folded);
        println!("{}", output.display());
        Ok(ExitCode::SUCCESS)
    }

    fn reads(&self, bench: &Bench<'_>) -> anyhow::Result<Scene<'static>> {
        let base = bench.base()?;
        let setup = Setup {
            no_cache: self.row == 2,
            no_telemetry: self.no_telemetry,
            ..Setup::default()
        };
        let (serving, address, gets) = if self.row == 1 {
            let (serving, address, targets) =
                cached::product(bench, &base, &setup)?.context(cached::NO_CACHE)?;
            (serving, address, Gets::new(cached::requests(&targets)))
        } else {
            lists(bench, &base, &setup)?
        };
        Ok(Scene {
            serving,
            address,
            traffic: Box::new(gets),
            connections: if self.row == 1 { 64 } else { 20 },
        })
    }

    /// Samples the server while its load goes on.
    fn sample(&self, perf: &Perf, mut scene: Scene<'_>, data: &Path) -> anyhow::Result<()> {
        terminal::note(format!(
            "Sampling for {} s at {} connections …",
            self.seconds, scene.connections
        ));
        let mut recording = None;
        let load = Load {
            address: scene.address,
            connections: scene.connections,
            pace: Pace::Closed,
            warm: Duration::from_secs(1),
            time: Duration::from_secs(self.seconds + 1),
        };
        let pid = scene.serving.pid();
        let tally = engine::run(&load, scene.traffic.as_mut(), &mut || {
            recording = Some(perf.record(pid, self.seconds, data)?);
            Ok(())
        })?;
        ensure!(
            tally.failed == 0,
            "{} wrong answers: {}",
            tally.failed,
            tally.faults.join(", ")
        );
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = tally.requests as f64 / tally.seconds;
        terminal::note(format!("  {rate:.0} requests a second while sampled"));
        let output = recording
            .context("nothing was sampled")?
            .wait_with_output()?;
        if !output.status.success() {
            bail!(
                "perf could not sample: {}\n{}",
                String::from_utf8_lossy(&output.stderr).trim(),
                ADVICE
            );
        }
        Ok(())
    }
}

const ADVICE: &str = "An ordinary user may sample their own programs while \
    /proc/sys/kernel/perf_event_paranoid is 2 or less: as root,\n  \
    sysctl kernel.perf_event_paranoid=2\nor run this as root. In a container, perf_event_open must \
    be allowed (--cap-add PERFMON).";

/// The sampler.
struct Perf {
    program: PathBuf,
    /// What is sampled: the processor's clock, which virtual machines have too.
    event: &'static str,
}

impl Perf {
    fn find() -> anyhow::Result<Self> {
        let program = environment::find_program("perf").context(
            "perf, which samples the server, is not on this machine.\n\
             Get it: apt install linux-perf, dnf install perf, or pacman -S perf.\n\
             Without root, Debian's can be unpacked: apt-get download linux-perf, then dpkg -x it \
             into a folder and put its usr/bin on PATH",
        )?;
        let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok();
        let paranoid = paranoid.and_then(|text| text.trim().parse::<i32>().ok());
        let is_root = rustix::process::geteuid().is_root();
        if !is_root && paranoid.is_some_and(|paranoid| paranoid > 2) {
            bail!("this user may not sample.\n{ADVICE}");
        }
        let kernel = is_root || paranoid.is_some_and(|paranoid| paranoid <= 1);
        Ok(Self {
            program,
            event: if kernel { "cpu-clock" } else { "cpu-clock:u" },
        })
    }

    fn record(&self, pid: u32, seconds: u64, data: &Path) -> anyhow::Result<std::process::Child> {
        Command::new(&self.program)
            .args(["record", "-q", "-e", self.event, "-F"])
            .arg(FREQUENCY.to_string())
            .arg("--call-graph")
            .arg(format!("dwarf,{STACK}"))
            .args(["-p", &pid.to_string(), "-o"])
            .arg(data)
            .args(["--", "sleep", &seconds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.program.display()))
    }

    /// Stacks, each a line of functions from the outermost on, and how often it was seen.
    fn fold(&self, data: &Path) -> anyhow::Result<String> {
        let mut script = Command::new(&self.program)
            .args(["script", "--no-inline", "-i"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("perf cannot read its samples")?;
        let stdout = script.stdout.take().context("perf says nothing")?;
        let mut folded = Vec::new();
        let mut options = Collapsing::default();
        options.include_pid = false;
        Folder::from(options)
            .collapse(BufReader::new(stdout), &mut folded)
            .context("the samples cannot be read")?;
        script.wait()?;
        let folded = String::from_utf8(folded)?;
        ensure!(
            !folded.is_empty(),
            "perf took no sample of the server.\n{ADVICE}"
        );
        Ok(folded)
    }
}

fn draw(folded: &str, row: u8, output: &Path) -> anyhow::Result<()> {
    let mut options = Drawing::default();
    options.title = format!("acolhe-server under the load of row {row}");
    "samples".clone_into(&mut options.count_name);
    options.deterministic = true;
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, folded.lines(), &mut svg)
        .context("the flame graph cannot be drawn")?;
    fs::write(output, svg).with_context(|| format!("cannot write {}", output.display()))
}

/// Prints the functions that the processor was in, and those it was below.
fn list(folded: &str) {
    let (own, total) = shares(folded);
    println!("share of the server's samples, in the function itself:");
    for (function, share) in own.iter().take(LISTED) {
        println!("{:5.1} %  {function}", share * 100.0);
    }
    println!("in it or what it calls:");
    for (function, share) in total.iter().take(LISTED) {
        println!("{:5.1} %  {function}", share * 100.0);
    }
}

/// Functions with their share of all samples, the busiest first.
type Shares = Vec<(String, f64)>;

/// Functions with their share of all samples, the busiest first: by themselves, and with callees.
fn shares(folded: &str) -> (Shares, Shares) {
    let mut own: HashMap<&str, f64> = HashMap::new();
    let mut with_callees: HashMap<&str, f64> = HashMap::new();
    let mut all = 0.0;
    for line in folded.lines() {
        let Some((stack, count)) = line.rsplit_once(' ') else {
            continue;
        };
        let Ok(count) = count.parse::<f64>() else {
            continue;
        };
        all += count;
        let functions: Vec<&str> = stack.split(';').collect();
        if let Some(last) = functions.last() {
            *own.entry(last).or_default() += count;
        }
        let mut seen = functions;
        seen.sort_unstable();
        // A function that calls itself is below itself once.
        seen.dedup();
        for function in seen {
            *with_callees.entry(function).or_default() += count;
        }
    }
    let sorted = |shares: HashMap<&str, f64>| {
        let mut shares: Shares = shares
            .into_iter()
            .map(|(function, count)| (function.to_owned(), count / all))
            .collect();
        shares.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        shares
    };
    (sorted(own), sorted(with_callees))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_has_its_own_share_and_that_of_what_it_calls() {
        let (own, total) = shares("main;work;parse 3\nmain;work 1\nmain;work;work;idle 4\n");
        let of = |shares: &[(String, f64)], name: &str| {
            let found = shares.iter().find(|(function, _)| function == name);
            found.map_or(0.0, |(_, share)| *share)
        };
        assert!((of(&own, "parse") - 0.375).abs() < 1e-9);
        assert!((of(&own, "work") - 0.125).abs() < 1e-9);
        assert!((of(&total, "work") - 1.0).abs() < 1e-9);
        assert_eq!(own[0].0, "idle");
    }

    #[test]
    fn a_graph_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.svg");
        draw("main;work 3\nmain;idle 1\n", 2, &file).unwrap();
        let svg = fs::read_to_string(file).unwrap();
        assert!(svg.contains("work (3 samples"), "{svg}");
    }
}
