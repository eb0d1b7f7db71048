//! `/contacts`: the people a clinic deals with; `/contact-fields`: what it wants to know of them.

mod answer;
mod consents;
mod fields;
mod handlers;
mod request;

use utoipa_actix_web::service_config::ServiceConfig;

/// Adds the handlers of this folder.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .configure(handlers::routes)
        .configure(consents::routes)
        .configure(fields::routes);
}
