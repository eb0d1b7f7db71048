//! `/contacts`: the people a clinic deals with.

mod answer;
mod handlers;
mod request;

pub use handlers::routes;
