//! What measuring stands on: release builds, this checkout's own PostgreSQL, databases that are
//! filled once and kept, servers, and members who have logged in.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
};

use ::postgres::Client as Sql;
use anyhow::{Context, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    http::{self, Caller},
    machine::Watched,
    sink::Sink,
};
use crate::{
    checkout::Checkout,
    postgres::{
        Home, Lease,
        address::{self, explain},
        bootstrap::{bootstrap, connect},
        cluster::{Cluster, Kind},
    },
    process,
    server::{self, Addresses, Build, Server, Serving},
    terminal,
};

/// Who logs in at each clinic.
pub(crate) const PASSWORD: &str = "acolhe-bench-2026-ipe-amarelo";

/// Every database of ours begins with it; nothing else is ever dropped.
const PREFIX: &str = "acolhe_bench";

/// Bytes of disk that a contact of the crowd takes, with all that belongs to it and its indexes.
const BYTES_EACH: u64 = 5_500;

/// Everything that all rows share.
pub(crate) struct Ground {
    checkout: Checkout,
    lease: Lease,
    /// `.acolhe/bench`.
    pub(crate) folder: PathBuf,
    server: PathBuf,
    /// The store without HTTP.
    pub(crate) rate: PathBuf,
    /// The bare handler.
    pub(crate) bare: PathBuf,
    sink: Sink,
    /// Where servers log to; nowhere unless asked: an access line for each request.
    log: PathBuf,
    /// What `acolhe-server config` lists.
    keys: Vec<String>,
}

/// So many contacts, in clinics of which the first is the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowd {
    pub(crate) contacts: u64,
    pub(crate) largest: u64,
    pub(crate) others: u32,
}

impl Crowd {
    pub(crate) fn clinics(self) -> usize {
        self.others as usize + 1
    }

    /// Those of them that are asked, from rank 0 on: the last ones have hardly a contact.
    pub(crate) fn asked(self) -> usize {
        self.clinics().saturating_sub(6)
    }

    /// The id of the clinic of that rank, as the crowd of `test-support` has it.
    pub(crate) fn clinic(rank: usize) -> String {
        format!("01a23456-7000-7000-8000-c200{:08x}", rank << 8)
    }
}

/// A filled database.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) name: String,
    pub(crate) app_url: String,
}

/// A member of a clinic who has logged in.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) clinic: String,
    /// What each of their requests carries.
    pub(crate) headers: Vec<String>,
}

/// How a server is set up, apart from what all have in common.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// The cache is switched off, where there is one.
    pub(crate) no_cache: bool,
    /// Neither traces nor logs nor metrics.
    pub(crate) no_telemetry: bool,
    /// Neither jobs nor the sequencer.
    pub(crate) no_jobs: bool,
    /// Other keys of configuration.
    pub(crate) keys: Vec<(&'static str, String)>,
}

impl Setup {
    pub(crate) fn uncached() -> Self {
        Self {
            no_cache: true,
            ..Self::default()
        }
    }
}

impl Ground {
    pub(crate) fn open(
        checkout: &Checkout,
        build: Build,
        log: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        if let Some(given) = address::given()? {
            bail!(
                "DATABASE_URL is set ({}), and CPU can be counted on this checkout's own PostgreSQL \
                 alone.\nRun: env -u DATABASE_URL cargo xtask bench",
                given.place()
            );
        }
        let lease = Lease::take(Home::open(checkout)?, Kind::Dev)?;
        let server = server::build(checkout, build)?;
        let built = build_beside(checkout, build)?;
        let folder = checkout.root().join(".acolhe/bench");
        fs::create_dir_all(&folder)?;
        let listed = process::quiet(Command::new(&server).arg("config"))?;
        Ok(Self {
            checkout: checkout.clone(),
            lease,
            folder,
            server,
            rate: built.join("examples/rate"),
            bare: built.join("examples/bare"),
            sink: Sink::open()?,
            log: log.unwrap_or_else(|| PathBuf::from("/dev/null")),
            keys: names_of_keys(&listed),
        })
    }

    pub(crate) fn checkout(&self) -> &Checkout {
        &self.checkout
    }

    pub(crate) fn postmaster(&self) -> u32 {
        self.lease.running.pid
    }

