//! The check at start: the server's login must be one that row security binds.

use diesel::sql_types::{Bool, Nullable, Text};
use kernel::{StoreError, SystemContext};

use crate::{Database, QueryName, query_name, statement};

/// Why the server refuses to start, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The role could not be looked up.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Row security does not bind a superuser.
    #[error(
        "the database login {0} is a superuser, whom row security does not bind: log in as acolhe_app (migrations/bootstrap.sql makes it)"
    )]
    Superuser(String),
    /// Row security does not bind it.
    #[error(
        "the database login {0} has BYPASSRLS: run ALTER ROLE {0} NOBYPASSRLS, or log in as acolhe_app"
    )]
    BypassesRowSecurity(String),
    /// An owner may switch row security off.
    #[error(
        "the database login {0} owns tables: log in as acolhe_app, and leave acolhe_owner to the migrations"
    )]
    OwnsTables(String),
    /// It has the rights of another role.
    #[error("the database login {0} is a member of {1}: run REVOKE {1} FROM {0}")]
    Member(String, String),
}

statement! {
    struct LookUpRole {} -> (Text, Bool, Bool, Bool, Nullable<Text>) =
        "SELECT r.rolname::text, r.rolsuper, r.rolbypassrls,
            EXISTS (SELECT FROM pg_catalog.pg_class c
                    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                    WHERE c.relowner = r.oid AND n.nspname IN ('app', 'part')),
            (SELECT g.rolname::text FROM pg_catalog.pg_auth_members m
             JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
             WHERE m.member = r.oid ORDER BY 1 LIMIT 1)
         FROM pg_catalog.pg_roles r WHERE r.rolname = current_user"
}

const VERIFY: QueryName = query_name!("role.verify", "SELECT", "pg_roles");

impl Database {
    /// Refuses a login that row security does not bind. What a server calls before anything
    /// else.
    pub async fn verify_role(&self, sys: &SystemContext) -> Result<(), RoleError> {
        let rows: Vec<(String, bool, bool, bool, Option<String>)> =
            self.system(sys, VERIFY, LookUpRole {}).await?;
        for (login, superuser, bypasses, owns, member_of) in rows {
            if superuser {
                return Err(RoleError::Superuser(login));
            }
            if bypasses {
                return Err(RoleError::BypassesRowSecurity(login));
            }
            if owns {
                return Err(RoleError::OwnsTables(login));
            }
            if let Some(role) = member_of {
                return Err(RoleError::Member(login, role));
            }
        }
        Ok(())
    }
}
