//! The statements of contacts.

use chrono::{DateTime, NaiveDate, Utc};
use diesel::sql_types::{
    Array, Bool, Bytea, Date, Jsonb, Nullable, SmallInt, Text, Timestamptz, Untyped,
    Uuid as SqlUuid,
};
use serde_json::Value;
use uuid::Uuid;

use crate::contacts::rows::ContactColumns;
use crate::{statement, tenant_select};

/// The columns of a contact with its identities gathered; `{clinic}` is how the clinic is named.
macro_rules! contact_columns {
    ($clinic:literal) => {
        concat!(
            "SELECT c.id, c.name, c.social_name, c.birth_date, c.document_sealed, c.status,
                c.status_before_archive, c.source, c.owner_id, c.notes, c.tags, c.merged_into,
                c.row_version, c.created_at, c.updated_at, c.archived_at,
                coalesce(i.kinds, '{}'), coalesce(i.identities, '{}'), coalesce(i.labels, '{}'),
                c.name_source = 'person', c.custom_fields
            FROM app.contacts c LEFT JOIN LATERAL (
                SELECT array_agg(x.kind ORDER BY x.kind, x.rank, x.key) AS kinds,
                       array_agg(x.value ORDER BY x.kind, x.rank, x.key) AS identities,
                       array_agg(x.label ORDER BY x.kind, x.rank, x.key) AS labels
                FROM app.contact_identities x
                WHERE x.clinic_id = ",
            $clinic,
            " AND x.contact_id = c.id
            ) i ON true WHERE c.clinic_id = ",
            $clinic,
            " AND c.id = ?"
        )
    };
}

tenant_select! {
    /// A contact with its identities.
    pub(super) struct FindContact { id: Uuid => SqlUuid } -> ContactColumns =
        contact_columns!("s.t")
}

statement! {
    /// The same, locked until the transaction ends.
    pub(super) struct LockContact { id: Uuid => SqlUuid } -> ContactColumns =
        concat!(contact_columns!("app.current_clinic()"), " FOR NO KEY UPDATE OF c")
}

statement! {
    /// Fails where the clinic demands a field of its own that is not among these.
    pub(super) struct RequireFields<'a> { keys: Vec<&'a str> => Array<Text> } -> Untyped =
        "SELECT app.require_contact_fields(?)"
}

statement! {
    pub(super) struct InsertContact<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        name: &'a str => Text,
        name_key: String => Text,
        social_name: Option<&'a str> => Nullable<Text>,
        birth_date: Option<NaiveDate> => Nullable<Date>,
        document_kind: Option<&'static str> => Nullable<Text>,
        document_sealed: Option<Vec<u8>> => Nullable<Bytea>,
        document_mac: Option<Vec<u8>> => Nullable<Bytea>,
        status: &'static str => Text,
        source: &'a str => Text,
        owner: Option<Uuid> => Nullable<SqlUuid>,
        notes: Option<&'a str> => Nullable<Text>,
        tags: Vec<&'a str> => Array<Text>,
        primary_phone: Option<&'a str> => Nullable<Text>,
        primary_email: Option<&'a str> => Nullable<Text>,
        custom_fields: Value => Jsonb,
        created_at: DateTime<Utc> => Timestamptz,
        updated_at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.contacts (clinic_id, id, name, name_key, name_source, social_name,
            birth_date, document_kind, document_sealed, document_mac, status, source, owner_id, notes,
            tags, primary_phone, primary_email, custom_fields, curated, row_version, created_at,
            updated_at)
        VALUES (?, ?, ?, ?, 'person', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, true, 1, ?, ?)"
}

statement! {
    pub(super) struct UpdateContact<'a> {
        name: &'a str => Text,
        name_key: String => Text,
        name_is_given: bool => Bool,
        social_name: Option<&'a str> => Nullable<Text>,
        birth_date: Option<NaiveDate> => Nullable<Date>,
        document_kind: Option<&'static str> => Nullable<Text>,
        document_sealed: Option<Vec<u8>> => Nullable<Bytea>,
        document_mac: Option<Vec<u8>> => Nullable<Bytea>,
        status: &'static str => Text,
        source: &'a str => Text,
        owner: Option<Uuid> => Nullable<SqlUuid>,
        notes: Option<&'a str> => Nullable<Text>,
        tags: Vec<&'a str> => Array<Text>,
        primary_phone: Option<&'a str> => Nullable<Text>,
        primary_email: Option<&'a str> => Nullable<Text>,
        custom_fields: Value => Jsonb,
        updated_at: DateTime<Utc> => Timestamptz,
        id: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.contacts SET name = ?, name_key = ?,
            name_source = CASE WHEN ? THEN 'person' ELSE name_source END, social_name = ?,
            birth_date = ?, document_kind = ?, document_sealed = ?, document_mac = ?, status = ?,
            source = ?, owner_id = ?, notes = ?, tags = ?, primary_phone = ?, primary_email = ?,
            custom_fields = ?, curated = true, row_version = row_version + 1, updated_at = ?
        WHERE clinic_id = app.current_clinic() AND id = ?"
}

