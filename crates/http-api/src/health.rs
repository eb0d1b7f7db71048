//! Whether this process lives and can work. Says nothing more than that, to anyone.

use std::sync::Arc;

use actix_web::{HttpResponse, get, web};
use async_trait::async_trait;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

/// One thing this process needs, such as the database.
#[async_trait]
pub trait HealthCheck: Send + Sync {
    /// Its name in the answer.
    fn name(&self) -> &'static str;

    /// Whether it answers now. Bounded in time by itself.
    async fn is_well(&self) -> bool;
}

/// Every check of this process.
pub type HealthChecks = Vec<Arc<dyn HealthCheck>>;

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(health).service(live).service(ready);
}

/// Whether the server can work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`, or `degraded` when a check fails.
    #[schema(example = "ok")]
    status: &'static str,
}

async fn report(checks: &HealthChecks) -> Health {
    let mut status = "ok";
    for check in checks {
        if !check.is_well().await {
            status = "degraded";
        }
    }
    Health { status }
}

/// Read the server's health
///
/// Answers 200 also when degraded, for people; a load balancer asks `ready`. What fails is told to
/// operators alone, on their own listener.
#[utoipa::path(
    operation_id = "health_read",
    tag = "health",
    extensions(("x-permission" = json!("public"))),
    responses((status = 200, description = "How it is.", body = Health,
        example = json!({"status": "ok"})))
)]
#[get("/health")]
async fn health(checks: web::Data<HealthChecks>) -> HttpResponse {
    HttpResponse::Ok().json(report(&checks).await)
}

/// Ask whether the process lives
///
/// Asks nothing else: restart the process when this does not answer.
#[utoipa::path(
    operation_id = "health_live",
    tag = "health",
    extensions(("x-permission" = json!("public"))),
    responses((status = 200, description = "It lives.", body = Health,
        example = json!({"status": "ok"})))
)]
#[get("/health/live")]
async fn live() -> HttpResponse {
    HttpResponse::Ok().json(report(&Vec::new()).await)
}

/// Ask whether the process can work
///
/// Send it no requests while this answers 503.
#[utoipa::path(
    operation_id = "health_ready",
    tag = "health",
    extensions(("x-permission" = json!("public"))),
    responses((status = 200, description = "It can.", body = Health,
        example = json!({"status": "ok"})))
)]
#[get("/health/ready")]
async fn ready(checks: web::Data<HealthChecks>) -> Result<HttpResponse, crate::Problem> {
    let found = report(&checks).await;
    if found.status == "ok" {
        Ok(HttpResponse::Ok().json(found))
    } else {
        Err(crate::ProblemCode::Unavailable.into())
    }
}
