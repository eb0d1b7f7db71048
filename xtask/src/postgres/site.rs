//! The PostgreSQL that a command works on, and how each role logs in there.
//!
//! In our own clusters nobody needs a password. On a server that `DATABASE_URL` gives, the roles
//! `acolhe_app` and `acolhe_owner` get one where logins need it: worked out from the password of
//! `DATABASE_URL`, so that nothing has to be kept and every checkout works out the same. A password
//! that somebody else gave them is never changed: `ACOLHE_DATABASE_URL` and
//! `ACOLHE_DATABASE_OWNER_URL` tell it.

use ::postgres::{Client, error::SqlState};
use anyhow::{Context, bail};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{
    checkout::Checkout,
    environment,
    postgres::{
        Home, Lease,
        address::{self, Address, Given, explain},
        bootstrap::{bootstrap, connect},
        cluster::{Cluster, Kind},
        installation,
    },
    server::Addresses,
    terminal,
};

/// Who logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The superuser of our own clusters; the account of `DATABASE_URL`.
    Admin,
    /// Owns the tables, runs migrations.
    Owner,
    /// The server.
    App,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Admin => address::SUPERUSER,
            Self::Owner => "acolhe_owner",
            Self::App => "acolhe_app",
        }
    }

    /// Where somebody who runs the server says how this role logs in.
    fn variable(self) -> &'static str {
        match self {
            Self::Admin => "DATABASE_URL",
            Self::Owner => "ACOLHE_DATABASE_OWNER_URL",
            Self::App => "ACOLHE_DATABASE_URL",
        }
    }
}

/// A running PostgreSQL, kept running while this lives.
pub(crate) struct Site {
    /// As the account that makes databases and roles, in a database that exists.
    admin: Address,
    given: Option<Given>,
    _lease: Option<Lease>,
}

impl Site {
    /// The server that `DATABASE_URL` gives, else our own cluster of this kind. Says which.
    pub(crate) fn open(checkout: &Checkout, kind: Kind) -> anyhow::Result<Self> {
        if let Some(given) = address::given()? {
            return Self::given(given);
        }
        let lease = Lease::take(Home::open(checkout)?, kind)?;
        let url = Cluster::url(lease.running, address::SUPERUSER, "postgres");
        Ok(Self {
            admin: Address::parse("the cluster's address", &url)?,
            given: None,
            _lease: Some(lease),
        })
    }

    fn given(given: Given) -> anyhow::Result<Self> {
        terminal::note(format!(
            "Using the PostgreSQL of DATABASE_URL ({}).",
            given.place()
        ));
        let (admin, mut client) = log_in(&given)?;
        let version: i32 = client
            .query_one("SELECT current_setting('server_version_num')::int", &[])
            .map_err(explain)?
            .get(0);
        let major = u32::try_from(version / 10_000).unwrap_or_default();
        if major < installation::OLDEST {
            bail!(
                "DATABASE_URL names a PostgreSQL {major}: {} or newer is needed",
                installation::OLDEST
            );
        }
        Ok(Self {
            admin,
            given: Some(given),
            _lease: None,
        })
    }

    /// Does somebody else run it?
    pub(crate) fn is_given(&self) -> bool {
        self.given.is_some()
    }

    /// The product's database here: that of `DATABASE_URL`, or our own.
    pub(crate) fn database(&self) -> anyhow::Result<String> {
        match &self.given {
            None => Ok(address::DATABASE.to_owned()),
            Some(given) => given.address.database()?.context(
                "DATABASE_URL names no database: write postgres://user:password@host:port/database",
            ),
        }
    }

