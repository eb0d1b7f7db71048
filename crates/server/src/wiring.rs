//! Adapters made and handed to services: [`Foundation`] is what every service stands on,
//! [`Services`] are all of them, [`api`] is what callers reach.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clinics::{
    Access, Administration, Branches, Clinics, Flags, Invitations, Lockout, LockoutPolicy, Members,
    Operators, PasswordHasher, PasswordResets, RolloutAdministration, SessionPolicy, Sessions,
};
use contacts::{Consents, ContactFields, Contacts, Documents};
use conversations::ports::Decoders;
use conversations::{ChangeProcessing, Channels, Inbox, SharedEndpoints, WebhookIngress};
use diesel_postgres::audit::PgAuditTrail;
use diesel_postgres::clinics::{
    PgAdministration, PgAttempts, PgBranches, PgClinics, PgInvitations, PgLogin, PgMails,
    PgMembers, PgRollout, PgSessions,
};
use diesel_postgres::contacts::{
    PgConsentStore, PgContactFieldStore, PgContactStore, PgDocumentStore,
};
use diesel_postgres::conversations::{
    PgChangeStore, PgChannelStore, PgConversationStore, PgIngress, PgSharedEndpoints,
};
use diesel_postgres::jobs::PgJobs;
use diesel_postgres::operators::PgOperators;
use diesel_postgres::stream::TailSignal;
use diesel_postgres::{Database, PoolSettings};
use http_api::health::HealthCheck;
use http_api::{Api, ApiHooks, ApiSettings, OperatorsApi, OperatorsParts};
use job_workers::webhook::ProcessChange;
use job_workers::{Handlers, WakeSignal};
use kernel::counter::SharedCounters;
use kernel::{Clock, Gate, Keys, Metrics, MetricsView, Random, Toolkit};
use redis_cache::{
    CacheSettings, CachedMemberships, RedisCounters, RedisLink, RedisSettings, ResponseCache,
};
use security::passwords::{Argon2Hasher, Bounds, Cost};
use security::tokens::{JwtTokens, SigningKey};
use security::{KeyRing, MasterKey, SystemClock, SystemRandom};

use crate::config::{Config, ConfigError};
use crate::health::{DatabaseCheck, RedisCheck, Switch};
use crate::mail::MailSetup;

/// Who issues access tokens, and for what: part of each token.
const ISSUER: &str = "acolhe";
const AUDIENCE: &str = "acolhe-api";
/// Logins that wait for their turn beside those whose password is being hashed.
const WAITING_LOGINS: usize = 64;

/// What every service stands on: ports that are adapters already.
#[derive(Clone)]
pub struct Foundation {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub random: Arc<dyn Random>,
    /// Keys.
    pub keys: Arc<dyn Keys>,
    /// Access tokens.
    pub tokens: JwtTokens,
    /// Passwords.
    pub hasher: Arc<dyn PasswordHasher>,
    /// How long sessions live.
    pub session_policy: SessionPolicy,
    /// How mails leave, where they do.
    pub mail: Option<MailSetup>,
    /// When logins have to wait.
    pub lockout_policy: LockoutPolicy,
    /// Every store.
    pub database: Database,
    /// What nodes share, where there is a Redis. Its circuit is open until something connects it.
    pub redis: Option<RedisLink>,
    /// Finished answers and memberships. Passed by until somebody follows the stream.
    pub cache: ResponseCache,
    /// Makes that somebody look soon.
    pub tail: TailSignal,
    /// Wakes the workers of this process.
    pub jobs: WakeSignal,
    /// Where measurements go.
    pub metrics: Arc<dyn Metrics>,
}

