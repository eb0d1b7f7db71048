//! Addresses of databases: those of our own clusters, and the one that `DATABASE_URL` gives.

use std::{fmt, net::IpAddr, str::FromStr as _};

use ::postgres::{Config, config::Host, error::SqlState};
use anyhow::{Context, bail};

use crate::environment;

/// The database of the product in our own clusters.
pub(crate) const DATABASE: &str = "acolhe";

/// The account that `initdb` makes in our own clusters.
pub(crate) const SUPERUSER: &str = "postgres";

/// How an address is written.
const FORM: &str = "postgres://user:password@host:port/database";

/// A local address without a password: our own clusters trust whoever reaches 127.0.0.1.
pub(crate) fn local(role: &str, port: u16, database: &str) -> String {
    format!("postgres://{role}@127.0.0.1:{port}/{database}")
}

/// `postgres://user:password@host:port/database?options`, each part as it is written there, so that
/// a part can be replaced and the others stay.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    user: String,
    password: Option<String>,
    hosts: String,
    database: String,
    /// With its question mark, or empty.
    options: String,
}

impl Address {
    /// Errors name `variable` and never quote the text: it may hold a password.
    pub(crate) fn parse(variable: &str, text: &str) -> anyhow::Result<Self> {
        let unreadable = || format!("{variable} is no address of a PostgreSQL: write {FORM}");
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .with_context(unreadable)?;
        let (rest, options) = match rest.find('?') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (server, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = server.rsplit_once('@').unwrap_or(("", server));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        if login.contains('@') || database.contains(['@', '/']) {
            bail!(
                "{variable} holds an @ or / that belongs to no part of {FORM}: \
                 in a user or password write @ as %40 and / as %2F"
            );
        }
        for option in options.trim_start_matches('?').split('&') {
            match option.split_once('=') {
                Some(("user" | "password" | "dbname", _)) => {
                    bail!(
                        "{variable} names user, password or database behind the `?`: write {FORM}"
                    )
                }
                Some(("sslmode", mode @ ("require" | "verify-ca" | "verify-full"))) => bail!(
                    "{variable} asks for TLS (sslmode={mode}), which the developers' commands do \
                     not speak: use a PostgreSQL on this machine or on a network that you trust \
                     (then with sslmode=disable), or a tunnel to it"
                ),
                _ => {}
            }
        }
        let address = Self {
            user: user.to_owned(),
            password: password.map(str::to_owned),
            hosts: hosts.to_owned(),
            database: database.to_owned(),
            options: options.to_owned(),
        };
        // The parser's error is not passed on: it may quote the password.
        let config = address.config().ok().with_context(unreadable)?;
        let far = config.get_hosts().iter().find(|host| !is_local(host));
        if let Some(Host::Tcp(host)) = far
            && !options.contains("sslmode=disable")
        {
            bail!(
                "{variable} names another machine ({host}), and the developers' commands speak to \
                 PostgreSQL in clear. If you trust the network between, say so: add ?sslmode=disable"
            );
        }
        Ok(address)
    }

    /// The same server as another role.
    pub(crate) fn with_role(&self, role: &str, password: Option<&str>) -> Self {
        Self {
            user: encoded(role),
            password: password.map(encoded),
            ..self.clone()
        }
    }

    /// Another database of the same server.
    pub(crate) fn with_database(&self, name: &str) -> Self {
        Self {
            database: encoded(name),
            ..self.clone()
        }
    }

    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::from_str(&self.to_string())?)
    }

    pub(crate) fn user(&self) -> anyhow::Result<Option<String>> {
        Ok(self.config()?.get_user().map(str::to_owned))
    }

    pub(crate) fn password(&self) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.config()?.get_password().map(<[u8]>::to_vec))
    }

    pub(crate) fn database(&self) -> anyhow::Result<Option<String>> {
        Ok(self.config()?.get_dbname().map(str::to_owned))
    }
}

