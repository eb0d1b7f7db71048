//! One private PostgreSQL of this checkout: made, started, found again, stopped.
//!
//! What survives what: a data folder counts only once `initdb` has finished (it is made under
//! another name and moved); a pid file counts only when the server that answers on its port says
//! it serves our data folder; a port that was taken meanwhile is replaced.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr as _,
    thread,
    time::{Duration, Instant},
};

use ::postgres::Config;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::{
    interrupt,
    postgres::{
        account::Account,
        address::{self, SUPERUSER},
        bootstrap::connect,
        installation::Installation,
        settings,
    },
    process, terminal,
};

/// Longer socket paths are refused by the operating system (107 bytes with the file's name).
const LONGEST_SOCKET_FOLDER: usize = 85;

/// How long a server may take to start, crash recovery included, or to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a cluster is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Keeps its data, over crashes too.
    Dev,
    /// Made anew at each start, deleted at each stop, and fast: it does not wait for the disk.
    Test,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Dev, Self::Test];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Test => "test",
        }
    }
}

/// What `cluster.json` in a cluster's folder says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    installation: Installation,
    /// The port it had last; taken again where it is free, so that addresses stay the same.
    port: Option<u16>,
    /// Started by `db start`: goes on when the command that used it ends.
    kept: bool,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) kind: Kind,
    pub(crate) folder: PathBuf,
    account: Account,
    record: Record,
}

/// A server that answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    pub(crate) port: u16,
    pub(crate) pid: u32,
}

impl Cluster {
    /// The cluster of this kind for this PostgreSQL, existing or not. The folder's name holds the
    /// major version: another one cannot read its data.
    pub(crate) fn new(
        cache: &Path,
        kind: Kind,
        installation: Installation,
        account: Account,
    ) -> Self {
        let folder = cache.join(format!("{}-{}", kind.name(), installation.major));
        let known = read_record(&folder);
        let record = Record {
            installation,
            port: known.as_ref().and_then(|record| record.port),
            kept: known.is_some_and(|record| record.kept),
        };
        Self {
            kind,
            folder,
            account,
            record,
        }
    }

    /// Those that have a folder already, the last used first.
    pub(crate) fn existing(cache: &Path, kind: Kind, account: &Account) -> Vec<Self> {
        let prefix = format!("{}-", kind.name());
        let mut found: Vec<_> = cache
            .read_dir()
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .filter_map(|entry| {
                let folder = entry.path();
                let record = read_record(&folder)?;
                let used = fs::metadata(folder.join("cluster.json"))
                    .and_then(|file| file.modified())
                    .ok();
                Some((
                    used,
                    Self {
                        kind,
                        folder,
                        account: account.clone(),
                        record,
                    },
                ))
            })
            .collect();
        found.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
        found.into_iter().map(|(_, cluster)| cluster).collect()
    }

    pub(crate) fn installation(&self) -> &Installation {
        &self.record.installation
    }

    pub(crate) fn kept(&self) -> bool {
        self.record.kept
    }

