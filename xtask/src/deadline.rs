//! `cargo xtask deadline PROGRAM …`: runs a program of tests, and ends it when it hangs.
//!
//! `cargo test` has no deadline of its own, as cargo-nextest has for every test. So `cargo xtask
//! test` has cargo run each program through this where nextest is not installed. libtest prints a
//! line for each test that ends, and for one that takes over a minute: a program that prints
//! nothing for long hangs.

use std::{
    io::{Read, Write},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitCode, Stdio},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{interrupt, process};

/// How long a program may be silent, in seconds. As long as nextest lets a test run, and the
/// minute after which libtest names a slow one.
const SILENCE: u64 = 180;

/// Run a program of tests; end it when it prints nothing for long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long it may be silent, in seconds.
    #[arg(long, default_value_t = SILENCE)]
    silence: u64,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<std::ffi::OsString>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let (program, arguments) = self.command.split_first().context("no program is named")?;
        let silence = Duration::from_secs(self.silence);
        watch(Command::new(program).args(arguments), silence)
    }
}

/// Runs it in a process group of its own, so that what it started ends with it.
fn watch(command: &mut Command, silence: Duration) -> anyhow::Result<ExitCode> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", process::shown(command)))?;
    let heard = Mutex::new(Instant::now());
    let (done, ended) = mpsc::channel::<()>();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let out = done.clone();
        scope.spawn(|| pass_on(stdout, std::io::stdout(), &heard, out));
        scope.spawn(|| pass_on(stderr, std::io::stderr(), &heard, done));
        let outcome = wait(&mut child, &heard, silence, &ended);
        // Whatever it left behind would keep the pipes open, and us with them.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        outcome.with_context(|| process::shown(command))
    })
}

fn wait(
    child: &mut Child,
    heard: &Mutex<Instant>,
    silence: Duration,
    ended: &mpsc::Receiver<()>,
) -> anyhow::Result<ExitCode> {
    let group = Pid::from_child(child);
    loop {
        if let Some(status) = child.try_wait()? {
            // What it said last is still on its way.
            while let Ok(()) = ended.recv_timeout(Duration::from_secs(1)) {}
            return Ok(process::exit_code(status));
        }
        if interrupt::received().is_some() {
            let _ = kill_process_group(group, Signal::KILL);
            child.wait()?;
            return Err(interrupt::Interrupted.into());
        }
        let last = *heard.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() > silence {
            let _ = kill_process_group(group, Signal::KILL);
            child.wait()?;
            bail!(
                "no test ended for {} s, so this program was killed: a test hangs. It is one of \
                 those said above to be \"running for over 60 seconds\"",
                silence.as_secs()
            );
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn pass_on(
    from: Option<impl Read>,
    mut to: impl Write,
    heard: &Mutex<Instant>,
    done: mpsc::Sender<()>,
) {
    let mut bytes = [0; 8192];
    if let Some(mut from) = from {
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            *heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            let _ = to.write_all(&bytes[..length]).and_then(|()| to.flush());
        }
    }
    drop(done);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, silence: Duration) -> anyhow::Result<ExitCode> {
        watch(Command::new("/bin/sh").args(["-c", script]), silence)
    }

    #[test]
    fn a_program_that_hangs_is_ended_and_named() {
        let began = Instant::now();
        // The grandchild holds the pipe open.
        let error = run("sleep 60 & sleep 60", Duration::from_millis(200)).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(30));
        let error = format!("{error:#}");
        assert!(
            error.contains("/bin/sh") && error.contains("hangs"),
            "{error}"
        );
    }

    #[test]
    fn a_slow_program_that_says_something_is_left_alone() {
        let script = "for i in 1 2 3 4 5 6; do echo; sleep 0.3; done; exit 7";
        let code = run(script, Duration::from_millis(1500)).unwrap();
        assert_eq!(code, ExitCode::from(7));
    }
}
