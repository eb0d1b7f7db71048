//! [`PgRollout`]: flags and plans. Their tables are the definer functions' alone; the audit entry of an
//! act about a clinic is written by the server's own role, under that clinic's row security.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use clinics::rollout::{Flag, Percentage, Rollout, RolloutChange};
use clinics::{RolloutError, RolloutStore};
use diesel::sql_types::{
    BigInt, Bool, Integer, Nullable, Text, Timestamptz, Untyped, Uuid as SqlUuid,
};
use kernel::{AuditEntry, ClinicId, StoreError, SystemContext, TenantContext, TypedId as _};
use uuid::Uuid;

use crate::{Database, QueryName, StoreErrorExt as _, query_name, statement};

const READ: QueryName = query_name!("rollout.read", "SELECT", "flag_rules");
const SET_FLAG: QueryName = query_name!("rollout.set_flag", "INSERT", "flag_rules");
const SET_CLINIC_FLAG: QueryName = query_name!("rollout.set_clinic_flag", "INSERT", "flag_clinics");
const SET_PLAN: QueryName = query_name!("rollout.set_plan", "INSERT", "clinic_plans");

statement! {
    struct ReadRollout { known: i64 => BigInt }
        -> (BigInt, Text, Text, Nullable<SqlUuid>, Integer) =
        "SELECT r.revision, r.kind, r.name, r.clinic_id, r.value FROM sec.read_rollout(?) r"
}
statement! {
    struct SetFlag<'a> {
        flag: &'static str => Text,
        percentage: Option<i32> => Nullable<Integer>,
        at: DateTime<Utc> => Timestamptz,
        log_id: Uuid => SqlUuid,
        request: Uuid => SqlUuid,
        reason: &'a str => Text,
    } -> Untyped = "SELECT sec.set_flag(?, ?, ?, ?, ?, ?)"
}
statement! {
    struct SetClinicFlag<'a> {
        clinic: Uuid => SqlUuid,
        flag: &'static str => Text,
        is_on: Option<bool> => Nullable<Bool>,
        at: DateTime<Utc> => Timestamptz,
        log_id: Uuid => SqlUuid,
        request: Uuid => SqlUuid,
        reason: &'a str => Text,
    } -> Untyped = "SELECT sec.set_clinic_flag(?, ?, ?, ?, ?, ?, ?)"
}
statement! {
    struct SetPlan<'a> {
        clinic: Uuid => SqlUuid,
        requests: Option<i32> => Nullable<Integer>,
        at: DateTime<Utc> => Timestamptz,
        log_id: Uuid => SqlUuid,
        request: Uuid => SqlUuid,
        reason: &'a str => Text,
    } -> Untyped = "SELECT sec.set_clinic_plan(?, ?, ?, ?, ?, ?)"
}

/// Flags and plans in PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgRollout {
    db: Database,
}

impl PgRollout {
    /// On that database.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

type Row = (i64, String, String, Option<Uuid>, i32);

#[async_trait]
impl RolloutStore for PgRollout {
    async fn read(&self, sys: &SystemContext, known: i64) -> Result<Option<Rollout>, StoreError> {
        let rows: Vec<Row> = self.db.system(sys, READ, ReadRollout { known }).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let mut rollout = Rollout::default();
        for (revision, kind, name, clinic, value) in rows {
            rollout.revision = revision;
            // A flag that this release does not know is another release's.
            let flag = name.parse::<Flag>().ok();
            let clinic = clinic.map(ClinicId::from);
            match (kind.as_str(), flag, clinic) {
                ("rule", Some(flag), _) => {
                    let share = u8::try_from(value).ok().and_then(Percentage::new);
                    let share = share.ok_or(StoreError::Corrupt("flag_rules.percentage"))?;
                    rollout.rules.insert(flag, share);
                }
                ("clinic", Some(flag), Some(clinic)) => {
                    rollout.clinics.insert((clinic, flag), value != 0);
                }
                ("plan", _, Some(clinic)) => {
                    let requests = u32::try_from(value);
                    let requests = requests
                        .map_err(|_| StoreError::Corrupt("clinic_plans.requests_per_minute"))?;
                    rollout.plans.insert(clinic, requests);
                }
                _ => {}
            }
        }
        Ok(Some(rollout))
    }

    async fn set_flag(
        &self,
        sys: &SystemContext,
        flag: Flag,
        share: Option<Percentage>,
        change: &RolloutChange,
    ) -> Result<(), StoreError> {
        let set = SetFlag {
            flag: flag.name(),
            percentage: share.map(|share| share.get().into()),
            at: change.at,
            log_id: change.log_id,
            request: sys.origin().request.into(),
            reason: change.reason.as_str(),
        };
        self.db.system_execute(sys, SET_FLAG, set).await?;
        Ok(())
    }

    async fn set_clinic_flag(
        &self,
        cx: &TenantContext,
        flag: Flag,
        is_on: Option<bool>,
        change: &RolloutChange,
        entry: AuditEntry,
    ) -> Result<(), RolloutError> {
        let set = SetClinicFlag {
            clinic: cx.clinic().as_uuid(),
            flag: flag.name(),
            is_on,
            at: change.at,
            log_id: change.log_id,
            request: cx.origin().request.into(),
            reason: change.reason.as_str(),
        };
        let written = self.db.write(cx, SET_CLINIC_FLAG, |batch| {
            batch.execute(set);
            batch.audit(&entry);
        });
        written
            .await
            .map(drop)
            .map_err(|error| unknown_clinic(error, "flag_clinics_clinic_fk"))
    }

    async fn set_plan(
        &self,
        cx: &TenantContext,
        requests_per_minute: Option<u32>,
        change: &RolloutChange,
        entry: AuditEntry,
    ) -> Result<(), RolloutError> {
        let set = SetPlan {
            clinic: cx.clinic().as_uuid(),
            requests: requests_per_minute.map(|it| i32::try_from(it).unwrap_or(i32::MAX)),
            at: change.at,
            log_id: change.log_id,
            request: cx.origin().request.into(),
            reason: change.reason.as_str(),
        };
        let written = self.db.write(cx, SET_PLAN, |batch| {
            batch.execute(set);
            batch.audit(&entry);
        });
        written
            .await
            .map(drop)
            .map_err(|error| unknown_clinic(error, "clinic_plans_clinic_fk"))
    }
}

fn unknown_clinic(error: StoreError, constraint: &str) -> RolloutError {
    if error.constraint() == Some(constraint) {
        RolloutError::NoSuchClinic
    } else {
        error.into()
    }
}
