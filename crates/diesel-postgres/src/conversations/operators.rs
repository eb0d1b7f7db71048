//! [`SharedEndpointStore`] on PostgreSQL: endpoints of no clinic are the definer functions' alone.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use conversations::channel::SecretRotation;
use conversations::error::BindChannelError;
use conversations::ports::{
    BoundChannel, NewSharedEndpoint, SealedValue, SharedEndpoint, SharedEndpointStore,
};
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Nullable, Text, Timestamptz, Untyped, Uuid as SqlUuid,
};
use kernel::{AuditEntry, EndpointId, Event, StoreError, SystemContext, TenantContext};
use uuid::Uuid;

use super::channels::RouteWaiting;
use crate::{Database, QueryName, StoreErrorExt as _, query_name, statement};

const CREATE: QueryName = query_name!("endpoint.create", "INSERT", "webhook_endpoints");
const LIST: QueryName = query_name!("endpoint.list", "SELECT", "webhook_endpoints");
const ROTATE: QueryName = query_name!(
    "endpoint.rotate_secret",
    "INSERT",
    "webhook_endpoint_secrets"
);
const LIST_SEALED: QueryName =
    query_name!("endpoint.list_sealed", "SELECT", "webhook_endpoint_secrets");
const RESEAL: QueryName = query_name!("endpoint.reseal", "UPDATE", "webhook_endpoint_secrets");
const BIND: QueryName = query_name!("channel.bind", "INSERT", "channels");

statement! {
    struct CreateEndpoint<'a> {
        id: Uuid => SqlUuid,
        provider: &'static str => Text,
        path_key: &'a str => Text,
        verify_token: &'a [u8] => Binary,
        secret_id: Uuid => SqlUuid,
        secret: &'a [u8] => Binary,
        at: DateTime<Utc> => Timestamptz,
        log_id: Uuid => SqlUuid,
        request: Uuid => SqlUuid,
    } -> Untyped = "SELECT sec.create_shared_endpoint(?, ?, ?, ?, ?, ?, ?, ?, ?)"
}
statement! {
    struct ListEndpoints {} -> (SqlUuid, Text, Text, BigInt, BigInt, Timestamptz) =
        "SELECT endpoint_id, provider, path_key, channels, secrets, created_at
        FROM sec.list_shared_endpoints()"
}
statement! {
    struct RotateEndpoint<'a> {
        endpoint: Uuid => SqlUuid,
        secret_id: Uuid => SqlUuid,
        secret: &'a [u8] => Binary,
        verify_token: Option<&'a [u8]> => Nullable<Binary>,
        older_until: DateTime<Utc> => Timestamptz,
        at: DateTime<Utc> => Timestamptz,
        log_id: Uuid => SqlUuid,
        request: Uuid => SqlUuid,
    } -> Bool = "SELECT sec.rotate_shared_endpoint(?, ?, ?, ?, ?, ?, ?, ?)"
}
statement! {
    struct ListSealed {} -> (SqlUuid, Nullable<SqlUuid>, Binary) =
        "SELECT endpoint_id, secret_id, sealed FROM sec.list_sealed_secrets()"
}
statement! {
    struct Reseal<'a> {
        endpoints: Vec<Uuid> => Array<SqlUuid>,
        secrets: Vec<Option<Uuid>> => Array<Nullable<SqlUuid>>,
        before: Vec<&'a [u8]> => Array<Binary>,
        after: Vec<&'a [u8]> => Array<Binary>,
        at: DateTime<Utc> => Timestamptz,
        log_id: Uuid => SqlUuid,
        request: Uuid => SqlUuid,
    } -> BigInt = "SELECT sec.reseal_secrets(?, ?, ?, ?, ?, ?, ?)"
}
statement! {
    struct BindChannel<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        endpoint: Uuid => SqlUuid,
        name: &'a str => Text,
        external_id: &'a str => Text,
        display_phone: Option<&'a str> => Nullable<Text>,
        at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "SELECT sec.bind_channel(?, ?, ?, ?, ?, ?, ?)"
}
statement! {
    struct CountChannel { id: Uuid => SqlUuid } -> BigInt =
        "SELECT count(*) FROM app.channels WHERE clinic_id = app.current_clinic() AND id = ?"
}

/// Operators' endpoints on PostgreSQL.
#[derive(Debug, Clone)]
pub struct PgSharedEndpoints {
    db: Database,
}

impl PgSharedEndpoints {
    /// Those of `db`.
    pub const fn new(db: Database) -> Self {
        Self { db }
    }
}

