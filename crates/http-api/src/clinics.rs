//! `/clinics/current`: the settings of the clinic the request names.

use actix_web::http::header;
use actix_web::{HttpResponse, get, patch, web};
use chrono::{DateTime, Utc};
use clinics::error::{ReadError, UpdateClinicError};
use clinics::{Clinic, ClinicPatch, Clinics, Locale, Name, QuietHours, TimeZone, WallTime};
use kernel::{TenantContext, Toolkit};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;
use validator::Validate;

use crate::catalogue::ProblemCode;
use crate::kept::{ClinicRead, Finished, Reader};
use crate::patch::{PatchField, given};
use crate::problem::Problem;
use crate::rules::Rules;
use crate::{Body, EntityTag, IfMatch, Tenant};

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(read).service(update);
}

/// A time of the day that is quiet, in the clinic's wall time; past midnight where `until` is not
/// after `from`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = QuietHours)]
struct QuietHoursForm {
    /// First quiet minute, `HH:MM`.
    #[schema(example = "21:00")]
    from: String,
    /// First minute that is no longer quiet, `HH:MM`.
    #[schema(example = "08:00")]
    until: String,
}

/// What a clinic may choose.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ClinicSettings)]
struct SettingsAnswer {
    /// When no message goes out by itself; null when at no hour that is forbidden.
    #[schema(required = true)]
    quiet_hours: Option<QuietHoursForm>,
}

/// A clinic.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Clinic)]
struct ClinicAnswer {
    /// Its id.
    #[schema(value_type = uuid::Uuid, example = "01936f5e-8e2a-7c3b-9d4e-000000000001")]
    id: kernel::ClinicId,
    /// Its name.
    #[schema(example = "Clínica Ipê")]
    name: String,
    /// The IANA zone in which its local dates are reckoned.
    #[schema(example = "America/Sao_Paulo")]
    time_zone: &'static str,
    /// The language its patients are written to in.
    #[schema(example = "pt-BR")]
    locale: String,
    /// Everything else that it may choose.
    settings: SettingsAnswer,
    /// `active` or `suspended`.
    #[schema(example = "active")]
    status: &'static str,
    /// When it was created.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<&Clinic> for ClinicAnswer {
    fn from(clinic: &Clinic) -> Self {
        let quiet_hours = clinic.settings.quiet_hours.map(|hours| QuietHoursForm {
            from: hours.from.to_string(),
            until: hours.until.to_string(),
        });
        Self {
            id: clinic.id,
            name: clinic.name.as_str().to_owned(),
            time_zone: clinic.time_zone.name(),
            locale: clinic.locale.as_str().to_owned(),
            settings: SettingsAnswer { quiet_hours },
            status: clinic.status.name(),
            created_at: clinic.created_at,
            updated_at: clinic.updated_at,
        }
    }
}

/// What the document shows.
fn example() -> serde_json::Value {
    json!({
        "id": "01936f5e-8e2a-7c3b-9d4e-000000000001", "name": "Clínica Ipê",
        "timeZone": "America/Sao_Paulo", "locale": "pt-BR",
        "settings": {"quietHours": {"from": "21:00", "until": "08:00"}},
        "status": "active", "createdAt": "2026-11-03T12:30:00Z",
        "updatedAt": "2026-11-03T12:30:00Z",
    })
}

/// A change of settings: what is not named stays.
#[derive(Debug, Default, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UpdateClinicSettings)]
struct UpdateSettingsRequest {
    /// When no message goes out by itself; null for never.
    #[serde(default)]
    #[schema(value_type = Option<QuietHoursForm>)]
    quiet_hours: PatchField<QuietHoursForm>,
}

/// A change of a clinic: what is not named stays. Null is refused but for `settings.quietHours`.
#[derive(Debug, Deserialize, ToSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UpdateClinic)]
struct UpdateClinicRequest {
    /// 1 to 200 characters.
    #[schema(example = "Clínica Ipê")]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false)]
    name: Option<String>,
    /// An IANA zone.
    #[schema(example = "America/Sao_Paulo")]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false)]
    time_zone: Option<String>,
    /// `pt-BR`, `pt-PT`, `pt`, `en-US`, `en-GB`, `en`, `es` or `es` with one of the countries `AR`,
    /// `BO`, `CL`, `CO`, `EC`, `ES`, `MX`, `PE`, `PY`, `UY` and `VE`; more may be added.
    #[schema(example = "pt-BR")]
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false)]
    locale: Option<String>,
    /// Everything else that it may choose.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = UpdateSettingsRequest, required = false)]
    settings: Option<UpdateSettingsRequest>,
}

