//! Events as outbox rows: without a position, and last in their transaction.

use chrono::{DateTime, Utc};
use diesel::sql_types::{Jsonb, SmallInt, Text, Timestamptz, Untyped, Uuid as SqlUuid};
use kernel::{Event, TenantContext};
use serde_json::Value;
use uuid::Uuid;

use crate::statement;

statement! {
    pub(crate) struct InsertEvent<'a> {
        clinic: Uuid => SqlUuid,
        event: Uuid => SqlUuid,
        name: &'static str => Text,
        version: i16 => SmallInt,
        entity: Uuid => SqlUuid,
        at: DateTime<Utc> => Timestamptz,
        payload: &'a Value => Jsonb,
    } -> Untyped = "INSERT INTO app.outbox (clinic_id, event_id, name, version, entity_id, at,
        payload) VALUES (?, ?, ?, ?, ?, ?, ?)"
}

/// The outbox row of an event.
pub(crate) fn insert<'a>(cx: &TenantContext, event: &'a Event) -> InsertEvent<'a> {
    InsertEvent {
        clinic: cx.clinic().into(),
        event: event.id.into(),
        name: event.name,
        version: event.version,
        entity: event.entity,
        at: event.at,
        payload: &event.payload,
    }
}
