//! Contacts on PostgreSQL.

mod documents;
mod list;
mod numbered;
mod rows;
pub(crate) mod statements;
mod store;
mod words;

pub use documents::PgDocumentStore;
pub use rows::document_binding;
pub use store::PgContactStore;
