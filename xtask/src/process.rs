//! Running other programs: waiting so that Ctrl-C is seen, and errors that show what was run.

use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt;

/// How long a child may take to follow a signal before it gets a second one.
const GRACE: Duration = Duration::from_secs(10);

/// Runs in the foreground, with our terminal. `Err(Interrupted)` when stopped by a signal, after
/// the child has ended.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<ExitStatus> {
    let mut child = command.spawn().with_context(|| cannot_run(command))?;
    let status = wait(&mut child)?;
    interrupt::check()?;
    Ok(status)
}

/// Runs quietly, apart from the terminal (Ctrl-C does not reach it: it must be short), and gives
/// its standard output. The error holds what it printed.
pub(crate) fn quiet(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .with_context(|| cannot_run(command))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = [stdout.trim(), stderr.trim()].join("\n");
        bail!(
            "{} failed ({})\n{}",
            shown(command),
            output.status,
            said.trim()
        );
    }
    Ok(stdout.into_owned())
}

/// Runs in the foreground but keeps what it prints for the error: for long steps whose output is
/// noise while all goes well. Ctrl-C reaches it.
pub(crate) fn hushed(command: &mut Command) -> anyhow::Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| cannot_run(command))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child)?;
    interrupt::check()?;
    let stdout = stdout.join().unwrap_or_default();
    if !status.success() {
        let stderr = stderr.join().unwrap_or_default();
        bail!("{} failed ({status})\n{}", shown(command), stderr.trim());
    }
    Ok(stdout)
}

fn collect(stream: Option<impl std::io::Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for the end, and sees to it that a signal to us ends the child too.
pub(crate) fn wait(child: &mut Child) -> anyhow::Result<ExitStatus> {
    let mut forward_at = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if let Some(signal) = interrupt::received() {
            // A Ctrl-C reached the child as well; a `kill` of us alone did not.
            let due = forward_at.get_or_insert_with(|| {
                let delay = if interrupt::from_terminal(signal) {
                    GRACE
                } else {
                    Duration::ZERO
                };
                Instant::now() + delay
            });
            if Instant::now() >= *due {
                let _ = kill_process(Pid::from_child(child), Signal::TERM);
                forward_at = Some(Instant::now() + GRACE);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn cannot_run(command: &Command) -> String {
    format!("cannot run {}", command.get_program().to_string_lossy())
}

/// The command line, for people.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// A child's exit code as our own.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => ExitCode::from(code),
        None => ExitCode::FAILURE,
    }
}