    pub(crate) fn watch(&self, program: u32) -> Watched {
        Watched {
            program: Some(program),
            postgres: Some(self.postmaster()),
            redis: None,
        }
    }

    pub(crate) fn sink(&self) -> &Sink {
        &self.sink
    }

    pub(crate) fn postgres_version(&self) -> &str {
        &self.lease.cluster.installation().version
    }

    /// Whether the server has such a key of configuration.
    pub(crate) fn knows(&self, key: &str) -> bool {
        self.keys.iter().any(|known| known == key)
    }

    /// A database with these crowds, the second beside the first: the one that is there, or a new one.
    pub(crate) fn base(&self, name: &str, crowds: &[Crowd]) -> anyhow::Result<Base> {
        let name = format!("{PREFIX}_{name}");
        let base = Base {
            app_url: Cluster::url(self.lease.running, "acolhe_app", &name),
            name,
        };
        let label = format!("bench 1: {crowds:?}");
        let known: Option<String> = self
            .admin()?
            .query_opt(
                "SELECT s.description FROM pg_database d
                 JOIN pg_shdescription s ON s.objoid = d.oid WHERE d.datname = $1",
                &[&base.name],
            )
            .map_err(explain)?
            .map(|row| row.get(0));
        if known.as_deref() == Some(&label) {
            self.server(&base, &Setup::default())?.migrate()?;
            return Ok(base);
        }
        self.drop(&base)?;
        self.require_room(crowds)?;
        let admin = Cluster::admin(self.lease.running, "postgres");
        bootstrap(&self.checkout, &admin, &base.name)?;
        let server = self.server(&base, &Setup::default())?;
        server.migrate()?;
        let mut first = 0;
        for crowd in crowds {
            terminal::note(format!(
                "Filling {} with {} contacts of {} clinics (once) …",
                base.name,
                crowd.contacts,
                crowd.clinics()
            ));
            let url = Cluster::url(self.lease.running, address::SUPERUSER, &base.name);
            let status = process::run(
                Command::new(&self.rate)
                    .args(["fill", &url])
                    .args(["--contacts", &crowd.contacts.to_string()])
                    .args(["--largest", &crowd.largest.to_string()])
                    .args(["--others", &crowd.others.to_string()])
                    .args(["--beside", &first.to_string()]),
            )?;
            ensure!(status.success(), "the database could not be filled");
            first += crowd.clinics();
        }
        self.let_in(&server, &base)?;
        self.admin()?
            .batch_execute(&format!("COMMENT ON DATABASE {} IS '{label}'", base.name))
            .map_err(explain)?;
        Ok(base)
    }

    /// A copy that may be written to; whoever asked drops it again.
    pub(crate) fn copy(&self, base: &Base, name: &str) -> anyhow::Result<Base> {
        let name = format!("{PREFIX}_{name}");
        let copy = Base {
            app_url: Cluster::url(self.lease.running, "acolhe_app", &name),
            name,
        };
        self.drop(&copy)?;
        let sql = format!("CREATE DATABASE {} TEMPLATE {}", copy.name, base.name);
        terminal::step(&format!("Copying {}", base.name), || {
            self.admin()?.batch_execute(&sql).map_err(explain)
        })?;
        Ok(copy)
    }

    /// Drops a database of ours.
    pub(crate) fn drop(&self, base: &Base) -> anyhow::Result<()> {
        self.admin()?
            .batch_execute(&format!(
                "DROP DATABASE IF EXISTS {} WITH (FORCE)",
                base.name
            ))
            .map_err(explain)
    }

    /// Drops every database of ours.
    pub(crate) fn drop_all(&self) -> anyhow::Result<()> {
        let rows = self
            .admin()?
            .query(
                "SELECT datname::text FROM pg_database WHERE datname ~ ('^' || $1::text || '_')",
                &[&PREFIX],
            )
            .map_err(explain)?;
        for row in rows {
            let base = Base {
                name: row.get(0),
                app_url: String::new(),
            };
            self.drop(&base)?;
            terminal::note(format!("Dropped {}.", base.name));
        }
        Ok(())
    }

    /// A superuser's connection: behind row security.
    pub(crate) fn sql(&self, base: &Base) -> anyhow::Result<Sql> {
        connect(&Cluster::admin(self.lease.running, &base.name))
    }

    fn admin(&self) -> anyhow::Result<Sql> {
        connect(&Cluster::admin(self.lease.running, "postgres"))
    }

