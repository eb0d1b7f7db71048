//! PostgreSQL for development and tests: found, fetched, started, stopped.
//!
//! In this order: the one that `DATABASE_URL` gives; the bundle that an earlier run fetched; a
//! bundle fetched now; the system's, 15 or newer. `ACOLHE_POSTGRES=bundle` or `=system` forces one
//! of the last two. Our own clusters live in the checkout's cache folder (see
//! [`Checkout::postgres_folder`]), each with its own port, so that checkouts do not meet.

pub(crate) mod account;
pub(crate) mod address;
pub(crate) mod bootstrap;
pub(crate) mod bundle;
pub(crate) mod cluster;
pub(crate) mod installation;
mod lease;
mod settings;
pub(crate) mod site;

use std::{fs, path::PathBuf};

use anyhow::{Context, bail};

pub(crate) use lease::Lease;

use crate::{
    checkout::Checkout,
    environment, interrupt,
    postgres::{
        account::Account,
        bundle::Bundle,
        cluster::{Cluster, Kind},
        installation::{Installation, Origin, find_system},
    },
    terminal,
};

/// Where this checkout's PostgreSQL is kept, and the account it runs under.
pub(crate) struct Home {
    pub(crate) folder: PathBuf,
    pub(crate) account: Account,
    /// Said when something is started: the files are not in the checkout, and why.
    elsewhere: Option<String>,
}

impl Home {
    pub(crate) fn open(checkout: &Checkout) -> anyhow::Result<Self> {
        let account = Account::choose()?;
        let folder = checkout.postgres_folder(&account)?;
        let elsewhere = (!folder.starts_with(checkout.root())).then(|| {
            format!(
                "PostgreSQL does not run as root, and the account it runs under here, {}, cannot \
                 reach {}: its files are in {}.",
                account.name(),
                checkout.root().display(),
                folder.display(),
            )
        });
        Ok(Self {
            folder,
            account,
            elsewhere,
        })
    }

    /// Tells where the files are when that is not in the checkout.
    pub(crate) fn say_where(&self) {
        if let Some(elsewhere) = &self.elsewhere {
            terminal::note(elsewhere);
        }
    }

    /// The clusters of a kind that have a folder, the last used first.
    pub(crate) fn existing(&self, kind: Kind) -> Vec<Cluster> {
        Cluster::existing(&self.folder, kind, &self.account)
    }

    /// The cluster of this kind to use: the running one, else that of the PostgreSQL chosen.
    pub(crate) fn cluster(&self, kind: Kind) -> anyhow::Result<Cluster> {
        let forced = forced()?;
        for cluster in self.existing(kind) {
            let fits = forced.is_none_or(|origin| origin == cluster.installation().origin);
            if fits && cluster.running()?.is_some() {
                return Ok(cluster);
            }
        }
        let installation = self.choose(kind, forced)?;
        Ok(Cluster::new(
            &self.folder,
            kind,
            installation,
            self.account.clone(),
        ))
    }

    /// One process at a time may start or stop clusters of a kind. Released when dropped.
    pub(crate) fn lock(&self, kind: Kind) -> anyhow::Result<fs::File> {
        let file = self.lock_file(&format!("{}.lock", kind.name()))?;
        file.lock()?;
        Ok(file)
    }

    fn lock_file(&self, name: &str) -> anyhow::Result<fs::File> {
        let path = self.folder.join(name);
        fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| {
                format!(
                    "cannot open {}: does another user own it (perhaps root, by an earlier `cargo \
                     xtask`)? Remove {} as that user",
                    path.display(),
                    self.folder.display()
                )
            })
    }

    fn choose(&self, kind: Kind, forced: Option<Origin>) -> anyhow::Result<Installation> {
        if kind == Kind::Dev
            && let Some(known) = self.same_as_before(forced)
        {
            return Ok(known);
        }
        let mut missed = Vec::new();
        if forced != Some(Origin::System) {
            let bundle = Bundle::in_cache(&self.folder);
            if let Some(found) = bundle.cached(&self.account) {
                return Ok(found);
            }
            match bundle.fetch(&self.account) {
                Ok(found) => return Ok(found),
                Err(error) if error.is::<interrupt::Interrupted>() => return Err(error),
                Err(error) => missed.push(format!("bundle: {error:#}")),
            }
        }
        if forced != Some(Origin::Bundle) {
            if let Some(found) = find_system(&self.account, None) {
                for reason in missed {
                    terminal::note(format!("Going without the {reason}"));
                }
                return Ok(found);
            }
            missed.push(format!(
                "system: no PostgreSQL {} or newer on PATH, by pg_config, or where systems keep it",
                installation::OLDEST
            ));
        }
        bail!(
            "no PostgreSQL to work with.\n  {}\nDo one of these, then try again:\n  \
             - install npm (it comes with Node.js), so that a bundle can be fetched\n  \
             - install PostgreSQL: apt install postgresql, dnf install postgresql-server, brew install postgresql\n  \
             - set DATABASE_URL to a PostgreSQL whose account may create roles and databases (a superuser for tests)",
            missed.join("\n  ")
        )
    }

    /// The PostgreSQL that the development data was made with, so that it does not seem lost when
    /// another one appears on the machine.
    fn same_as_before(&self, forced: Option<Origin>) -> Option<Installation> {
        let before = self.existing(Kind::Dev).into_iter().next()?;
        let known = before.installation();
        if forced.is_some_and(|origin| origin != known.origin) {
            return None;
        }
        let found = match known.origin {
            Origin::Bundle => Bundle::in_cache(&self.folder).cached(&self.account),
            Origin::System => find_system(&self.account, Some(known.major)),
        };
        let found = found.filter(|found| found.major == known.major);
        if found.is_none() {
            terminal::note(format!(
                "The data in {} was made with PostgreSQL {}, which is no longer here.",
                before.folder.display(),
                known.version
            ));
        }
        found
    }
}

/// What `ACOLHE_POSTGRES` asks for.
fn forced() -> anyhow::Result<Option<Origin>> {
    match environment::text("ACOLHE_POSTGRES").as_deref() {
        None => Ok(None),
        Some("bundle") => Ok(Some(Origin::Bundle)),
        Some("system") => Ok(Some(Origin::System)),
        Some(_) => bail!("ACOLHE_POSTGRES must be `bundle` or `system`"),
    }
}
