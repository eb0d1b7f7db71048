//! Jobs as rows: enqueued by their cause ([`crate::Tx::enqueue`]), leased across clinics by
//! definer functions that never see a payload, finished inside their clinic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::sql_types::{
    Array, BigInt, Integer, Interval, Jsonb, Nullable, SmallInt, Text, Timestamptz, Untyped,
    Uuid as SqlUuid,
};
use kernel::job::{
    AfterFailure, DeadJob, FailureCode, JobCensus, JobLeases, JobOutcomes, JobTally, Lease,
    LeaseLost, LeasedJob, NewJob, Queue,
};
use kernel::metrics::JobState;
use kernel::{StoreError, SystemContext, TenantContext, TypedId};
use serde_json::Value;
use uuid::Uuid;

use crate::{Database, QueryName, Tx, query_name, statement};

statement! {
    pub(crate) struct InsertJob<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        queue: &'static str => Text,
        kind: &'static str => Text,
        version: i16 => SmallInt,
        payload: &'a Value => Jsonb,
        priority: i16 => SmallInt,
        due_at: DateTime<Utc> => Timestamptz,
        run_at: DateTime<Utc> => Timestamptz,
        max_attempts: i16 => SmallInt,
        unique_key: Option<&'a str> => Nullable<Text>,
    } -> Untyped = "INSERT INTO app.jobs (clinic_id, id, queue, kind, version, payload, priority,
        state, run_at, max_attempts, unique_key, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, CASE WHEN ? <= now() THEN 'waiting' ELSE 'delayed' END, ?, ?, ?,
            now())
        ON CONFLICT (clinic_id, queue, unique_key)
            WHERE unique_key IS NOT NULL AND state IN ('delayed', 'waiting', 'leased') DO NOTHING"
}

/// The row of a job.
pub(crate) fn insert<'a>(cx: &TenantContext, job: &'a NewJob) -> InsertJob<'a> {
    InsertJob {
        clinic: cx.clinic().into(),
        id: job.id.into(),
        queue: job.queue.name(),
        kind: job.kind,
        version: job.version,
        payload: &job.payload,
        priority: job.priority,
        due_at: job.run_at,
        run_at: job.run_at,
        max_attempts: job.max_attempts,
        unique_key: job.unique_key.as_deref(),
    }
}

statement! {
    /// Those without a token are dead, each told once: by whoever buried it.
    struct LeaseJobs {
        dead_of: &'static str => Text,
        queue: &'static str => Text,
        most: i32 => Integer,
        ttl: TimeDelta => Interval,
        after: Uuid => SqlUuid,
    } -> (SqlUuid, SqlUuid, Text, SmallInt, SmallInt, SmallInt, Nullable<SqlUuid>) =
        "SELECT clinic_id, id, kind, version, attempt, max_attempts, NULL::uuid
         FROM sec.bury_jobs(?)
         UNION ALL
         SELECT clinic_id, id, kind, version, attempt, max_attempts, lease_token
         FROM sec.lease_jobs(?, ?, ?, ?)"
}

statement! {
    struct RenewLeases {
        clinics: Vec<Uuid> => Array<SqlUuid>,
        jobs: Vec<Uuid> => Array<SqlUuid>,
        tokens: Vec<Uuid> => Array<SqlUuid>,
        ttl: TimeDelta => Interval,
    } -> (SqlUuid, SqlUuid) = "SELECT id, lease_token FROM sec.renew_leases(?, ?, ?, ?)"
}

