//! [`ConsentStore`] on PostgreSQL. Rows are only ever added.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use contacts::WriteConsentError;
use contacts::consent::{
    Consent, ConsentAct, ConsentBody, ConsentChannel, ConsentPurpose, ConsentText, Proof, Recorder,
};
use contacts::ports::{ConsentStore, Revocation, Trace};
use diesel::prelude::Queryable;
use diesel::sql_types::{Integer, Nullable, Text, Timestamptz, Untyped, Uuid as SqlUuid};
use kernel::once::Claim;
use kernel::{ContactId, StoreError, TenantContext, TypedId as _};
use uuid::Uuid;

use crate::{Database, QueryName, StoreErrorExt as _, query_name, statement, tenant_select};

const TEXTS: QueryName = query_name!("consent_text.list", "SELECT", "consent_texts");
const CREATE_TEXT: QueryName = query_name!("consent_text.create", "INSERT", "consent_texts");
const LIST: QueryName = query_name!("consent.list", "SELECT", "contact_consents");
const GIVE: QueryName = query_name!("consent.give", "INSERT", "contact_consents");
const REVOKE: QueryName = query_name!("consent.revoke", "INSERT", "contact_consents");

tenant_select! {
    struct ListTexts {} -> (SqlUuid, Text, Integer, Text, Timestamptz) =
        "SELECT t.id, t.purpose, t.version, t.body, t.created_at FROM app.consent_texts t
        WHERE t.clinic_id = s.t ORDER BY t.purpose, t.version DESC"
}

statement! {
    struct InsertText<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        purpose: &'static str => Text,
        version: i32 => Integer,
        body: &'a str => Text,
        created_at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.consent_texts
            (clinic_id, id, purpose, version, body, created_at) VALUES (?, ?, ?, ?, ?, ?)"
}

tenant_select! {
    /// The contact, beside each act of its; alone where there is none. The last recorded first.
    struct ListActs { contact: Uuid => SqlUuid } -> (
        SqlUuid, Nullable<SqlUuid>, Nullable<Text>, Nullable<Text>, Nullable<SqlUuid>,
        Nullable<SqlUuid>, Nullable<Integer>, Nullable<Timestamptz>, Nullable<Timestamptz>,
        Nullable<Text>, Nullable<SqlUuid>, Nullable<Text>,
    ) = "SELECT c.id, a.id AS act, a.purpose, a.channel, a.revokes, a.text_id, t.version, a.at,
            a.recorded_at, a.recorded_by_kind, a.recorded_by, a.proof
        FROM app.contacts c
        LEFT JOIN app.contact_consents a ON a.clinic_id = s.t AND a.contact_id = c.id
        LEFT JOIN app.consent_texts t ON t.clinic_id = s.t AND t.id = a.text_id
        WHERE c.clinic_id = s.t AND c.id = ? ORDER BY a.recorded_at DESC, a.id DESC"
}

statement! {
    struct InsertAct<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        contact: Uuid => SqlUuid,
        purpose: &'static str => Text,
        channel: &'static str => Text,
        revokes: Option<Uuid> => Nullable<SqlUuid>,
        text_id: Option<Uuid> => Nullable<SqlUuid>,
        at: DateTime<Utc> => Timestamptz,
        recorded_at: DateTime<Utc> => Timestamptz,
        recorded_by_kind: &'a str => Text,
        recorded_by: Option<Uuid> => Nullable<SqlUuid>,
        proof: Option<&'a str> => Nullable<Text>,
    } -> Untyped = "INSERT INTO app.contact_consents (clinic_id, id, contact_id, purpose, channel,
            revokes, text_id, at, recorded_at, recorded_by_kind, recorded_by, proof)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
}

#[derive(Queryable)]
struct ActRow {
    _contact: Uuid,
    id: Option<Uuid>,
    purpose: Option<String>,
    channel: Option<String>,
    revokes: Option<Uuid>,
    text_id: Option<Uuid>,
    text_version: Option<i32>,
    at: Option<DateTime<Utc>>,
    recorded_at: Option<DateTime<Utc>>,
    recorded_by_kind: Option<String>,
    recorded_by: Option<Uuid>,
    proof: Option<String>,
}

impl ActRow {
    /// The act itself; `None` where a column that must be there is not.
    fn act(&self) -> Option<ConsentAct> {
        let proof = match &self.proof {
            None => None,
            Some(proof) => Some(Proof::parse(proof).ok()?),
        };
        Some(ConsentAct {
            at: self.at?,
            recorded_at: self.recorded_at?,
            recorded_by: Recorder {
                kind: self.recorded_by_kind.clone()?.into(),
                user: self.recorded_by.map(Into::into),
            },
            proof,
        })
    }

    fn consent(&self, contact: ContactId, revoked: Option<ConsentAct>) -> Option<Consent> {
        Some(Consent {
            id: self.id?.into(),
            contact,
            purpose: ConsentPurpose::from_name(self.purpose.as_deref()?)?,
            channel: ConsentChannel::from_name(self.channel.as_deref()?)?,
            text: self.text_id.map(Into::into).zip(self.text_version),
            given: self.act()?,
            revoked,
        })
    }
}

