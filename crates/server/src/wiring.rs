//! Adapters made from the configuration and handed to services. One function for each part, so
//! that `serve` and the commands build no more than they need.

use std::sync::Arc;

use diesel_postgres::{Database, PoolSettings};
use http_api::{Api, ApiHooks, ApiSettings};
use kernel::{Clock, Random, Toolkit};
use security::{KeyRing, MasterKey, SigningKey, SystemClock, SystemRandom};

use crate::config::{Config, ConfigError};
use crate::health::DatabaseCheck;

/// Clock, randomness and the configured keys.
pub(crate) fn toolkit(config: &Config) -> Result<Toolkit, ConfigError> {
    const NAME: &str = "keys.master";
    let text = config.keys.master.as_ref();
    let text = text.ok_or_else(|| ConfigError::missing(NAME))?;
    let keys: Result<Vec<MasterKey>, _> = text
        .expose()
        .split_whitespace()
        .map(MasterKey::parse)
        .collect();
    let keys = keys.map_err(|error| ConfigError::refused(NAME, &error))?;
    let ring = KeyRing::new(keys, config.keys.lookup_version)
        .map_err(|error| ConfigError::refused(NAME, &error))?;
    Ok(Toolkit::new(clock(), random(), Arc::new(ring)))
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn random() -> Arc<dyn Random> {
    Arc::new(SystemRandom)
}

/// The database through the server's own role, its pool shared by `workers` HTTP workers.
pub(crate) fn database(config: &Config, workers: usize) -> Result<Database, ConfigError> {
    let settings = &config.database;
    let url = settings.url.as_ref();
    let url = url.ok_or_else(|| ConfigError::missing("database.url"))?;
    Database::new(PoolSettings {
        max_connections: settings.max_connections,
        keep: settings.keep,
        acquire_timeout: settings.acquire_timeout,
        idle_timeout: settings.idle_timeout,
        slow_query: settings.slow_query,
        shards: workers,
        ..PoolSettings::new(url.expose().clone())
    })
    .map_err(|error| ConfigError::refused("database.url", &error))
}

/// Lets nobody in: stands until memberships are kept in the database.
struct Nobody;

#[async_trait::async_trait]
impl http_api::Authenticator for Nobody {
    fn verify(&self, _: &str) -> Result<clinics::Identity, clinics::InvalidToken> {
        Err(clinics::InvalidToken)
    }
    async fn grant(
        &self,
        _: kernel::Origin,
        _: clinics::Identity,
        _: kernel::ClinicId,
    ) -> Result<Option<kernel::Grant>, kernel::StoreError> {
        Ok(None)
    }
}

/// The API with every service.
pub(crate) fn api(
    config: &Config,
    tools: &Toolkit,
    database: &Database,
) -> Result<Api, ConfigError> {
    let hooks = ApiHooks {
        link_remote_parent: otel_telemetry::trace::link_remote_parent,
        current_trace_id: otel_telemetry::trace::current_trace_id,
    };
    let settings = ApiSettings {
        proxy_hops: config.http.proxy_hops,
    };
    let check = DatabaseCheck {
        database: database.clone(),
        tools: tools.clone(),
    };
    let access = Arc::new(Nobody);
    Ok(Api::new(tools.clone(), access, hooks, settings).with_check(Arc::new(check)))
}

/// A new master key and signing key, as lines of the environment.
pub(crate) fn generate_keys(version: u16) -> String {
    let master = MasterKey::generate(version, &SystemRandom);
    let signing = SigningKey::generate(&SystemRandom);
    format!("ACOLHE_KEYS_MASTER={master}\nACOLHE_AUTH_SIGNING_KEY={signing}\n")
}
