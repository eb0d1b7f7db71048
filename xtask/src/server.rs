//! The product's own binary: built, configured for a database, asked and run.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{checkout::Checkout, interrupt, postgres::address, process, terminal};

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(30);

/// The built binary with the environment it runs in.
pub(crate) struct Server {
    program: PathBuf,
    environment: Vec<(String, String)>,
}

/// Where its database is, as each of its roles.
pub(crate) struct Addresses {
    pub(crate) app: String,
    pub(crate) owner: String,
}

impl Addresses {
    /// In one of our own clusters.
    pub(crate) fn local(port: u16, database: &str) -> Self {
        Self {
            app: address::local("acolhe_app", port, database),
            owner: address::local("acolhe_owner", port, database),
        }
    }
}

/// How the server is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// Quickly, for development and tests.
    Debug,
    /// As it goes to production: for what is measured.
    Release,
}

/// Builds the server and tells where it lies. Cargo shows its progress itself.
pub(crate) fn build(checkout: &Checkout, build: Build) -> anyhow::Result<PathBuf> {
    terminal::note("Building the server (the first time, all dependencies: some minutes) …");
    let mut command = checkout.cargo();
    command.args(["build", "--package", "server", "--bin", "acolhe-server"]);
    let folder = match build {
        Build::Debug => "debug",
        Build::Release => {
            command.arg("--release");
            "release"
        }
    };
    let status = process::run(&mut command)?;
    if !status.success() {
        bail!("the server could not be built: see above");
    }
    Ok(checkout.target_folder()?.join(folder).join("acolhe-server"))
}

impl Server {
    /// The binary, for the database at these addresses, with the keys of `keys_file` (made when
    /// there are none).
    pub(crate) fn new(
        program: PathBuf,
        database: &Addresses,
        keys_file: &Path,
    ) -> anyhow::Result<Self> {
        let mut environment = vec![
            ("ACOLHE_DATABASE_URL".to_owned(), database.app.clone()),
            (
                "ACOLHE_DATABASE_OWNER_URL".to_owned(),
                database.owner.clone(),
            ),
        ];
        environment.extend(keys(&program, keys_file)?);
        Ok(Self {
            program,
            environment,
        })
    }

    /// One more setting.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.push((name.to_owned(), value.into()));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the migrations.
    pub(crate) fn migrate(&self) -> anyhow::Result<()> {
        process::quiet(&mut self.command(&["migrate"])).map(drop)
    }

    /// An operator's command with `--json`; answers what it printed.
    pub(crate) fn admin(&self, arguments: &[&str], stdin: Option<&str>) -> anyhow::Result<Value> {
        let mut command = self.command(&["admin"]);
        command
            .args(arguments)
            .arg("--json")
            .stdin(if stdin.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run acolhe-server")?;
        if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
            pipe.write_all(text.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!(
                "acolhe-server admin {} failed\n{said}",
                arguments.first().unwrap_or(&"")
            );
        }
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "acolhe-server admin {} printed no JSON",
                arguments.first().unwrap_or(&"")
            )
        })
    }

    /// Starts serving on 127.0.0.1 at `port`, and waits until it answers. Its log goes to `log`,
    /// or to our own standard error.
    pub(crate) fn serve(&self, port: u16, log: Option<&Path>) -> anyhow::Result<Serving> {
        let mut command = self.command(&["serve"]);
        command
            .env("ACOLHE_HTTP_BIND", "127.0.0.1")
            .env("ACOLHE_HTTP_PORT", port.to_string())
            .stdin(Stdio::null());
        if let Some(log) = log {
            let file = fs::File::options()
                .create(true)
                .append(true)
                .open(log)
                .with_context(|| format!("cannot write {}", log.display()))?;
            command.stdout(file.try_clone()?).stderr(file);
        }
        let child = command.spawn().context("cannot run acolhe-server")?;
        let mut serving = Serving {
            child,
            base_url: format!("http://127.0.0.1:{port}"),
        };
        serving.wait_until_ready(log)?;
        Ok(serving)
    }
}

/// A running server. Dropped, it is told to end, and waited for.
pub(crate) struct Serving {
    child: Child,
    pub(crate) base_url: String,
}

impl Serving {
    fn wait_until_ready(&mut self, log: Option<&Path>) -> anyhow::Result<()> {
        let started = Instant::now();
        let url = format!("{}/api/health/ready", self.base_url);
        loop {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                match log {
                    Some(log) => bail!("the server ended ({status}): see {}", log.display()),
                    None => bail!("the server ended ({status}): see above"),
                }
            }
            if ureq::get(&url).call().is_ok() {
                return Ok(());
            }
            if started.elapsed() > START {
                bail!(
                    "the server does not answer at {url} after {} s",
                    START.as_secs()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until it ends, or ends it when a signal comes.
    pub(crate) fn wait(&mut self) -> anyhow::Result<()> {
        let status = process::wait(&mut self.child)?;
        interrupt::check()?;
        bail!("the server ended by itself ({status})")
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let pid = rustix::process::Pid::from_child(&self.child);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// The first free port of 127.0.0.1 from `from` on.
pub(crate) fn free_port(from: u16) -> anyhow::Result<u16> {
    (from..from.saturating_add(200))
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .with_context(|| format!("no free port from {from} on: end another server"))
}

/// The keys of a development database: they must outlive it, or its sealed values cannot be opened.
fn keys(program: &Path, file: &Path) -> anyhow::Result<Vec<(String, String)>> {
    if !file.exists() {
        let text = process::quiet(Command::new(program).args(["keys", "generate"]))?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        // Nobody else's to read, even here.
        let mut new = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file)?;
        new.write_all(text.as_bytes())?;
    }
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect())
}
