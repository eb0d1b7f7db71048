//! [`RedisCounters`]: the counters of rate limits, which all nodes see. One script for each lease, by
//! Redis' own clock, so that nodes whose clocks differ count alike. A counter holds one number, when
//! its bucket will be full again, and is gone by then.

use std::time::Duration;

use async_trait::async_trait;
use kernel::counter::{CountersAway, Lease, LeaseRequest, SharedCounters};

use crate::link::RedisLink;

/// [`kernel::counter::lease`] in microseconds, which are exact in Lua's numbers. Answers the units
/// granted, the units left, and the wait for the next one.
const LEASE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local whole, interval = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + ARGV[3] * interval
local room = math.max(math.floor((whole - (full - now)) / interval), 0)
local granted = math.min(room, tonumber(ARGV[4]))
full = full + granted * interval
if full > now then
  redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1000)
end
return {granted, room - granted, math.max(math.ceil(full - now + interval - whole), 0)}
";

/// Shared counters in Redis.
#[derive(Debug, Clone)]
pub struct RedisCounters(RedisLink);

impl RedisCounters {
    /// Over this link.
    pub const fn new(link: RedisLink) -> Self {
        Self(link)
    }
}

#[async_trait]
impl SharedCounters for RedisCounters {
    fn is_up(&self) -> bool {
        self.0.is_up()
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Lease, CountersAway> {
        const NANOS: u64 = 1_000;
        let mut command = redis::cmd("EVAL");
        command
            .arg(LEASE)
            .arg(1)
            .arg(request.key.to_string())
            .arg(request.quota.nanos() / NANOS)
            .arg((request.quota.interval() / NANOS).max(1))
            .arg(request.owed)
            .arg(request.wanted);
        let (granted, left, wait): (u32, u32, u64) =
            self.0.run(&command).await.map_err(|_| CountersAway)?;
        Ok(Lease {
            granted,
            left,
            retry_after: Duration::from_micros(wait),
        })
    }
}
