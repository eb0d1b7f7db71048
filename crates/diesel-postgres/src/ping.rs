//! The smallest question there is: whether the database answers.

use diesel::sql_types::Bool;
use kernel::{StoreError, SystemContext};

use crate::{Database, QueryName, query_name, statement};

statement! {
    struct Ping {} -> (Bool,) = "SELECT true"
}

const PING: QueryName = query_name!("database.ping", "SELECT", "nothing");

impl Database {
    /// `Ok` when the database answers.
    pub async fn ping(&self, sys: &SystemContext) -> Result<(), StoreError> {
        let _answer: Vec<(bool,)> = self.system(sys, PING, Ping {}).await?;
        Ok(())
    }
}
