//! The configuration: every key with its default and meaning ([`KEYS`]), read from a file and
//! the environment ([`load`]), checked as a whole before anything starts ([`Config`]).
//!
//! The environment wins over the file, the file over the default. `http.port` is `port` under
//! `[http]` in the file and `ACOLHE_HTTP_PORT` in the environment. A key marked secret may be
//! given as `…_file`, the path of a file that holds it. Errors name the key and what would be
//! right; they never repeat a value.

mod keys;
mod parse;
mod source;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clinics::{LockoutPolicy, SessionPolicy};
use http_api::LimitSettings;
use http_api::address::{ForwardedHeader, Network};
use http_api::cors::Origin;
use kernel::Sensitive;
use otel_telemetry::TelemetrySettings;

pub(crate) use keys::KEYS;
pub(crate) use parse::ConfigError;
pub(crate) use source::{Sources, load};

use parse::Reader;

/// The whole configuration, each value valid.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) http: Http,
    pub(crate) database: Database,
    pub(crate) redis: Redis,
    pub(crate) cache: Cache,
    pub(crate) keys: Keys,
    pub(crate) auth: Auth,
    pub(crate) telemetry: TelemetrySettings,
    pub(crate) warnings: Warnings,
    pub(crate) operators: Operators,
    pub(crate) jobs: Jobs,
    pub(crate) mail: Mail,
}

/// How requests come in.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(crate) bind: IpAddr,
    pub(crate) port: u16,
    pub(crate) workers: usize,
    pub(crate) max_connections: usize,
    pub(crate) head_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) proxy_hops: usize,
    pub(crate) proxy_networks: Vec<Network>,
    pub(crate) proxy_header: ForwardedHeader,
    pub(crate) cors_origins: Vec<Origin>,
    pub(crate) cors_max_age: Duration,
    pub(crate) limits: LimitSettings,
}

/// How the database is reached.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) url: Option<Sensitive<String>>,
    pub(crate) owner_url: Option<Sensitive<String>>,
    pub(crate) direct_url: Option<Sensitive<String>>,
    pub(crate) max_connections: usize,
    pub(crate) keep: usize,
    pub(crate) acquire_timeout: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) slow_query: Duration,
}

/// How Redis is reached.
#[derive(Debug, Clone)]
pub(crate) struct Redis {
    pub(crate) url: Option<Sensitive<String>>,
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_timeout: Duration,
}

/// What is kept.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    pub(crate) enabled: bool,
    /// In megabytes.
    pub(crate) memory: usize,
}

/// Master keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) master: Option<Sensitive<String>>,
    pub(crate) lookup_version: Option<u16>,
}

/// Signing in.
#[derive(Debug, Clone)]
pub(crate) struct Auth {
    pub(crate) signing_key: Option<Sensitive<String>>,
    pub(crate) older_signing_keys: Option<Sensitive<String>>,
    pub(crate) sessions: SessionPolicy,
    pub(crate) lockout: LockoutPolicy,
    pub(crate) secure_cookies: bool,
}

/// How mails are sent.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub(crate) smtp_host: Option<String>,
    pub(crate) smtp_port: Option<u16>,
    pub(crate) smtp_tls: smtp_mail::Tls,
    pub(crate) smtp_user: Option<String>,
    pub(crate) smtp_password: Option<Sensitive<String>>,
    pub(crate) smtp_ca_file: Option<PathBuf>,
    pub(crate) smtp_timeout: Duration,
    pub(crate) from: Option<String>,
    pub(crate) link_base: Option<String>,
    pub(crate) folder: Option<PathBuf>,
}

/// The work that time and events call for.
#[derive(Debug, Clone)]
pub(crate) struct Jobs {
    pub(crate) enabled: bool,
    /// Jobs of the message queue that run at once.
    pub(crate) message_concurrency: usize,
}

/// Where operators come in.
#[derive(Debug, Clone)]
pub(crate) struct Operators {
    pub(crate) bind: IpAddr,
    /// `None`: nowhere.
    pub(crate) port: Option<u16>,
}

/// From when on something is told as too slow, and how often.
#[derive(Debug, Clone)]
pub(crate) struct Warnings {
    pub(crate) slow_request: Duration,
    pub(crate) window: Duration,
}

