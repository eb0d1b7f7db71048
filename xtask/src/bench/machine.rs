//! What is read of the machine while something runs: CPU and memory of processes, from `/proc`.

use std::{collections::HashMap, fs};

use anyhow::Context;

/// CPU time, user and system, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Cpu {
    /// The program that is measured.
    pub(crate) program: f64,
    /// PostgreSQL, with all its processes.
    pub(crate) postgres: f64,
    /// Redis.
    pub(crate) redis: f64,
    /// Ourselves: the load generator and the sink of telemetry.
    pub(crate) generator: f64,
}

impl Cpu {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            program: self.program - before.program,
            postgres: self.postgres - before.postgres,
            redis: self.redis - before.redis,
            generator: self.generator - before.generator,
        }
    }

    /// Of one request among so many.
    pub(crate) fn per(self, requests: f64) -> Self {
        Self {
            program: self.program / requests,
            postgres: self.postgres / requests,
            redis: self.redis / requests,
            generator: self.generator / requests,
        }
    }
}

/// Whose CPU is counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Watched {
    pub(crate) program: Option<u32>,
    pub(crate) postgres: Option<u32>,
    pub(crate) redis: Option<u32>,
}

impl Watched {
    /// What each has used since it began.
    pub(crate) fn cpu(self) -> anyhow::Result<Cpu> {
        let processes = processes()?;
        let of = |pid: Option<u32>| pid.map_or(0.0, |pid| tree(&processes, pid));
        Ok(Cpu {
            program: of(self.program),
            postgres: of(self.postgres),
            redis: of(self.redis),
            // Not our children: they are counted by name above.
            generator: processes
                .get(&std::process::id())
                .map_or(0.0, |own| own.own),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Process {
    parent: u32,
    /// Microseconds of its own.
    own: f64,
    /// Microseconds of its children that have ended.
    ended: f64,
}

fn processes() -> anyhow::Result<HashMap<u32, Process>> {
    let entries = fs::read_dir("/proc").context("CPU is read from /proc, which Linux alone has")?;
    Ok(entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // One that has ended meanwhile is in its parent's account.
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parse(&stat)?))
        })
        .collect())
}

/// proc(5): after the name in brackets, field 4 is the parent, 14 to 17 are the times.
fn parse(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    let tick = 1e6 / rustix::param::clock_ticks_per_second() as f64;
    let time = |index: usize| Some(fields.get(index)?.parse::<f64>().ok()? * tick);
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        own: time(11)? + time(12)?,
        ended: time(13)? + time(14)?,
    })
}

/// A process with its descendants, living and ended.
fn tree(processes: &HashMap<u32, Process>, root: u32) -> f64 {
    let Some(process) = processes.get(&root) else {
        return 0.0;
    };
    let children: f64 = processes
        .iter()
        .filter(|(_, child)| child.parent == root)
        .map(|(pid, _)| tree(processes, *pid))
        .sum();
    process.own + process.ended + children
}

/// Memory of a process that is in RAM, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resident {
    pub(crate) all: u64,
    /// Of it the pages of files: the program itself, which all its processes share.
    pub(crate) files: u64,
}

pub(crate) fn resident(pid: u32) -> anyhow::Result<Resident> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} is gone"))?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
            .map(|kib| kib * 1024)
            .with_context(|| format!("/proc/{pid}/status tells no {name}"))
    };
    Ok(Resident {
        all: field("VmRSS:")?,
        files: field("RssFile:")?,
    })
}

/// Processor, cores and memory, for people.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or_else(String::new, |kib| {
            format!(", {} GB", kib.div_ceil(1024 * 1024))
        });
    format!("{cores} cores of {model}{memory}")
}

/// How many programs wanted a processor during the last minute.
pub(crate) fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 5 6 7";
        let process = parse(stat).unwrap();
        assert_eq!(process.parent, 7);
        assert!((process.own / process.ended - 30.0 / 70.0).abs() < 1e-9);
    }

    #[test]
    fn a_tree_counts_grandchildren_and_what_has_ended() {
        let process = |parent, own, ended| Process { parent, own, ended };
        let all = HashMap::from([
            (1, process(0, 1.0, 0.0)),
            (2, process(1, 10.0, 5.0)),
            (3, process(2, 100.0, 0.0)),
            (4, process(9, 1000.0, 0.0)),
        ]);
        assert_eq!(tree(&all, 1).to_bits(), 116.0_f64.to_bits());
        assert_eq!(tree(&all, 77).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn our_own_memory_is_told() {
        let ours = resident(std::process::id()).unwrap();
        assert!(ours.all > ours.files && ours.files > 100 * 1024);
    }
}