statement! {
    pub(super) struct ArchiveContact {
        at: DateTime<Utc> => Timestamptz,
        updated_at: DateTime<Utc> => Timestamptz,
        id: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.contacts SET status = 'archived', status_before_archive = status,
            archived_at = ?, curated = true, row_version = row_version + 1, updated_at = ?
        WHERE clinic_id = app.current_clinic() AND id = ?"
}

statement! {
    pub(super) struct RestoreContact {
        updated_at: DateTime<Utc> => Timestamptz,
        id: Uuid => SqlUuid,
    } -> Untyped = "UPDATE app.contacts SET status = status_before_archive,
            status_before_archive = NULL, archived_at = NULL, row_version = row_version + 1,
            updated_at = ?
        WHERE clinic_id = app.current_clinic() AND id = ?"
}

statement! {
    /// Adds identities, and takes over label and order where the contact has them already. An
    /// identity of another contact is left alone and not counted.
    pub(super) struct PutIdentities<'a> {
        clinic: Uuid => SqlUuid,
        contact: Uuid => SqlUuid,
        at: DateTime<Utc> => Timestamptz,
        kinds: Vec<&'static str> => Array<Text>,
        keys: Vec<String> => Array<Text>,
        values: Vec<&'a str> => Array<Text>,
        labels: Vec<Option<&'a str>> => Array<Nullable<Text>>,
        ranks: Vec<i16> => Array<SmallInt>,
    } -> Untyped = "INSERT INTO app.contact_identities AS i
            (clinic_id, kind, key, contact_id, value, label, rank, created_at)
        SELECT v.clinic, n.kind, n.key, v.contact, n.value, n.label, n.rank, v.at
        FROM (SELECT (?)::uuid AS clinic, (?)::uuid AS contact, (?)::timestamptz AS at) v,
             unnest((?)::text[], (?)::text[], (?)::text[], (?)::text[], (?)::smallint[])
                 AS n (kind, key, value, label, rank)
        ON CONFLICT ON CONSTRAINT contact_identities_pk DO UPDATE
            SET value = EXCLUDED.value, label = EXCLUDED.label, rank = EXCLUDED.rank
            WHERE i.contact_id = EXCLUDED.contact_id"
}

statement! {
    /// Adds identities of a new contact; one that is taken is a violation.
    pub(super) struct InsertIdentities<'a> {
        clinic: Uuid => SqlUuid,
        contact: Uuid => SqlUuid,
        at: DateTime<Utc> => Timestamptz,
        kinds: Vec<&'static str> => Array<Text>,
        keys: Vec<String> => Array<Text>,
        values: Vec<&'a str> => Array<Text>,
        labels: Vec<Option<&'a str>> => Array<Nullable<Text>>,
        ranks: Vec<i16> => Array<SmallInt>,
    } -> Untyped = "INSERT INTO app.contact_identities
            (clinic_id, kind, key, contact_id, value, label, rank, created_at)
        SELECT v.clinic, n.kind, n.key, v.contact, n.value, n.label, n.rank, v.at
        FROM (SELECT (?)::uuid AS clinic, (?)::uuid AS contact, (?)::timestamptz AS at) v,
             unnest((?)::text[], (?)::text[], (?)::text[], (?)::text[], (?)::smallint[])
                 AS n (kind, key, value, label, rank)"
}

statement! {
    /// Drops the contact's identities of a kind that are not in the list.
    pub(super) struct DropOtherIdentities {
        contact: Uuid => SqlUuid,
        kind: &'static str => Text,
        keys: Vec<String> => Array<Text>,
    } -> Untyped = "DELETE FROM app.contact_identities WHERE clinic_id = app.current_clinic()
        AND contact_id = ? AND kind = ? AND key <> ALL (?)"
}

statement! {
    pub(super) struct InsertTags<'a> {
        clinic: Uuid => SqlUuid,
        contact: Uuid => SqlUuid,
        tags: Vec<&'a str> => Array<Text>,
    } -> Untyped = "INSERT INTO app.contact_tags (clinic_id, contact_id, tag)
        SELECT (?)::uuid, (?)::uuid, t FROM unnest((?)::text[]) t ON CONFLICT DO NOTHING"
}

statement! {
    pub(super) struct DropOtherTags<'a> {
        contact: Uuid => SqlUuid,
        tags: Vec<&'a str> => Array<Text>,
    } -> Untyped = "DELETE FROM app.contact_tags WHERE clinic_id = app.current_clinic()
        AND contact_id = ? AND tag <> ALL (?)"
}

statement! {
    pub(crate) struct InsertTokens {
        clinic: Uuid => SqlUuid,
        contact: Uuid => SqlUuid,
        tokens: Vec<String> => Array<Text>,
    } -> Untyped = "INSERT INTO app.contact_tokens (clinic_id, contact_id, token)
        SELECT (?)::uuid, (?)::uuid, t FROM unnest((?)::text[]) t ON CONFLICT DO NOTHING"
}

statement! {
    pub(crate) struct DropOtherTokens {
        contact: Uuid => SqlUuid,
        tokens: Vec<String> => Array<Text>,
    } -> Untyped = "DELETE FROM app.contact_tokens WHERE clinic_id = app.current_clinic()
        AND contact_id = ? AND token <> ALL (?)"
}

tenant_select! {
    /// Which of these identities another contact has: its kind, key and contact.
    pub(super) struct FindIdentities {
        kinds: Vec<&'static str> => Array<Text>,
        keys: Vec<String> => Array<Text>,
    } -> (Text, Text, SqlUuid) = "SELECT i.kind, i.key, i.contact_id
        FROM unnest((?)::text[], (?)::text[]) AS w (kind, key)
        JOIN app.contact_identities i
            ON i.clinic_id = s.t AND i.kind = w.kind AND i.key = w.key COLLATE \"C\""
}

tenant_select! {
    /// Who has a document.
    pub(super) struct FindByDocument { mac: Vec<u8> => Bytea } -> SqlUuid =
        "SELECT c.id FROM app.contacts c
        WHERE c.clinic_id = s.t AND c.document_mac = ? AND c.merged_into IS NULL"
}
