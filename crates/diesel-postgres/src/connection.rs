//! A connection that diesel-async drives: [`PgConn`].
//!
//! diesel-async has one of its own, which cannot keep four rules of this project: it drops the
//! SQLSTATE and keeps the server's message, which repeats values; it hands binds to the `log`
//! crate; and it prepares each new statement in a round trip of its own under a lock, so that a
//! pipeline on a fresh connection costs as many round trips as it has statements. Here a
//! statement is sent when its future is first polled, always: a new one goes out unnamed, with
//! its preparation beside it for the next time.

use std::any::TypeId;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diesel::QueryResult;
use diesel::pg::{Pg, PgMetadataLookup, PgQueryBuilder, PgTypeMetadata, PgValue, TypeOidLookup};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{AsQuery, QueryBuilder, QueryFragment, QueryId};
use diesel::result::Error as DieselError;
use diesel::row::{Field, PartialRow, Row, RowIndex, RowSealed};
use diesel_async::{AsyncConnectionCore, SimpleAsyncConnection};
use futures_util::TryStreamExt;
use futures_util::future::{BoxFuture, join};
use futures_util::stream;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type};
use tokio_postgres::{CancelToken, Client, Statement};

use crate::error::to_diesel;

/// So many statements with varying text are kept prepared; more are sent unnamed each time.
const MOST_TEXTS: usize = 256;

/// One connection. Futures of it that are polled together are sent together, in the order in
/// which they are first polled.
pub(crate) struct PgConn {
    client: Client,
    /// `None` while the statement is being prepared.
    prepared: Mutex<HashMap<Key, Option<Prepared>>>,
}

/// What a prepared statement is found by: the static id where there is one.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Id(TypeId),
    /// Text and bind types.
    Text(String, Vec<u32>),
}

#[derive(Clone)]
struct Prepared {
    statement: Statement,
    columns: Columns,
}

/// The types of a row's columns.
type Columns = Arc<[Oid]>;

/// A statement with its binds, about to be sent.
struct Ready {
    how: How,
    binds: Vec<Bind>,
}

enum How {
    Prepared(Prepared),
    /// Its text and bind types, and where to keep its preparation, if it may be prepared.
    New(String, Vec<Type>, Option<Key>),
}

