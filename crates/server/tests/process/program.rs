//! The program itself, on a free port, over a database of the test's own.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clinics::TokenIssuer as _;
use kernel::{SessionId, UserId};
use rustix::process::{Pid, Signal, kill_process};
use security::tokens::{JwtTokens, SigningKey};
use security::{MasterKey, SystemClock, SystemRandom};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to start it with.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) port: u16,
    pub(crate) arguments: Vec<&'static str>,
    signing_key: String,
    environment: Vec<(String, String)>,
}

/// It runs.
pub(crate) struct Running {
    child: Child,
    port: u16,
    said: PathBuf,
}

/// What it said when it ended.
pub(crate) struct Ended {
    pub(crate) success: bool,
    pub(crate) said: String,
}

/// How many were started by this test.
static SPAWNED: AtomicU32 = AtomicU32::new(0);

impl Program {
    pub(crate) fn new(database_url: &str) -> Self {
        let port = free_port();
        let signing_key = SigningKey::generate(&SystemRandom);
        let mut program = Self {
            port,
            arguments: Vec::new(),
            signing_key: signing_key.clone(),
            environment: Vec::new(),
        };
        program
            .set("ACOLHE_DATABASE_URL", database_url)
            .set("ACOLHE_HTTP_PORT", &port.to_string())
            .set("ACOLHE_HTTP_WORKERS", "2")
            .set("ACOLHE_KEYS_MASTER", &MasterKey::generate(1, &SystemRandom))
            .set("ACOLHE_AUTH_SIGNING_KEY", &signing_key);
        program
    }

    /// Another process of the same.
    #[allow(dead_code, reason = "each test program uses its part")]
    pub(crate) fn move_to_free_port(&mut self) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        self.port = free.local_addr().unwrap().port();
        let port = self.port.to_string();
        self.set("ACOLHE_HTTP_PORT", &port);
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A token that it accepts, of an owner of [`test_support::two_clinics`].
    pub(crate) fn token(&self, user: UserId) -> String {
        let key = SigningKey::parse(&self.signing_key).unwrap();
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let tokens = JwtTokens::new(key, Vec::new(), "acolhe", "acolhe-api", clock, random);
        let session = SessionId::from(uuid::Uuid::from(user));
        tokens.issue(user, session).unwrap().token.expose().clone()
    }

    fn spawn(&self) -> Running {
        // A file takes whatever it says; a pipe that nobody reads would hold it up.
        let name = format!(
            "acolhe-said-{}-{}",
            std::process::id(),
            // Several of one program may run at once: a server, and a command beside it.
            SPAWNED.fetch_add(1, Ordering::Relaxed)
        );
        let said = std::env::temp_dir().join(name);
        let file = File::create(&said).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_acolhe-server"))
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Running {
            child,
            port: self.port,
            said,
        }
    }

    /// Starts it and waits until it can work.
    pub(crate) fn start(&self) -> Running {
        let mut running = self.spawn();
        let began = Instant::now();
        loop {
            if running.get("/api/health/ready").starts_with("HTTP/1.1 200") {
                return running;
            }
            if running.child.try_wait().unwrap().is_some() || began.elapsed() > PATIENCE {
                let said = running.wait().said;
                panic!("it does not start: {said}");
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Starts it and waits for its end: for what it must refuse.
    pub(crate) fn refused(&self) -> Ended {
        self.spawn().wait()
    }
}

impl Running {
    pub(crate) fn connect(&self) -> Option<TcpStream> {
        connect_to(self.port)
    }

    /// The whole answer to a whole request; empty without a connection.
    pub(crate) fn send(&self, request: &str) -> String {
        send_to(self.port, request)
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.send(&request("GET", path, &[], ""))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ended {
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if began.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                break;
            }
            sleep(Duration::from_millis(10));
        }
        let said = std::fs::read_to_string(&self.said).unwrap();
        let success = self.child.wait().unwrap().success();
        Ended { success, said }
    }

    pub(crate) fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.said);
    }
}

/// Free a moment ago; nothing else on this machine draws ports as fast.
pub(crate) fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

fn connect_to(port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Some(stream)
}

/// The whole answer to a whole request on that port; empty without a connection.
pub(crate) fn send_to(port: u16, request: &str) -> String {
    let Some(mut stream) = connect_to(port) else {
        return String::new();
    };
    stream.write_all(request.as_bytes()).unwrap();
    read_to_end(stream)
}

pub(crate) fn read_to_end(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _cut_off = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request of HTTP/1.1 that asks to close the connection.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        text.push_str("Content-Type: application/json\r\n");
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}
