//! [`ContactFieldStore`] on PostgreSQL.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use contacts::WriteContactFieldError;
use contacts::field::{ContactField, FieldKey, FieldKind, FieldLabel, FieldOption, FieldOptions};
use contacts::ports::{ContactFieldStore, Trace};
use diesel::prelude::Queryable;
use diesel::sql_types::{
    BigInt, Bool, Jsonb, Nullable, SmallInt, Text, Timestamptz, Untyped, Uuid as SqlUuid,
};
use kernel::once::Claim;
use kernel::{StoreError, TenantContext, TypedId as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Database, QueryName, StoreErrorExt as _, Tx, query_name, statement, tenant_select};

const LIST: QueryName = query_name!("contact_field.list", "SELECT", "contact_fields");
const CREATE: QueryName = query_name!("contact_field.create", "INSERT", "contact_fields");
const UPDATE: QueryName = query_name!("contact_field.update", "UPDATE", "contact_fields");

type Columns = (
    SqlUuid,
    Text,
    Text,
    Text,
    Jsonb,
    Bool,
    SmallInt,
    BigInt,
    Timestamptz,
    Timestamptz,
    Nullable<Timestamptz>,
);

tenant_select! {
    /// All fields, in their order.
    struct ListFields {} -> Columns = "SELECT f.id, f.key, f.label, f.kind, f.options, f.required,
            f.place, f.row_version, f.created_at, f.updated_at, f.archived_at
        FROM app.contact_fields f WHERE f.clinic_id = s.t ORDER BY f.place, f.key"
}

statement! {
    /// Lets nobody else count or add fields of the clinic until the transaction ends.
    struct LockFields { clinic: Uuid => SqlUuid } -> Untyped =
        "SELECT pg_advisory_xact_lock(hashtextextended((?)::text, 4711051))"
}

statement! {
    /// How many are not archived, and how many there are.
    struct CountFields {} -> (BigInt, BigInt) =
        "SELECT count(*) FILTER (WHERE archived_at IS NULL), count(*) FROM app.contact_fields
        WHERE clinic_id = app.current_clinic()"
}

statement! {
    struct InsertField<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        key: &'a str => Text,
        label: &'a str => Text,
        kind: &'static str => Text,
        options: Value => Jsonb,
        required: bool => Bool,
        place: i16 => SmallInt,
        version: i64 => BigInt,
        created_at: DateTime<Utc> => Timestamptz,
        updated_at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.contact_fields (clinic_id, id, key, label, kind, options,
            required, place, row_version, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
}

statement! {
    struct UpdateField<'a> {
        label: &'a str => Text,
        options: Value => Jsonb,
        required: bool => Bool,
        place: i16 => SmallInt,
        version: i64 => BigInt,
        updated_at: DateTime<Utc> => Timestamptz,
        archived_at: Option<DateTime<Utc>> => Nullable<Timestamptz>,
        id: Uuid => SqlUuid,
        version_before: i64 => BigInt,
    } -> Untyped = "UPDATE app.contact_fields SET label = ?, options = ?, required = ?, place = ?,
            row_version = ?, updated_at = ?, archived_at = ?
        WHERE clinic_id = app.current_clinic() AND id = ? AND row_version = ?"
}

#[derive(Queryable)]
struct FieldRow {
    id: Uuid,
    key: String,
    label: String,
    kind: String,
    options: Value,
    required: bool,
    place: i16,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    archived_at: Option<DateTime<Utc>>,
}

fn stored(options: &FieldOptions) -> Value {
    let options = options.iter().map(|option| {
        json!({
            "key": option.key.as_str(),
            "label": option.label.as_str(),
            "removed": option.is_removed,
        })
    });
    options.collect()
}

fn option(value: &Value) -> Option<FieldOption> {
    Some(FieldOption {
        key: FieldKey::parse(value["key"].as_str()?).ok()?,
        label: FieldLabel::parse(value["label"].as_str()?).ok()?,
        is_removed: value["removed"].as_bool()?,
    })
}

impl TryFrom<FieldRow> for ContactField {
    type Error = StoreError;