impl PgConn {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            prepared: Mutex::new(HashMap::new()),
        }
    }

    /// What a cancellation of the present statement is asked with.
    pub(crate) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }

    fn prepared(&self) -> MutexGuard<'_, HashMap<Key, Option<Prepared>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the binds, and finds the prepared statement or writes the text.
    fn ready<T: QueryFragment<Pg> + QueryId>(&self, query: &T) -> QueryResult<Ready> {
        // Nothing of it but that there is one: whoever listens may count.
        tracing::trace!(target: "diesel_postgres::statement", "statement");
        let mut collector = RawBytesBindCollector::<Pg>::new();
        query.collect_binds(&mut collector, &mut ByContext, &Pg)?;
        let binds = collector.binds.into_iter().map(Bind).collect();
        let id = T::query_id().map(Key::Id);
        let known = id.as_ref().and_then(|id| self.prepared().get(id)?.clone());
        if let Some(prepared) = known {
            let how = How::Prepared(prepared);
            return Ok(Ready { how, binds });
        }
        let mut builder = PgQueryBuilder::default();
        query.to_sql(&mut builder, &Pg)?;
        let text = builder.finish();
        let oids = collector
            .metadata
            .iter()
            .map(|bind| bind.oid().unwrap_or(0))
            .collect::<Vec<_>>();
        let types = oids.iter().copied().map(type_of).collect();
        let may_be_prepared = query.is_safe_to_cache_prepared(&Pg)?;
        let key = id.unwrap_or_else(|| Key::Text(text.clone(), oids));
        let known = self.prepared().get(&key).cloned().flatten();
        let how = match known {
            Some(prepared) => How::Prepared(prepared),
            None => How::New(text, types, may_be_prepared.then_some(key)),
        };
        Ok(Ready { how, binds })
    }

    /// Whether the caller shall prepare this: nobody does yet, and there is room for it.
    fn claim(&self, key: &Key) -> bool {
        let mut prepared = self.prepared();
        let room = matches!(key, Key::Id(_)) || prepared.len() < MOST_TEXTS;
        let claimed = room && !prepared.contains_key(key);
        if claimed {
            prepared.insert(key.clone(), None);
        }
        claimed
    }

    /// What Diesel is told of a failure. After a change of the schema, or behind a pooler, what
    /// was prepared may be of no use any more: it is prepared anew then.
    fn failure(&self, error: &tokio_postgres::Error) -> DieselError {
        let stale = [
            SqlState::FEATURE_NOT_SUPPORTED,
            SqlState::INVALID_SQL_STATEMENT_NAME,
        ];
        if error.code().is_some_and(|code| stale.contains(code)) {
            self.prepared().clear();
        }
        to_diesel(error)
    }

    /// Keeps what was prepared, or forgets that it was tried.
    fn keep(&self, key: Key, statement: Result<Statement, tokio_postgres::Error>) {
        let mut prepared = self.prepared();
        match statement {
            Ok(statement) => {
                let columns = columns_of(statement.columns());
                let known = Prepared { statement, columns };
                prepared.insert(key, Some(known));
            }
            Err(_) => {
                prepared.remove(&key);
            }
        }
    }

    async fn rows(&self, ready: QueryResult<Ready>) -> QueryResult<Vec<QueryResult<PgRow>>> {
        let Ready { how, binds } = ready?;
        let (rows, columns) = match how {
            How::Prepared(Prepared { statement, columns }) => {
                let rows = async {
                    let rows = self.client.query_raw(&statement, binds).await?;
                    rows.try_collect::<Vec<_>>().await
                };
                (rows.await, Some(columns))
            }
            How::New(text, types, key) => {
                let rows = async {
                    let binds = binds.into_iter().zip(types.iter().cloned());
                    let rows = self.client.query_typed_raw(&text, binds).await?;
                    rows.try_collect::<Vec<_>>().await
                };
                (self.preparing(key, &text, &types, rows).await, None)
            }
        };
        let rows = rows.map_err(|error| self.failure(&error))?;
        let columns = columns.unwrap_or_else(|| {
            rows.first()
                .map_or_else(|| Arc::from([]), |row| columns_of(row.columns()))
        });
        Ok(rows
            .into_iter()
            .map(|row| {
                Ok(PgRow {
                    row,
                    columns: Arc::clone(&columns),
                })
            })
            .collect())
    }

    async fn count(&self, ready: QueryResult<Ready>) -> QueryResult<usize> {
        let Ready { how, binds } = ready?;
        let count = match how {
            How::Prepared(Prepared { statement, .. }) => {
                self.client.execute_raw(&statement, binds).await
            }
            How::New(text, types, key) => {
                let count = async {
                    let binds: Vec<(&(dyn ToSql + Sync), Type)> = binds
                        .iter()
                        .zip(&types)
                        .map(|(bind, of)| (bind as &(dyn ToSql + Sync), of.clone()))
                        .collect();
                    self.client.execute_typed(&text, &binds).await
                };
                self.preparing(key, &text, &types, count).await
            }
        };
        let count = count.map_err(|error| self.failure(&error))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Sends a new statement together with its preparation for the next time.
    async fn preparing<T>(
        &self,
        key: Option<Key>,
        text: &str,
        types: &[Type],
        answer: impl Future<Output = T>,
    ) -> T {
        let Some(key) = key.filter(|key| self.claim(key)) else {
            return answer.await;
        };
        let (statement, answer) = join(self.client.prepare_typed(text, types), answer).await;
        self.keep(key, statement);
        answer
    }
}

impl SimpleAsyncConnection for &PgConn {
    async fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.client
            .batch_execute(query)
            .await
            .map_err(|error| to_diesel(&error))
    }
}