impl Config {
    /// From the values of every source. All that is wrong is told at once.
    pub(crate) fn read(values: &source::Values) -> Result<Self, ConfigError> {
        let mut read = Reader::new(values);
        let config = Self {
            http: Http {
                bind: read.parsed("http.bind", IpAddr::from([127, 0, 0, 1])),
                port: read.parsed("http.port", 0),
                workers: read.within("http.workers", 0, 1024),
                max_connections: read.within("http.max_connections", 1, 1_000_000),
                head_timeout: read.duration("http.head_timeout"),
                body_timeout: read.duration("http.body_timeout"),
                keep_alive: read.duration("http.keep_alive"),
                shutdown_timeout: read.duration("http.shutdown_timeout"),
                request_timeout: read.duration("http.request_timeout"),
                proxy_hops: read.within("http.proxy_hops", 0, 8),
                proxy_networks: read.list(
                    "http.proxy_networks",
                    "must be networks such as 10.0.0.0/8 or 2001:db8::/32, with spaces between",
                ),
                proxy_header: read.choice("http.proxy_header", "x-forwarded-for or forwarded"),
                cors_origins: read.list(
                    "http.cors_origins",
                    "must be origins such as https://painel.example, with spaces between; http is for this machine alone",
                ),
                cors_max_age: read.duration("http.cors_max_age"),
                limits: limits(&mut read),
            },
            database: Database {
                url: read.secret("database.url"),
                owner_url: read.secret("database.owner_url"),
                direct_url: read.secret("database.direct_url"),
                max_connections: read.within("database.max_connections", 2, 1000),
                keep: read.within("database.keep", 0, 1000),
                acquire_timeout: read.duration("database.acquire_timeout"),
                answer_timeout: read.duration("database.answer_timeout"),
                idle_timeout: read.duration("database.idle_timeout"),
                slow_query: read.duration("database.slow_query"),
            },
            redis: Redis {
                url: read.secret("redis.url"),
                connect_timeout: read.duration("redis.connect_timeout"),
                answer_timeout: read.duration("redis.answer_timeout"),
            },
            cache: Cache {
                enabled: read.parsed("cache.enabled", true),
                memory: read.within("cache.memory", 1, 65_536),
            },
            keys: Keys {
                master: read.secret("keys.master"),
                lookup_version: read.optional("keys.lookup_version"),
            },
            auth: Auth {
                signing_key: read.secret("auth.signing_key"),
                older_signing_keys: read.secret("auth.older_signing_keys"),
                sessions: SessionPolicy {
                    idle: read.span("auth.refresh_idle"),
                    life: read.span("auth.refresh_life"),
                    grace: read.duration("auth.refresh_grace"),
                },
                lockout: LockoutPolicy {
                    account_failures: read.count("auth.lockout_account_failures", 1000),
                    address_failures: read.count("auth.lockout_address_failures", 100_000),
                    first_wait: read.duration("auth.lockout_first_wait"),
                    longest_wait: read.duration("auth.lockout_longest_wait"),
                    forget: read.span("auth.lockout_forget"),
                    known: read.span("auth.lockout_known"),
                },
                secure_cookies: read.parsed("auth.secure_cookies", true),
            },
            telemetry: TelemetrySettings {
                service_name: read.text("telemetry.service_name"),
                service_instance: read
                    .optional("telemetry.service_instance")
                    .unwrap_or_else(instance),
                otlp_endpoint: read.optional("telemetry.otlp_endpoint"),
                otlp_protocol: read.choice("telemetry.otlp_protocol", "http or grpc"),
                sampling_ratio: read.ratio("telemetry.sampling_ratio"),
                log_filter: read.text("telemetry.log_filter"),
                log_format: read.choice("telemetry.log_format", "json or text"),
                metrics_interval: read.duration("telemetry.metrics_interval"),
                memory_limit: read.optional("telemetry.memory_limit"),
                warning_window: read.duration("telemetry.warning_window"),
                lag_warning: read.duration("telemetry.lag_warning"),
                ..TelemetrySettings::default()
            },
            operators: Operators {
                bind: read.parsed("operators.bind", IpAddr::from([127, 0, 0, 1])),
                port: read.optional("operators.port"),
            },
            warnings: Warnings {
                slow_request: read.duration("telemetry.slow_request"),
                window: read.duration("telemetry.warning_window"),
            },
            mail: Mail {
                smtp_host: read.optional("mail.smtp_host"),
                smtp_port: read.optional("mail.smtp_port"),
                smtp_tls: read.choice("mail.smtp_tls", "starttls, implicit or none"),
                smtp_user: read.optional("mail.smtp_user"),
                smtp_password: read.secret("mail.smtp_password"),
                smtp_ca_file: read.optional("mail.smtp_ca_file"),
                smtp_timeout: read.duration("mail.smtp_timeout"),
                from: read.optional("mail.from"),
                link_base: read.optional("mail.link_base"),
                folder: read.optional("mail.folder"),
            },
            jobs: Jobs {
                enabled: read.parsed("jobs.enabled", true),
                message_concurrency: read.within("jobs.message_concurrency", 0, 1000),
            },
        };
        read.finish(config)
    }
}

fn limits(read: &mut Reader<'_>) -> LimitSettings {
    let mut units = |name| {
        let units = read.within(name, 1, 60_000_000);
        u32::try_from(units).unwrap_or(u32::MAX)
    };
    LimitSettings {
        user: units("limits.user_per_minute"),
        clinic: units("limits.clinic_per_minute"),
        address: units("limits.address_per_minute"),
        login: units("limits.login_per_minute"),
        search: units("limits.search_per_minute"),
        export: units("limits.export_per_minute"),
        webhook: units("limits.webhook_per_minute"),
        enabled: read.parsed("limits.enabled", true),
        nodes: u32::try_from(read.within("limits.nodes", 1, 1000)).unwrap_or(1),
        max_active_users: read.within("http.max_active_users", 0, 1_000_000),
        max_in_flight: read.within("http.max_in_flight", 0, 1_000_000),
        latency_target: read.duration("http.latency_target"),
    }
}

/// This machine and process. In a container the host's name is the container's.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "localhost",
        host => host,
    };
    format!("{host}:{}", std::process::id())
}

#[cfg(test)]
mod tests;
