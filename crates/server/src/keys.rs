//! `acolhe-server keys`: makes keys, and brings what is stored under newer ones.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use kernel::ports::Resealed;
use kernel::{NoMetrics, Origin};
use security::tokens::SigningKey;
use security::{KeyRing, MasterKey, SystemRandom};
use serde_json::{Value, json};

use crate::config::{Config, ConfigError};
use crate::output;
use crate::serve::check_database;
use crate::wiring::{Foundation, between_keys, key_ring};

const STEPS: &str = "\
To replace the keys:
  1. `acolhe-server keys generate --next` prints the configured keys with a new one of each. Put
     them into the configuration and restart every server. The new ones seal and sign; the older
     ones still open and verify, so nobody has to log in again.
  2. `acolhe-server keys rotate`, with the same configuration. Servers may run meanwhile.
  3. When the access tokens of before have ended (15 minutes), take the older signing keys out of
     auth.older_signing_keys.

Hashes by which documents are looked up keep to the oldest master key, or to keys.lookup_version. To
drop an older master key for good, after step 2:
  4. Stop every server, set keys.lookup_version to the new version, run `acolhe-server keys rotate`
     again, and start the servers. Were one to run meanwhile, it would find no contact by document.
  5. Take the older master key out of keys.master. Page cursors that callers still hold end with it.

Any step may be done again. A change of keys leaves an entry in the platform's security log.";

/// Commands about keys.
#[derive(Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Print a new master key and a new signing key, as the configuration takes them.
    Generate {
        /// The master key's version; higher than those in use.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        version: u16,
        /// Print the configured keys with a new one of each added.
        #[arg(long, conflicts_with = "version")]
        next: bool,
    },
    /// Seal and hash what is stored with the present keys.
    ///
    /// Secrets of webhook endpoints and contacts' documents: what an older master key sealed is
    /// opened and sealed with the newest. Says which older keys are still needed.
    #[command(after_help = STEPS)]
    Rotate {
        /// Print the result as JSON on one line.
        #[arg(long)]
        json: bool,
    },
}

/// Runs one command to its end. Reads the configuration only where it is needed.
pub(crate) fn run(
    keys: &Keys,
    config: impl FnOnce() -> Result<Config, ConfigError>,
) -> anyhow::Result<()> {
    match &keys.command {
        KeysCommand::Generate { next: true, .. } => output::print(&next(&config()?)?),
        KeysCommand::Generate { version, .. } => output::print(&generate(*version)),
        KeysCommand::Rotate { json } => rotate(&config()?, *json),
    }
}

/// A new master key and signing key, as lines of the environment.
fn generate(version: u16) -> String {
    let master = MasterKey::generate(version, &SystemRandom);
    let signing = SigningKey::generate(&SystemRandom);
    format!("ACOLHE_KEYS_MASTER={master}\nACOLHE_AUTH_SIGNING_KEY={signing}\n")
}

