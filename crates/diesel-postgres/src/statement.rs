//! Statements with fixed text: [`statement!`](crate::statement!) and, for hot reads,
//! [`tenant_select!`](crate::tenant_select!).
//!
//! Each is a struct of its binds with a static query id: prepared once a connection, its text
//! never built from data. Ordinary Diesel queries run beside them; so does a `QueryFragment`
//! written by hand without a static id (for filters that come and go), which is cached by text.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types;
use uuid::Uuid;

/// A struct of binds with fixed SQL, where each `?` is the next bind in order.
///
/// The text must hold no other question mark. `-> type` is the SQL type of a row, `Untyped`
/// where there is none.
///
/// ```
/// use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
/// diesel_postgres::statement! {
///     /// Renames a branch if it still has the version that was read.
///     pub struct RenameBranch<'a> {
///         name: &'a str => Text,
///         id: uuid::Uuid => SqlUuid,
///         version: i64 => BigInt,
///     } -> BigInt = "UPDATE app.branches SET name = ?, row_version = row_version + 1
///         WHERE clinic_id = app.current_clinic() AND id = ? AND row_version = ?
///         RETURNING row_version"
/// }
/// ```
#[macro_export]
macro_rules! statement {
    ($(#[$doc:meta])* $vis:vis struct $name:ident $(<$life:lifetime>)? {
        $($(#[$fdoc:meta])* $field:ident : $ty:ty => $sql_type:ty),* $(,)?
    } -> $row:ty = $sql:expr) => {
        $(#[$doc])*
        $vis struct $name $(<$life>)? { $($(#[$fdoc])* $vis $field: $ty),* }

        const _: () = {
            const TEXT: &str = $sql;
            const BINDS: &[&str] = &[$(stringify!($field)),*];
            const _: () = assert!(
                $crate::statement::question_marks(TEXT) == BINDS.len(),
                "as many question marks as binds"
            );
            #[allow(unreachable_pub, reason = "named by an associated type alone")]
            pub struct Id;

            impl $(<$life>)? ::diesel::query_builder::QueryId for $name $(<$life>)? {
                type QueryId = Id;
                const HAS_STATIC_QUERY_ID: bool = true;
            }
            impl $(<$life>)? ::diesel::query_builder::QueryFragment<::diesel::pg::Pg>
                for $name $(<$life>)?
            {
                #[allow(unused_mut, unused_variables, reason = "a statement may have no bind")]
                fn walk_ast<'b>(
                    &'b self,
                    mut out: ::diesel::query_builder::AstPass<'_, 'b, ::diesel::pg::Pg>,
                ) -> ::diesel::QueryResult<()> {
                    let mut parts = TEXT.split('?');
                    out.push_sql(parts.next().unwrap_or_default());
                    $(
                        out.push_bind_param::<$sql_type, _>(&self.$field)?;
                        out.push_sql(parts.next().unwrap_or_default());
                    )*
                    Ok(())
                }
            }
            impl $(<$life>)? ::diesel::query_builder::Query for $name $(<$life>)? {
                type SqlType = $row;
            }
            // Binds may be personal data: the name is all that is ever shown.
            impl $(<$life>)? ::std::fmt::Debug for $name $(<$life>)? {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    f.write_str(stringify!($name))
                }
            }
        };
    };
}

/// The inner `SELECT` of a hot read ([`crate::Database::read`]): like [`statement!`], and every
/// table must be reached through `s.t`, the tenant that the same statement sets.
///
/// ```
/// use diesel::sql_types::{Text, Uuid as SqlUuid};
/// diesel_postgres::tenant_select! {
///     /// Finds a branch.
///     pub struct FindBranch { id: uuid::Uuid => SqlUuid } -> (SqlUuid, Text) =
///         "SELECT b.id, b.name FROM app.branches b WHERE b.clinic_id = s.t AND b.id = ?"
/// }
/// ```
///
/// Text that does not compare with `s.t` does not compile:
///
/// ```compile_fail
/// diesel_postgres::tenant_select! {
///     pub struct AllBranches {} -> diesel::sql_types::Uuid = "SELECT b.id FROM app.branches b"
/// }
/// ```
#[macro_export]
macro_rules! tenant_select {
    ($(#[$doc:meta])* $vis:vis struct $name:ident $(<$life:lifetime>)? {
        $($(#[$fdoc:meta])* $field:ident : $ty:ty => $sql_type:ty),* $(,)?
    } -> $row:ty = $sql:expr) => {
        $crate::statement! {
            $(#[$doc])* $vis struct $name $(<$life>)? {
                $($(#[$fdoc])* $field : $ty => $sql_type),*
            } -> $row = $sql
        }
        const _: () = assert!(
            $crate::statement::uses_tenant($sql),
            "every table of a hot read is reached through `= s.t`, and none by OFFSET"
        );
        impl $(<$life>)? $crate::TenantSelect for $name $(<$life>)? {}
    };
}

/// The inner `SELECT` of a hot read. Made by [`tenant_select!`](crate::tenant_select!); by hand
/// only for a statement whose text varies, whose text is then checked in debug builds.
pub trait TenantSelect: QueryFragment<Pg> + QueryId + Query {}

/// How many `?` a text holds.
#[must_use]
pub const fn question_marks(sql: &str) -> usize {
    let text = sql.as_bytes();
    let (mut at, mut found) = (0, 0);
    while at < text.len() {
        if text[at] == b'?' {
            found += 1;
        }
        at += 1;
    }
    found
}

/// Whether a hot read's text has `= s.t`, and no `OFFSET` of its own (the wrapping adds one).
#[must_use]
pub const fn uses_tenant(sql: &str) -> bool {
    contains(sql, "= s.t") && !contains(sql, "OFFSET")
}

const fn contains(text: &str, wanted: &str) -> bool {
    let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
    let mut from = 0;
    while from + wanted.len() <= text.len() {
        let mut at = 0;
        while at < wanted.len() && text[from + at] == wanted[at] {
            at += 1;
        }
        if at == wanted.len() {
            return true;
        }
        from += 1;
    }
    false
}

statement! {
    /// Begins a transaction. A statement like others, so that it keeps its place in the line.
    pub(crate) struct Begin {} -> sql_types::Untyped = "BEGIN"
}
statement! {
    /// Ends a transaction. Answers without an error even where it rolled back.
    pub(crate) struct Commit {} -> sql_types::Untyped = "COMMIT"
}
statement! {
    /// Undoes a transaction.
    pub(crate) struct Rollback {} -> sql_types::Untyped = "ROLLBACK"
}
statement! {
    /// Sets the clinic of this transaction.
    pub(crate) struct SetTenant { clinic: Uuid => sql_types::Uuid } -> sql_types::Text =
        "SELECT set_config('app.clinic_id', (?)::text, true)"
}

/// A hot read: sets the tenant and reads only through it, in one statement.
///
/// `MATERIALIZED` and `LATERAL` make the tenant's row come first; `OFFSET 0` keeps the inner
/// query from being pulled up, after which the planner might scan its table first, under
/// whatever setting the connection still had.
pub(crate) struct InTenant<S> {
    pub(crate) clinic: Uuid,
    pub(crate) select: S,
}

impl<S: QueryId> QueryId for InTenant<S> {
    type QueryId = InTenant<S::QueryId>;
    const HAS_STATIC_QUERY_ID: bool = S::HAS_STATIC_QUERY_ID;
}

impl<S: QueryFragment<Pg>> QueryFragment<Pg> for InTenant<S> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH s AS MATERIALIZED (SELECT set_config('app.clinic_id', (");
        out.push_bind_param::<sql_types::Uuid, _>(&self.clinic)?;
        out.push_sql(")::text, true)::uuid AS t) SELECT c.* FROM s, LATERAL (");
        self.select.walk_ast(out.reborrow())?;
        out.push_sql(" OFFSET 0) c");
        Ok(())
    }
}

impl<S: Query> Query for InTenant<S> {
    type SqlType = S::SqlType;
}