    /// Fails where the account is bound by row-level security: `why` it must not be.
    pub(crate) fn require_superuser(&self, why: &str) -> anyhow::Result<()> {
        let row = connect(&self.admin.config()?)?
            .query_one(
                "SELECT rolsuper, rolname::text FROM pg_roles WHERE rolname = current_user",
                &[],
            )
            .map_err(explain)?;
        if !row.get::<_, bool>(0) {
            bail!(
                "{why}: the account of DATABASE_URL must be a superuser, and {} is none.\n\
                 Name one, or unset DATABASE_URL to use a PostgreSQL of this checkout's own",
                row.get::<_, String>(1)
            );
        }
        Ok(())
    }

    /// An address of a role, with its password where one is known.
    pub(crate) fn address(&self, role: Role, database: &str) -> anyhow::Result<Address> {
        let address = match role {
            Role::Admin => self.admin.clone(),
            Role::Owner | Role::App => {
                let password = self.password(role)?;
                self.admin.with_role(role.name(), password.as_deref())
            }
        };
        Ok(address.with_database(database))
    }

    /// As the account that makes databases, in a database that exists.
    pub(crate) fn admin_address(&self) -> &Address {
        &self.admin
    }

    /// Where the server finds the database. For the product's own, `ACOLHE_DATABASE_URL` and
    /// `ACOLHE_DATABASE_OWNER_URL` have their say.
    pub(crate) fn addresses(&self, database: &str) -> anyhow::Result<Addresses> {
        let address = |role: Role| match environment::text(role.variable()) {
            Some(url) if self.is_given() && self.database()? == database => Ok(url),
            _ => Ok::<_, anyhow::Error>(self.address(role, database)?.to_string()),
        };
        Ok(Addresses {
            app: address(Role::App)?,
            owner: address(Role::Owner)?,
        })
    }

    pub(crate) fn connect(&self, role: Role, database: &str) -> anyhow::Result<Client> {
        connect(&self.address(role, database)?.config()?)
    }

    /// Makes the database if it is not there, and sees to it that its roles can log in.
    pub(crate) fn prepare(&self, checkout: &Checkout, database: &str) -> anyhow::Result<()> {
        if !self.is_given() {
            return bootstrap(checkout, &self.admin.config()?, database);
        }
        let known: Vec<String> = connect(&self.admin.config()?)?
            .query("SELECT rolname::text FROM pg_roles", &[])
            .map_err(explain)?
            .iter()
            .map(|row| row.get(0))
            .collect();
        bootstrap(checkout, &self.admin.config()?, database)?;
        for role in [Role::Owner, Role::App] {
            let is_new = !known.iter().any(|name| name == role.name());
            self.let_in(role, is_new, database)?;
        }
        Ok(())
    }

    /// Makes the roles, and sees to it that they can log in, by a database that is dropped again.
    pub(crate) fn try_out(&self, checkout: &Checkout) -> anyhow::Result<()> {
        let database = format!("acolhe_scratch_{}", std::process::id());
        let prepared = self.prepare(checkout, &database);
        let dropped = self.drop_database(&database);
        prepared.and(dropped)
    }

