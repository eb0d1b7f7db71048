//! Ctrl-C and friends: remembered in a flag, so that what was started is stopped in order.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static RECEIVED: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// The user (or the system) asked to stop. `main` answers it with exit code 130.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// From here on the signals only set the flag: every wait must look at it.
pub(crate) fn install() -> anyhow::Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let value = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, Arc::clone(&RECEIVED), value)
            .context("cannot listen for Ctrl-C")?;
    }
    Ok(())
}

/// Which signal came, if any.
pub(crate) fn received() -> Option<i32> {
    match RECEIVED.load(Ordering::Relaxed) {
        0 => None,
        signal => i32::try_from(signal).ok(),
    }
}

/// Did the terminal send it (then its children have it too)?
pub(crate) fn from_terminal(signal: i32) -> bool {
    signal == SIGINT
}

/// `Err(Interrupted)` once a signal has come. Call it between steps.
pub(crate) fn check() -> anyhow::Result<()> {
    match received() {
        None => Ok(()),
        Some(_) => Err(Interrupted.into()),
    }
}
