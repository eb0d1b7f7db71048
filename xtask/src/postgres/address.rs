//! Addresses of databases: those of our own clusters, and the one that `DATABASE_URL` gives.

use std::str::FromStr as _;

use ::postgres::{Config, config::Host};
use anyhow::Context;

use crate::environment;

/// The database of the product in our own clusters.
pub(crate) const DATABASE: &str = "acolhe";

/// The account that `initdb` makes in our own clusters.
pub(crate) const SUPERUSER: &str = "postgres";

/// A local address without a password: our own clusters trust whoever reaches 127.0.0.1.
pub(crate) fn local(role: &str, port: u16, database: &str) -> String {
    format!("postgres://{role}@127.0.0.1:{port}/{database}")
}

/// The database that `DATABASE_URL` gives, unless `ACOLHE_POSTGRES` asks for another source.
pub(crate) fn given() -> anyhow::Result<Option<Given>> {
    let Some(url) = environment::text("DATABASE_URL") else {
        return Ok(None);
    };
    if environment::text("ACOLHE_POSTGRES").is_some() {
        return Ok(None);
    }
    // The parser's error is not passed on: it may quote the password.
    let config = Config::from_str(&url)
        .ok()
        .context("DATABASE_URL is no address of a PostgreSQL: write postgres://user:password@host:port/database")?;
    Ok(Some(Given { url, config }))
}

/// A database that somebody else runs. Nothing here ever stops, resets or deletes it.
pub(crate) struct Given {
    pub(crate) url: String,
    pub(crate) config: Config,
}

impl Given {
    /// Where it is, without user or password.
    pub(crate) fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(folder)) => folder.display().to_string(),
            None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let database = self
            .config
            .get_dbname()
            .unwrap_or("the user's own database");
        format!("{database} on {host}:{port}")
    }
}

/// A driver's error with the server's own words, which its `Display` hides.
pub(crate) fn explain(error: ::postgres::Error) -> anyhow::Error {
    match error.as_db_error() {
        Some(said) => anyhow::anyhow!(
            "PostgreSQL says: {} ({})",
            said.message(),
            said.code().code()
        ),
        None => error.into(),
    }
}
