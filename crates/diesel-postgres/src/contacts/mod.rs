//! Contacts on PostgreSQL.

mod list;
mod rows;
pub(crate) mod statements;
mod store;

pub use store::PgContactStore;
