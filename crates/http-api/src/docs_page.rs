//! The pages for people: Swagger UI at `/docs/`, the errors at `/docs/errors`, and the document
//! itself. Everything is served from the binary: no page loads anything from elsewhere.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use actix_web::http::header;
use actix_web::{HttpResponse, get, web};
use utoipa_swagger_ui::Config;

use crate::catalogue::ProblemCode;
use crate::openapi;
use crate::problem::Problem;

/// Inline styles are Swagger UI's own; scripts come from this server alone.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

static SWAGGER: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::from("/api/openapi.json")
        .use_base_layout()
        .validator_url("none")
        .show_extensions(true)
        .display_operation_id(true)
        .try_it_out_enabled(true);
    Arc::new(config)
});

/// Adds the pages.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(errors)
        .service(web::redirect("/docs", "/docs/"))
        .service(page);
}

#[get("/openapi.json")]
pub(crate) async fn openapi_json() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(openapi::served_document())
}

#[get("/docs/errors")]
async fn errors() -> HttpResponse {
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Errors</title>\
         <style>body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
         dt{font-family:monospace;margin-top:1rem}</style><h1>Errors</h1><dl>",
    );
    for code in ProblemCode::ALL {
        let _infallible = write!(
            html,
            "<dt id=\"{0}\">{0} ({1})</dt><dd>{2}</dd>",
            code.code(),
            code.status().as_u16(),
            code.explanation(),
        );
    }
    html.push_str("</dl></html>");
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .body(html)
}

#[get("/docs/{file:.*}")]
async fn page(file: web::Path<String>) -> Result<HttpResponse, Problem> {
    let file = utoipa_swagger_ui::serve(&file, Arc::clone(&SWAGGER))
        .map_err(|_| Problem::new(ProblemCode::Internal).caused_by("the API page is broken"))?
        .ok_or(ProblemCode::UnknownRoute)?;
    let mut response = HttpResponse::Ok();
    if file.gzpipped {
        response.insert_header((header::CONTENT_ENCODING, "gzip"));
    }
    Ok(response
        .content_type(file.content_type)
        .insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .insert_header((header::CACHE_CONTROL, "public, max-age=3600"))
        .body(file.bytes.into_owned()))
}
