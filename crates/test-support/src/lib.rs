//! What tests of the whole workspace share: a real PostgreSQL database for each test, a clock
//! that stands still, chance from a seed, and two clinics that must never see each other.
//!
//! A development dependency only: nothing of the product may name it.

#![allow(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot be set up fails by panicking"
)]

pub mod clinics;
pub mod clock;
pub mod crowd;
pub mod database;
pub mod proxy;
pub mod random;
pub mod redis;
pub mod tools;
pub mod webhooks;

pub use clinics::{Clinic, TwoClinics, two_clinics};
pub use clock::FixedClock;
pub use crowd::Crowd;
pub use database::TestDatabase;
pub use proxy::{FaultProxy, Network};
pub use random::SeededRandom;
pub use redis::TestRedis;
pub use tools::{keys, toolkit};
pub use webhooks::WebhookBench;