    fn require_room(&self, crowds: &[Crowd]) -> anyhow::Result<()> {
        let contacts: u64 = crowds.iter().map(|crowd| crowd.contacts).sum();
        let needed = contacts * BYTES_EACH;
        let disk = rustix::fs::statvfs(self.checkout.root())?;
        let free = disk.f_bavail * disk.f_frsize;
        // PostgreSQL's own log of changes and the copies come on top.
        ensure!(
            needed + (5 << 30) < free,
            "{contacts} contacts take about {} GB, and {} GB are free: ask for at most {} \
             (--rows for row 9, --contacts for the others)",
            needed >> 30,
            free >> 30,
            (free.saturating_sub(5 << 30) / BYTES_EACH) / 100_000 * 100_000
        );
        Ok(())
    }

    /// Gives the users of the crowd a password, by an operator's command for one of them.
    fn let_in(&self, server: &Server, base: &Base) -> anyhow::Result<()> {
        let email = "bench@bench.example";
        server.admin(
            &[
                "create-owner",
                "--clinic",
                &Crowd::clinic(0),
                "--email",
                email,
                "--name",
                "Bench",
                "--password-stdin",
            ],
            Some(PASSWORD),
        )?;
        let changed = self
            .sql(base)?
            .execute(
                "UPDATE app.users u SET password_hash = b.password_hash
                 FROM app.users b WHERE b.email = $1 AND u.password_hash IS NULL",
                &[&email],
            )
            .map_err(explain)?;
        ensure!(changed > 0, "nobody in {} lacks a password", base.name);
        Ok(())
    }

    /// The server's binary for this database: keys and telemetry as all rows have them.
    pub(crate) fn server(&self, base: &Base, setup: &Setup) -> anyhow::Result<Server> {
        let addresses = Addresses {
            app: base.app_url.clone(),
            owner: Cluster::url(self.lease.running, "acolhe_owner", &base.name),
        };
        let keys = self.folder.join("keys.env");
        let mut server = Server::new(self.server.clone(), &addresses, &keys)?;
        // The crowd's documents are sealed with the key that tests have.
        server.set(
            "ACOLHE_KEYS_MASTER",
            format!("1:{}", STANDARD.encode([7; 32])),
        );
        // Each login comes from an address of its own.
        server.set("ACOLHE_HTTP_PROXY_HOPS", "1");
        if setup.no_telemetry {
            server.set("ACOLHE_TELEMETRY_LOG_FILTER", "off");
        } else {
            server.set("ACOLHE_TELEMETRY_OTLP_ENDPOINT", self.sink.endpoint());
        }
        if setup.no_cache && self.knows(CACHE_SWITCH) {
            server.set(&variable(CACHE_SWITCH), "false");
        }
        if setup.no_jobs {
            server.set("ACOLHE_JOBS_ENABLED", "false");
        }
        for (key, value) in LIMITS {
            if self.knows(key) {
                server.set(&variable(key), *value);
            }
        }
        for (key, value) in &setup.keys {
            server.set(&variable(key), value.as_str());
        }
        Ok(server)
    }

    /// Starts it.
    pub(crate) fn serve(
        &self,
        base: &Base,
        setup: &Setup,
    ) -> anyhow::Result<(Serving, SocketAddr)> {
        let server = self.server(base, setup)?;
        let serving = server
            .serve(free_port()?, Some(&self.log))
            .with_context(|| "to see what the server says: --log FILE".to_owned())?;
        let address = serving
            .base_url
            .strip_prefix("http://")
            .and_then(|text| text.parse().ok())
            .with_context(|| format!("{} is no address", serving.base_url))?;
        Ok((serving, address))
    }

    /// Logs in one member of each of the first `clinics`, at a server of their own, which ends.
    pub(crate) fn members(&self, base: &Base, clinics: usize) -> anyhow::Result<Vec<Member>> {
        terminal::step(&format!("Logging in at {clinics} clinics"), || {
            let (_serving, address) = self.serve(base, &Setup::default())?;
            let mut caller = Caller::connect(address)?;
            (0..clinics).map(|rank| log_in(&mut caller, rank)).collect()
        })
    }
}

/// The key that switches the cache off.
pub(crate) const CACHE_SWITCH: &str = "cache.enabled";

