//! No statement shape ever shows or writes another clinic's rows.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use async_trait::async_trait;
use diesel::sql_types::{Text, Untyped, Uuid as SqlUuid};
use diesel_postgres::{Database, QueryName, StoreErrorExt, query_name, statement, tenant_select};
use kernel::{StoreError, TenantContext};
use test_support::{TestDatabase, two_clinics};
use uuid::Uuid;

tenant_select! {
    /// Members of the clinic.
    struct Members {} -> (SqlUuid, Text) =
        "SELECT m.user_id, m.role FROM app.memberships m WHERE m.clinic_id = s.t"
}

statement! {
    /// Members of whatever clinic is set.
    struct AllMembers {} -> (SqlUuid, Text) = "SELECT m.user_id, m.role FROM app.memberships m"
}

statement! {
    struct InsertBranch<'a> { clinic: Uuid => SqlUuid, id: Uuid => SqlUuid, name: &'a str => Text }
        -> Untyped = "INSERT INTO app.branches (clinic_id, id, name, time_zone, status,
            row_version, created_at, updated_at)
            VALUES (?, ?, ?, 'America/Sao_Paulo', 'active', 1, now(), now())"
}

const MEMBERS: QueryName = query_name!("member.list", "SELECT", "memberships");
const BRANCH: QueryName = query_name!("branch.create", "INSERT", "branches");

#[async_trait]
trait Port: Send + Sync {
    async fn act(&self, cx: &TenantContext, name: &str) -> Result<usize, StoreError>;
}

#[async_trait]
impl Port for Database {
    async fn act(&self, cx: &TenantContext, name: &str) -> Result<usize, StoreError> {
        self.unit(cx, BRANCH, async |tx| {
            let before: Vec<(Uuid, String)> = tx.load(AllMembers {}).await?;
            tx.execute(InsertBranch {
                clinic: cx.clinic().into(),
                id: Uuid::from_u128(1),
                name,
            })
            .await?;
            Ok(before.len())
        })
        .await
    }
}

#[tokio::test]
async fn each_shape_sees_its_own_clinic_alone() {
    let base = TestDatabase::new().await;
    let clinics = two_clinics(&base).await;
    let db = base.database();
    for clinic in [&clinics.a, &clinics.b] {
        let expected = vec![(Uuid::from(clinic.owner), "owner".to_owned())];
        assert_eq!(
            db.read::<(Uuid, String), _, _>(&clinic.cx, MEMBERS, Members {})
                .await
                .unwrap(),
            expected
        );
        assert_eq!(
            db.once::<(Uuid, String), _, _>(&clinic.cx, MEMBERS, AllMembers {})
                .await
                .unwrap(),
            expected
        );
        let in_unit: Result<Vec<(Uuid, String)>, StoreError> = db
            .unit(&clinic.cx, MEMBERS, async |tx| tx.load(AllMembers {}).await)
            .await;
        assert_eq!(in_unit.unwrap(), expected);
        assert_eq!(db.act(&clinic.cx, "main").await.unwrap(), 1);
        let again = db.act(&clinic.cx, "Main").await.unwrap_err();
        assert_eq!(again.constraint(), Some("branches_pk"));
    }
}
