//! What the server's health depends on.

use std::time::Duration;

use async_trait::async_trait;
use diesel_postgres::Database;
use http_api::CacheSwitch;
use http_api::health::HealthCheck;
use kernel::{Origin, SystemContext, SystemPurpose, Toolkit};
use redis_cache::{RedisLink, ResponseCache};

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

/// Whether Redis answers. Nothing fails when it does not: operators are told, a load balancer is
/// not.
pub(crate) struct RedisCheck(pub(crate) RedisLink);

#[async_trait]
impl HealthCheck for RedisCheck {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn is_well(&self) -> bool {
        self.0.is_up()
    }
}

/// The cache, as operators switch it.
pub(crate) struct Switch(pub(crate) ResponseCache);

impl CacheSwitch for Switch {
    fn is_on(&self) -> bool {
        self.0.is_on()
    }

    fn switch(&self, on: bool) {
        self.0.switch(on);
    }
}