/// What would refuse a load that comes from few users and one address: far away, where there is such
/// a limit. The counting itself goes on.
const LIMITS: &[(&str, &str)] = &[
    ("limits.user_per_minute", "60000000"),
    ("limits.clinic_per_minute", "60000000"),
    ("limits.address_per_minute", "60000000"),
    ("limits.login_per_minute", "60000000"),
    ("limits.search_per_minute", "60000000"),
];

fn log_in(caller: &mut Caller, rank: usize) -> anyhow::Result<Member> {
    let email = format!("user0@clinic{rank}.example");
    let (token, address) = token(caller, &email, rank)?;
    let clinic = Crowd::clinic(rank);
    Ok(Member {
        headers: vec![
            format!("Authorization: Bearer {token}"),
            format!("X-Clinic-Id: {clinic}"),
            "Accept: application/json".to_owned(),
            "User-Agent: acolhe-bench".to_owned(),
            address,
        ],
        clinic,
    })
}

/// Logs in from an address of that number; answers the token, and the header with the address.
pub(crate) fn token(
    caller: &mut Caller,
    email: &str,
    number: usize,
) -> anyhow::Result<(String, String)> {
    let body = json!({ "email": email, "password": PASSWORD });
    let address = format!(
        "X-Forwarded-For: 10.1.{}.{}",
        number / 250,
        number % 250 + 1
    );
    let answer = caller.ask(&http::post(
        "/api/v1/auth/login",
        std::slice::from_ref(&address),
        &body.to_string(),
    ))?;
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let token = said["accessToken"].as_str().with_context(|| {
        format!(
            "{email} could not log in: status {} {}",
            answer.status, said["code"]
        )
    })?;
    Ok((token.to_owned(), address))
}

/// Builds the store without HTTP; tells the folder that everything lies in. Apart from the server,
/// which must not get what tests switch on.
fn build_beside(checkout: &Checkout, build: Build) -> anyhow::Result<PathBuf> {
    let mut command = checkout.cargo();
    command.args(["build", "--package", "diesel-postgres", "--example", "rate"]);
    if build == Build::Release {
        command.arg("--release");
    }
    if !process::run(&mut command)?.success() {
        bail!("the store alone could not be built: see above");
    }
    Ok(checkout.target_folder()?.join(match build {
        Build::Debug => "debug",
        Build::Release => "release",
    }))
}

/// `acolhe-server config` begins each key's paragraph with its name.
fn names_of_keys(listed: &str) -> Vec<String> {
    listed
        .lines()
        .filter_map(|line| line.split_once("  (").map(|(name, _)| name))
        .filter(|name| name.split('.').count() == 2 && !name.contains(' '))
        .map(str::to_owned)
        .collect()
}

/// A key's name in the environment.
pub(crate) fn variable(key: &str) -> String {
    format!("ACOLHE_{}", key.replace('.', "_").to_uppercase())
}

/// Where a search for a free port may begin: one that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    Ok(listener.local_addr()?.port().min(60_000))
}

/// Asks each of these, and keeps what came as the right answer, after `judge` has looked at it.
pub(crate) fn learn(
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    mut judge: impl FnMut(&Value) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<(Vec<u8>, http::Kept)>> {
    let mut caller = Caller::connect(address)?;
    requests
        .into_iter()
        .map(|request| {
            let answer = caller.ask(&request)?;
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            ensure!(
                answer.status == 200,
                "status {} {}",
                answer.status,
                body["code"]
            );
            judge(&body)?;
            Ok((request, answer))
        })
        .collect()
}

/// A file of ours beside the results.
pub(crate) fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_what_the_server_prints() {
        let listed = "Keys of the configuration (there are many).\n\n\
            http.port  (default 8080; ACOLHE_HTTP_PORT)\n    Port to listen on.\n\n\
            cache.enabled  (default true; ACOLHE_CACHE_ENABLED)\n    Whether.  (or not)\n";
        assert_eq!(names_of_keys(listed), ["http.port", "cache.enabled"]);
        assert_eq!(variable("cache.enabled"), "ACOLHE_CACHE_ENABLED");
    }

    #[test]
    fn a_clinics_id_is_the_crowds() {
        assert_eq!(Crowd::clinic(3), "01a23456-7000-7000-8000-c20000000300");
    }
}
