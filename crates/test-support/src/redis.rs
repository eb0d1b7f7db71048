//! Redis for tests: one that all share ([`shared_url`]; name your keys by random ids), and servers of
//! a test's own that it may kill, pause and flush ([`TestRedis`]).
//!
//! `cargo xtask test` says where the program is. Without that, it is looked for on `PATH` and where an
//! earlier run fetched it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Names the Redis that tests share.
pub const URL_VARIABLE: &str = "ACOLHE_TEST_REDIS_URL";
/// Names its program.
pub const PROGRAM_VARIABLE: &str = "ACOLHE_TEST_REDIS_SERVER";

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(20);

/// Runs a program and ends it when our end of the standard input is closed, which happens even when
/// the test is killed.
const UNTIL_STDIN_CLOSES: &str = r#""$@" </dev/null & child=$!; cat >/dev/null; kill -CONT "$child" 2>/dev/null; kill -KILL "$child" 2>/dev/null; wait "$child""#;

/// The address of a Redis that other tests use too.
pub fn shared_url() -> String {
    static OWN: OnceLock<TestRedis> = OnceLock::new();
    variable(URL_VARIABLE).unwrap_or_else(|| OWN.get_or_init(TestRedis::start).url())
}

/// A Redis of a test's own, which ends with it.
#[derive(Debug)]
pub struct TestRedis {
    port: u16,
    maxmemory: &'static str,
    shell: Option<Child>,
    pid: u64,
}

impl TestRedis {
    /// Starts one on a free port, with 64 MB of which it evicts what was used least recently.
    ///
    /// # Panics
    ///
    /// When there is no program or it does not run: a test cannot go on then.
    pub fn start() -> Self {
        Self::with_memory("64mb")
    }

    /// The same, with `maxmemory` in Redis' own notation.
    pub fn with_memory(maxmemory: &'static str) -> Self {
        for _ in 0..5 {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let port = free.local_addr().expect("its address").port();
            drop(free);
            let mut redis = Self {
                port,
                maxmemory,
                shell: None,
                pid: 0,
            };
            if redis.try_run() {
                return redis;
            }
        }
        panic!("redis-server does not start: run the tests by `cargo xtask test`");
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a power cut would. [`Self::restart`] brings it back, empty.
    pub fn kill(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
    }

    /// Brings a killed one back on the same port.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.try_run(), "redis-server does not start again");
    }

    /// Stops it without a word: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a paused one go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Throws all that it holds away.
    pub fn flush(&self) {
        assert_eq!(self.ask("FLUSHALL"), "+OK");
    }

    /// One line of its answer to a command, such as `+PONG` or `:3`; of a long text, the text.
    pub fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("Redis");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout");
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .expect("Redis takes a command");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("an answer");
        let line = line.trim_end().to_owned();
        let Some(length) = line.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()) else {
            return line;
        };
        let mut text = vec![0; length];
        reader.read_exact(&mut text).expect("the whole answer");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The texts of an answer that is a list of them.
    pub fn ask_list(&self, command: &str) -> Vec<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("Redis");
        stream
            .write_all(format!("{command}\r\nQUIT\r\n").as_bytes())
            .expect("Redis takes a command");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("texts");
        let texts = answer
            .lines()
            .filter(|line| !line.starts_with(['*', '$', '+']));
        texts.map(str::to_owned).collect()
    }

    /// A number that `INFO` tells, such as `used_memory`.
    pub fn info(&self, section: &str, name: &str) -> u64 {
        let text = self.ask(&format!("INFO {section}"));
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = value.expect("INFO has such a line");
        value.trim().parse().expect("a number")
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args(["-s", signal, &self.pid.to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success(), "redis-server got no signal");
    }

    fn try_run(&mut self) -> bool {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", UNTIL_STDIN_CLOSES, "sh"])
            .arg(program())
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--maxmemory", self.maxmemory])
            .args(["--maxmemory-policy", "allkeys-lru"])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell runs");
        let begun = Instant::now();
        while begun.elapsed() < START {
            if answers(self.port) {
                self.pid = self.info("server", "process_id");
                // Somebody else's may have taken the port between our look and our server's.
                if parent_of(self.pid) == Some(shell.id()) {
                    self.shell = Some(shell);
                    return true;
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(shell.stdin.take());
        let _ = shell.wait();
        false
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn parent_of(pid: u64) -> Option<u32> {
    let said = Command::new("ps")
        .args(["-o", "ppid=", "-p", &pid.to_string()])
        .output()
        .expect("ps runs");
    String::from_utf8_lossy(&said.stdout).trim().parse().ok()
}

fn answers(port: u16) -> bool {
    let mut answer = [0; 5];
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok_and(|mut stream| {
        stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .is_ok()
            && stream.write_all(b"PING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && &answer == b"+PONG"
    })
}

fn program() -> PathBuf {
    if let Some(named) = variable(PROGRAM_VARIABLE) {
        return named.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path) {
        for name in ["redis-server", "valkey-server"] {
            if folder.join(name).is_file() {
                return folder.join(name);
            }
        }
    }
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.acolhe/redis/redis-server");
    assert!(
        fetched.is_file(),
        "there is no redis-server: run the tests by `cargo xtask test`, which fetches one"
    );
    fetched
}

fn variable(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test learns of its servers by the environment, as of its database"
    )]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
