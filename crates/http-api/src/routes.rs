//! Every route below `/api/v1`. A module's `routes` names its handlers with `.service(…)`, which
//! also puts them in the OpenAPI document.

use utoipa_actix_web::service_config::ServiceConfig;

use crate::{
    auth, branches, channels, clinics, contacts, conversations, feature_flags, health, invitations,
    me, password_reset, sessions, users, webhooks,
};

/// Adds every route of the API.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config
        .configure(auth::routes)
        .configure(sessions::routes)
        .configure(password_reset::routes)
        .configure(me::routes)
        // Before users, which would take its name for an id.
        .configure(invitations::routes)
        .configure(users::routes)
        .configure(clinics::routes)
        .configure(feature_flags::routes)
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
    (
        "users",
        "Who works in the clinic, and what they may do there.",
    ),
    ("clinics", "The clinic's own settings."),
    ("branches", "The places where the clinic works."),
    ("contacts", "The people the clinic deals with."),
    ("conversations", "The WhatsApp inbox."),
    ("channels", "The clinic's WhatsApp numbers."),
    ("webhooks", "Where WhatsApp's providers deliver."),
    ("health", "Whether the server lives and can work."),
];
