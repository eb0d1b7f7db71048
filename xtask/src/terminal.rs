//! What the user sees: long steps with their time, notes, failures. All on stderr, so that stdout
//! holds results alone.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// A line of information.
pub(crate) fn note(text: impl AsRef<str>) {
    eprintln!("{}", text.as_ref());
}

/// The error with its causes, as a person would tell it.
pub(crate) fn failure(error: &anyhow::Error) {
    eprintln!("{} {error}", paint("31;1", "error:"));
    for cause in error.chain().skip(1) {
        for line in cause.to_string().lines() {
            eprintln!("  {line}");
        }
    }
}

/// Does `work` under a heading with a running clock, which is worth it for anything over a second.
pub(crate) fn step<T>(
    heading: &str,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let started = Instant::now();
    let (done, ticking) = mpsc::channel::<()>();
    let live = stderr().is_terminal();
    eprint!("{heading} …");
    let _ = stderr().flush();
    let label = heading.to_owned();
    let ticker = live.then(|| {
        thread::spawn(move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) =
                ticking.recv_timeout(Duration::from_secs(1))
            {
                eprint!("\r{label} … {}", time(started.elapsed()));
                let _ = stderr().flush();
            }
        })
    });
    let result = work();
    drop(done);
    if let Some(ticker) = ticker {
        let _ = ticker.join();
        eprint!("\r{heading} …");
    }
    let word = if result.is_ok() {
        "done in"
    } else {
        "failed after"
    };
    eprintln!(" {word} {}", time(started.elapsed()));
    result
}

/// `4.2 s`, `3 min 05 s`.
pub(crate) fn time(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    if seconds < 60 {
        format!("{:.1} s", elapsed.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// Coloured when a person looks on.
pub(crate) fn paint(colour: &str, text: &str) -> String {
    if stderr().is_terminal() && crate::environment::text("NO_COLOR").is_none() {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_time_is_told_in_minutes() {
        assert_eq!(time(Duration::from_millis(4_240)), "4.2 s");
        assert_eq!(time(Duration::from_secs(185)), "3 min 05 s");
    }
}
