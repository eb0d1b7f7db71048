//! What nodes share beside the database: Redis, and what is cached in two tiers, the process' memory
//! and Redis.
//!
//! - [`ResponseCache`] keeps finished answers (the port `kernel::cache::ByteCache`), and
//!   [`CachedMemberships`] who may do what.
//! - What makes it right is [`generations`]: a value is kept under the position of the last event that
//!   changed it, and found only while the stream of events says that this is still the last.
//! - [`link::RedisLink`] is the way to Redis, and it is made for a Redis that may be gone: nobody ever
//!   waits for a connection, answers are waited for briefly, and after a few faults in a row nothing
//!   is sent until a probe was answered. Whoever uses it goes on without Redis when it says so.
//!
//! No fault of a cache fails a request.

#![warn(missing_docs)]

pub mod answers;
pub mod counters;
mod fill;
pub mod generations;
pub mod link;
pub mod memberships;
mod tiers;

pub use answers::{CacheSettings, ResponseCache, Running};
pub use counters::RedisCounters;
pub use link::{RedisAddressError, RedisFault, RedisLink, RedisSettings};
pub use memberships::CachedMemberships;
