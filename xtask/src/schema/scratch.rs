//! A database to try things in, with the roles and without a table.

use ::postgres::Client;

use crate::{
    checkout::Checkout,
    postgres::{
        cluster::Kind,
        site::{Role, Site},
    },
};

/// Dropped together with the value, and the test cluster is stopped if it was started for it.
pub(crate) struct Scratch {
    site: Site,
    name: String,
}

impl Scratch {
    pub(crate) fn make(checkout: &Checkout) -> anyhow::Result<Self> {
        let scratch = Self {
            site: Site::open(checkout, Kind::Test)?,
            name: format!("acolhe_scratch_{}", std::process::id()),
        };
        scratch.site.prepare(checkout, &scratch.name)?;
        Ok(scratch)
    }

    /// As the account that made it: sees the whole catalogue.
    pub(crate) fn admin(&self) -> anyhow::Result<Client> {
        self.site.connect(Role::Admin, &self.name)
    }

    /// As the role that runs migrations.
    pub(crate) fn owner(&self) -> anyhow::Result<Client> {
        self.site.connect(Role::Owner, &self.name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.site.drop_database(&self.name) {
            crate::terminal::failure(&error);
        }
    }
}
