//! [`ChannelStore`] on PostgreSQL.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use conversations::channel::{Channel, NewChannel, SecretRotation};
use conversations::error::{CreateChannelError, RotateSecretError, SwitchChannelError};
use conversations::events;
use conversations::ports::ChannelStore;
use diesel::prelude::Queryable;
use diesel::sql_types::{
    BigInt, Binary, Bool, Nullable, Text, Timestamptz, Untyped, Uuid as SqlUuid,
};
use kernel::cursor::{Position, SortValue};
use kernel::once::Claim;
use kernel::{
    AuditEntry, ChangedValue, ChannelId, PageLimit, Resource, StoreError, TenantContext, Toolkit,
    TypedId as _,
};
use uuid::Uuid;

use crate::{Database, QueryName, StoreErrorExt as _, Tx, query_name, statement, tenant_select};

const CREATE: QueryName = query_name!("channel.create", "INSERT", "channels");
const FIND: QueryName = query_name!("channel.find", "SELECT", "channels");
const LIST: QueryName = query_name!("channel.list", "SELECT", "channels");
const ROTATE: QueryName = query_name!(
    "channel.rotate_secret",
    "INSERT",
    "webhook_endpoint_secrets"
);
const DISABLE: QueryName = query_name!("channel.disable", "UPDATE", "channels");
const ENABLE: QueryName = query_name!("channel.enable", "UPDATE", "channels");

type ChannelColumns = (
    SqlUuid,
    SqlUuid,
    Text,
    Text,
    Text,
    Nullable<Text>,
    Text,
    Nullable<Text>,
    BigInt,
    Timestamptz,
    Timestamptz,
);