fn insert<'a>(
    cx: &TenantContext,
    id: Uuid,
    consent: &Consent,
    revokes: Option<Uuid>,
    act: &'a ConsentAct,
) -> InsertAct<'a> {
    InsertAct {
        clinic: cx.clinic().as_uuid(),
        id,
        contact: consent.contact.as_uuid(),
        purpose: consent.purpose.name(),
        channel: consent.channel.name(),
        revokes,
        text_id: consent.text.map(|(id, _)| id.into()),
        at: act.at,
        recorded_at: act.recorded_at,
        recorded_by_kind: &act.recorded_by.kind,
        recorded_by: act.recorded_by.user.map(Into::into),
        proof: act.proof.as_ref().map(Proof::expose),
    }
}

fn refused(error: StoreError) -> WriteConsentError {
    match error.constraint() {
        Some("consent_texts_version_unique") => WriteConsentError::VersionTaken,
        Some("contact_consents_revoked_unique") => WriteConsentError::AlreadyRevoked,
        Some("contact_consents_contact_fk") => WriteConsentError::NotFound,
        Some("contact_consents_text_fk") => WriteConsentError::UnknownText,
        _ => WriteConsentError::Store(error),
    }
}

/// Consents on PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgConsentStore {
    db: Database,
}

impl PgConsentStore {
    /// Keeps them in `db`.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

#[async_trait]
impl ConsentStore for PgConsentStore {
    async fn texts(&self, cx: &TenantContext) -> Result<Vec<ConsentText>, StoreError> {
        let rows: Vec<(Uuid, String, i32, String, DateTime<Utc>)> =
            self.db.read(cx, TEXTS, ListTexts {}).await?;
        let text = |(id, purpose, version, body, created_at): (Uuid, String, _, String, _)| {
            let corrupt = StoreError::Corrupt;
            Ok(ConsentText {
                id: id.into(),
                purpose: ConsentPurpose::from_name(&purpose)
                    .ok_or(corrupt("consent_texts.purpose"))?,
                version,
                body: ConsentBody::parse(&body).map_err(|_| corrupt("consent_texts.body"))?,
                created_at,
            })
        };
        rows.into_iter().map(text).collect()
    }

    async fn create_text(
        &self,
        cx: &TenantContext,
        text: &ConsentText,
        trace: Trace,
        claim: Option<Claim>,
    ) -> Result<(), WriteConsentError> {
        let written = self.db.write(cx, CREATE_TEXT, |batch| {
            batch.claim(claim);
            batch.execute(InsertText {
                clinic: cx.clinic().as_uuid(),
                id: text.id.into(),
                purpose: text.purpose.name(),
                version: text.version,
                body: text.body.as_str(),
                created_at: text.created_at,
            });
            batch.audit(&trace.audit);
            batch.emit(&trace.event);
        });
        written.await.map(drop).map_err(refused)
    }

    async fn list(
        &self,
        cx: &TenantContext,
        contact: ContactId,
    ) -> Result<Option<Vec<Consent>>, StoreError> {
        let select = ListActs {
            contact: contact.as_uuid(),
        };
        let rows: Vec<ActRow> = self.db.read(cx, LIST, select).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let corrupt = || StoreError::Corrupt("contact_consents");
        let mut revoked = HashMap::new();
        for row in &rows {
            if let Some(consent) = row.revokes {
                revoked.insert(consent, row.act().ok_or_else(corrupt)?);
            }
        }
        let given = rows
            .iter()
            .filter(|row| row.id.is_some() && row.revokes.is_none());
        let consents = given.map(|row| {
            let revoked = row.id.and_then(|id| revoked.remove(&id));
            row.consent(contact, revoked).ok_or_else(corrupt)
        });
        consents.collect::<Result<_, _>>().map(Some)
    }

    async fn give(
        &self,
        cx: &TenantContext,
        consent: &Consent,
        trace: Trace,
        claim: Option<Claim>,
    ) -> Result<(), WriteConsentError> {
        let written = self.db.write(cx, GIVE, |batch| {
            batch.claim(claim);
            batch.execute(insert(cx, consent.id.into(), consent, None, &consent.given));
            batch.audit(&trace.audit);
            batch.emit(&trace.event);
        });
        written.await.map(drop).map_err(refused)
    }

    async fn revoke(
        &self,
        cx: &TenantContext,
        revocations: &[Revocation],
        trace: Trace,
    ) -> Result<(), WriteConsentError> {
        let written = self.db.write(cx, REVOKE, |batch| {
            for revocation in revocations {
                let Revocation { id, consent, act } = revocation;
                let revokes = Some(consent.id.into());
                batch.execute(insert(cx, (*id).into(), consent, revokes, act));
            }
            batch.audit(&trace.audit);
            batch.emit(&trace.event);
        });
        written.await.map(drop).map_err(refused)
    }
}
