//! Two clinics that must never see each other.

use kernel::{Action, ClinicId, Permissions, TenantContext, UserId};
use uuid::Uuid;

use crate::TestDatabase;

/// A clinic with an owner.
#[derive(Debug, Clone)]
pub struct Clinic {
    /// The clinic.
    pub id: ClinicId,
    /// Its owner, who has a session of the same id.
    pub owner: UserId,
    /// The owner's address.
    pub email: String,
    /// The owner acting in it, with every permission.
    pub cx: TenantContext,
}

/// Two of them.
#[derive(Debug, Clone)]
pub struct TwoClinics {
    /// The one.
    pub a: Clinic,
    /// The other.
    pub b: Clinic,
}

/// Makes clinics A and B, each with an owner, through the functions the server uses. Their ids
/// are the same in each run.
///
/// Connections of the server's role that are opened afterwards have a third, unknown clinic set
/// for their whole session ([`TestDatabase::leave_stale_tenant`]), so that every statement of
/// every test is tried with a stale tenant: one that relies on what it finds, finds nothing.
///
/// # Panics
///
/// When the database refuses: a test cannot go on then.
pub async fn two_clinics(db: &TestDatabase) -> TwoClinics {
    let clinics = TwoClinics {
        a: clinic(db, "a", 0xA).await,
        b: clinic(db, "b", 0xB).await,
    };
    db.leave_stale_tenant(Uuid::from_u128(0xDEAD).into()).await;
    clinics
}

async fn clinic(db: &TestDatabase, name: &str, number: u128) -> Clinic {
    // Valid UUIDv7 of the test clock's day, told apart by their end.
    let id = Uuid::from_u128(0x01a2_3456_7000_7000_8000_0000_0000_0000 | (number << 8));
    let owner = Uuid::from_u128(0x01a2_3456_7000_7000_8000_0000_0001_0000 | (number << 8));
    let email = format!("owner@{name}.example");
    let app = db.app().await;
    app.execute(
        "SELECT sec.create_clinic($1::text::uuid, $2, 'America/Sao_Paulo', 'pt-BR', $3::text::jsonb, now())",
        &[&id.to_string().as_str(), &format!("Clinic {name}"), &clinics::Settings::default().to_stored().to_string()],
    )
    .await
    .expect("a clinic can be made");
    app.execute(
        "SELECT sec.create_member($1::text::uuid, $2, $3, NULL, $4::text::uuid, 'owner', now())",
        &[
            &owner.to_string().as_str(),
            &email,
            &format!("Owner of {name}"),
            &id.to_string().as_str(),
        ],
    )
    .await
    .expect("an owner can be made");
    // Of the owner's own id. No function begins one without a password.
    let session = format!(
        "INSERT INTO app.sessions (id, user_id, token_hash, created_at, last_used_at, idle_until,
             expires_at)
         VALUES ('{owner}', '{owner}', '\\x00', '2026-01-01Z', '2026-01-01Z', '2100-01-01Z',
             '2100-01-01Z')"
    );
    let superuser = db.superuser().await;
    superuser
        .batch_execute(&session)
        .await
        .expect("a session can be made");
    Clinic {
        id: id.into(),
        owner: owner.into(),
        email,
        cx: TenantContext::for_test(id.into(), owner.into(), Permissions::of(Action::ALL)),
    }
}
