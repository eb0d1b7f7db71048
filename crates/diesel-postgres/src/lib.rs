//! Keeps everything in PostgreSQL: every store port on diesel-async, the embedded migrations and
//! the sequencer of the event stream.

mod direct;
pub mod migrations;
