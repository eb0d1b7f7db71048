//! What nodes share beside the database: Redis.
//!
//! [`link::RedisLink`] is the way to it, and it is made for a Redis that may be gone: nobody ever
//! waits for a connection, answers are waited for briefly, and after a few faults in a row nothing is
//! sent until a probe was answered. Whoever uses it goes on without Redis when it says so.

#![warn(missing_docs)]

pub mod counters;
pub mod link;

pub use counters::RedisCounters;
pub use link::{RedisAddressError, RedisFault, RedisLink, RedisSettings};
