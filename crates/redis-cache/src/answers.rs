//! The cache as the server has it: [`ResponseCache`], which gives [`ByteCache`], and what switches
//! and runs it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kernel::cache::{Answer, AnswerKey, ByteCache, Found, Generation, Look};
use kernel::metrics::{CacheTier, Measurement, Metrics};
use kernel::stream::StreamSink;
use kernel::{ClinicId, KeyOwner, KeyPurpose, Keys};
use tokio::task::JoinHandle;

use crate::fill::{Filler, Waiting};
use crate::generations::Generations;
use crate::link::RedisLink;
use crate::memberships::Standings;
use crate::tiers::{Codec, Common, Tiers};

/// How often the sizes are told.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// The share of memory that memberships get.
const MEMBERSHIPS: u64 = 16;

/// How much, and whether.
#[derive(Debug, Clone)]
pub struct CacheSettings {
    /// Whether it is on at the beginning.
    pub on: bool,
    /// Bytes of this process' memory.
    pub bytes: u64,
    /// Names this build of the program: another one's answers may have another shape.
    pub release: Vec<u8>,
}

impl Default for CacheSettings {
    /// On, with 100 MB.
    fn default() -> Self {
        Self {
            on: true,
            bytes: 100 * 1024 * 1024,
            release: Vec::new(),
        }
    }
}

/// The two tiers for finished answers and for memberships, and what they believe. Cheap to clone.
#[derive(Clone)]
pub struct ResponseCache(Arc<Inner>);

struct Inner {
    common: Common,
    answers: Arc<Tiers<AnswerCodec>>,
    standings: Arc<Tiers<Standings>>,
    waiting: std::sync::Mutex<Option<Waiting>>,
}

/// What runs beside the requests. Dropped, it ends, and the cache goes on by itself.
#[derive(Debug)]
pub struct Running {
    filling: Option<JoinHandle<()>>,
    telling: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(filling) = &self.filling {
            filling.abort();
        }
        self.telling.abort();
    }
}

impl ResponseCache {
    /// Over `redis`, where there is one. `wake` is called when the stream should be asked soon.
    /// Everything is passed by until a follower of the stream tells [`Self::sink`] how things stand.
    pub fn new(
        settings: &CacheSettings,
        keys: Arc<dyn Keys>,
        metrics: Arc<dyn Metrics>,
        redis: Option<RedisLink>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let (filler, waiting) = Filler::new();
        let forget: Arc<std::sync::OnceLock<Box<dyn Fn() + Send + Sync>>> = Arc::default();
        let forgetting = Arc::clone(&forget);
        let generations = Generations::new(wake, move || {
            if let Some(forget) = forgetting.get() {
                forget();
            }
        });
        let purpose = KeyPurpose::CacheKey;
        let release = keys.mac(KeyOwner::Platform, purpose, &settings.release);
        let common = Common {
            generations: Arc::new(generations),
            on: Arc::new(AtomicBool::new(settings.on)),
            keys,
            metrics,
            redis: redis.map(|link| (link, filler)),
            release,
        };
        let of_memberships = settings.bytes / MEMBERSHIPS;
        let answers = Tiers::new(common.clone(), settings.bytes - of_memberships);
        let standings = Tiers::new(common.clone(), of_memberships);
        let (these, those) = (answers.forgetter(), standings.forgetter());
        // It is empty: nobody else has it.
        let _ = forget.set(Box::new(move || {
            these();
            those();
        }));
        Self(Arc::new(Inner {
            common,
            answers: Arc::new(answers),
            standings: Arc::new(standings),
            waiting: std::sync::Mutex::new(Some(waiting)),
        }))
    }

    /// Fills Redis, on the present runtime, while the link to it is up.
    pub fn run(&self) -> Running {
        let mut waiting = self
            .0
            .waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let common = &self.0.common;
        let metrics = Arc::clone(&common.metrics);
        let redis = common.redis.as_ref().map(|(link, _)| link.clone());
        Running {
            filling: redis.zip(waiting.take()).map(|(link, waiting)| {
                waiting.run(link, move || {
                    metrics.record(Measurement::CacheFault(CacheTier::L2));
                })
            }),
            telling: tokio::spawn(self.clone().tell_sizes()),
        }
    }

    /// Where the follower of the stream, and whoever commits, tells what happened.
    pub fn sink(&self) -> Arc<dyn StreamSink> {
        Arc::clone(&self.0.common.generations) as Arc<dyn StreamSink>
    }

    /// Turns it on or off, at once, for this process. Nothing is lost: what was kept is found again
    /// when it is turned on, as far as it still holds.
    pub fn switch(&self, on: bool) {
        if self.0.common.on.swap(on, Ordering::Relaxed) != on {
            let state = if on { "on" } else { "off" };
            tracing::warn!(state, "the cache was switched");
        }
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.0.common.on.load(Ordering::Relaxed)
    }

    /// Whether the stream is followed: while it is not, everything is passed by.
    pub fn is_following(&self) -> bool {
        self.0.common.generations.is_following()
    }

    /// Bytes in this process' memory.
    pub fn bytes(&self) -> u64 {
        self.0.answers.bytes() + self.0.standings.bytes()
    }

    pub(crate) fn standings(&self) -> &Tiers<Standings> {
        &self.0.standings
    }

    async fn tell_sizes(self) {
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            let size = Measurement::CacheSize(CacheTier::L1, self.bytes());
            self.0.common.metrics.record(size);
        }
    }
}

impl fmt::Debug for ResponseCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache")
            .field("on", &self.is_on())
            .field("following", &self.is_following())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ByteCache for ResponseCache {
    fn look(&self, key: &AnswerKey<'_>) -> Look<Answer> {
        self.0.answers.look(key.raw())
    }

    async fn find(&self, key: &AnswerKey<'_>, generation: Generation) -> Found<Answer> {
        self.0.answers.find(key.raw(), generation).await
    }
}

/// Length of the tag, tag, body.
struct AnswerCodec;

impl Codec for AnswerCodec {
    type Value = Answer;

    fn encode(value: &Answer) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + value.tag().len() + value.body().len());
        // A tag is some thirty bytes of our own making.
        bytes.push(u8::try_from(value.tag().len()).unwrap_or(0));
        bytes.extend_from_slice(value.tag());
        bytes.extend_from_slice(value.body());
        bytes
    }

    fn decode(_: ClinicId, bytes: &[u8]) -> Option<Answer> {
        let bytes = Bytes::copy_from_slice(bytes);
        let length = usize::from(*bytes.first()?);
        let body = 1 + length;
        (length > 0 && body <= bytes.len())
            .then(|| Answer::new(bytes.slice(1..body), bytes.slice(body..)))
    }

    fn weight(value: &Answer) -> usize {
        value.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_back_and_a_cut_one_is_not() {
        let clinic = ClinicId::from(uuid::Uuid::nil());
        let bytes = AnswerCodec::encode(&Answer::new("\"tag\"", "body"));
        let answer = AnswerCodec::decode(clinic, &bytes);
        let answer = answer.map(|answer| (answer.tag().clone(), answer.body().clone()));
        assert_eq!(answer, Some((Bytes::from("\"tag\""), Bytes::from("body"))));
        for cut in 0..5 {
            assert!(AnswerCodec::decode(clinic, bytes.get(..cut).unwrap_or(&[])).is_none());
        }
    }
}
