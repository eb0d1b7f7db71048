//! Contacts on PostgreSQL.

mod change;
mod consents;
mod documents;
mod fields;
mod list;
mod numbered;
mod rows;
pub(crate) mod statements;
mod store;
mod taken;
mod words;

pub use consents::PgConsentStore;
pub use documents::PgDocumentStore;
pub use fields::PgContactFieldStore;
pub use rows::document_binding;
pub use store::PgContactStore;