/// The configured keys and a new one of each, as lines of the environment.
fn next(config: &Config) -> anyhow::Result<String> {
    let newest = key_ring(config)?.sealing_version();
    let version = newest
        .checked_add(1)
        .context("keys.master has the highest version there is, 65535")?;
    let given = |text: Option<&kernel::Sensitive<String>>| -> Vec<String> {
        let text = text.map_or("", |text| text.expose());
        text.split(between_keys)
            .filter(|key| !key.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut master = given(config.keys.master.as_ref());
    master.push(MasterKey::generate(version, &SystemRandom));
    let signing = config.auth.signing_key.as_ref();
    let signing = signing.ok_or_else(|| ConfigError::missing("auth.signing_key"))?;
    if signing.expose().trim_start().starts_with("-----BEGIN") {
        bail!(
            "auth.signing_key is in PEM, and only a seed in base64 can be kept among the older \
             ones: replace the signing key by hand"
        );
    }
    let mut older = given(config.auth.older_signing_keys.as_ref());
    older.insert(0, signing.expose().trim().to_owned());
    Ok(format!(
        "ACOLHE_KEYS_MASTER={}\nACOLHE_AUTH_SIGNING_KEY={}\nACOLHE_AUTH_OLDER_SIGNING_KEYS={}\n",
        master.join(","),
        SigningKey::generate(&SystemRandom),
        older.join(",")
    ))
}

/// What was brought under the present keys.
#[derive(Debug, Default, Clone, Copy)]
struct Rotated {
    secrets: Resealed,
    documents: Resealed,
    clinics: usize,
}

fn rotate(config: &Config, as_json: bool) -> anyhow::Result<()> {
    let ring = key_ring(config)?;
    let foundation = Foundation::from_config(config, 1, Arc::new(NoMetrics))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let rotated = runtime.block_on(async {
        check_database(config, &foundation).await?;
        reseal(&foundation).await
    })?;
    if as_json {
        output::print(&format!("{}\n", in_json(rotated, &ring)))?;
    } else {
        output::print(&in_words(rotated, &ring))?;
    }
    let unreadable = rotated.secrets.unreadable + rotated.documents.unreadable;
    if unreadable > 0 {
        bail!(
            "{unreadable} stored values open with no key of keys.master: put back the key that \
             sealed them, and run this again"
        );
    }
    Ok(())
}

async fn reseal(foundation: &Foundation) -> anyhow::Result<Rotated> {
    let origin = Origin::internal(foundation.tools().id());
    let mut rotated = Rotated {
        secrets: foundation.shared_endpoints().reseal(origin.clone()).await?,
        ..Rotated::default()
    };
    let administration = foundation.administration();
    for clinic in administration.list_clinics(origin.clone()).await? {
        let documents = foundation.documents();
        rotated.documents += documents.reseal(origin.clone(), clinic.id).await?;
        rotated.clinics += 1;
    }
    Ok(rotated)
}

fn in_json(rotated: Rotated, ring: &KeyRing) -> Value {
    let counts = |it: Resealed| json!({ "anew": it.anew, "current": it.current, "unreadable": it.unreadable });
    json!({
        "secrets": counts(rotated.secrets), "documents": counts(rotated.documents),
        "clinics": rotated.clinics, "sealingVersion": ring.sealing_version(),
        "lookupVersion": ring.lookup_version(), "unneededVersions": unneeded(rotated, ring),
    })
}

/// Master keys that nothing stored is under any more.
fn unneeded(rotated: Rotated, ring: &KeyRing) -> Vec<u16> {
    let all_read = rotated.secrets.unreadable + rotated.documents.unreadable == 0;
    let used = [ring.sealing_version(), ring.lookup_version()];
    ring.versions()
        .filter(|version| all_read && !used.contains(version))
        .collect()
}

fn in_words(rotated: Rotated, ring: &KeyRing) -> String {
    let mut text = String::new();
    for (what, it) in [
        ("secrets of endpoints", rotated.secrets),
        ("documents of contacts", rotated.documents),
    ] {
        let _infallible = writeln!(
            text,
            "{what:<22} {} anew, {} as they were, {} unreadable",
            it.anew, it.current, it.unreadable
        );
    }
    let (sealing, lookup) = (ring.sealing_version(), ring.lookup_version());
    let _infallible = writeln!(
        text,
        "Master key {sealing} seals; look-ups use master key {lookup}."
    );
    for version in unneeded(rotated, ring) {
        let _infallible = writeln!(text, "Master key {version} is needed no more.");
    }
    if lookup != sealing {
        let _infallible = writeln!(
            text,
            "Master key {lookup} is needed until keys.lookup_version is {sealing}: see \
             `acolhe-server keys rotate --help`."
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn config(lines: &str) -> Config {
        let environment = lines
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let sources = Sources {
            file: None,
            environment,
        };
        Config::read(&load(&sources).unwrap()).unwrap()
    }

    #[test]
    fn the_next_keys_are_the_configured_ones_and_a_new_one_of_each() {
        let first = generate(7);
        let second = next(&config(&first)).unwrap();
        let third = next(&config(&second)).unwrap();
        for (lines, versions) in [(&second, vec![7, 8]), (&third, vec![7, 8, 9])] {
            let ring = key_ring(&config(lines)).unwrap();
            assert_eq!(ring.versions().collect::<Vec<_>>(), versions);
            assert_eq!(Some(&ring.sealing_version()), versions.last());
            assert_eq!(ring.lookup_version(), 7, "no look-up is blinded");
        }
        let value = |lines: &str, name: &str| {
            let line = lines.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().to_owned()
        };
        let signing = |lines| value(lines, "ACOLHE_AUTH_SIGNING_KEY=");
        assert_eq!(
            value(&third, "ACOLHE_AUTH_OLDER_SIGNING_KEYS="),
            format!("{},{}", signing(&second), signing(&first))
        );
        assert!(
            value(&second, "ACOLHE_KEYS_MASTER=")
                .starts_with(&value(&first, "ACOLHE_KEYS_MASTER="))
        );
    }

    #[test]
    fn a_key_is_needed_while_it_seals_or_looks_up_or_anything_is_unreadable() {
        let ring = |lookup| {
            let keys = [1, 2, 3].map(|version| MasterKey::new(version, &[7; 32]).unwrap());
            KeyRing::new(keys.into(), lookup).unwrap()
        };
        let mut rotated = Rotated::default();
        assert_eq!(unneeded(rotated, &ring(None)), [2]);
        assert_eq!(unneeded(rotated, &ring(Some(3))), [1, 2]);
        rotated.documents.unreadable = 1;
        assert!(unneeded(rotated, &ring(Some(3))).is_empty());
        assert!(in_words(rotated, &ring(None)).contains("1 unreadable"));
    }
}
