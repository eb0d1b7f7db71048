//! [`PgOperators`]: the installation's operators and what they count, through definer functions.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use clinics::operators::{ClinicTally, NewOperator, Operator, OperatorStore, OperatorSummary};
use diesel::sql_types::{
    BigInt, Binary, Bool, Nullable, Text, Timestamptz, Untyped, Uuid as SqlUuid,
};
use kernel::{OperatorId, StoreError, SystemContext, TypedId as _};
use uuid::Uuid;

use crate::clinics::rows::{clinic_status, name};
use crate::{Database, QueryName, query_name, statement};

statement! {
    struct CreateOperator<'a> {
        id: Uuid => SqlUuid,
        name: &'a str => Text,
        token_hash: &'a [u8] => Binary,
        at: DateTime<Utc> => Timestamptz,
        expires_at: DateTime<Utc> => Timestamptz,
        entry: Uuid => SqlUuid,
        request: Uuid => SqlUuid,
    } -> Untyped = "SELECT sec.create_operator(?, ?, ?, ?, ?, ?, ?)"
}

statement! {
    struct ListOperators {} -> (SqlUuid, Text, Timestamptz, Timestamptz, Nullable<Timestamptz>,
        Nullable<Timestamptz>) = "SELECT operator_id, name, created_at, expires_at, revoked_at,
            last_used_at FROM sec.list_operators()"
}

statement! {
    struct RevokeOperator {
        id: Uuid => SqlUuid,
        at: DateTime<Utc> => Timestamptz,
        entry: Uuid => SqlUuid,
        request: Uuid => SqlUuid,
    } -> (Bool,) = "SELECT sec.revoke_operator(?, ?, ?, ?)"
}

statement! {
    struct FindOperator<'a> {
        token_hash: &'a [u8] => Binary,
        at: DateTime<Utc> => Timestamptz,
    } -> (SqlUuid, Text) = "SELECT operator_id, name FROM sec.find_operator(?, ?)"
}

statement! {
    struct CountClinics {} -> (SqlUuid, Text, Text, Timestamptz, BigInt, BigInt, BigInt) =
        "SELECT clinic_id, name, status, created_at, members, channels, dead_jobs
         FROM sec.count_clinics()"
}

const CREATE: QueryName = query_name!("operator.create", "INSERT", "operators");
const LIST: QueryName = query_name!("operator.list", "SELECT", "operators");
const REVOKE: QueryName = query_name!("operator.revoke", "UPDATE", "operators");
const FIND: QueryName = query_name!("operator.find", "SELECT", "operators");
const COUNT_CLINICS: QueryName = query_name!("clinic.count", "SELECT", "clinics");

/// Operators in PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgOperators {
    db: Database,
}

impl PgOperators {
    /// On that database.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

type Row = (
    Uuid,
    String,
    DateTime<Utc>,
    DateTime<Utc>,
    Option<DateTime<Utc>>,
    Option<DateTime<Utc>>,
);

#[async_trait]
impl OperatorStore for PgOperators {
    async fn create(
        &self,
        sys: &SystemContext,
        new: &NewOperator,
        entry: Uuid,
    ) -> Result<(), StoreError> {
        let create = CreateOperator {
            id: new.id.as_uuid(),
            name: new.name.as_str(),
            token_hash: &new.token_hash,
            at: new.created_at,
            expires_at: new.expires_at,
            entry,
            request: sys.origin().request.as_uuid(),
        };
        self.db.system_execute(sys, CREATE, create).await?;
        Ok(())
    }

    async fn list(&self, sys: &SystemContext) -> Result<Vec<OperatorSummary>, StoreError> {
        let rows: Vec<Row> = self.db.system(sys, LIST, ListOperators {}).await?;
        rows.into_iter()
            .map(
                |(id, text, created_at, expires_at, revoked_at, last_used_at)| {
                    Ok(OperatorSummary {
                        id: id.into(),
                        name: name(&text, "operators.name")?,
                        created_at,
                        expires_at,
                        revoked_at,
                        last_used_at,
                    })
                },
            )
            .collect()
    }

    async fn revoke(
        &self,
        sys: &SystemContext,
        id: OperatorId,
        at: DateTime<Utc>,
        entry: Uuid,
    ) -> Result<bool, StoreError> {
        let revoke = RevokeOperator {
            id: id.as_uuid(),
            at,
            entry,
            request: sys.origin().request.as_uuid(),
        };
        let rows: Vec<(bool,)> = self.db.system(sys, REVOKE, revoke).await?;
        Ok(rows.first().is_some_and(|(revoked,)| *revoked))
    }

    async fn find(
        &self,
        sys: &SystemContext,
        token_hash: &[u8; 32],
        at: DateTime<Utc>,
    ) -> Result<Option<Operator>, StoreError> {
        let rows: Vec<(Uuid, String)> = self
            .db
            .system(sys, FIND, FindOperator { token_hash, at })
            .await?;
        rows.into_iter()
            .next()
            .map(|(id, text)| {
                Ok(Operator {
                    id: id.into(),
                    name: name(&text, "operators.name")?,
                })
            })
            .transpose()
    }

    async fn count_clinics(&self, sys: &SystemContext) -> Result<Vec<ClinicTally>, StoreError> {
        let rows: Vec<(Uuid, String, String, DateTime<Utc>, i64, i64, i64)> =
            self.db.system(sys, COUNT_CLINICS, CountClinics {}).await?;
        let number = |count: i64| u64::try_from(count).unwrap_or_default();
        rows.into_iter()
            .map(
                |(id, text, status, created_at, members, channels, dead_jobs)| {
                    Ok(ClinicTally {
                        id: id.into(),
                        name: name(&text, "clinics.name")?,
                        status: clinic_status(&status)?,
                        created_at,
                        members: number(members),
                        channels: number(channels),
                        dead_jobs: number(dead_jobs),
                    })
                },
            )
            .collect()
    }
}
