//! Contacts on PostgreSQL.

mod list;
mod rows;
mod statements;
mod store;

pub use store::PgContactStore;
