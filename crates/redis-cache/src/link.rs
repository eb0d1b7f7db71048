//! The way to Redis: one multiplexed connection behind a circuit breaker.
//!
//! The circuit begins open. A task of its own connects, asks and closes it; a lost connection, or
//! [`FAULTS`] timeouts or slow answers in a row, open it again. While it is open every call fails at
//! once, and the task tries a connection anew: never an old one, which after a partition may hang for
//! minutes in TCP's retransmissions.

use std::fmt;
use std::sync::Arc;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ConnectionAddr, FromRedisValue, IntoConnectionInfo, ProtocolVersion};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Timeouts or slow answers in a row after which the circuit opens.
const FAULTS: u32 = 5;
/// First and longest wait between two probes of an open circuit.
const PROBE_EVERY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Commands that may wait to be written before callers wait.
const QUEUE: usize = 1_024;

/// Where Redis is and how long it may take.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://user:password@host:port/db`, or `rediss://` for TLS.
    pub url: String,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an answer may take. A request waits that long at most for a Redis that hangs.
    pub answer_timeout: Duration,
}

impl RedisSettings {
    /// A second to connect, a tenth of one to answer.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connect_timeout: Duration::from_secs(1),
            answer_timeout: Duration::from_millis(100),
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address holds a password.
        f.debug_struct("RedisSettings")
            .field("connect_timeout", &self.connect_timeout)
            .field("answer_timeout", &self.answer_timeout)
            .finish_non_exhaustive()
    }
}

/// Why an address of Redis cannot be used. Never repeats it: it holds a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedisAddressError {
    /// Not of the form `redis://…` or `rediss://…`.
    #[error("must be redis://user:password@host:port/db, or rediss:// for TLS")]
    Unreadable,
    /// Another machine would be spoken to in clear.
    #[error("must be rediss:// (TLS), or say ?tls=disable: the host is another machine")]
    InClear,
}

/// Redis did not do it. What was asked may have been done all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedisFault {
    /// The circuit is open: nothing was sent.
    #[error("the circuit to Redis is open")]
    Open,
    /// No answer in time, or the connection was lost.
    #[error("Redis did not answer")]
    Silent,
    /// It answered with an error, or something else than was expected.
    #[error("Redis refused")]
    Refused,
}

/// The way to Redis. Cheap to clone.
#[derive(Clone)]
pub struct RedisLink(Arc<Link>);

struct Link {
    client: Client,
    settings: RedisSettings,
    /// `None` while the circuit is open.
    connection: RwLock<Option<ConnectionManager>>,
    /// Faults in a row.
    faults: AtomicU32,
    opened: Notify,
    state: watch::Sender<bool>,
}

/// The task that connects. Dropped, it ends, and the circuit stays as it is.
#[derive(Debug)]
pub struct Connecting(JoinHandle<()>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RedisLink {
    /// Reads the address. Connects to nothing: [`Self::connect`] does.
    ///
    /// A host that is not loopback is spoken to over TLS, with certificate and name verified against
    /// the system's roots, unless the address says `?tls=disable`.
    pub fn new(settings: RedisSettings) -> Result<Self, RedisAddressError> {
        let client = client(&settings.url)?;
        Ok(Self(Arc::new(Link {
            client,
            settings,
            connection: RwLock::new(None),
            faults: AtomicU32::new(0),
            opened: Notify::new(),
            state: watch::Sender::new(false),
        })))
    }

    /// Connects, and connects anew, on the present runtime for as long as the answer is kept.
    pub fn connect(&self) -> Connecting {
        Connecting(tokio::spawn(keep_connected(Arc::clone(&self.0))))
    }

    /// Whether the circuit is closed: Redis is there and answers.
    pub fn is_up(&self) -> bool {
        *self.0.state.borrow()
    }

    /// The same, and when it changes.
    pub fn state(&self) -> watch::Receiver<bool> {
        self.0.state.subscribe()
    }

    /// The address as the client has it, for connections of somebody's own.
    pub(crate) fn address(&self) -> redis::ConnectionInfo {
        self.0.client.get_connection_info().clone()
    }

    /// Asks Redis one thing. Fails at once while the circuit is open.
    pub async fn run<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, RedisFault> {
        let mut connection = self.0.connection().ok_or(RedisFault::Open)?;
        let begun = Instant::now();
        let answer = connection.req_packed_command(command).await;
        self.0.judge(
            begun,
            answer.and_then(|value| Ok(T::from_redis_value(value)?)),
        )
    }

    /// Asks several things in one go; the answers in order. A single refusal refuses all.
    pub async fn run_all<T: FromRedisValue>(
        &self,
        commands: &redis::Pipeline,
    ) -> Result<T, RedisFault> {
        let mut connection = self.0.connection().ok_or(RedisFault::Open)?;
        let begun = Instant::now();
        let answer: Result<T, _> = commands.query_async(&mut connection).await;
        self.0.judge(begun, answer)
    }
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLink")
            .field("up", &self.is_up())
            .finish_non_exhaustive()
    }
}