impl UpdateClinicRequest {
    fn into_domain(self) -> Result<ClinicPatch, Problem> {
        let mut rules = Rules::new(ProblemCode::InvalidBody);
        let name = self
            .name
            .and_then(|name| rules.keep("name", "length", Name::parse(&name)));
        let time_zone = self
            .time_zone
            .and_then(|zone| rules.keep("timeZone", "unknown-value", TimeZone::parse(&zone)));
        let locale = self
            .locale
            .and_then(|locale| rules.keep("locale", "unknown-value", Locale::parse(&locale)));
        let quiet_hours = match self.settings.unwrap_or_default().quiet_hours {
            PatchField::Absent => None,
            PatchField::Null => Some(None),
            PatchField::Value(hours) => {
                let mut time = |field: &str, text: &str| {
                    let name = format!("settings.quietHours.{field}");
                    rules.keep(name, "format", WallTime::parse(text))
                };
                let (from, until) = (time("from", &hours.from), time("until", &hours.until));
                let hours = from.zip(until);
                hours.map(|(from, until)| Some(QuietHours { from, until }))
            }
        };
        rules.done(ClinicPatch {
            name,
            time_zone,
            locale,
            quiet_hours,
        })
    }
}

fn tag(tools: &Toolkit, cx: &TenantContext, clinic: &Clinic) -> EntityTag {
    EntityTag::of_record(tools, cx, "clinic", clinic.id, clinic.version, "")
}

/// Read the clinic
///
/// The clinic the request names, with its settings.
#[utoipa::path(
    operation_id = "clinic_read",
    tag = "clinics",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` you have.")),
    extensions(("x-permission" = json!("clinic.read"))),
    responses(
        (status = 200, description = "The clinic.", body = ClinicAnswer,
            headers(("ETag" = String, description = "Its version.")),
            example = json!(example())),
        (status = 304, description = "It is as you have it."),
    )
)]
#[get("/clinics/current")]
async fn read(
    tenant: Tenant,
    reader: Reader,
    tools: web::Data<Toolkit>,
    clinics: web::Data<Clinics>,
) -> Result<HttpResponse, Problem> {
    clinics.prepare_read(&tenant).await?;
    reader
        .answer::<ClinicRead, _>(&tenant, b"", async || {
            let clinic = clinics
                .read(&tenant)
                .await?
                .ok_or_else(Problem::not_found)?;
            let tag = tag(&tools, &tenant, &clinic);
            Finished::of_record(&tag, &ClinicAnswer::from(&clinic))
        })
        .await
}

/// Change the clinic
///
/// What is not named stays. Needs `If-Match`.
#[utoipa::path(
    operation_id = "clinic_update",
    tag = "clinics",
    params(("If-Match" = String, Header, description = "The `ETag` it was read with.")),
    request_body(content = UpdateClinicRequest, example = json!({
        "timeZone": "America/Recife",
        "settings": {"quietHours": {"from": "21:00", "until": "08:00"}},
    })),
    extensions(("x-permission" = json!("clinic.update"))),
    responses(
        (status = 200, description = "The clinic as it is now.", body = ClinicAnswer,
            headers(("ETag" = String, description = "Its new version.")),
            example = json!(example())),
    )
)]
#[patch("/clinics/current")]
async fn update(
    tenant: Tenant,
    if_match: IfMatch,
    body: Body<UpdateClinicRequest>,
    tools: web::Data<Toolkit>,
    clinics: web::Data<Clinics>,
) -> Result<HttpResponse, Problem> {
    let present = clinics
        .prepare_update(&tenant)
        .await?
        .ok_or_else(Problem::not_found)?;
    let patch = body.read()?.into_domain()?;
    if_match.require(&tag(&tools, &tenant, &present))?;
    let clinic = clinics.update(&tenant, present.version, patch).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, tag(&tools, &tenant, &clinic).to_string()))
        .json(ClinicAnswer::from(&clinic)))
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Denied(denied) => denied.into(),
            ReadError::Cursor(_) => ProblemCode::InvalidCursor.into(),
            ReadError::Store(error) => error.into(),
        }
    }
}

impl From<UpdateClinicError> for Problem {
    fn from(error: UpdateClinicError) -> Self {
        match error {
            UpdateClinicError::Denied(denied) => denied.into(),
            UpdateClinicError::NotFound => Self::not_found(),
            UpdateClinicError::VersionConflict => ProblemCode::PreconditionFailed.into(),
            UpdateClinicError::Store(error) => error.into(),
        }
    }
}
