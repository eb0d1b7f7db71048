//! The database and its roles, made by an account that may: what `migrations/bootstrap.sql` says.
//! Migrations come after, by `acolhe-server migrate`.

use std::{fs, time::Duration};

use ::postgres::{Client, Config, NoTls};
use anyhow::Context;

use crate::{checkout::Checkout, postgres::address::explain};

/// Creates the database if it is not there, then its roles and grants. Safe to run again.
///
/// `admin` connects to any database of the server as an account with CREATEROLE and CREATEDB.
pub(crate) fn bootstrap(checkout: &Checkout, admin: &Config, database: &str) -> anyhow::Result<()> {
    let file = checkout.root().join("migrations/bootstrap.sql");
    let sql = fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}: is the checkout complete?", file.display()))?;
    create_database(admin, database)?;
    let mut there = admin.clone();
    there.dbname(database);
    connect(&there)?
        .batch_execute(&sql)
        .map_err(explain)
        .with_context(|| {
            format!(
                "{} failed on {database}: the account needs CREATEROLE and must own the database",
                file.display()
            )
        })
}

fn create_database(admin: &Config, database: &str) -> anyhow::Result<()> {
    let mut client = connect(admin)?;
    let there = client
        .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&database])
        .map_err(explain)?
        .is_some();
    if !there {
        let quoted = database.replace('"', "\"\"");
        client
            .batch_execute(&format!("CREATE DATABASE \"{quoted}\""))
            .map_err(explain)
            .with_context(|| format!("cannot create the database {database}"))?;
    }
    Ok(())
}

/// Connects without TLS, and gives up after five seconds.
pub(crate) fn connect(config: &Config) -> anyhow::Result<Client> {
    let mut config = config.clone();
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(5));
    }
    config
        .connect(NoTls)
        .map_err(explain)
        .context("cannot connect to PostgreSQL")
}
