//! A database to try things in, with the roles and without a table.

use ::postgres::{Client, Config};

use crate::{
    checkout::Checkout,
    postgres::{
        Home, Lease,
        address::{self, explain},
        bootstrap::{bootstrap, connect},
        cluster::{Cluster, Kind},
    },
};

/// Dropped together with the value, and the test cluster is stopped if it was started for it.
pub(crate) struct Scratch {
    server: Config,
    name: String,
    /// Held for its end. `None` on the server that `DATABASE_URL` gives.
    _lease: Option<Lease>,
}

impl Scratch {
    pub(crate) fn make(checkout: &Checkout) -> anyhow::Result<Self> {
        let (server, lease) = if let Some(given) = address::given()? {
            (given.config, None)
        } else {
            let lease = Lease::take(Home::open(checkout)?, Kind::Test)?;
            (Cluster::admin(lease.running, "postgres"), Some(lease))
        };
        let name = format!("acolhe_scratch_{}", std::process::id());
        let scratch = Self {
            server,
            name,
            _lease: lease,
        };
        bootstrap(checkout, &scratch.server, &scratch.name)?;
        Ok(scratch)
    }

    /// As the account that made it: sees the whole catalogue.
    pub(crate) fn admin(&self) -> anyhow::Result<Client> {
        connect(self.server.clone().dbname(&self.name))
    }

    /// As the role that runs migrations.
    pub(crate) fn owner(&self) -> anyhow::Result<Client> {
        connect(self.server.clone().dbname(&self.name).user("acolhe_owner"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let dropped = connect(&self.server).and_then(|mut client| {
            let sql = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.name);
            client.batch_execute(&sql).map_err(explain)
        });
        if let Err(error) = dropped {
            crate::terminal::failure(&error.context(format!("the database {} stays", self.name)));
        }
    }
}