impl Link {
    fn connection(&self) -> Option<ConnectionManager> {
        let connection = self.connection.read();
        connection
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Counts what an answer says of Redis.
    fn judge<T>(
        &self,
        begun: Instant,
        answer: Result<T, redis::RedisError>,
    ) -> Result<T, RedisFault> {
        match answer {
            Ok(value) => {
                if begun.elapsed() * 2 > self.settings.answer_timeout {
                    self.count_fault("answers slowly");
                } else {
                    self.faults.store(0, Ordering::Relaxed);
                }
                Ok(value)
            }
            Err(error) if error.is_timeout() => {
                self.count_fault("does not answer");
                Err(RedisFault::Silent)
            }
            Err(error) if error.is_io_error() || error.is_connection_dropped() => {
                self.open("cannot be reached");
                Err(RedisFault::Silent)
            }
            // It is there and answers, if not what was asked for.
            Err(error) => {
                tracing::debug!(reason = ?error.kind(), "Redis refused a command");
                Err(RedisFault::Refused)
            }
        }
    }

    fn count_fault(&self, reason: &'static str) {
        if self.faults.fetch_add(1, Ordering::Relaxed) + 1 >= FAULTS {
            self.open(reason);
        }
    }

    fn open(&self, reason: &'static str) {
        let taken = self.set(None);
        if taken.is_some() {
            self.state.send_replace(false);
            tracing::warn!(reason, "Redis is done without");
            self.opened.notify_one();
        }
    }

    fn close(&self, connection: ConnectionManager) {
        self.faults.store(0, Ordering::Relaxed);
        self.set(Some(connection));
        self.state.send_replace(true);
        tracing::info!("Redis is used");
    }

    fn set(&self, connection: Option<ConnectionManager>) -> Option<ConnectionManager> {
        let mut present = self
            .connection
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::replace(&mut *present, connection)
    }
}

/// Closes an open circuit as soon as Redis answers, for ever.
async fn keep_connected(link: Arc<Link>) {
    loop {
        let mut wait = PROBE_EVERY.0;
        let mut told = false;
        let connection = loop {
            match probe(&link).await {
                Ok(connection) => break connection,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(reason = ?error.kind(), "Redis cannot be reached; going on without it");
                    }
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(PROBE_EVERY.1);
        };
        link.close(connection);
        while link.connection().is_some() {
            link.opened.notified().await;
        }
    }
}

/// A new connection that was seen to answer.
async fn probe(link: &Link) -> Result<ConnectionManager, redis::RedisError> {
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(link.settings.connect_timeout))
        .set_response_timeout(Some(link.settings.answer_timeout))
        .set_pipeline_buffer_size(QUEUE);
    let mut connection = ConnectionManager::new_with_config(link.client.clone(), config).await?;
    redis::cmd("PING").exec_async(&mut connection).await?;
    Ok(connection)
}

fn client(url: &str) -> Result<Client, RedisAddressError> {
    let unreadable = |_| RedisAddressError::Unreadable;
    let (address, in_clear) = match url.split_once("?tls=disable") {
        Some((address, "")) => (address, true),
        _ => (url, false),
    };
    let info = address.into_connection_info().map_err(unreadable)?;
    if let ConnectionAddr::Tcp(host, _) = info.addr()
        && !in_clear
        && !is_local(host)
    {
        return Err(RedisAddressError::InClear);
    }
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        // An error means that somebody chose one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(settings)).map_err(unreadable)
}

fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_spoken_to_over_tls_unless_the_address_says_otherwise() {
        for (url, expected) in [
            ("redis://localhost", None),
            ("redis://127.0.0.1:6390/2", None),
            ("redis://[::1]:6390", None),
            ("rediss://cache.example.org:6390", None),
            ("redis://cache:6379?tls=disable", None),
            ("redis://cache:6379", Some(RedisAddressError::InClear)),
            ("redis://10.0.0.1", Some(RedisAddressError::InClear)),
            ("http://localhost", Some(RedisAddressError::Unreadable)),
            ("", Some(RedisAddressError::Unreadable)),
        ] {
            assert_eq!(client(url).err(), expected, "{url}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let settings = RedisSettings::new("redis://:hunter2@10.0.0.1");
        let link = RedisLink::new(RedisSettings::new("redis://:hunter2@localhost")).unwrap();
        let error = RedisLink::new(settings.clone()).unwrap_err();
        assert!(!format!("{settings:?} {error:?} {error} {link:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn an_open_circuit_answers_at_once() {
        let link = RedisLink::new(RedisSettings::new("redis://127.0.0.1:1")).unwrap();
        let answer: Result<String, _> = link.run(&redis::cmd("PING")).await;
        assert_eq!(answer, Err(RedisFault::Open));
    }
}