impl Foundation {
    /// As configured, for `workers` HTTP workers. Connects to nothing yet.
    pub(crate) fn from_config(
        config: &Config,
        workers: usize,
        metrics: Arc<dyn Metrics>,
    ) -> Result<Self, ConfigError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let bounds = Bounds {
            running: workers,
            waiting: WAITING_LOGINS,
        };
        let hasher = Argon2Hasher::new(Cost::STANDARD, bounds, Arc::clone(&random))
            .map_err(|error| ConfigError::refused("http.workers", &error))?;
        let keys: Arc<dyn Keys> = Arc::new(key_ring(config)?);
        let database = database(config, workers, Arc::clone(&metrics))?;
        let redis = redis(config)?;
        let tail = TailSignal::default();
        let settings = CacheSettings {
            on: config.cache.enabled,
            bytes: config.cache.memory as u64 * 1024 * 1024,
            release: release(),
        };
        let wake = tail.clone();
        let cache = ResponseCache::new(
            &settings,
            Arc::clone(&keys),
            Arc::clone(&metrics),
            redis.clone(),
            move || wake.wake(),
        );
        database.tell(cache.sink());
        Ok(Self {
            keys,
            tokens: tokens(config, Arc::clone(&clock), Arc::clone(&random))?,
            hasher: Arc::new(hasher),
            session_policy: config.auth.sessions,
            mail: MailSetup::from_config(config)?,
            lockout_policy: config.auth.lockout,
            database,
            redis,
            cache,
            tail,
            metrics,
            jobs: WakeSignal::new(),
            clock,
            random,
        })
    }

    /// Clock, randomness and keys in one, the present trace, and where measurements go.
    pub fn tools(&self) -> Toolkit {
        Toolkit::new(
            Arc::clone(&self.clock),
            Arc::clone(&self.random),
            Arc::clone(&self.keys),
        )
        .with_traces(otel_telemetry::trace::current_trace_id)
        .with_metrics(Arc::clone(&self.metrics))
    }

    /// The operators' service, for `acolhe-server admin` alone: no route reaches it.
    pub fn administration(&self) -> Administration {
        let store = Arc::new(PgAdministration::new(self.database.clone()));
        Administration::new(store, Arc::clone(&self.hasher), self.tools())
    }

    /// Flags and plans, for `acolhe-server admin` alone.
    pub fn rollout(&self) -> RolloutAdministration {
        let store = Arc::new(PgRollout::new(self.database.clone()));
        RolloutAdministration::new(store, self.tools())
    }

    /// Operators, for their listener and for `acolhe-server admin`.
    pub fn operators(&self) -> Operators {
        let store = Arc::new(PgOperators::new(self.database.clone()));
        let log = Arc::new(PgLogin::new(self.database.clone()));
        Operators::new(store, log, self.tools())
    }

    /// The operators' endpoints, for `acolhe-server admin` alone as well.
    pub fn shared_endpoints(&self) -> SharedEndpoints {
        let store = Arc::new(PgSharedEndpoints::new(self.database.clone()));
        SharedEndpoints::new(store, self.tools())
    }
}

impl Foundation {
    /// Contacts' documents at rest, for `acolhe-server keys` alone.
    pub fn documents(&self) -> Documents {
        let store = PgDocumentStore::new(self.database.clone(), Arc::clone(&self.keys));
        Documents::new(Arc::new(store))
    }
}

impl fmt::Debug for Foundation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Foundation")
    }
}

pub(crate) fn key_ring(config: &Config) -> Result<KeyRing, ConfigError> {
    const NAME: &str = "keys.master";
    let text = config.keys.master.as_ref();
    let text = text.ok_or_else(|| ConfigError::missing(NAME))?;
    let keys: Result<Vec<MasterKey>, _> = text
        .expose()
        .split(between_keys)
        .filter(|key| !key.is_empty())
        .map(MasterKey::parse)
        .collect();
    let keys = keys.map_err(|error| ConfigError::refused(NAME, &error))?;
    KeyRing::new(keys, config.keys.lookup_version)
        .map_err(|error| ConfigError::refused(NAME, &error))
}

/// Keys stand between spaces, lines or commas: the last fit into any file of variables.
pub(crate) fn between_keys(c: char) -> bool {
    c.is_whitespace() || c == ','
}

