//! What the server's health depends on.

use std::time::Duration;

use async_trait::async_trait;
use diesel_postgres::Database;
use http_api::health::HealthCheck;
use kernel::{Origin, SystemContext, SystemPurpose, Toolkit};

/// A load balancer waits no longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the database answers.
pub(crate) struct DatabaseCheck {
    pub(crate) database: Database,
    pub(crate) tools: Toolkit,
}

#[async_trait]
impl HealthCheck for DatabaseCheck {
    fn name(&self) -> &'static str {
        "database"
    }

    async fn is_well(&self) -> bool {
        let origin = Origin::internal(self.tools.id());
        let sys = SystemContext::new(SystemPurpose::OperatorCounts, origin);
        let answer = tokio::time::timeout(PATIENCE, self.database.ping(&sys)).await;
        matches!(answer, Ok(Ok(())))
    }
}
