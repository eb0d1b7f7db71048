//! Puts values into Redis, beside the requests: nobody waits for it, and what does not fit its queue
//! is not put.
//!
//! It has connections of its own (bb8), so that no look-up waits behind a long value that is being
//! written.

use std::fmt;
use std::time::Duration;

use bb8_redis::RedisConnectionManager;
use bb8_redis::bb8::Pool;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::link::RedisLink;

/// Values that wait.
const QUEUE: usize = 256;
/// Values put at a time.
const AT_A_TIME: usize = 32;
/// Connections.
const CONNECTIONS: u32 = 2;
/// How long one may take to be made, and a batch to be put.
const WITHIN: Duration = Duration::from_secs(1);

/// A value for Redis.
pub(crate) struct Value {
    pub(crate) key: String,
    pub(crate) sealed: Vec<u8>,
    /// How long it may be found there. Nothing is ever put without an end.
    pub(crate) lives: Duration,
}

/// The queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Filler(mpsc::Sender<Value>);

impl Filler {
    pub(crate) fn new() -> (Self, Waiting) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), Waiting(receiver))
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.capacity() == 0
    }

    pub(crate) fn put(&self, value: Value) {
        // A full queue: the next reader puts it.
        let _ = self.0.try_send(value);
    }
}

/// The queue's other end, before it runs.
pub(crate) struct Waiting(mpsc::Receiver<Value>);

impl Waiting {
    /// Puts what comes, on the present runtime. `failed` is called for each batch that is lost.
    pub(crate) fn run(self, link: RedisLink, failed: impl Fn() + Send + 'static) -> JoinHandle<()> {
        tokio::spawn(run(self.0, link, failed))
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

async fn run(mut queue: mpsc::Receiver<Value>, link: RedisLink, failed: impl Fn()) {
    let Ok(manager) = RedisConnectionManager::new(link.address()) else {
        return;
    };
    let pool = Pool::builder()
        .max_size(CONNECTIONS)
        .min_idle(None)
        .connection_timeout(WITHIN)
        .build_unchecked(manager);
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, AT_A_TIME).await > 0 {
        if link.is_up() && !put(&pool, &batch).await {
            failed();
        }
        batch.clear();
    }
}

async fn put(pool: &Pool<RedisConnectionManager>, batch: &[Value]) -> bool {
    let Ok(mut connection) = pool.get().await else {
        return false;
    };
    let mut pipeline = redis::pipe();
    for value in batch {
        let lives = u64::try_from(value.lives.as_millis()).unwrap_or(u64::MAX);
        pipeline
            .cmd("SET")
            .arg(&value.key)
            .arg(&value.sealed)
            .arg("PX")
            .arg(lives.max(1))
            .ignore();
    }
    let put = pipeline.exec_async(&mut *connection);
    matches!(tokio::time::timeout(WITHIN, put).await, Ok(Ok(())))
}
