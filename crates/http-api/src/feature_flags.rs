//! `/feature-flags`: what is switched on for the clinic. What operators set, and for whom else, is
//! theirs to know.

use actix_web::{HttpRequest, HttpResponse, get, web};
use clinics::{Flag, Flags};
use kernel::{ClinicId, Toolkit};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::problem::Problem;
use crate::{IfNoneMatch, Tenant};

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(list);
}

/// A feature, and whether the clinic has it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FeatureFlag)]
struct FlagAnswer {
    /// Its name.
    #[schema(example = "compressed-answers")]
    name: &'static str,
    /// What it switches.
    #[schema(example = "Answers to this clinic's members are compressed.")]
    description: &'static str,
    /// Whether it is on in this clinic.
    is_on: bool,
}

/// Every feature flag.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeatureFlags)]
struct FlagsAnswer {
    /// All there are: clients must tolerate that one goes or comes.
    data: Vec<FlagAnswer>,
}

/// List what is switched on
///
/// Features that reach clinics one after the other. What an operator changes is seen here within a
/// second.
#[utoipa::path(
    operation_id = "feature_flag_list",
    tag = "clinics",
    extensions(("x-permission" = json!("clinic.read"))),
    responses(
        (status = 200, description = "Every flag.", body = FlagsAnswer, example = json!({"data": [
            {"name": "compressed-answers", "isOn": true,
                "description": "Answers to this clinic's members are compressed."},
        ]})),
        (status = 304, description = "Nothing has changed."),
    )
)]
#[get("/feature-flags")]
async fn list(
    tenant: Tenant,
    if_none_match: IfNoneMatch,
    tools: web::Data<Toolkit>,
    flags: web::Data<Flags>,
) -> Result<HttpResponse, Problem> {
    let all = flags.list(&tenant).await?.into_iter();
    let data = all
        .map(|(flag, is_on)| FlagAnswer {
            name: flag.name(),
            description: flag.description(),
            is_on,
        })
        .collect();
    if_none_match.answer_content(&tools, &tenant, &FlagsAnswer { data })
}

/// Whether a flag is on for a clinic; its default where no flags are wired.
pub(crate) fn is_on(request: &HttpRequest, clinic: ClinicId, flag: Flag) -> bool {
    let flags = request.app_data::<web::Data<Flags>>();
    flags.map_or_else(
        || flag.default_is_on(),
        |flags| flags.is_on_for(clinic, flag),
    )
}
