//! The product's own binary: built, configured for a database, asked and run.

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{checkout::Checkout, interrupt, process, terminal};

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

    /// Starts serving on 127.0.0.1, and waits until it answers: on the port `from`, or the next
    /// that is free. Its log goes to `log`, or to our own standard error.
    pub(crate) fn serve(&self, from: u16, log: Option<&Path>) -> anyhow::Result<Serving> {
        let mut port = free_port(from)?;
        loop {
            match self.serve_at(port, log)? {
                Ok(serving) => return Ok(serving),
                // Somebody else took the port between our look and the server's.
                Err(_) if !is_free(port) => port = free_port(port.saturating_add(1))?,
                Err(status) => match log {
                    Some(log) => bail!("the server ended ({status}): see {}", log.display()),
                    None => bail!("the server ended ({status}): see above"),
                },
            }
        }
    }

    /// The inner error: it ended before it could work.
    fn serve_at(
        &self,
        port: u16,
        log: Option<&Path>,
    ) -> anyhow::Result<Result<Serving, ExitStatus>> {
        let mut command = self.command(&["serve", "--print-address"]);
        command
            .env("ACOLHE_HTTP_BIND", "127.0.0.1")
            .env("ACOLHE_HTTP_PORT", port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(log) = log {
            let file = fs::File::options()
                .create(true)
                .append(true)
                .open(log)
                .with_context(|| format!("cannot write {}", log.display()))?;
            command.stderr(file);
        }
        let mut child = command.spawn().context("cannot run acolhe-server")?;
        let announced = first_line(child.stdout.take());
        let mut serving = Serving {
            child,
            port,
            base_url: format!("http://127.0.0.1:{port}"),
        };
        Ok(match serving.wait_until_ready(&announced)? {
            None => Ok(serving),
            Some(status) => Err(status),
        })
    }
}

/// The first line that a child says, when it comes. Its pipe stays open as long as the child's.
fn first_line(stdout: Option<ChildStdout>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = stdout
            .map(BufReader::new)
            .into_iter()
            .flat_map(BufRead::lines);
        if let Some(Ok(line)) = lines.next() {
            let _ = sender.send(line);
        }
        lines.for_each(drop);
    });
    receiver
}

/// A running server. Dropped, it is told to end, and waited for.
#[derive(Debug)]
pub(crate) struct Serving {
    child: Child,
    pub(crate) port: u16,
    pub(crate) base_url: String,
}

impl Serving {
    /// Waits until it listens, by its own word (whoever answers on the port may be another
    /// server), and can work. `Some`: it ended instead.
    fn wait_until_ready(
        &mut self,
        announced: &mpsc::Receiver<String>,
    ) -> anyhow::Result<Option<ExitStatus>> {
        let started = Instant::now();
        let mut listens = false;
        loop {
            interrupt::check()?;
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if let Ok(address) = announced.try_recv() {
                self.base_url = address;
                listens = true;
            }
            let url = format!("{}/api/health/ready", self.base_url);
            if listens && ureq::get(&url).call().is_ok() {
                return Ok(None);
            }
            if started.elapsed() > START {
                bail!("the server is not ready after {} s: {url}", START.as_secs());
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

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
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

/// The first port of 127.0.0.1 from `from` on that is free now; a moment later it may not be.
fn free_port(from: u16) -> anyhow::Result<u16> {
    (from..from.saturating_add(200))
        .find(|port| is_free(*port))
        .with_context(|| {
            format!("no port is free from {from} on: end another server, or choose with --port")
        })
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
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

#[cfg(test)]
mod tests {
    use std::{io::Read as _, net::TcpStream, os::unix::fs::PermissionsExt as _};

    use super::*;

    /// A program in place of the server's.
    fn program(folder: &Path, script: &str) -> Server {
        let program = folder.join("acolhe-server");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Server {
            program,
            environment: vec![("FOLDER".to_owned(), folder.display().to_string())],
        }
    }

    /// Says yes to every request.
    fn says_yes(listener: TcpListener) {
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream: TcpStream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
    }

    fn wait_for(file: &Path) {
        while !file.exists() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_port_that_another_server_took_meanwhile_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let ours = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = format!("http://{}", ours.local_addr().unwrap());
        says_yes(ours);
        // The first one finds its port taken and ends, slowly: whoever took it answers already.
        let server = program(
            folder.path(),
            &format!(
                "if ! [ -e $FOLDER/started ]; then
                     echo $ACOLHE_HTTP_PORT > $FOLDER/new; mv $FOLDER/new $FOLDER/started
                     while ! [ -e $FOLDER/taken ]; do sleep 0.01; done
                     sleep 0.3; exit 1
                 fi
                 echo $ACOLHE_HTTP_PORT > $FOLDER/second
                 echo {address}; exec sleep 60"
            ),
        );
        let place = folder.path().to_owned();
        let other = thread::spawn(move || {
            wait_for(&place.join("started"));
            let port = fs::read_to_string(place.join("started")).unwrap();
            let port: u16 = port.trim().parse().unwrap();
            says_yes(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
            fs::write(place.join("taken"), "").unwrap();
            port
        });
        let serving = server.serve(28_080, None).unwrap();
        let taken = other.join().unwrap();
        let second = fs::read_to_string(folder.path().join("second")).unwrap();
        assert_ne!(second.trim(), taken.to_string());
        assert_eq!(serving.base_url, address);
    }

    #[test]
    fn a_server_that_ends_for_its_own_reasons_is_not_tried_on_other_ports() {
        let folder = tempfile::tempdir().unwrap();
        let server = program(folder.path(), "echo x >> $FOLDER/tries; exit 3");
        let error = server.serve(28_380, None).unwrap_err().to_string();
        assert!(error.contains("ended (exit status: 3)"), "{error}");
        let tries = fs::read_to_string(folder.path().join("tries")).unwrap();
        assert_eq!(tries, "x\n");
    }
}
