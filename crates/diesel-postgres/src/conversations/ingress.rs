//! [`EndpointLookup`] and [`Ingress`] on PostgreSQL: without a tenant, through definer functions.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use conversations::channel::Endpoint;
use conversations::ports::{EndpointLookup, Ingress, NewChange, Stored};
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use kernel::{EndpointId, StoreError, SystemContext, TypedId as _};
use uuid::Uuid;

use crate::{Database, QueryName, query_name, statement};

const FIND: QueryName = query_name!("endpoint.find", "SELECT", "webhook_endpoints");
const STORE: QueryName = query_name!("change.store", "INSERT", "webhook_inbox");

statement! {
    struct FindEndpoint<'a> { path_key: &'a str => Text }
        -> (SqlUuid, Text, Binary, Array<SqlUuid>, Array<Binary>) =
        "SELECT endpoint_id, provider, verify_token_sealed, secret_ids, secrets_sealed
        FROM sec.find_endpoint(?)"
}

statement! {
    struct StoreChanges<'a> {
        endpoint: Uuid => SqlUuid,
        at: DateTime<Utc> => Timestamptz,
        ids: Vec<Uuid> => Array<SqlUuid>,
        digests: Vec<&'a [u8]> => Array<Binary>,
        routes: Vec<Option<&'a str>> => Array<Nullable<Text>>,
        bodies: Vec<&'a [u8]> => Array<Binary>,
        jobs: Vec<Uuid> => Array<SqlUuid>,
    } -> (BigInt, BigInt) = "SELECT stored, routed FROM sec.ingest(?, ?, ?, ?, ?, ?, ?)"
}

/// The ingress on PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgIngress {
    db: Database,
}

impl PgIngress {
    /// The ingress of `db`.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

#[async_trait]
impl EndpointLookup for PgIngress {
    async fn find_endpoint(
        &self,
        sys: &SystemContext,
        path_key: &str,
    ) -> Result<Option<Endpoint>, StoreError> {
        let rows: Vec<(Uuid, String, Vec<u8>, Vec<Uuid>, Vec<Vec<u8>>)> =
            self.db.system(sys, FIND, FindEndpoint { path_key }).await?;
        let Some((id, provider, verify_token_sealed, ids, sealed)) = rows.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(Endpoint {
            id: id.into(),
            provider: provider
                .parse()
                .map_err(|_| StoreError::Corrupt("webhook_endpoints.provider"))?,
            verify_token_sealed,
            secrets_sealed: ids.into_iter().zip(sealed).collect(),
        }))
    }
}

#[async_trait]
impl Ingress for PgIngress {
    async fn store(
        &self,
        sys: &SystemContext,
        endpoint: EndpointId,
        received_at: DateTime<Utc>,
        changes: &[NewChange],
    ) -> Result<Stored, StoreError> {
        let statement = StoreChanges {
            endpoint: endpoint.into(),
            at: received_at,
            ids: changes.iter().map(|change| change.id.as_uuid()).collect(),
            digests: changes
                .iter()
                .map(|change| &change.raw.digest[..])
                .collect(),
            routes: changes
                .iter()
                .map(|change| change.raw.route.as_deref())
                .collect(),
            bodies: changes.iter().map(|change| &change.raw.body[..]).collect(),
            jobs: changes.iter().map(|change| change.job.as_uuid()).collect(),
        };
        let counts: Vec<(i64, i64)> = self.db.system(sys, STORE, statement).await?;
        let (stored, routed) = counts.first().copied().unwrap_or_default();
        Ok(Stored {
            stored: u64::try_from(stored).unwrap_or(0),
            routed: u64::try_from(routed).unwrap_or(0),
        })
    }
}