    /// Drops a database that a command made.
    pub(crate) fn drop_database(&self, name: &str) -> anyhow::Result<()> {
        connect(&self.admin.config()?)?
            .batch_execute(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))
            .map_err(explain)
            .with_context(|| format!("the database {name} stays"))
    }

    /// The password that a role has or shall have on a given server.
    pub(crate) fn password(&self, role: Role) -> anyhow::Result<Option<String>> {
        if !self.is_given() {
            return Ok(None);
        }
        if let Some(told) = told(role)? {
            return Ok(told);
        }
        Ok(self
            .admin
            .password()?
            .map(|admin| worked_out(&admin, role.name())))
    }

    /// Tries to log in; sets the role's password where it has none yet.
    fn let_in(&self, role: Role, is_new: bool, database: &str) -> anyhow::Result<()> {
        let (name, variable) = (role.name(), role.variable());
        let Err(refused) = self.connect(role, database) else {
            return Ok(());
        };
        if environment::text(variable).is_some() {
            return match told(role)? {
                // Another login of somebody's own making: the server will tell.
                None => Ok(()),
                Some(_) => Err(refused.context(format!(
                    "{name} cannot log in as {variable} says: correct its password there"
                ))),
            };
        }
        let Some(password) = self.password(role)? else {
            return Err(refused.context(format!(
                "{name} cannot log in without a password here. Either name an account with a \
                 password in DATABASE_URL (then {name} gets one too), or say how it logs in: \
                 {variable}=postgres://{name}:…"
            )));
        };
        if !is_new && self.has_password(name)? {
            return Err(refused.context(format!(
                "the role {name} exists on the server of DATABASE_URL, with a password that is not \
                 known here. Do one of these:\n\
                 - tell it: {variable}=postgres://{name}:…\n\
                 - nobody else uses it? Take it away (the next run sets one): \
                 ALTER ROLE {name} PASSWORD NULL"
            )));
        }
        let set = self
            .connect(Role::Admin, database)?
            .batch_execute(&format!("ALTER ROLE {name} PASSWORD '{password}'"));
        // Where another command did the same at the same time, only the outcome counts.
        self.connect(role, database).map(drop).map_err(|refused| {
            let told = set.map_err(explain).err().unwrap_or(refused);
            told.context(format!(
                "{name} cannot log in to the server of DATABASE_URL: does its pg_hba.conf let the \
                 role in? Or say how it logs in: {variable}=postgres://{name}:…"
            ))
        })
    }

    /// Whether the role has a password. Who may not know is told so: then it is not ours to set.
    fn has_password(&self, role: &str) -> anyhow::Result<bool> {
        let found = connect(&self.admin.config()?)?.query_one(
            "SELECT rolpassword IS NOT NULL FROM pg_authid WHERE rolname = $1",
            &[&role],
        );
        match found {
            Ok(row) => Ok(row.get(0)),
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(true),
            Err(error) => Err(explain(error)),
        }
    }
}

/// Logs in as `DATABASE_URL` says. Its database may be ours to make yet: then in `postgres`.
fn log_in(given: &Given) -> anyhow::Result<(Address, Client)> {
    let there = given.address.with_database("postgres");
    let lacks = |error: &anyhow::Error| error.downcast_ref::<address::NoSuchDatabase>().is_some();
    match connect(&given.address.config()?) {
        Ok(client) => Ok((given.address.clone(), client)),
        Err(error) if lacks(&error) => {
            let client = connect(&there.config()?)?;
            Ok((there, client))
        }
        Err(error) => Err(error.context(
            "cannot log in as DATABASE_URL says: is that PostgreSQL running, and are user and \
             password right? Unset DATABASE_URL to use one of this checkout's own",
        )),
    }
}

/// What the role's own variable says of its password. `None`: it is unset, or names another login.
#[expect(
    clippy::option_option,
    reason = "no word, or the word that there is no password"
)]
fn told(role: Role) -> anyhow::Result<Option<Option<String>>> {
    let Some(url) = environment::text(role.variable()) else {
        return Ok(None);
    };
    let address = Address::parse(role.variable(), &url)?;
    if address.user()?.as_deref() != Some(role.name()) {
        return Ok(None);
    }
    let password = address.password()?;
    Ok(Some(
        password.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ))
}

/// A role's password from that of the account which made it: hexadecimal, so it needs no quoting.
fn worked_out(admin: &[u8], role: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    // HMAC takes a key of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(admin) {
        mac.update(format!("the password of {role} on a development server").as_bytes());
        for byte in mac.finalize().into_bytes().iter().take(16) {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_gets_a_password_of_its_own_and_always_the_same() {
        let app = worked_out(b"boss", "acolhe_app");
        assert_eq!(app, worked_out(b"boss", "acolhe_app"));
        assert_ne!(app, worked_out(b"boss", "acolhe_owner"));
        assert_ne!(app, worked_out(b"other", "acolhe_app"));
        assert_eq!(app.len(), 32);
    }
}