    /// Marks it as started to stay, or not.
    pub(crate) fn keep(&mut self, kept: bool) -> anyhow::Result<()> {
        self.record.kept = kept;
        self.write_record()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Connects as the superuser.
    pub(crate) fn admin(running: Running, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(running.port)
            .user(SUPERUSER)
            .dbname(database);
        config
    }

    /// The superuser's address.
    pub(crate) fn url(running: Running, role: &str, database: &str) -> String {
        address::local(role, running.port, database)
    }

    /// Is *this* cluster's server up? A pid file that outlived its server, with a port that now
    /// belongs to another one, does not count. A server that is still recovering is waited for.
    pub(crate) fn running(&self) -> anyhow::Result<Option<Running>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(found) = self.pid_file()? else {
                return Ok(None);
            };
            if self.answers(found) {
                return Ok(Some(found));
            }
            if !self.process_is_ours(found.pid) {
                return Ok(None);
            }
            if Instant::now() > deadline {
                bail!(
                    "the {} server (pid {}) is there but does not answer; see {}",
                    self.kind.name(),
                    found.pid,
                    self.log().display()
                );
            }
            interrupt::check()?;
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Starts it if it is not running. `true`: it was started here.
    pub(crate) fn start(&mut self) -> anyhow::Result<(Running, bool)> {
        if let Some(running) = self.running()? {
            return Ok((running, false));
        }
        if self.kind == Kind::Test {
            self.remove()?;
        }
        let version = &self.record.installation.version;
        let heading = format!("Starting PostgreSQL {version} ({})", self.kind.name());
        let running = terminal::step(&heading, || {
            self.initialise()?;
            self.launch()
        })?;
        if let Err(interrupted) = interrupt::check() {
            self.stop()?;
            return Err(interrupted);
        }
        Ok((running, true))
    }

    /// Stops the server if it is there. `true`: it was.
    pub(crate) fn stop(&self) -> anyhow::Result<bool> {
        let Some(found) = self.pid_file()? else {
            return Ok(false);
        };
        if !self.answers(found) && !self.process_is_ours(found.pid) {
            return Ok(false);
        }
        let modes: &[&str] = match self.kind {
            Kind::Dev => &["fast", "immediate"],
            Kind::Test => &["immediate"],
        };
        let mut outcome = Ok(String::new());
        for mode in modes {
            outcome = process::quiet(
                self.record
                    .installation
                    .program("pg_ctl", &self.account)
                    .args([
                        "stop",
                        "-w",
                        "-s",
                        "-t",
                        &PATIENCE.as_secs().to_string(),
                        "-m",
                        mode,
                    ])
                    .arg("-D")
                    .arg(self.data()),
            );
            if outcome.is_ok() {
                break;
            }
        }
        outcome.with_context(|| {
            format!(
                "cannot stop the {} server, pid {}",
                self.kind.name(),
                found.pid
            )
        })?;
        Ok(true)
    }

    /// Deletes the folder with all data. The server must be stopped.
    pub(crate) fn remove(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot delete {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// Makes the data folder unless there is a whole one.
    fn initialise(&self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create {}", self.folder.display()))?;
        // Whoever reaches the socket is let in.
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))?;
        self.account.own(&self.folder)?;
        self.write_record()?;
        let data = self.data();
        if data.join("PG_VERSION").is_file() {
            return Ok(());
        }
        // It got its name when it was whole: without this file it is damaged, and may be wanted.
        if data.exists() && fs::remove_dir(&data).is_err() {
            bail!(
                "{} is damaged: it has no PG_VERSION. To do without its data: cargo xtask db reset",
                data.display()
            );
        }
        let half_made = self.folder.join("data.new");
        if half_made.exists() {
            fs::remove_dir_all(&half_made)?;
        }
        let mut initdb = self.record.installation.program("initdb", &self.account);
        initdb
            .arg("-D")
            .arg(&half_made)
            .args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8"]);
        // macOS knows no C.UTF-8; C sorts the same bytes.
        initdb.arg(if cfg!(target_os = "macos") {
            "--locale=C"
        } else {
            "--locale=C.UTF-8"
        });
        if self.kind == Kind::Test {
            initdb.arg("--no-sync");
        }
        process::quiet(&mut initdb).context("cannot make a data folder")?;
        settings::include_ours(&half_made)?;
        fs::rename(&half_made, &data)?;
        Ok(())
    }

    /// Starts the server; finds another port when ours is taken, and waits for the remains of a
    /// crashed server to go.
    fn launch(&mut self) -> anyhow::Result<Running> {
        self.drop_dead_pid_file()?;
        let deadline = Instant::now() + PATIENCE;
        let mut port = match self.record.port {
            Some(port) if is_free(port) => port,
            _ => free_port()?,
        };
        loop {
            let _ = fs::remove_file(self.log());
            settings::write(&self.data(), self.kind, port, self.socket_folder())?;
            self.account.own(&settings::file(&self.data()))?;
            let outcome = process::quiet(
                self.record
                    .installation
                    .program("pg_ctl", &self.account)
                    .args(["start", "-w", "-s", "-t", &PATIENCE.as_secs().to_string()])
                    .arg("-D")
                    .arg(self.data())
                    .arg("-l")
                    .arg(self.log()),
            );
            let Err(error) = outcome else { break };
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let retry = Instant::now() < deadline && interrupt::received().is_none();
            if retry && log.contains("could not create any TCP/IP sockets") {
                port = free_port()?;
            } else if retry
                && (log.contains("pre-existing shared memory block") || log.contains("lock file"))
            {
                // Its processes are still ending.
                thread::sleep(Duration::from_millis(300));
            } else {
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                return Err(error).with_context(|| {
                    format!(
                        "PostgreSQL did not start. Its log {} ends:\n{}",
                        self.log().display(),
                        tail.join("\n")
                    )
                });
            }
        }
        self.record.port = Some(port);
        self.write_record()?;
        let found = self
            .pid_file()?
            .context("PostgreSQL started but left no pid file")?;
        if self.answers(found) {
            Ok(found)
        } else {
            bail!("PostgreSQL started but does not answer on 127.0.0.1:{port}")
        }
    }

    /// The socket lies in the cluster's folder, which is closed to others, unless its path would
    /// be too long: then the cluster is reached by TCP alone.
    fn socket_folder(&self) -> Option<&Path> {
        (self.folder.as_os_str().len() <= LONGEST_SOCKET_FOLDER).then_some(self.folder.as_path())
    }

    /// Process and port that the pid file names.
    fn pid_file(&self) -> anyhow::Result<Option<Running>> {
        let file = self.data().join("postmaster.pid");
        match fs::read_to_string(&file) {
            Ok(text) => Ok(parse_pid_file(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| {
                format!(
                    "cannot read {}: does another user own this cluster (perhaps root, by an earlier \
                     `cargo xtask`)? Stop and delete it as that user: cargo xtask db stop, \
                     then remove {}",
                    file.display(),
                    self.folder.display()
                )
            }),
        }
    }

    /// Does the server on that port serve our data folder?
    fn answers(&self, found: Running) -> bool {
        let Ok(mut client) = connect(&Self::admin(found, "postgres")) else {
            return false;
        };
        let Ok(row) = client.query_one("SELECT current_setting('data_directory')", &[]) else {
            return false;
        };
        let theirs: String = row.get(0);
        same_place(Path::new(&theirs), &self.data())
    }

    /// Is that process a PostgreSQL on our data folder?
    fn process_is_ours(&self, pid: u32) -> bool {
        command_line(pid).is_some_and(|line| line.contains(&*self.data().to_string_lossy()))
    }

    /// Two kinds of stale pid file that PostgreSQL would refuse to start over; it deals with all
    /// others itself. After a crash of the machine the file may be empty, and after its restart
    /// the process id may belong to something else of the same user.
    fn drop_dead_pid_file(&self) -> anyhow::Result<()> {
        let file = self.data().join("postmaster.pid");
        let Ok(text) = fs::read_to_string(&file) else {
            return Ok(());
        };
        let pid = text
            .lines()
            .next()
            .and_then(|line| u32::from_str(line.trim()).ok());
        let dead = match pid {
            None => true,
            Some(pid) => command_line(pid).is_some() && !self.process_is_ours(pid),
        };
        if dead {
            fs::remove_file(&file)?;
        }
        Ok(())
    }

    fn write_record(&self) -> anyhow::Result<()> {
        let file = self.folder.join("cluster.json");
        let text = serde_json::to_string_pretty(&self.record)?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

fn read_record(folder: &Path) -> Option<Record> {
    serde_json::from_str(&fs::read_to_string(folder.join("cluster.json")).ok()?).ok()
}

/// Line 1 is the process, line 4 the port. A file that is being written may lack the latter.
fn parse_pid_file(text: &str) -> Option<Running> {
    let mut lines = text.lines();
    let pid = u32::from_str(lines.next()?.trim()).ok()?;
    let port = u16::from_str(lines.nth(2)?.trim()).ok()?;
    Some(Running { port, pid })
}

/// The process's command line; `None` when there is no such process.
fn command_line(pid: u32) -> Option<String> {
    if Path::new("/proc/self/cmdline").exists() {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        return Some(String::from_utf8_lossy(&bytes).replace('\0', " "));
    }
    process::quiet(Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()])).ok()
}

fn same_place(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// One that was free a moment ago: who starts a server on it must be ready to try another.
fn free_port() -> anyhow::Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_that_is_half_written_names_no_server() {
        let whole = "4711\n/x/data\n1763726400\n54321\n/x\n127.0.0.1\n  1 2\nready\n";
        let found = parse_pid_file(whole).unwrap();
        assert_eq!((found.pid, found.port), (4711, 54321));
        for cut in ["", "4711\n", "4711\n/x/data\n1763726400\n", "x\n\n\n1\n"] {
            assert!(parse_pid_file(cut).is_none(), "{cut:?}");
        }
    }

    #[test]
    fn our_own_process_is_seen_and_none_is_seen_where_there_is_none() {
        assert!(command_line(std::process::id()).is_some());
        assert!(command_line(u32::MAX - 1).is_none_or(|line| line.trim().is_empty()));
    }

    #[test]
    fn a_taken_port_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
