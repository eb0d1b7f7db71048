//! `/me`: who the caller is, and in which clinics.

use actix_web::{HttpResponse, get, web};
use clinics::{Access, ClinicOfUser, MeError, User};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::Signed;
use crate::problem::Problem;
use crate::tenant::unauthenticated;

/// Adds the handlers of this file.
pub fn routes(config: &mut ServiceConfig<'_>) {
    config.service(read);
}

/// A user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub(crate) struct UserAnswer {
    /// Their id.
    #[schema(value_type = uuid::Uuid, example = "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e")]
    id: kernel::UserId,
    /// Their name.
    #[schema(example = "Ana Lima")]
    name: String,
    /// What they log in with.
    #[schema(example = "ana@example.com")]
    email: String,
}

impl From<&User> for UserAnswer {
    fn from(user: &User) -> Self {
        Self {
            id: user.id,
            name: user.name.as_str().to_owned(),
            email: user.email.as_str().to_owned(),
        }
    }
}

/// A clinic in which the user may act.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ClinicOfUser)]
pub(crate) struct ClinicOfUserAnswer {
    /// Its id, for `X-Clinic-Id`.
    #[schema(value_type = uuid::Uuid, example = "01936f5e-8e2a-7c3b-9d4e-000000000001")]
    id: kernel::ClinicId,
    /// Its name.
    #[schema(example = "Clínica Ipê")]
    name: String,
    /// What the user is there: `owner`, `admin`, `professional`, `receptionist`, `finance` or
    /// `readonly`.
    #[schema(example = "owner")]
    role: &'static str,
}

impl From<&ClinicOfUser> for ClinicOfUserAnswer {
    fn from(clinic: &ClinicOfUser) -> Self {
        Self {
            id: clinic.id,
            name: clinic.name.as_str().to_owned(),
            role: clinic.role.name(),
        }
    }
}

/// The caller.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Me)]
struct MeAnswer {
    /// Who they are.
    user: UserAnswer,
    /// Where they may act, by name.
    clinics: Vec<ClinicOfUserAnswer>,
}

/// Read who I am
///
/// The user the token speaks for, and the clinics where they have a membership now.
#[utoipa::path(
    operation_id = "me_read",
    tag = "access",
    extensions(("x-permission" = json!("signed-in"))),
    responses(
        (status = 200, description = "The caller.", body = MeAnswer, example = json!({
            "user": {"id": "01936f5e-8e2a-7c3b-9d4e-5f6a7b8c9d0e", "name": "Ana Lima",
                "email": "ana@example.com"},
            "clinics": [{"id": "01936f5e-8e2a-7c3b-9d4e-000000000001", "name": "Clínica Ipê",
                "role": "owner"}],
        })),
    )
)]
#[get("/me")]
async fn read(signed: Signed, access: web::Data<Access>) -> Result<HttpResponse, Problem> {
    let me = access.me(signed.origin, signed.identity).await?;
    Ok(HttpResponse::Ok().json(MeAnswer {
        user: (&me.user).into(),
        clinics: me.clinics.iter().map(Into::into).collect(),
    }))
}

impl From<MeError> for Problem {
    fn from(error: MeError) -> Self {
        match error {
            MeError::Gone => unauthenticated("Bearer error=\"invalid_token\""),
            MeError::Store(error) => error.into(),
        }
    }
}