    fn try_from(row: FieldRow) -> Result<Self, StoreError> {
        let corrupt = StoreError::Corrupt;
        let options = row.options.as_array().map_or(&[][..], Vec::as_slice);
        let options: Option<Vec<FieldOption>> = options.iter().map(option).collect();
        Ok(Self {
            id: row.id.into(),
            key: FieldKey::parse(&row.key).map_err(|_| corrupt("contact_fields.key"))?,
            label: FieldLabel::parse(&row.label).map_err(|_| corrupt("contact_fields.label"))?,
            kind: FieldKind::from_name(&row.kind).ok_or(corrupt("contact_fields.kind"))?,
            options: FieldOptions::kept(options.ok_or(corrupt("contact_fields.options"))?),
            is_required: row.required,
            place: row.place,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            archived_at: row.archived_at,
        })
    }
}

/// The fields of clinics on PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgContactFieldStore {
    db: Database,
}

impl PgContactFieldStore {
    /// Keeps them in `db`.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

/// All fields of the context's clinic.
pub(super) async fn list(
    db: &Database,
    cx: &TenantContext,
) -> Result<Vec<ContactField>, StoreError> {
    let rows: Vec<FieldRow> = db.read(cx, LIST, ListFields {}).await?;
    rows.into_iter().map(ContactField::try_from).collect()
}

/// Counts the fields that are not archived and all of them, once nobody else can add to them.
async fn counted(tx: &Tx<'_>) -> Result<(usize, usize), StoreError> {
    let clinic = tx.context().clinic().as_uuid();
    tx.execute(LockFields { clinic }).await?;
    // After the lock, so that it sees what was committed while this waited.
    let (active, all): (i64, i64) = tx.first(CountFields {}).await?;
    let count = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    Ok((count(active), count(all)))
}

#[async_trait]
impl ContactFieldStore for PgContactFieldStore {
    async fn list(&self, cx: &TenantContext) -> Result<Vec<ContactField>, StoreError> {
        list(&self.db, cx).await
    }

    async fn create(
        &self,
        cx: &TenantContext,
        field: &ContactField,
        (most_active, most): (usize, usize),
        trace: Trace,
        claim: Option<Claim>,
    ) -> Result<(), WriteContactFieldError> {
        let created = self.db.unit(cx, CREATE, async |tx| {
            tx.claim(claim.as_ref()).await?;
            let (active, all) = counted(tx).await?;
            if active >= most_active || all >= most {
                return Err(WriteContactFieldError::TooMany);
            }
            tx.at_commit(|batch| {
                batch.execute(InsertField {
                    clinic: cx.clinic().as_uuid(),
                    id: field.id.into(),
                    key: field.key.as_str(),
                    label: field.label.as_str(),
                    kind: field.kind.name(),
                    options: stored(&field.options),
                    required: field.is_required,
                    place: field.place,
                    version: field.version,
                    created_at: field.created_at,
                    updated_at: field.updated_at,
                });
                batch.audit(&trace.audit);
                batch.emit(&trace.event);
            });
            Ok(())
        });
        created.await.map_err(|error| match error {
            WriteContactFieldError::Store(error)
                if error.constraint() == Some("contact_fields_key_unique") =>
            {
                WriteContactFieldError::KeyTaken
            }
            other => other,
        })
    }

    async fn update(
        &self,
        cx: &TenantContext,
        field: &ContactField,
        most_active: usize,
        trace: Trace,
    ) -> Result<(), WriteContactFieldError> {
        self.db
            .unit(cx, UPDATE, async |tx| {
                let updated = tx
                    .execute(UpdateField {
                        label: field.label.as_str(),
                        options: stored(&field.options),
                        required: field.is_required,
                        place: field.place,
                        version: field.version,
                        updated_at: field.updated_at,
                        archived_at: field.archived_at,
                        id: field.id.into(),
                        version_before: field.version - 1,
                    })
                    .await?;
                if updated == 0 {
                    return Err(WriteContactFieldError::VersionMismatch);
                }
                // One that was restored may be one too many.
                if field.is_active() && counted(tx).await?.0 > most_active {
                    return Err(WriteContactFieldError::TooMany);
                }
                tx.audit(&trace.audit);
                tx.emit(&trace.event);
                Ok(())
            })
            .await
    }
}
