//! Every key there is. What `acolhe-server config` prints and what the file and the environment
//! may hold is this table.

/// One key of the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its name, `section.name`.
    pub(crate) name: &'static str,
    /// Its value when nothing is said; `None` where there is none.
    pub(crate) default: Option<&'static str>,
    /// What it decides, its unit and its range.
    pub(crate) meaning: &'static str,
    /// Whether it must never be shown.
    pub(crate) secret: bool,
}

impl Key {
    /// Its name in the environment.
    pub(crate) fn variable(&self) -> String {
        format!("ACOLHE_{}", self.name.replace('.', "_").to_uppercase())
    }
}

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        default: Some(default),
        meaning,
        secret: false,
    }
}

const fn unset(name: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        default: None,
        meaning,
        secret: false,
    }
}

const fn secret(name: &'static str, meaning: &'static str) -> Key {
    Key {
        name,
        default: None,
        meaning,
        secret: true,
    }
}

/// The table.
pub(crate) const KEYS: &[Key] = &[
    key(
        "http.bind",
        "127.0.0.1",
        "Address to listen on. 0.0.0.0 or :: for every one; then put a proxy with TLS before it.",
    ),
    key("http.port", "8080", "Port to listen on."),
    key(
        "http.workers",
        "0",
        "Worker threads; 0 is one for each core.",
    ),
    key(
        "http.max_connections",
        "10000",
        "Connections each worker holds at most.",
    ),
    key(
        "http.head_timeout",
        "5s",
        "How long a caller may take to send a request's head.",
    ),
    key(
        "http.body_timeout",
        "30s",
        "How long a caller may take after the head to send a request's body, in all.",
    ),
    key(
        "http.keep_alive",
        "75s",
        "How long an idle connection is kept.",
    ),
    key(
        "http.shutdown_timeout",
        "20s",
        "How long requests in progress may take after the signal to stop.",
    ),
    key(
        "http.request_timeout",
        "60s",
        "How long a request may take in all until the caller gets a 503. Longer than http.body_timeout and database.answer_timeout together.",
    ),
    key(
        "http.proxy_hops",
        "0",
        "Trusted proxies before the server: so many entries from the right of X-Forwarded-For are believed. With http.proxy_networks, at most so many; 0 sets no bound then.",
    ),
    unset(
        "http.proxy_networks",
        "Networks in which the trusted proxies stand, with spaces between. Where there are any, nobody else is believed, and the caller is the first from the right who stands in none.",
    ),
    key(
        "http.proxy_header",
        "x-forwarded-for",
        "The header in which those proxies name the caller: x-forwarded-for or forwarded. The other one is not read, because they pass on what the caller wrote there.",
    ),
    unset(
        "http.cors_origins",
        "Origins whose pages may read answers, with spaces between, such as https://painel.example. None when unset.",
    ),
    key(
        "http.cors_max_age",
        "10m",
        "How long a browser may remember what such a page may send.",
    ),
    key(
        "http.max_in_flight",
        "1024",
        "Requests in progress at most; 0 is any number. Fewer are let in while they take longer than http.latency_target in the mean; the others get a 503 at once.",
    ),
    key(
        "http.latency_target",
        "250ms",
        "The mean time of a request above which fewer are let in.",
    ),
    key(
        "http.max_active_users",
        "0",
        "Distinct users of this process who may be active within five minutes; 0 is any number. Further ones get a 503, those who are active go on.",
    ),
    key(
        "limits.enabled",
        "true",
        "Whether rates are limited: true or false.",
    ),
    key(
        "limits.user_per_minute",
        "1000",
        "Requests of one user in a minute.",
    ),
    key(
        "limits.clinic_per_minute",
        "20000",
        "Requests in one clinic in a minute, where its plan says nothing else.",
    ),
    key(
        "limits.address_per_minute",
        "300",
        "Requests without a good token from one address (of IPv6, one /64) in a minute.",
    ),
    key(
        "limits.login_per_minute",
        "30",
        "Logins and one-time links that are tried from one address in a minute.",
    ),
    key(
        "limits.search_per_minute",
        "120",
        "Searches of one user in a minute.",
    ),
    key(
        "limits.export_per_minute",
        "10",
        "Exports of one user in a minute.",
    ),
    key(
        "limits.webhook_per_minute",
        "60000",
        "Deliveries to one webhook endpoint in a minute. Providers send again what is refused.",
    ),
    key(
        "limits.nodes",
        "1",
        "Processes that share the load. Without Redis, or while it is down, each takes its part of every limit.",
    ),
    secret(
        "database.url",
        "postgres://… of the server's role (acolhe_app). It owns nothing and cannot bypass row security, or the server refuses to start.",
    ),
    secret(
        "database.owner_url",
        "postgres://… of the owner's role (acolhe_owner), for `migrate` alone.",
    ),
    secret(
        "database.direct_url",
        "postgres://… of the server's role without PgBouncer, for the sequencer and for following the stream; database.url when unset.",
    ),
    key(
        "database.max_connections",
        "20",
        "Connections of this process at most, the sequencer's and those that follow the stream and revocations among them; raised to two for each worker, two for jobs and those.",
    ),
    key(
        "database.keep",
        "5",
        "Idle connections of the pool that are kept, in all.",
    ),
    key(
        "database.acquire_timeout",
        "10s",
        "How long to wait for a connection.",
    ),
    key(
        "database.answer_timeout",
        "15s",
        "How long a unit of work may take in the database until the caller gets a 503; for jobs four times that. Longer than the role's statement_timeout (10 s).",
    ),
    key(
        "database.idle_timeout",
        "300s",
        "How long a connection beyond the kept ones may idle.",
    ),
    key(
        "database.slow_query",
        "1000ms",
        "From which duration on a query is logged as slow.",
    ),
    secret(
        "redis.url",
        "redis://… or, with TLS, rediss://… of a Redis 6 or newer with maxmemory and maxmemory-policy allkeys-lru. Nodes share through it what they have cached. Without one, or while it is down, each keeps to itself; nothing fails.",
    ),
    key(
        "redis.connect_timeout",
        "1s",
        "How long a connection to Redis may take to be made. No request waits for it.",
    ),
    key(
        "redis.answer_timeout",
        "100ms",
        "How long an answer of Redis may take. After five that take longer than this, or five in a row that take half of it, it is done without until it answers again.",
    ),
    key(
        "cache.enabled",
        "true",
        "Whether finished answers and memberships are kept: true or false. SIGUSR1 turns the cache of a running process off at once, SIGUSR2 on again.",
    ),
    key(
        "cache.memory",
        "100",
        "Megabytes of this process that the cache may take, 1 to 65536.",
    ),
    secret(
        "keys.master",
        "Master keys, newest and older, as `version:base64` separated by spaces, commas or lines. The highest version seals. `acolhe-server keys generate` makes one, `acolhe-server keys rotate --help` tells how to replace them.",
    ),
    unset(
        "keys.lookup_version",
        "Version of the master key that look-up hashes use; the lowest when unset.",
    ),
    secret(
        "auth.signing_key",
        "Private key that signs access tokens: Ed25519, PKCS#8 in PEM or a seed of 32 bytes in base64. `acolhe-server keys generate` makes one.",
    ),
    secret(
        "auth.older_signing_keys",
        "Keys whose tokens are still accepted, as base64 seeds separated by spaces, commas or lines.",
    ),
    key(
        "auth.refresh_idle",
        "14d",
        "How long a session may go without being refreshed until it ends.",
    ),
    key(
        "auth.refresh_life",
        "90d",
        "How long a session lives at most, however busy it is.",
    ),
    key(
        "auth.refresh_grace",
        "10s",
        "How long the refresh token before the newest is answered once more, for two tabs that refresh at once.",
    ),
    key(
        "auth.lockout_account_failures",
        "5",
        "Failed logins on one account from which on the next has to wait, 1 to 1000.",
    ),
    key(
        "auth.lockout_address_failures",
        "30",
        "Failed logins from one address (of IPv6 one /64) from which on the next has to wait, 1 to 100000.",
    ),
    key(
        "auth.lockout_first_wait",
        "2s",
        "How long the first wait is; each failure more doubles it.",
    ),
    key(
        "auth.lockout_longest_wait",
        "15m",
        "How long a wait is at most.",
    ),
    key(
        "auth.lockout_forget",
        "1d",
        "After how long without an attempt failures are forgotten.",
    ),
    key(
        "auth.lockout_known",
        "30d",
        "How long after a login an account is counted apart at its address, so that strangers who try it elsewhere do not keep its owner out.",
    ),
    key(
        "auth.secure_cookies",
        "true",
        "Whether the cookie of browsers' sessions is sent over TLS alone; false only where a developer's browser speaks plain HTTP to another host than localhost.",
    ),
    key(
        "telemetry.service_name",
        "acolhe-server",
        "Name of this process in traces and logs.",
    ),
    unset(
        "telemetry.service_instance",
        "Name of this process among those of its service, in traces, logs and metrics; host name and process id when unset.",
    ),
    unset(
        "telemetry.otlp_endpoint",
        "Collector's base URL, such as http://127.0.0.1:4318; nothing is sent when unset.",
    ),
    key(
        "telemetry.otlp_protocol",
        "http",
        "What the collector speaks: http or grpc.",
    ),
    key(
        "telemetry.sampling_ratio",
        "0.05",
        "Share of traces that are kept, from 0 to 1.",
    ),
    key(
        "telemetry.log_filter",
        "info,actix_http=off,actix_server=warn",
        "Which events are logged: a level, then exceptions by target. actix_http reports as errors whatever strangers send that is no HTTP.",
    ),
    key(
        "telemetry.log_format",
        "json",
        "Form of a log line: json or text.",
    ),
    unset(
        "mail.smtp_host",
        "Mail server that takes our mails; without it (and without mail.folder) nobody is invited and no password is reset.",
    ),
    unset(
        "mail.smtp_port",
        "Its port; when unset 587 for starttls, 465 for implicit, 25 for none.",
    ),
    key(
        "mail.smtp_tls",
        "starttls",
        "How its connection is protected: starttls (demanded, not hoped for), implicit, or none for one on this machine.",
    ),
    unset(
        "mail.smtp_user",
        "Account that logs in to it; nobody when unset.",
    ),
    secret("mail.smtp_password", "That account's password."),
    unset(
        "mail.smtp_ca_file",
        "File of certificates in PEM that are trusted beside the system's.",
    ),
    key(
        "mail.smtp_timeout",
        "20s",
        "How long one mail may take in all, a minute at most.",
    ),
    unset(
        "mail.from",
        "Who mails are from, such as Acolhe <no-reply@example.com>.",
    ),
    unset(
        "mail.link_base",
        "Address of the front end, to which the links in mails lead: /accept-invitation and /reset-password below it, with #token=….",
    ),
    unset(
        "mail.folder",
        "Folder into which mails are written instead, for development alone: they hold links that let people in.",
    ),
    key(
        "telemetry.metrics_interval",
        "15s",
        "How often metrics are sent to the collector.",
    ),
    key(
        "telemetry.slow_request",
        "500ms",
        "From which duration on a request is logged as slow.",
    ),
    key(
        "telemetry.lag_warning",
        "100ms",
        "From which delay of a worker's event loop on that is logged.",
    ),
    unset(
        "telemetry.memory_limit",
        "Bytes of memory that the process should not exceed: more is logged, and shown to operators. When unset, the limit of its control group, where there is one.",
    ),
    key(
        "telemetry.warning_window",
        "60s",
        "Warnings of one sort (a slow route, a slow query, a lagging worker) are logged once in so long a time, with how many were not.",
    ),
    key(
        "operators.bind",
        "127.0.0.1",
        "Address of the operators' own listener. It speaks HTTP in clear: keep it on this machine, or in a network of its own.",
    ),
    unset(
        "operators.port",
        "Port of the operators' own listener (health, metrics, clinics, jobs); there is none when unset. `acolhe-server admin create-operator` makes a token for it.",
    ),
    key(
        "jobs.enabled",
        "true",
        "Whether this process also runs jobs and the sequencer: true or false.",
    ),
    key(
        "jobs.message_concurrency",
        "10",
        "Jobs of the queue message-worker that run at once, 0 to 1000; 0 leaves it to others.",
    ),
];

/// The key of this name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The known name that is nearest to an unknown one, if any is near.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|key| (distance(name, key.name), key.name))
        .min()
        .filter(|(distance, known)| *distance <= known.len().div_ceil(2))
        .map(|(_, known)| known)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        for (j, right) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            let cost = diagonal + usize::from(left != *right);
            let best = cost.min(above + 1).min(last + 1);
            diagonal = above;
            if let Some(cell) = row.get_mut(j) {
                *cell = last;
            }
            last = best;
        }
        if let Some(cell) = row.last_mut() {
            *cell = last;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        assert_eq!(nearest("http.prot"), Some("http.port"));
        assert_eq!(nearest("databse.url"), Some("database.url"));
        assert_eq!(
            nearest("database.max_conections"),
            Some("database.max_connections")
        );
        assert_eq!(nearest("something.else.entirely.different"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn every_key_has_a_section_and_a_meaning() {
        for key in KEYS {
            assert_eq!(key.name.split('.').count(), 2, "{}", key.name);
            assert!(key.meaning.ends_with('.'), "{}", key.name);
        }
    }
}
