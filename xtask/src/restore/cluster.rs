//! A PostgreSQL with an archive, as a restore sees it: made, backed up, lost, brought back.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use ::postgres::Config;
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    interrupt,
    postgres::{
        account::Account, address::SUPERUSER, bootstrap::connect, installation::Installation,
    },
    process,
};

/// How long a start, its replay of the archive included, may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// How far a restore goes.
pub(super) enum Until {
    /// To the last that is in the archive.
    TheEnd,
    /// To this moment, as PostgreSQL writes it.
    Time(String),
}

pub(super) struct Cluster {
    data: PathBuf,
    log: PathBuf,
    archive: PathBuf,
    port: u16,
    installation: Installation,
    account: Account,
}

impl Cluster {
    /// One in this folder; nothing is made yet.
    pub(super) fn new(
        folder: &Path,
        name: &str,
        installation: Installation,
        account: Account,
    ) -> Self {
        Self {
            data: folder.join(name),
            log: folder.join(format!("{name}.log")),
            archive: folder.join("archive"),
            port: free_port(),
            installation,
            account,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn admin(&self, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(SUPERUSER)
            .dbname(database);
        config
    }

    /// A fresh data folder that archives as deploy/compose.yaml has it.
    pub(super) fn initialise(&self, archive_timeout: u32) -> anyhow::Result<()> {
        fs::create_dir_all(&self.archive)?;
        self.account.own(&self.archive)?;
        process::quiet(
            self.installation
                .program("initdb", &self.account)
                .arg("-D")
                .arg(&self.data)
                .args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8"])
                .args(["--locale=C.UTF-8", "--data-checksums"]),
        )?;
        let archive = self.archive.display();
        self.configure(&[
            ("wal_level", "replica"),
            ("archive_mode", "on"),
            ("archive_timeout", &archive_timeout.to_string()),
            (
                "archive_command",
                &format!(
                    "test ! -f {archive}/%f && cp %p {archive}/%f.new && sync {archive}/%f.new && mv {archive}/%f.new {archive}/%f"
                ),
            ),
        ])
    }

    fn configure(&self, settings: &[(&str, &str)]) -> anyhow::Result<()> {
        let file = self.data.join("postgresql.auto.conf");
        let mut text = String::new();
        let port = self.port.to_string();
        let own = [
            ("listen_addresses", "127.0.0.1"),
            ("port", port.as_str()),
            ("unix_socket_directories", ""),
            ("timezone", "UTC"),
            ("log_parameter_max_length", "0"),
        ];
        for (name, value) in own.iter().chain(settings) {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        }
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        self.account.own(&file)
    }

    /// Starts it and waits until it takes writes: a restore has ended then.
    pub(super) fn start(&self) -> anyhow::Result<()> {
        process::quiet(
            self.installation
                .program("pg_ctl", &self.account)
                .args(["start", "-w", "-s", "-t", &PATIENCE.as_secs().to_string()])
                .arg("-D")
                .arg(&self.data)
                .arg("-l")
                .arg(&self.log),
        )?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            interrupt::check()?;
            let recovering = connect(&self.admin("postgres")).and_then(|mut client| {
                Ok(client.query_one("SELECT pg_is_in_recovery()", &[])?.get(0))
            });
            match recovering {
                Ok(false) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Ok(true) if Instant::now() > deadline => bail!("the restore does not end"),
                _ => thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// A base backup without WAL: that is in the archive.
    pub(super) fn base_backup(&self, to: &Path) -> anyhow::Result<()> {
        process::quiet(
            self.installation
                .program("pg_basebackup", &self.account)
                .args(["--checkpoint=fast", "--wal-method=none", "--no-sync"])
                .args([
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &self.port.to_string(),
                    "-U",
                    SUPERUSER,
                ])
                .arg("-D")
                .arg(to),
        )
        .map(drop)
    }

    /// Another cluster from a base backup and the archive, started.
    pub(super) fn restore(
        &self,
        folder: &Path,
        base: &Path,
        name: &str,
        until: &Until,
    ) -> anyhow::Result<Self> {
        let restored = Self::new(
            folder,
            name,
            self.installation.clone(),
            self.account.clone(),
        );
        process::quiet(
            self.account
                .command("cp")
                .arg("-a")
                .arg(base)
                .arg(&restored.data),
        )?;
        let fetch = format!("cp {}/%f %p", self.archive.display());
        let mut settings = vec![("restore_command", fetch.as_str())];
        if let Until::Time(time) = until {
            settings.push(("recovery_target_time", time.as_str()));
            settings.push(("recovery_target_action", "promote"));
        }
        restored.configure(&settings)?;
        let signal = restored.data.join("recovery.signal");
        fs::write(&signal, "")?;
        self.account.own(&signal)?;
        restored.start()?;
        Ok(restored)
    }

    /// As when the machine loses power.
    pub(super) fn kill(&self) -> anyhow::Result<()> {
        let file = self.data.join("postmaster.pid");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let pid = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        let pid = pid
            .and_then(Pid::from_raw)
            .context("the pid file names no process")?;
        kill_process(pid, Signal::KILL)?;
        Ok(())
    }

    /// Ends it, whatever it does, and deletes it.
    pub(super) fn destroy(&self) {
        let _ = process::quiet(
            self.installation
                .program("pg_ctl", &self.account)
                .args(["stop", "-w", "-s", "-m", "immediate"])
                .arg("-D")
                .arg(&self.data),
        );
        let _ = fs::remove_dir_all(&self.data);
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_or(0, |address| address.port())
}

/// The bytes of all files below a folder.
pub(super) fn size(folder: &Path) -> u64 {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}