/// A channel with its endpoint's path, where the endpoint is the clinic's own.
#[derive(Queryable)]
struct ChannelRow {
    id: Uuid,
    endpoint_id: Uuid,
    provider: String,
    name: String,
    external_id: String,
    display_phone: Option<String>,
    status: String,
    path_key: Option<String>,
    row_version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<ChannelRow> for Channel {
    type Error = StoreError;

    fn try_from(row: ChannelRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.into(),
            endpoint: row.endpoint_id.into(),
            provider: row
                .provider
                .parse()
                .map_err(|_| StoreError::Corrupt("channels.provider"))?,
            name: row.name,
            external_id: row.external_id,
            display_phone: row.display_phone,
            status: row
                .status
                .parse()
                .map_err(|_| StoreError::Corrupt("channels.status"))?,
            path_key: row.path_key,
            row_version: row.row_version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Row security hides an operator's endpoint, so its path is NULL.
macro_rules! channel_columns {
    ($clinic:literal, $rest:literal) => {
        concat!(
            "SELECT c.id, c.endpoint_id, c.provider, c.name, c.external_id, c.display_phone,
                c.status, e.path_key, c.row_version, c.created_at, c.updated_at
            FROM app.channels c LEFT JOIN app.webhook_endpoints e
                ON e.id = c.endpoint_id AND e.clinic_id = ",
            $clinic,
            " WHERE c.clinic_id = ",
            $clinic,
            $rest
        )
    };
}

tenant_select! {
    struct FindChannel { id: Uuid => SqlUuid } -> ChannelColumns =
        channel_columns!("s.t", " AND c.id = ?")
}
tenant_select! {
    struct FirstChannels { rows: i64 => BigInt } -> ChannelColumns =
        channel_columns!("s.t", " ORDER BY c.created_at DESC, c.id DESC LIMIT ?")
}
tenant_select! {
    struct NextChannels { at: DateTime<Utc> => Timestamptz, id: Uuid => SqlUuid, rows: i64 => BigInt }
        -> ChannelColumns = channel_columns!(
            "s.t",
            " AND (c.created_at, c.id) < (?, ?) ORDER BY c.created_at DESC, c.id DESC LIMIT ?"
        )
}
statement! {
    struct LockChannel { id: Uuid => SqlUuid } -> ChannelColumns =
        channel_columns!("app.current_clinic()", " AND c.id = ? FOR NO KEY UPDATE OF c")
}
statement! {
    struct InsertEndpoint<'a> {
        id: Uuid => SqlUuid,
        clinic: Uuid => SqlUuid,
        provider: &'static str => Text,
        path_key: &'a str => Text,
        verify_token: &'a [u8] => Binary,
        at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.webhook_endpoints
            (id, clinic_id, provider, path_key, verify_token_sealed, created_at)
        VALUES (?, ?, ?, ?, ?, ?)"
}
statement! {
    struct InsertSecret<'a> {
        endpoint: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        clinic: Uuid => SqlUuid,
        sealed: &'a [u8] => Binary,
        at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.webhook_endpoint_secrets
            (endpoint_id, id, clinic_id, sealed, not_after, created_at)
        VALUES (?, ?, ?, ?, NULL, ?)"
}
statement! {
    struct InsertChannel<'a> {
        clinic: Uuid => SqlUuid,
        id: Uuid => SqlUuid,
        endpoint: Uuid => SqlUuid,
        provider: &'static str => Text,
        name: &'a str => Text,
        external_id: &'a str => Text,
        display_phone: Option<&'a str> => Nullable<Text>,
        status: &'static str => Text,
        version: i64 => BigInt,
        created_at: DateTime<Utc> => Timestamptz,
        updated_at: DateTime<Utc> => Timestamptz,
    } -> Untyped = "INSERT INTO app.channels (clinic_id, id, endpoint_id, provider, name,
            external_id, display_phone, status, row_version, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
}
statement! {
    /// Ends the secrets that are there; one that ends earlier keeps its end.
    struct EndSecrets { until: DateTime<Utc> => Timestamptz, endpoint: Uuid => SqlUuid } -> Untyped =
        "UPDATE app.webhook_endpoint_secrets s SET not_after = v.until
        FROM (SELECT (?)::timestamptz AS until) v
        WHERE s.clinic_id = app.current_clinic() AND s.endpoint_id = ?
          AND (s.not_after IS NULL OR s.not_after > v.until)"
}
statement! {
    /// Secrets that are good no more serve nobody.
    struct DropEndedSecrets { endpoint: Uuid => SqlUuid, now: DateTime<Utc> => Timestamptz } -> Untyped =
        "DELETE FROM app.webhook_endpoint_secrets
        WHERE clinic_id = app.current_clinic() AND endpoint_id = ? AND not_after <= ?"
}
statement! {
    struct ReplaceVerifyToken<'a> { sealed: &'a [u8] => Binary, endpoint: Uuid => SqlUuid } -> Untyped =
        "UPDATE app.webhook_endpoints SET verify_token_sealed = ?
        WHERE clinic_id = app.current_clinic() AND id = ?"
}
statement! {
    struct TouchChannel { disabled: bool => Bool, at: DateTime<Utc> => Timestamptz, id: Uuid => SqlUuid }
        -> Untyped = "UPDATE app.channels
        SET status = CASE WHEN ? THEN 'disabled' ELSE 'active' END, updated_at = ?,
            row_version = row_version + 1
        WHERE clinic_id = app.current_clinic() AND id = ?"
}
statement! {
    /// Gives what waited for a channel its route and its jobs.
    pub(super) struct RouteWaiting { clinic: Uuid => SqlUuid, channel: Uuid => SqlUuid, at: DateTime<Utc> => Timestamptz }
        -> BigInt = "SELECT sec.route_waiting(?, ?, ?)"
}

/// Channels on PostgreSQL. Secrets arrive sealed.
#[derive(Debug, Clone)]
pub struct PgChannelStore {
    db: Database,
    tools: Toolkit,
}

/// Why a change of a channel stopped half way.
enum Stopped {
    Absent,
    Changed,
    Shared,
    Store(StoreError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl PgChannelStore {
    /// Keeps channels in `db`.
    pub const fn new(db: Database, tools: Toolkit) -> Self {
        Self { db, tools }
    }

    fn entry(
        &self,
        cx: &TenantContext,
        action: &'static str,
        id: ChannelId,
        changes: Vec<ChangedValue>,
    ) -> AuditEntry {
        AuditEntry::done(&self.tools, action, Resource::one("channel", id)).changed(
            cx,
            self.tools.keys(),
            changes,
        )
    }

    /// The channel, locked, where its version is `expected` (any, when `None`).
    async fn lock(tx: &Tx<'_>, id: ChannelId, expected: Option<i64>) -> Result<Channel, Stopped> {
        let row: Option<ChannelRow> = tx.optional(LockChannel { id: id.into() }).await?;
        let channel: Channel = row.ok_or(Stopped::Absent)?.try_into()?;
        if expected.is_some_and(|expected| expected != channel.row_version) {
            return Err(Stopped::Changed);
        }
        Ok(channel)
    }

    /// Turns a channel on or off, unless it is so already.
    async fn switch(
        &self,
        cx: &TenantContext,
        name: QueryName,
        id: ChannelId,
        expected: Option<i64>,
        on: bool,
    ) -> Result<Channel, SwitchChannelError> {
        use conversations::ChannelStatus::{self, Active, Disabled};
        let wanted = if on { Active } else { Disabled };
        let (action, event) = if on {
            ("channel.enable", events::CHANNEL_ENABLED)
        } else {
            ("channel.disable", events::CHANNEL_DISABLED)
        };
        let done = self
            .db
            .unit(cx, name, async |tx| {
                let mut channel = Self::lock(tx, id, expected).await?;
                if channel.status == wanted {
                    return Ok(channel);
                }
                let at = self.tools.now();
                let status = |status: ChannelStatus| Some(status.name().as_bytes().to_vec());
                let change = ChangedValue::new("status", status(channel.status), status(wanted));
                channel.status = wanted;
                channel.updated_at = at;
                channel.row_version += 1;
                tx.execute(TouchChannel {
                    disabled: !on,
                    at,
                    id: id.into(),
                })
                .await?;
                if on {
                    let _enqueued: i64 = tx
                        .first(RouteWaiting {
                            clinic: cx.clinic().into(),
                            channel: id.into(),
                            at,
                        })
                        .await?;
                }
                tx.audit(&self.entry(cx, action, id, vec![change]));
                tx.emit(&events::channel(&self.tools, event, id));
                Ok(channel)
            })
            .await;
        done.map_err(|stopped| match stopped {
            // A shared endpoint's channel can be switched: only its secret is the operator's.
            Stopped::Absent | Stopped::Shared => SwitchChannelError::NotFound,
            Stopped::Changed => SwitchChannelError::VersionMismatch,
            Stopped::Store(error) => SwitchChannelError::Store(error),
        })
    }
}

#[async_trait]
impl ChannelStore for PgChannelStore {
    async fn create(
        &self,
        cx: &TenantContext,
        new: NewChannel,
        claim: Option<Claim>,
    ) -> Result<Channel, CreateChannelError> {
        let channel = &new.channel;
        let clinic = cx.clinic().as_uuid();
        self.db
            .write(cx, CREATE, |batch| {
                batch.claim(claim);
                batch.execute(InsertEndpoint {
                    id: channel.endpoint.into(),
                    clinic,
                    provider: channel.provider.name(),
                    path_key: &new.path_key,
                    verify_token: &new.verify_token_sealed,
                    at: channel.created_at,
                });
                batch.execute(InsertSecret {
                    endpoint: channel.endpoint.into(),
                    id: new.secret_id,
                    clinic,
                    sealed: &new.secret_sealed,
                    at: channel.created_at,
                });
                batch.execute(InsertChannel {
                    clinic,
                    id: channel.id.into(),
                    endpoint: channel.endpoint.into(),
                    provider: channel.provider.name(),
                    name: &channel.name,
                    external_id: &channel.external_id,
                    display_phone: channel.display_phone.as_deref(),
                    status: channel.status.name(),
                    version: channel.row_version,
                    created_at: channel.created_at,
                    updated_at: channel.updated_at,
                });
                let values = channel.created_values();
                batch.audit(&self.entry(cx, "channel.create", channel.id, values));
                batch.emit(&events::channel(
                    &self.tools,
                    events::CHANNEL_CREATED,
                    channel.id,
                ));
            })
            .await
            .map_err(|error| match error.constraint() {
                Some("channels_external_id_unique") => CreateChannelError::NumberTaken,
                _ => CreateChannelError::Store(error),
            })?;
        Ok(new.channel)
    }

    async fn find(&self, cx: &TenantContext, id: ChannelId) -> Result<Option<Channel>, StoreError> {
        let row: Option<ChannelRow> = self
            .db
            .read_one(cx, FIND, FindChannel { id: id.into() })
            .await?;
        row.map(Channel::try_from).transpose()
    }

    async fn list(
        &self,
        cx: &TenantContext,
        after: Option<Position>,
        limit: PageLimit,
    ) -> Result<Vec<Channel>, StoreError> {
        let rows = limit.rows_to_fetch();
        let rows: Vec<ChannelRow> = match after {
            None => self.db.read(cx, LIST, FirstChannels { rows }).await?,
            Some(Position {
                sort: SortValue::Instant(at),
                id,
                ..
            }) => {
                self.db
                    .read(cx, LIST, NextChannels { at, id, rows })
                    .await?
            }
            Some(_) => return Err(StoreError::Corrupt("a cursor of channels")),
        };
        rows.into_iter().map(Channel::try_from).collect()
    }

    async fn rotate_secret(
        &self,
        cx: &TenantContext,
        id: ChannelId,
        expected: Option<i64>,
        rotation: SecretRotation,
    ) -> Result<Channel, RotateSecretError> {
        let done = self
            .db
            .unit(cx, ROTATE, async |tx| {
                let mut channel = Self::lock(tx, id, expected).await?;
                if channel.path_key.is_none() {
                    return Err(Stopped::Shared);
                }
                let endpoint = channel.endpoint.as_uuid();
                channel.updated_at = rotation.at;
                channel.row_version += 1;
                tx.at_commit(|batch| {
                    batch.execute(EndSecrets {
                        until: rotation.older_until,
                        endpoint,
                    });
                    batch.execute(DropEndedSecrets {
                        endpoint,
                        now: rotation.at,
                    });
                    batch.execute(InsertSecret {
                        endpoint,
                        id: rotation.secret_id,
                        clinic: cx.clinic().into(),
                        sealed: &rotation.secret_sealed,
                        at: rotation.at,
                    });
                    if let Some(sealed) = &rotation.verify_token_sealed {
                        batch.execute(ReplaceVerifyToken { sealed, endpoint });
                    }
                    batch.execute(TouchChannel {
                        disabled: channel.status == conversations::ChannelStatus::Disabled,
                        at: rotation.at,
                        id: id.into(),
                    });
                });
                let mut changes = vec![ChangedValue::secret("appSecret")];
                if rotation.verify_token_sealed.is_some() {
                    changes.push(ChangedValue::secret("verifyToken"));
                }
                tx.audit(&self.entry(cx, "channel.rotate-secret", id, changes));
                tx.emit(&events::channel(
                    &self.tools,
                    events::CHANNEL_SECRET_ROTATED,
                    id,
                ));
                Ok(channel)
            })
            .await;
        done.map_err(|stopped| match stopped {
            Stopped::Absent => RotateSecretError::NotFound,
            Stopped::Changed => RotateSecretError::VersionMismatch,
            Stopped::Shared => RotateSecretError::EndpointShared,
            Stopped::Store(error) => RotateSecretError::Store(error),
        })
    }

    async fn disable(
        &self,
        cx: &TenantContext,
        id: ChannelId,
        expected: Option<i64>,
    ) -> Result<Channel, SwitchChannelError> {
        self.switch(cx, DISABLE, id, expected, false).await
    }

    async fn enable(
        &self,
        cx: &TenantContext,
        id: ChannelId,
        expected: Option<i64>,
    ) -> Result<Channel, SwitchChannelError> {
        self.switch(cx, ENABLE, id, expected, true).await
    }
}
