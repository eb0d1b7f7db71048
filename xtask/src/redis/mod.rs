//! The Redis that a command works with: found on this machine or fetched into the checkout, and run
//! on a private port for as long as the command lives.
//!
//! It is for development and tests only and holds nothing that matters: no file is written, and it
//! ends with the command that started it, however that ends.

mod fetch;
mod installation;

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{checkout::Checkout, environment, interrupt, terminal};

pub(crate) use installation::Installation;

/// How long the server may take until it answers.
const START: Duration = Duration::from_secs(10);
/// How often another port is tried where somebody took ours.
const TRIES: u32 = 5;

/// Runs a program and ends it when our end of the standard input is closed: that happens even when
/// we are killed.
const UNTIL_STDIN_CLOSES: &str =
    r#""$@" </dev/null & child=$!; cat >/dev/null; kill "$child" 2>/dev/null; wait "$child""#;

/// Run a Redis of its own until Ctrl-C, for tests that are started by hand.
///
/// Prints its address. `cargo xtask test` and `cargo xtask dev` run one by themselves.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    export ACOLHE_TEST_REDIS_URL=…         what it printed, in another terminal")]
pub(crate) struct Args {}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let Self {} = self;
        let redis = Redis::private(checkout)?;
        println!("{}", redis.url());
        loop {
            interrupt::check()?;
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A running Redis. Dropped, it ends.
pub(crate) struct Redis {
    url: String,
    program: Option<PathBuf>,
    _process: Option<Process>,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Redis {
    /// The one that `ACOLHE_REDIS_URL` names, else one of our own.
    pub(crate) fn open(checkout: &Checkout) -> anyhow::Result<Self> {
        if let Some(url) = environment::text("ACOLHE_REDIS_URL") {
            terminal::note("Using the Redis of ACOLHE_REDIS_URL.");
            return Ok(Self {
                url,
                program: None,
                _process: None,
            });
        }
        Self::start(&Installation::choose(checkout)?)
    }

    /// One of our own, which tests may fill: never one that somebody else runs.
    pub(crate) fn private(checkout: &Checkout) -> anyhow::Result<Self> {
        Self::start(&Installation::choose(checkout)?)
    }

    /// `redis://127.0.0.1:port`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The server's program, where it is one of ours: tests of faults run servers of their own.
    pub(crate) fn program(&self) -> Option<&PathBuf> {
        self.program.as_ref()
    }

    fn start(installation: &Installation) -> anyhow::Result<Self> {
        for _ in 0..TRIES {
            if let Some((port, process)) = start_at_free_port(installation)? {
                return Ok(Self {
                    url: format!("redis://127.0.0.1:{port}"),
                    program: Some(installation.program.clone()),
                    _process: Some(process),
                });
            }
        }
        bail!(
            "{} ends at once: try it by hand, with --port 6390",
            installation.program.display()
        )
    }
}

/// `None`: it ended instead, perhaps because somebody took the port between our look and its own.
fn start_at_free_port(installation: &Installation) -> anyhow::Result<Option<(u16, Process)>> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port();
    let child = Command::new("/bin/sh")
        .args(["-c", UNTIL_STDIN_CLOSES, "sh"])
        .arg(&installation.program)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C is for us: we end it after what uses it.
        .process_group(0)
        .spawn()
        .context("cannot run redis-server")?;
    let mut process = Process(child);
    let started = Instant::now();
    loop {
        interrupt::check()?;
        // The shell goes on without its child, so that it is our question that tells.
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok_and(|stream| answers(&stream)) {
            return Ok(Some((port, process)));
        }
        if started.elapsed() > START || process.0.try_wait()?.is_some() {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the one at the other end is a Redis that takes commands.
fn answers(mut stream: &TcpStream) -> bool {
    use std::io::{Read as _, Write as _};
    let mut answer = [0; 5];
    stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .is_ok()
        && stream.write_all(b"PING\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"+PONG"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_when_the_one_who_started_it_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let mut child = Command::new("/bin/sh")
            .args(["-c", UNTIL_STDIN_CLOSES, "sh", "/bin/sh", "-c"])
            .arg(format!("echo $$ > {}; exec sleep 60", file.display()))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Ok(pid) = text.trim().parse::<i32>() {
                break rustix::process::Pid::from_raw(pid).unwrap();
            }
            thread::sleep(Duration::from_millis(5));
        };
        rustix::process::test_kill_process(pid).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
