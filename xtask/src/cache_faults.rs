//! `cargo xtask cache-faults`: the cache's faults, for longer than the tests take.

use std::process::ExitCode;

use crate::{checkout::Checkout, process, test::Ground};

/// Run two servers under load while their Redis is killed, paused, flushed and cut off.
///
/// Readers know what was written: no request may fail, nobody may read what was overwritten more than a
/// second ago, and each process shows at once what was written through it. Tells how each stretch went
/// and a summary; fails where anything was wrong. `cargo xtask test` does the same in half a minute.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long in all, in seconds.
    #[arg(long, default_value_t = 180)]
    seconds: u32,
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let ground = Ground::open(checkout)?;
        let mut command = checkout.cargo();
        command
            .args([
                "test",
                "--package",
                "server",
                "--test",
                "cache",
                "--",
                "--nocapture",
            ])
            .arg("no_fault_of_redis_fails")
            .env("ACOLHE_TEST_FAULTS_SECONDS", self.seconds.to_string())
            .envs(ground.environment());
        Ok(process::exit_code(process::run(&mut command)?))
    }
}