statement! {
    struct CompleteJob {
        at: DateTime<Utc> => Timestamptz,
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        token: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.jobs SET state = 'completed', finished_at = ?, lease_token = NULL,
        leased_until = NULL
        WHERE clinic_id = ? AND id = ? AND lease_token = ? AND state = 'leased'"
}

statement! {
    struct FailJob {
        state: &'static str => Text,
        retry_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        dead: bool => diesel::sql_types::Bool,
        code: &'static str => Text,
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        token: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.jobs SET state = ?, run_at = coalesce(?, run_at),
        finished_at = CASE WHEN ? THEN now() END, last_failure = ?, lease_token = NULL,
        leased_until = NULL
        WHERE clinic_id = ? AND id = ? AND lease_token = ? AND state = 'leased'"
}

statement! {
    struct CountJobs {} -> (Text, Text, BigInt, Nullable<Timestamptz>) =
        "SELECT queue, state, jobs, oldest FROM sec.count_jobs()"
}

statement! {
    struct ListDead {
        most: i32 => Integer,
    } -> (SqlUuid, SqlUuid, Text, Text, SmallInt, Nullable<Text>, Nullable<Timestamptz>) =
        "SELECT clinic_id, job_id, queue, kind, attempts, failure, finished_at
         FROM sec.list_dead_jobs(?)"
}

const LIST_DEAD: QueryName = query_name!("job.list_dead", "SELECT", "jobs");
const COUNT: QueryName = query_name!("job.count", "SELECT", "jobs");
const LEASE: QueryName = query_name!("job.lease", "SELECT", "jobs");
const RENEW: QueryName = query_name!("job.renew", "SELECT", "jobs");
const FAIL: QueryName = query_name!("job.fail", "UPDATE", "jobs");

/// Records a job's success in the transaction of its effect. A lease that was lost meanwhile is
/// an error, so that the effect is rolled back: somebody else has the job, or had.
pub async fn complete_in<E>(tx: &Tx<'_>, lease: Lease, at: DateTime<Utc>) -> Result<(), E>
where
    E: From<StoreError> + From<LeaseLost>,
{
    let updated = tx
        .execute(CompleteJob {
            at,
            clinic: lease.clinic.into(),
            id: lease.job.into(),
            token: lease.token,
        })
        .await?;
    if updated == 1 {
        Ok(())
    } else {
        Err(LeaseLost.into())
    }
}

/// The jobs of the database: leasing across clinics, failing inside one.
#[derive(Debug, Clone)]
pub struct PgJobs {
    db: Database,
    /// The clinic that each queue served last: its next turn begins behind it.
    after: Arc<Mutex<HashMap<Queue, Uuid>>>,
}

impl PgJobs {
    /// Jobs of `db`, through the jobs' own connections.
    pub fn new(db: &Database) -> Self {
        Self {
            db: db.for_jobs(),
            after: Arc::default(),
        }
    }
}

impl PgJobs {
    fn after(&self) -> MutexGuard<'_, HashMap<Queue, Uuid>> {
        self.after.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// PostgreSQL's interval of a duration, cut to a day.
fn interval(ttl: Duration) -> TimeDelta {
    TimeDelta::from_std(ttl.min(Duration::from_hours(24))).unwrap_or(TimeDelta::days(1))
}

#[async_trait]
impl JobLeases for PgJobs {
    async fn lease(
        &self,
        sys: &SystemContext,
        queue: Queue,
        most: u16,
        ttl: Duration,
    ) -> Result<Vec<LeasedJob>, StoreError> {
        let after = self.after().get(&queue).copied().unwrap_or_default();
        let rows: Vec<(Uuid, Uuid, String, i16, i16, i16, Option<Uuid>)> = self
            .db
            .system(
                sys,
                LEASE,
                LeaseJobs {
                    dead_of: queue.name(),
                    queue: queue.name(),
                    most: most.into(),
                    ttl: interval(ttl),
                    after,
                },
            )
            .await?;
        let mut leased = Vec::with_capacity(rows.len());
        for (clinic, job, kind, version, attempt, max_attempts, token) in rows {
            let Some(token) = token else {
                tracing::error!(
                    queue = queue.name(),
                    acolhe.job_id = %job,
                    acolhe.clinic_id = %clinic,
                    code = "lease_ran_out",
                    attempt,
                    "a job's last attempt ended its worker: it stays as a dead letter"
                );
                continue;
            };
            leased.push(LeasedJob {
                lease: Lease {
                    clinic: clinic.into(),
                    job: job.into(),
                    token,
                },
                kind,
                version,
                attempt,
                max_attempts,
            });
        }
        if let Some(last) = leased.last() {
            self.after().insert(queue, last.lease.clinic.into());
        }
        Ok(leased)
    }

    async fn renew(
        &self,
        sys: &SystemContext,
        leases: &[Lease],
        ttl: Duration,
    ) -> Result<Vec<Lease>, StoreError> {
        let held: Vec<(Uuid, Uuid)> = self
            .db
            .system(
                sys,
                RENEW,
                RenewLeases {
                    clinics: leases.iter().map(|lease| lease.clinic.as_uuid()).collect(),
                    jobs: leases.iter().map(|lease| lease.job.as_uuid()).collect(),
                    tokens: leases.iter().map(|lease| lease.token).collect(),
                    ttl: interval(ttl),
                },
            )
            .await?;
        Ok(leases
            .iter()
            .copied()
            .filter(|lease| held.contains(&(lease.job.as_uuid(), lease.token)))
            .collect())
    }
}

#[async_trait]
impl JobCensus for PgJobs {
    async fn count(&self, sys: &SystemContext) -> Result<Vec<JobTally>, StoreError> {
        let rows: Vec<(String, String, i64, Option<DateTime<Utc>>)> =
            self.db.system(sys, COUNT, CountJobs {}).await?;
        // A queue that a newer version has is that one's to count.
        let known = |(queue, state, jobs, oldest): (String, String, i64, _)| {
            Some(JobTally {
                queue: *Queue::ALL.iter().find(|it| it.name() == queue)?,
                state: match state.as_str() {
                    "waiting" => JobState::Waiting,
                    "delayed" => JobState::Delayed,
                    "leased" => JobState::Active,
                    "dead" => JobState::Dead,
                    _ => return None,
                },
                jobs: u64::try_from(jobs).unwrap_or_default(),
                oldest,
            })
        };
        Ok(rows.into_iter().filter_map(known).collect())
    }

    async fn dead(&self, sys: &SystemContext, most: u16) -> Result<Vec<DeadJob>, StoreError> {
        type Row = (
            Uuid,
            Uuid,
            String,
            String,
            i16,
            Option<String>,
            Option<DateTime<Utc>>,
        );
        let most = i32::from(most);
        let rows: Vec<Row> = self.db.system(sys, LIST_DEAD, ListDead { most }).await?;
        let dead = |(clinic, id, queue, kind, attempts, failure, dead_since): Row| DeadJob {
            clinic: clinic.into(),
            id: id.into(),
            queue,
            kind,
            failure,
            attempts,
            dead_since,
        };
        Ok(rows.into_iter().map(dead).collect())
    }
}

#[async_trait]
impl JobOutcomes for PgJobs {
    async fn fail(
        &self,
        cx: &TenantContext,
        lease: Lease,
        code: FailureCode,
        after: AfterFailure,
    ) -> Result<bool, StoreError> {
        let (state, retry_at) = match after {
            AfterFailure::RetryAt(at) => ("delayed", Some(at)),
            AfterFailure::Dead => ("dead", None),
        };
        let counts = self
            .db
            .write(cx, FAIL, |batch| {
                batch.execute(FailJob {
                    state,
                    retry_at,
                    dead: retry_at.is_none(),
                    code: code.0,
                    clinic: lease.clinic.into(),
                    id: lease.job.into(),
                    token: lease.token,
                });
            })
            .await?;
        Ok(counts == [1])
    }
}
