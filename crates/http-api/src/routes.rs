//! Every route below `/api/v1`. A module's `routes` names its handlers with `.service(…)`, which
//! also puts them in the OpenAPI document.

use utoipa_actix_web::service_config::ServiceConfig;

use crate::{
    auth, branches, channels, clinics, contacts, conversations, health, me, sessions, webhooks,
};

/// Adds every route of the API.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .configure(auth::routes)
        .configure(sessions::routes)
        .configure(me::routes)
        .configure(clinics::routes)
        .configure(branches::routes)
        .configure(contacts::routes)
        .configure(conversations::routes)
        .configure(channels::routes)
        .configure(webhooks::routes)
        .configure(health::routes);
}

/// The tags of the OpenAPI document, in its order: each group of routes with what it is.
pub const TAGS: &[(&str, &str)] = &[
    ("access", "Signing in, and who one is."),
    ("clinics", "The clinic's own settings."),
    ("branches", "The places where the clinic works."),
    ("contacts", "The people the clinic deals with."),
    ("conversations", "The WhatsApp inbox."),
    ("channels", "The clinic's WhatsApp numbers."),
    ("webhooks", "Where WhatsApp's providers deliver."),
    ("health", "Whether the server lives and can work."),
];
