//! This process, as Linux tells of it under `/proc` and `/sys`. Elsewhere nothing is known.

use std::fs;
use std::time::Duration;

/// What was read last.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Process {
    pub(crate) cpu_user: Duration,
    pub(crate) cpu_system: Duration,
    /// Resident bytes.
    pub(crate) memory: u64,
    pub(crate) threads: u64,
    pub(crate) file_descriptors: u64,
}

impl Process {
    /// Reads it; what cannot be read is zero.
    pub(crate) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let (cpu_user, cpu_system) = cpu_times(&stat, rustix::param::clock_ticks_per_second());
        Self {
            cpu_user,
            cpu_system,
            memory: field(&status, "VmRSS:").unwrap_or_default() * 1024,
            threads: field(&status, "Threads:").unwrap_or_default(),
            // One is the folder's own, while it is read.
            file_descriptors: fs::read_dir("/proc/self/fd")
                .map_or(0, |entries| entries.count().saturating_sub(1) as u64),
        }
    }
}

/// Times in user and kernel mode: fields 14 and 15 of proc(5) stat, in ticks.
fn cpu_times(stat: &str, ticks: u64) -> (Duration, Duration) {
    // The name, in parentheses, may hold anything: count from its end.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let mut fields = after.split_whitespace().skip(11);
    let mut next = || {
        let count: u64 = fields.next().and_then(|it| it.parse().ok()).unwrap_or(0);
        Duration::from_millis(count.saturating_mul(1000) / ticks.max(1))
    };
    (next(), next())
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The memory that the process's control group may use, where there is a limit: the least of its
/// own and of those around it.
pub(crate) fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups
        .lines()
        .filter_map(place)
        .flat_map(|(root, file, path)| {
            let mut around = vec![path];
            while let Some((outer, _)) = around.last().and_then(|path| path.rsplit_once('/')) {
                around.push(outer);
            }
            around
                .into_iter()
                .map(|path| format!("{root}{path}/{file}"))
                .collect::<Vec<_>>()
        })
        .filter_map(|path| limit(&fs::read_to_string(path).ok()?))
        .min()
}

/// Where a line of `/proc/self/cgroup` leads: root, file and path.
fn place(line: &str) -> Option<(&'static str, &'static str, &str)> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    if controllers.is_empty() {
        return Some(("/sys/fs/cgroup", "memory.max", path));
    }
    controllers.split(',').any(|it| it == "memory").then_some((
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        path,
    ))
}

/// A limit as it is written. Version 1 says "none" by a number that no machine has.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|limit| *limit < 1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_times() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 4 0 100";
        let times = (Duration::from_millis(2500), Duration::from_millis(500));
        assert_eq!(cpu_times(stat, 100), times);
        assert_eq!(cpu_times("", 100), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_limit_that_is_none_is_none() {
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("268435456\n"), Some(268_435_456));
    }

    #[test]
    fn groups_of_both_versions_are_found() {
        assert_eq!(
            place("0::/system.slice/acolhe.service"),
            Some((
                "/sys/fs/cgroup",
                "memory.max",
                "/system.slice/acolhe.service"
            ))
        );
        assert_eq!(
            place("9:cpu,memory:/docker/1"),
            Some((
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "/docker/1"
            ))
        );
        assert_eq!(place("3:cpu:/"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_read() {
        let process = Process::read();
        assert!(process.memory > 1_000_000);
        assert!(process.threads >= 1);
        assert!(process.file_descriptors >= 3);
    }
}