impl<'a> AsyncConnectionCore for &'a PgConn {
    type ExecuteFuture<'conn, 'query> = BoxFuture<'a, QueryResult<usize>>;
    type LoadFuture<'conn, 'query> = BoxFuture<'a, QueryResult<Self::Stream<'conn, 'query>>>;
    type Stream<'conn, 'query> = stream::Iter<std::vec::IntoIter<QueryResult<PgRow>>>;
    type Row<'conn, 'query> = PgRow;
    type Backend = Pg;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Pg> + QueryId + 'query,
    {
        let conn: &'a PgConn = self;
        let ready = conn.ready(&source.as_query());
        Box::pin(async move { Ok(stream::iter(conn.rows(ready).await?)) })
    }

    fn execute_returning_count<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Pg> + QueryId + 'query,
    {
        let conn: &'a PgConn = self;
        let ready = conn.ready(&source);
        Box::pin(conn.count(ready))
    }
}

/// Types that Diesel would look up by name (an extension's) are left to the server, which knows
/// them from where they stand.
struct ByContext;

impl PgMetadataLookup for ByContext {
    fn lookup_type(&mut self, _: &str, _: Option<&str>) -> PgTypeMetadata {
        PgTypeMetadata::new(0, 0)
    }
}

fn type_of(oid: u32) -> Type {
    Type::from_oid(oid)
        .unwrap_or_else(|| Type::new(String::new(), oid, Kind::Simple, String::new()))
}

/// A bind, as Diesel wrote it. Shows nothing: tokio-postgres logs binds at debug.
struct Bind(Option<Vec<u8>>);

impl fmt::Debug for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl ToSql for Bind {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(match &self.0 {
            Some(bytes) => {
                out.extend_from_slice(bytes);
                IsNull::No
            }
            None => IsNull::Yes,
        })
    }

    fn accepts(_: &Type) -> bool {
        // Diesel checked it when it wrote the bytes.
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

/// A row, as Diesel reads it.
pub(crate) struct PgRow {
    row: tokio_postgres::Row,
    columns: Columns,
}

/// A column's type.
struct Oid(NonZeroU32);

impl TypeOidLookup for Oid {
    fn lookup(&self) -> NonZeroU32 {
        self.0
    }
}

fn columns_of(columns: &[tokio_postgres::Column]) -> Columns {
    columns
        .iter()
        .map(|column| Oid(NonZeroU32::new(column.type_().oid()).unwrap_or(NonZeroU32::MAX)))
        .collect()
}

impl RowSealed for PgRow {}

impl<'a> Row<'a, Pg> for PgRow {
    type Field<'f>
        = PgField<'f>
    where
        'a: 'f,
        Self: 'f;
    type InnerPartialRow = Self;

    fn field_count(&self) -> usize {
        self.row.len()
    }

    fn get<'b, I>(&'b self, idx: I) -> Option<Self::Field<'b>>
    where
        'a: 'b,
        Self: RowIndex<I>,
    {
        let at = self.idx(idx)?;
        Some(PgField { row: self, at })
    }

    fn partial_row(&self, range: Range<usize>) -> PartialRow<'_, Self::InnerPartialRow> {
        PartialRow::new(self, range)
    }
}

impl RowIndex<usize> for PgRow {
    fn idx(&self, idx: usize) -> Option<usize> {
        (idx < self.row.len()).then_some(idx)
    }
}

impl<'a> RowIndex<&'a str> for PgRow {
    fn idx(&self, idx: &'a str) -> Option<usize> {
        self.row
            .columns()
            .iter()
            .position(|column| column.name() == idx)
    }
}

pub(crate) struct PgField<'a> {
    row: &'a PgRow,
    at: usize,
}

impl<'a> Field<'a, Pg> for PgField<'a> {
    fn field_name(&self) -> Option<&str> {
        Some(self.row.row.columns().get(self.at)?.name())
    }

    fn value(&self) -> Option<PgValue<'_>> {
        let Raw(bytes) = self.row.row.try_get(self.at).ok()?;
        Some(PgValue::new(bytes?, self.row.columns.get(self.at)?))
    }
}

/// A column's bytes, whatever its type.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_shows_nothing_of_its_value() {
        // tokio-postgres writes the binds of each statement to the log at debug.
        let shown = format!("{:?}", [Bind(Some(b"Maria".to_vec())), Bind(None)]);
        assert_eq!(shown, "[…, …]");
    }
}