/// With the password: for programs, never for messages.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        f.write_str(&self.user)?;
        if let Some(password) = &self.password {
            write!(f, ":{password}")?;
        }
        if !self.user.is_empty() || self.password.is_some() {
            f.write_str("@")?;
        }
        write!(f, "{}/{}{}", self.hosts, self.database, self.options)
    }
}

/// Without the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "postgres://{}@{}/{}",
            self.user, self.hosts, self.database
        )
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
    }
}

/// As a part of an address.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The database that `DATABASE_URL` gives, unless `ACOLHE_POSTGRES` asks for another source.
pub(crate) fn given() -> anyhow::Result<Option<Given>> {
    let Some(url) = environment::text("DATABASE_URL") else {
        return Ok(None);
    };
    if environment::text("ACOLHE_POSTGRES").is_some() {
        return Ok(None);
    }
    let address = Address::parse("DATABASE_URL", &url)?;
    let config = address.config()?;
    Ok(Some(Given { address, config }))
}

/// A server that somebody else runs. Nothing here ever stops, resets or deletes it.
pub(crate) struct Given {
    pub(crate) address: Address,
    config: Config,
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

/// The server is there, the database is not (yet).
#[derive(Debug)]
pub(crate) struct NoSuchDatabase;

impl fmt::Display for NoSuchDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such database")
    }
}

impl std::error::Error for NoSuchDatabase {}

/// A driver's error with the server's own words, which its `Display` hides.
pub(crate) fn explain(error: ::postgres::Error) -> anyhow::Error {
    match error.as_db_error() {
        Some(said) if *said.code() == SqlState::INVALID_CATALOG_NAME => NoSuchDatabase.into(),
        Some(said) => anyhow::anyhow!(
            "PostgreSQL says: {} ({})",
            said.message(),
            said.code().code()
        ),
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Address> {
        Address::parse("DATABASE_URL", text)
    }

    #[test]
    fn another_role_brings_its_own_password_and_the_rest_stays() {
        let boss = parse("postgresql://boss:p%40ss@127.0.0.1:5433/x?connect_timeout=3").unwrap();
        assert_eq!(boss.password().unwrap().unwrap(), b"p@ss");
        let app = boss.with_role("acolhe_app", Some("s/cret")).to_string();
        assert_eq!(
            app,
            "postgres://acolhe_app:s%2Fcret@127.0.0.1:5433/x?connect_timeout=3"
        );
        let app = boss.with_role("acolhe_app", None).with_database("a b");
        assert_eq!(
            app.to_string(),
            "postgres://acolhe_app@127.0.0.1:5433/a%20b?connect_timeout=3"
        );
        assert_eq!(app.database().unwrap().unwrap(), "a b");
    }

    #[test]
    fn a_socket_stays_where_it_is() {
        for text in [
            "postgres:///acolhe?host=/var/run/postgresql",
            "postgres://%2Fvar%2Frun%2Fpostgresql/acolhe",
        ] {
            let app = parse(text).unwrap().with_role("acolhe_app", None);
            let config = app.config().unwrap();
            assert_eq!(
                config.get_hosts(),
                [Host::Unix("/var/run/postgresql".into())]
            );
            assert_eq!(config.get_user(), Some("acolhe_app"));
        }
    }

    #[test]
    fn what_cannot_work_is_told_before_it_is_tried_and_without_the_password() {
        for (text, advice) in [
            ("host=db user=boss password=canaria", "postgres://user"),
            ("postgres://boss:can@ria@localhost/x", "%40"),
            ("postgres://localhost/x?password=canaria", "behind the `?`"),
            (
                "postgres://boss:canaria@localhost/x?sslmode=verify-full",
                "TLS",
            ),
            ("postgres://boss:canaria@db.example/x", "sslmode=disable"),
            (
                "postgres://boss:canaria@localhost:port/x",
                "postgres://user",
            ),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(advice), "{error}");
            assert!(
                !error.contains("canaria") && !error.contains("can@ria"),
                "{error}"
            );
        }
        assert!(parse("postgres://boss@db.example/x?sslmode=disable").is_ok());
    }
}
