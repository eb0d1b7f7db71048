//! Audit entries as rows. A write hands its entry to its unit ([`crate::Tx::audit`]); a denied
//! attempt has a transaction of its own.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::sql_types::{Jsonb, Nullable, Text, Timestamptz, Untyped, Uuid as SqlUuid};
use kernel::{AuditEntry, AuditTrail, StoreError, TenantContext, TypedId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Database, QueryName, query_name, statement};

statement! {
    pub(crate) struct InsertAudit<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        at: DateTime<Utc> => Timestamptz,
        actor_kind: &'static str => Text,
        actor_id: Option<Uuid> => Nullable<SqlUuid>,
        actor_role: &'static str => Text,
        action: &'static str => Text,
        resource_kind: &'static str => Text,
        resource_id: Option<Uuid> => Nullable<SqlUuid>,
        subject: Option<Uuid> => Nullable<SqlUuid>,
        outcome: &'static str => Text,
        purpose: Option<&'static str> => Nullable<Text>,
        changes: Value => Jsonb,
        address: Option<String> => Nullable<Text>,
        user_agent: Option<&'a str> => Nullable<Text>,
        request: Uuid => SqlUuid,
        trace: Option<String> => Nullable<Text>,
    } -> Untyped = "INSERT INTO app.audit_entries (clinic_id, id, at, actor_kind, actor_id,
        actor_role, action, resource_kind, resource_id, subject_contact_id, outcome, purpose,
        changes, address, user_agent, request_id, trace_id)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
}

/// The row of an entry by the context's actor.
pub(crate) fn insert<'a>(cx: &'a TenantContext, entry: &AuditEntry) -> InsertAudit<'a> {
    let origin = cx.origin();
    InsertAudit {
        clinic: cx.clinic().into(),
        id: entry.id.into(),
        at: entry.at,
        actor_kind: cx.actor().kind(),
        actor_id: cx.actor().id(),
        actor_role: cx.role(),
        action: entry.action,
        resource_kind: entry.resource.kind,
        resource_id: entry.resource.id,
        subject: entry.resource.subject.map(|id| id.as_uuid()),
        outcome: entry.outcome.name(),
        purpose: Some(entry.purpose.name()),
        changes: entry
            .changes
            .iter()
            .map(|change| {
                let hash = |hash: Option<[u8; 32]>| hash.map(|hash| hex(&hash));
                json!({
                    "field": change.field,
                    "before": hash(change.before),
                    "after": hash(change.after),
                })
            })
            .collect(),
        address: origin.address.map(|address| address.to_string()),
        user_agent: origin.user_agent.as_deref(),
        request: origin.request.into(),
        trace: entry.trace.clone(),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| char::from(DIGITS[usize::from(nibble)]))
        .collect()
}

/// Where denied attempts are kept.
#[derive(Debug, Clone)]
pub struct PgAuditTrail {
    db: Database,
}

impl PgAuditTrail {
    /// Keeps them in `db`.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

const RECORD: QueryName = query_name!("audit.record_denied", "INSERT", "audit_entries");

#[async_trait]
impl AuditTrail for PgAuditTrail {
    async fn record_denied(&self, cx: &TenantContext, entry: AuditEntry) -> Result<(), StoreError> {
        let written = self.db.write(cx, RECORD, |batch| batch.audit(&entry)).await;
        if written.is_err() {
            // The caller learns only that it may not; the loss of the entry is told here.
            tracing::error!(
                target: "acolhe::db",
                action = entry.action,
                "a denied attempt could not be written to the audit"
            );
        }
        written.map(drop)
    }
}
