//! The operators' own OpenAPI document: their listener is no part of the public one's.

use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::views;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Acolhe for operators",
        description = "What the installation's operators see, on the listener of `operators.bind` \
            and `operators.port`. Every operation needs an operator's token \
            (`acolhe-server admin create-operator`).",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        views::read_health,
        views::read_observability,
        views::read_metrics,
        views::list_clinics,
        views::list_jobs,
        views::read_cache,
        views::switch_cache
    ),
    tags((name = "operators", description = "Health, metrics, clinics and jobs.")),
    security(("operator" = []))
)]
struct Document;

/// The document as it is committed: `openapi/operators.json`.
pub fn operators_document() -> String {
    let mut document = Document::openapi();
    document
        .components
        .get_or_insert_with(Default::default)
        .add_security_scheme(
            "operator",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}
