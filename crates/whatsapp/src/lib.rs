//! WhatsApp: the formats of its providers, turned into the facts of `conversations`.
//!
//! Meta's Cloud API is here ([`CloudDecoder`]); the Evolution API has its place beside it. A
//! decoder is pure and total: whatever bytes come, it answers, and what it does not understand it
//! keeps as it came.

#![warn(missing_docs)]

pub mod cloud;
mod lenient;

pub use cloud::CloudDecoder;
