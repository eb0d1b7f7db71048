//! Every store port on PostgreSQL, through Diesel.
//!
//! [`Database`] holds the connections and gives the four shapes in which anything is ever said
//! to PostgreSQL:
//!
//! | shape | when | round trips |
//! |---|---|---|
//! | [`Database::read`] | one `SELECT` of one clinic; rows are reached through `s.t` | 1 |
//! | [`Database::once`], [`Database::write`] | statements that are known beforehand | 1 |
//! | [`Database::unit`] | statements that depend on each other | one for each dependence, 1 for `COMMIT` |
//! | [`Database::system`] | a `sec.*` function, before or across tenants | 1 |
//!
//! # Adding a store
//!
//! A domain's port is implemented in a folder of its name: one file of statements (SQL with
//! [`statement!`] and [`tenant_select!`], or Diesel's DSL over `schema`), one of rows, one of the
//! implementation. Constraint names become variants of the operation's error there and nowhere
//! else, by [`StoreErrorExt::constraint`]. What a write leaves behind (audit entries, jobs,
//! events) is handed to the unit, which writes it last, in the right order, together with
//! `COMMIT`.

#![warn(missing_docs)]

pub mod audit;
mod batch;
pub mod clinics;
mod connect;
mod connection;
pub mod contacts;
pub mod conversations;
pub mod database;
pub mod error;
pub mod events;
pub mod jobs;
pub mod migrations;
pub mod name;
mod once;
pub mod operators;
mod outbox;
mod ping;
mod pool;
pub mod role;
pub mod schema;
pub mod sequencer;
pub mod statement;
pub mod stream;
pub mod tenant;

pub use batch::Batch;
pub use database::{AddressError, Database, PoolSettings};
pub use error::{DatabaseFailure, StoreErrorExt};
pub use name::QueryName;
pub use statement::TenantSelect;
pub use tenant::Tx;
