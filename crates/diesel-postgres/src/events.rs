//! Reads the stream of one clinic's events, as the sequencer stamped it.
//!
//! A reader keeps the position of the last event it handled and asks for what is behind it.
//! Nothing that commits late is ever skipped. Events are kept for days, not for ever: a reader
//! that comes back later than that is told so ([`Events::missed`]) and must read the state anew.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Jsonb, Nullable, SmallInt, Text, Timestamptz, Uuid as SqlUuid};
use kernel::{EventId, StoreError, TenantContext};
use serde_json::Value;
use uuid::Uuid;

use crate::{Database, QueryName, query_name, tenant_select};

/// An event with its position.
#[derive(Debug, Clone, PartialEq)]
pub struct StampedEvent {
    /// Its place in the clinic's stream; the first is 1, and none is left out.
    pub position: i64,
    /// Its id.
    pub id: EventId,
    /// What happened, such as `contact.created`.
    pub name: String,
    /// Version of the payload's shape.
    pub version: i16,
    /// The record it happened to.
    pub entity: Uuid,
    /// When.
    pub at: DateTime<Utc>,
    /// Ids and numbers only.
    pub payload: Value,
}

/// A stretch of a clinic's stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Events {
    /// In order of position.
    pub events: Vec<StampedEvent>,
    /// The position of the clinic's newest event; 0 when there never was one.
    pub head: i64,
    /// Whether events that the reader has not seen are no longer kept.
    pub missed: bool,
}

type Nullables = (
    BigInt,
    Nullable<BigInt>,
    Nullable<SqlUuid>,
    Nullable<Text>,
    Nullable<SmallInt>,
    Nullable<SqlUuid>,
    Nullable<Timestamptz>,
    Nullable<Jsonb>,
);

type Row = (
    i64,
    Option<i64>,
    Option<Uuid>,
    Option<String>,
    Option<i16>,
    Option<Uuid>,
    Option<DateTime<Utc>>,
    Option<Value>,
);

tenant_select! {
    /// The head, beside each event behind a position; the head alone where there is none.
    struct ReadEvents { after: i64 => BigInt, limit: i64 => BigInt } -> Nullables =
        "SELECT h.head, e.position, e.event_id, e.name, e.version, e.entity_id, e.at, e.payload
         FROM app.event_heads h
         LEFT JOIN LATERAL (
             SELECT o.* FROM app.events o WHERE o.clinic_id = s.t AND o.position > ?
             ORDER BY o.position LIMIT ?) e ON true
         WHERE h.clinic_id = s.t ORDER BY e.position"
}

const READ: QueryName = query_name!("event.read", "SELECT", "events");

impl Database {
    /// The events of `cx`'s clinic behind position `after`, `limit` of them at most. 0 reads
    /// from the beginning.
    pub async fn read_events(
        &self,
        cx: &TenantContext,
        after: i64,
        limit: u16,
    ) -> Result<Events, StoreError> {
        let select = ReadEvents {
            after,
            limit: limit.into(),
        };
        let rows: Vec<Row> = self.read(cx, READ, select).await?;
        let head = rows.first().map_or(0, |row| row.0);
        let events: Vec<StampedEvent> = rows.into_iter().filter_map(stamped).collect();
        let missed = match events.first() {
            Some(first) => first.position > after + 1,
            None => limit > 0 && head > after,
        };
        Ok(Events {
            events,
            head,
            missed,
        })
    }
}

fn stamped(row: Row) -> Option<StampedEvent> {
    let (_, position, id, name, version, entity, at, payload) = row;
    Some(StampedEvent {
        position: position?,
        id: id?.into(),
        name: name?,
        version: version?,
        entity: entity?,
        at: at?,
        payload: payload?,
    })
}
