//! What PostgreSQL answered when it failed, without a word of what was in the rows.
//!
//! The server's message and detail repeat values ("Key (email)=(…) already exists"), so neither
//! is kept: [`DatabaseFailure`] holds the SQLSTATE and the constraint's name.

use std::fmt;

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};
use kernel::StoreError;

/// A failure of the database: SQLSTATE and constraint, never a value.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseFailure {
    sqlstate: Option<String>,
    constraint: Option<String>,
    what: &'static str,
}

impl DatabaseFailure {
    /// A failure that is not the server's.
    pub(crate) const fn of_ours(what: &'static str) -> Self {
        Self {
            sqlstate: None,
            constraint: None,
            what,
        }
    }

    /// The SQLSTATE, where the server gave one.
    pub fn sqlstate(&self) -> Option<&str> {
        self.sqlstate.as_deref()
    }

    /// The violated constraint's name, where one was violated.
    pub fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }
}

impl fmt::Display for DatabaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        if let Some(code) = &self.sqlstate {
            write!(f, " (SQLSTATE {code})")?;
        }
        if let Some(constraint) = &self.constraint {
            write!(f, " on {constraint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseFailure({self})")
    }
}

impl std::error::Error for DatabaseFailure {}

/// What a [`StoreError`] of this crate knows beyond its kind.
pub trait StoreErrorExt {
    /// The violated constraint's name: the only thing a store decides by.
    fn constraint(&self) -> Option<&str>;
    /// The SQLSTATE, for traces.
    fn sqlstate(&self) -> Option<&str>;
}

impl StoreErrorExt for StoreError {
    fn constraint(&self) -> Option<&str> {
        failure_of(self)?.constraint()
    }

    fn sqlstate(&self) -> Option<&str> {
        failure_of(self)?.sqlstate()
    }
}

fn failure_of(error: &StoreError) -> Option<&DatabaseFailure> {
    match error {
        StoreError::Unavailable(source)
        | StoreError::Contention(source)
        | StoreError::Failed(source) => source.downcast_ref(),
        StoreError::Corrupt(_) | StoreError::Repeat(_) => None,
    }
}

/// No connection, or no answer in time.
pub(crate) fn unavailable(what: &'static str) -> StoreError {
    StoreError::Unavailable(Box::new(DatabaseFailure::of_ours(what)))
}

/// A defect of ours.
pub(crate) fn failed(what: &'static str) -> StoreError {
    StoreError::Failed(Box::new(DatabaseFailure::of_ours(what)))
}

/// A failure by SQLSTATE.
fn by_sqlstate(code: &str, constraint: Option<&str>) -> StoreError {
    let kind = Kind::of(code);
    let failure = Box::new(DatabaseFailure {
        sqlstate: Some(code.to_owned()),
        constraint: constraint.map(str::to_owned),
        what: kind.text(),
    });
    match kind {
        Kind::GaveWay => StoreError::Contention(failure),
        Kind::TooLate | Kind::Away => StoreError::Unavailable(failure),
        Kind::Violation | Kind::Other => StoreError::Failed(failure),
    }
}

/// What a SQLSTATE comes down to.
enum Kind {
    GaveWay,
    TooLate,
    Away,
    Violation,
    Other,
}

impl Kind {
    fn of(code: &str) -> Self {
        match code {
            // serialization_failure, deadlock_detected, lock_not_available
            "40001" | "40P01" | "55P03" => Self::GaveWay,
            // query_canceled: the statement timeout, or our own cancellation.
            "57014" => Self::TooLate,
            // Connection exceptions, insufficient resources, operator intervention; and
            // idle_in_transaction_session_timeout, after which the connection is gone.
            "25P03" => Self::Away,
            _ if ["08", "53", "57P"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                Self::Away
            }
            _ if code.starts_with("23") => Self::Violation,
            _ => Self::Other,
        }
    }

    const fn text(&self) -> &'static str {
        match self {
            Self::GaveWay => "gave way to another transaction",
            Self::TooLate => "no answer in time",
            Self::Away => "the database is not available",
            Self::Violation => "a constraint was violated",
            Self::Other => "the statement failed",
        }
    }
}

/// What [`crate::connection::PgConn`] tells Diesel of a failure: the SQLSTATE as its message, the
/// constraint's name, and nothing of what the server said.
struct Told {
    sqlstate: String,
    constraint: Option<String>,
}

impl DatabaseErrorInformation for Told {
    fn message(&self) -> &str {
        &self.sqlstate
    }

    fn details(&self) -> Option<&str> {
        None
    }

    fn hint(&self) -> Option<&str> {
        None
    }

    fn table_name(&self) -> Option<&str> {
        None
    }

    fn column_name(&self) -> Option<&str> {
        None
    }

    fn constraint_name(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    fn statement_position(&self) -> Option<i32> {
        None
    }
}

/// A failure of the driver, for Diesel to carry. [`from_diesel`] takes it up again.
pub(crate) fn to_diesel(error: &tokio_postgres::Error) -> DieselError {
    let Some(told) = error.as_db_error() else {
        return DieselError::DatabaseError(
            DatabaseErrorKind::UnableToSendCommand,
            Box::new("the connection is closed".to_owned()),
        );
    };
    let told = Told {
        sqlstate: told.code().code().to_owned(),
        constraint: told.constraint().map(str::to_owned),
    };
    DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(told))
}

/// A statement's failure, as a port tells it.
pub(crate) fn from_diesel(error: DieselError) -> StoreError {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::UnableToSendCommand, _) => {
            unavailable("the connection is closed")
        }
        DieselError::DatabaseError(_, told) => by_sqlstate(told.message(), told.constraint_name()),
        DieselError::DeserializationError(_) => failed("a row does not have the expected shape"),
        DieselError::SerializationError(_) => failed("a value could not be bound"),
        DieselError::NotFound => failed("no row where one was expected"),
        _ => failed("the statement could not be run"),
    }
}

/// A failed attempt to connect.
pub(crate) fn from_connect(error: &tokio_postgres::Error) -> StoreError {
    match error.code() {
        Some(code) => {
            // Wrong password or database: trying again does not help, but the port knows no
            // better word for a store that cannot be reached.
            StoreError::Unavailable(Box::new(DatabaseFailure {
                sqlstate: Some(code.code().to_owned()),
                constraint: None,
                what: "the database refused the connection",
            }))
        }
        None => unavailable("the database cannot be reached"),
    }
}