#[async_trait]
impl SharedEndpointStore for PgSharedEndpoints {
    async fn create(&self, sys: &SystemContext, new: NewSharedEndpoint) -> Result<(), StoreError> {
        let create = CreateEndpoint {
            id: new.id.into(),
            provider: new.provider.name(),
            path_key: &new.path_key,
            verify_token: &new.verify_token_sealed,
            secret_id: new.secret_id,
            secret: &new.secret_sealed,
            at: new.at,
            log_id: new.log_id,
            request: sys.origin().request.into(),
        };
        self.db.system_execute(sys, CREATE, create).await?;
        Ok(())
    }

    async fn list(&self, sys: &SystemContext) -> Result<Vec<SharedEndpoint>, StoreError> {
        let rows: Vec<(Uuid, String, String, i64, i64, DateTime<Utc>)> =
            self.db.system(sys, LIST, ListEndpoints {}).await?;
        rows.into_iter()
            .map(|(id, provider, path_key, channels, secrets, created_at)| {
                Ok(SharedEndpoint {
                    id: id.into(),
                    provider: provider
                        .parse()
                        .map_err(|_| StoreError::Corrupt("webhook_endpoints.provider"))?,
                    path_key,
                    channels: channels.unsigned_abs(),
                    secrets: secrets.unsigned_abs(),
                    created_at,
                })
            })
            .collect()
    }

    async fn rotate_secret(
        &self,
        sys: &SystemContext,
        id: EndpointId,
        rotation: SecretRotation,
        log_id: Uuid,
    ) -> Result<bool, StoreError> {
        let rotate = RotateEndpoint {
            endpoint: id.into(),
            secret_id: rotation.secret_id,
            secret: &rotation.secret_sealed,
            verify_token: rotation.verify_token_sealed.as_deref(),
            older_until: rotation.older_until,
            at: rotation.at,
            log_id,
            request: sys.origin().request.into(),
        };
        let found: Vec<bool> = self.db.system(sys, ROTATE, rotate).await?;
        Ok(found == [true])
    }

    async fn list_sealed(&self, sys: &SystemContext) -> Result<Vec<SealedValue>, StoreError> {
        let rows: Vec<(Uuid, Option<Uuid>, Vec<u8>)> =
            self.db.system(sys, LIST_SEALED, ListSealed {}).await?;
        let value = |(endpoint, secret, sealed): (Uuid, _, _)| SealedValue {
            endpoint: endpoint.into(),
            secret,
            sealed,
        };
        Ok(rows.into_iter().map(value).collect())
    }

    async fn reseal(
        &self,
        sys: &SystemContext,
        values: &[(SealedValue, Vec<u8>)],
        at: DateTime<Utc>,
        log_id: Uuid,
    ) -> Result<u64, StoreError> {
        let reseal = Reseal {
            endpoints: values.iter().map(|(it, _)| it.endpoint.into()).collect(),
            secrets: values.iter().map(|(it, _)| it.secret).collect(),
            before: values.iter().map(|(it, _)| it.sealed.as_slice()).collect(),
            after: values.iter().map(|(_, after)| after.as_slice()).collect(),
            at,
            log_id,
            request: sys.origin().request.into(),
        };
        let changed: Vec<i64> = self.db.system(sys, RESEAL, reseal).await?;
        Ok(changed.first().map_or(0, |count| count.unsigned_abs()))
    }

    async fn bind_channel(
        &self,
        cx: &TenantContext,
        new: BoundChannel,
        entry: AuditEntry,
        event: Event,
    ) -> Result<(), BindChannelError> {
        let bind = BindChannel {
            clinic: cx.clinic().into(),
            id: new.id.into(),
            endpoint: new.endpoint.into(),
            name: &new.name,
            external_id: &new.external_id,
            display_phone: new.display_phone.as_deref(),
            at: new.at,
        };
        let bound = self
            .db
            .unit(cx, BIND, async |tx| {
                tx.execute(bind).await?;
                let made: i64 = tx.first(CountChannel { id: new.id.into() }).await?;
                if made == 0 {
                    return Err(BindChannelError::NoSuchEndpoint);
                }
                let _enqueued: i64 = tx
                    .first(RouteWaiting {
                        clinic: cx.clinic().into(),
                        channel: new.id.into(),
                        at: new.at,
                    })
                    .await?;
                tx.audit(&entry);
                tx.emit(&event);
                Ok(())
            })
            .await;
        bound.map_err(|error| match error {
            BindChannelError::Store(error) => match error.constraint() {
                Some("channels_clinic_fk") => BindChannelError::NoSuchClinic,
                Some("channels_external_id_unique" | "channels_route_unique") => {
                    BindChannelError::NumberTaken
                }
                _ => error.into(),
            },
            other => other,
        })
    }
}
