//! What a command says to whoever runs it. A serving process says no more here
//! than its address, on request: it logs.

use std::error::Error;
use std::io::Write as _;

/// Prints a result. A reader that went away is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Says why a command failed, with what lies behind it.
pub(crate) fn error(error: &anyhow::Error) {
    let mut text = format!("acolhe-server: {error}");
    let mut next: Option<&dyn Error> = error.source();
    while let Some(cause) = next {
        text.push_str("\n  because ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text.push('\n');
    // Nothing is left to try when this fails.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