fn tokens(
    config: &Config,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Result<JwtTokens, ConfigError> {
    const NAME: &str = "auth.signing_key";
    const OLDER: &str = "auth.older_signing_keys";
    let text = config.auth.signing_key.as_ref();
    let text = text.ok_or_else(|| ConfigError::missing(NAME))?;
    let key =
        SigningKey::parse(text.expose()).map_err(|error| ConfigError::refused(NAME, &error))?;
    let older = config.auth.older_signing_keys.as_ref();
    let older: Result<Vec<SigningKey>, _> = older
        .map_or("", |keys| keys.expose())
        .split(between_keys)
        .filter(|key| !key.is_empty())
        .map(SigningKey::parse)
        .collect();
    let older = older.map_err(|error| ConfigError::refused(OLDER, &error))?;
    Ok(JwtTokens::new(key, older, ISSUER, AUDIENCE, clock, random))
}

/// Beside the pool there is one connection by which a process follows what is revoked: whatever
/// requests and jobs do, it never waits for them.
pub(crate) fn watch_database(config: &Config) -> Result<Database, ConfigError> {
    const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
    let settings = &config.database;
    let url = settings.url.as_ref();
    let url = url.ok_or_else(|| ConfigError::missing("database.url"))?;
    Database::new(PoolSettings {
        // One runtime asks, one question at a time: no more than one is ever opened.
        max_connections: 4,
        keep: 2,
        acquire_timeout: settings.acquire_timeout.min(ANSWER_TIMEOUT),
        answer_timeout: settings.answer_timeout.min(ANSWER_TIMEOUT),
        slow_query: settings.slow_query,
        shards: 1,
        ..PoolSettings::new(url.expose().clone())
    })
    .map_err(|error| ConfigError::refused("database.url", &error))
}

fn database(
    config: &Config,
    workers: usize,
    metrics: Arc<dyn Metrics>,
) -> Result<Database, ConfigError> {
    let settings = &config.database;
    let url = settings.url.as_ref();
    let url = url.ok_or_else(|| ConfigError::missing("database.url"))?;
    Database::new(PoolSettings {
        max_connections: settings.max_connections,
        // Those which follow the stream and revocations, and the sequencer's, where this process
        // runs one.
        beside: 2 + usize::from(config.jobs.enabled),
        keep: settings.keep,
        acquire_timeout: settings.acquire_timeout,
        answer_timeout: settings.answer_timeout,
        idle_timeout: settings.idle_timeout,
        slow_query: settings.slow_query,
        // The operators' listener has a worker of its own.
        shards: workers + usize::from(config.operators.port.is_some()),
        warning_window: config.warnings.window,
        metrics,
        ..PoolSettings::new(url.expose().clone())
    })
    .map_err(|error| ConfigError::refused("database.url", &error))
}

fn redis(config: &Config) -> Result<Option<RedisLink>, ConfigError> {
    let Some(url) = &config.redis.url else {
        return Ok(None);
    };
    let link = RedisLink::new(RedisSettings {
        connect_timeout: config.redis.connect_timeout,
        answer_timeout: config.redis.answer_timeout,
        ..RedisSettings::new(url.expose().clone())
    });
    link.map(Some)
        .map_err(|error| ConfigError::refused("redis.url", &error))
}

/// Sets this build's answers apart from those of another, whose shape may differ: a deployment
/// never serves what its predecessor has kept.
fn release() -> Vec<u8> {
    let size = std::env::current_exe()
        .and_then(std::fs::metadata)
        .map_or(0, |program| program.len());
    let mut release = env!("CARGO_PKG_VERSION").as_bytes().to_vec();
    release.extend_from_slice(&size.to_be_bytes());
    release.extend_from_slice(include_bytes!("../../../openapi/acolhe.json"));
    release
}

/// What is done for each kind of job.
pub fn handlers(foundation: &Foundation) -> Handlers {
    // Jobs have connections of their own: they never take a request's.
    let database = foundation.database.for_jobs();
    let changes = Arc::new(PgChangeStore::new(database, foundation.tools()));
    let processing = ChangeProcessing::new(changes, decoders());
    Handlers::new().with(ProcessChange::new(processing))
}

/// Every service that callers or jobs reach.
#[derive(Debug, Clone)]
pub struct Services {
    /// Who comes in.
    pub access: Access,
    /// For how long they stay.
    pub sessions: Sessions,
    /// Who works in the clinic.
    pub members: Members,
    /// Who is invited to.
    pub invitations: Invitations,
    /// Forgotten passwords.
    pub resets: PasswordResets,
    /// The clinic itself.
    pub clinics: Clinics,
    /// Its branches.
    pub branches: Branches,
    /// Its contacts.
    pub contacts: Contacts,
    /// What these allow.
    pub consents: Consents,
    /// What it wants to know of them beside what every clinic does.
    pub contact_fields: ContactFields,
    /// Its WhatsApp numbers.
    pub channels: Channels,
    /// Its conversations.
    pub inbox: Inbox,
    /// What providers deliver.
    pub ingress: WebhookIngress,
    /// What is switched on where.
    pub flags: Flags,
}

/// Every provider there is.
pub(crate) fn decoders() -> Decoders {
    Decoders::new(vec![Arc::new(whatsapp::CloudDecoder)])
}

impl Services {
    /// All of them over PostgreSQL.
    pub fn new(foundation: &Foundation) -> Self {
        let Foundation {
            keys,
            tokens,
            hasher,
            database,
            jobs,
            ..
        } = foundation;
        let tools = foundation.tools();
        let gate = Gate::new(Arc::new(PgAuditTrail::new(database.clone())), tools.clone());
        let login = Arc::new(PgLogin::new(database.clone()));
        let tokens = Arc::new(tokens.clone());
        let sessions = Sessions::new(
            Arc::new(PgSessions::new(database.clone())),
            login.clone(),
            tokens.clone(),
            Arc::new(tokens.revocations().clone()),
            foundation.session_policy,
            tools.clone(),
        );
        let attempts = Arc::new(PgAttempts::new(database.clone()));
        let lockout = Lockout::new(attempts, foundation.lockout_policy, tools.clone());
        let clinics = Arc::new(PgClinics::new(database.clone()));
        let branches = Arc::new(PgBranches::new(database.clone()));
        let contacts = Arc::new(PgContactStore::new(database.clone(), Arc::clone(keys)));
        let consents = Arc::new(PgConsentStore::new(database.clone()));
        let fields = Arc::new(PgContactFieldStore::new(database.clone()));
        let channels = Arc::new(PgChannelStore::new(database.clone(), tools.clone()));
        let inbox = Arc::new(PgConversationStore::new(database.clone(), tools.clone()));
        let ingress = Arc::new(PgIngress::new(database.clone()));
        // Asked beside the requests: it never takes a request's connection.
        let rollout = Arc::new(PgRollout::new(database.for_jobs()));
        let flags = Flags::new(rollout, gate.clone(), tools.clone());
        let jobs = Arc::new(jobs.clone());
        let sends_mail = foundation.mail.is_some();
        Self {
            members: Members::new(
                Arc::new(PgMembers::new(database.clone())),
                gate.clone(),
                tools.clone(),
            ),
            invitations: Invitations::new(
                Arc::new(PgInvitations::new(database.clone())),
                login.clone(),
                Arc::clone(hasher),
                sends_mail,
                gate.clone(),
                tools.clone(),
            ),
            resets: PasswordResets::new(
                Arc::new(PgMails::new(database.clone())),
                login.clone(),
                Arc::clone(hasher),
                sends_mail,
                tools.clone(),
            ),
            access: Access::new(
                login.clone(),
                Arc::new(CachedMemberships::new(login, foundation.cache.clone())),
                Arc::clone(hasher),
                sessions.clone(),
                tokens,
                lockout,
                tools.clone(),
            ),
            sessions,
            branches: Branches::new(branches, clinics.clone(), gate.clone(), tools.clone()),
            clinics: Clinics::new(clinics, gate.clone(), tools.clone()),
            contacts: Contacts::new(contacts, gate.clone(), tools.clone()),
            consents: Consents::new(consents, gate.clone(), tools.clone()),
            contact_fields: ContactFields::new(fields, gate.clone(), tools.clone()),
            channels: Channels::new(channels, decoders(), gate.clone(), tools.clone()),
            inbox: Inbox::new(inbox, gate, tools.clone()),
            ingress: WebhookIngress::new(ingress.clone(), ingress, decoders(), jobs, tools),
            flags,
        }
    }
}

fn hooks() -> ApiHooks {
    ApiHooks {
        link_remote_parent: otel_telemetry::trace::link_remote_parent,
        current_trace_id: otel_telemetry::trace::current_trace_id,
    }
}

/// The operators' API: what this process measured, and what it counts in the database.
pub fn operators_api(
    foundation: &Foundation,
    metrics: Arc<dyn MetricsView>,
    settings: ApiSettings,
) -> OperatorsApi {
    let check = DatabaseCheck {
        database: foundation.database.clone(),
        tools: foundation.tools(),
    };
    let mut checks: Vec<Arc<dyn HealthCheck>> = vec![Arc::new(check)];
    if let Some(redis) = &foundation.redis {
        checks.push(Arc::new(RedisCheck(redis.clone())));
    }
    let parts = OperatorsParts {
        tools: foundation.tools(),
        metrics,
        jobs: Arc::new(PgJobs::new(&foundation.database)),
        checks,
        cache: Arc::new(Switch(foundation.cache.clone())),
        version: env!("CARGO_PKG_VERSION"),
    };
    OperatorsApi::new(parts, foundation.operators(), hooks(), settings)
}

/// The API over these services.
pub fn api(foundation: &Foundation, services: Services, settings: ApiSettings) -> Api {
    let hooks = hooks();
    let check = DatabaseCheck {
        database: foundation.database.clone(),
        tools: foundation.tools(),
    };
    let counters = foundation.redis.clone().map(RedisCounters::new);
    let counters = counters.map(|it| Arc::new(it) as Arc<dyn SharedCounters>);
    let Services {
        access,
        sessions,
        members,
        invitations,
        resets,
        clinics,
        branches,
        contacts,
        consents,
        contact_fields,
        channels,
        inbox,
        ingress,
        flags,
    } = services;
    Api::new(
        foundation.tools(),
        Arc::new(access.clone()),
        hooks,
        settings,
        counters,
    )
    .with_check(Arc::new(check))
    .with_cache(Arc::new(foundation.cache.clone()))
    .with(access)
    .with(sessions)
    .with(members)
    .with(invitations)
    .with(resets)
    .with(clinics)
    .with(branches)
    .with(contacts)
    .with(consents)
    .with(contact_fields)
    .with(channels)
    .with(inbox)
    .with(ingress)
    .with(flags)
}
