//! What may break a rule, and why.

/// One exception.
pub(crate) struct Allowed {
    /// The rule's name.
    pub(crate) rule: &'static str,
    /// What breaks it.
    pub(crate) object: &'static str,
    /// Why it may.
    #[expect(dead_code, reason = "for whoever reads the list")]
    pub(crate) because: &'static str,
}

const fn allow(rule: &'static str, object: &'static str, because: &'static str) -> Allowed {
    Allowed {
        rule,
        object,
        because,
    }
}

const IS_THE_TENANT: &str = "the clinic itself: its id is the tenant";
const USERS_ARE_NOT_A_CLINICS: &str = "a user may belong to several clinics";
const NO_CLINIC_IS_KNOWN: &str = "what happened where no clinic is known; sealed from acolhe_app";
const ONE_ROW: &str = "one row for the whole installation; sealed from acolhe_app";
const A_FLAG_IS_ALL_CLINICS: &str = "a flag's share is of all clinics; sealed from acolhe_app";
const ORDER_OF_ALL: &str = "one order for the whole outbox; acolhe_app may only insert";
const THE_INGRESS: &str = "the ingress is nobody's until it is routed; ids are random, and an \
                           endpoint's path is a secret";
const SESSIONS_ARE_A_USERS: &str =
    "a session is a user's, in all their clinics; sealed from acolhe_app";
const MAILS_ARE_NOBODYS: &str =
    "mails and their links come before any clinic; sealed from acolhe_app";
const NO_CLINICS: &str =
    "operators run the installation and are of no clinic; sealed from acolhe_app";
const DEFINER_ALONE: &str = "asked by functions of acolhe_definer alone, across clinics";

/// All of them.
pub(crate) const ALLOWED: &[Allowed] = &[
    allow("policy", "app.clinics tenant", IS_THE_TENANT),
    allow(
        "policy",
        "app.users tenant",
        "members of the present clinic, by a sub-select on memberships",
    ),
    allow("tenant-column", "app.clinics", IS_THE_TENANT),
    allow("tenant-column", "app.users", USERS_ARE_NOT_A_CLINICS),
    allow("tenant-column", "app.security_log", NO_CLINIC_IS_KNOWN),
    allow("tenant-column", "app.sequencer_heartbeat", ONE_ROW),
    allow("tenant-column", "app.rollout_revision", ONE_ROW),
    allow("tenant-column", "app.flag_rules", A_FLAG_IS_ALL_CLINICS),
    allow("tenant-column", "app.webhook_endpoints", THE_INGRESS),
    allow("tenant-column", "app.webhook_endpoint_secrets", THE_INGRESS),
    allow("tenant-column", "app.webhook_inbox", THE_INGRESS),
    allow("tenant-column", "app.sessions", SESSIONS_ARE_A_USERS),
    allow("tenant-column", "app.mail_outbox", MAILS_ARE_NOBODYS),
    allow("tenant-column", "app.one_time_tokens", MAILS_ARE_NOBODYS),
    allow("tenant-column", "app.password_resets", MAILS_ARE_NOBODYS),
    allow("tenant-column", "app.login_attempts", NO_CLINIC_IS_KNOWN),
    allow("tenant-column", "app.operators", NO_CLINICS),
    allow("index", "clinics_pk", IS_THE_TENANT),
    allow("index", "users_pk", USERS_ARE_NOT_A_CLINICS),
    allow("index", "users_email_unique", USERS_ARE_NOT_A_CLINICS),
    allow("index", "security_log_pk", NO_CLINIC_IS_KNOWN),
    allow("index", "sequencer_heartbeat_pk", ONE_ROW),
    allow("index", "rollout_revision_pk", ONE_ROW),
    allow("index", "flag_rules_pk", A_FLAG_IS_ALL_CLINICS),
    allow("index", "outbox_pk", ORDER_OF_ALL),
    allow("index", "memberships_by_user", DEFINER_ALONE),
    allow("index", "mail_outbox_pk", MAILS_ARE_NOBODYS),
    allow("index", "mail_outbox_due", DEFINER_ALONE),
    allow("index", "mail_outbox_finished", DEFINER_ALONE),
    allow("index", "one_time_tokens_pk", MAILS_ARE_NOBODYS),
    allow("index", "one_time_tokens_expiring", DEFINER_ALONE),
    allow("index", "password_resets_pk", MAILS_ARE_NOBODYS),
    allow("index", "password_resets_of_subject", DEFINER_ALONE),
    allow("index", "password_resets_of_origin", DEFINER_ALONE),
    allow("index", "password_resets_of_user", DEFINER_ALONE),
    allow("index", "password_resets_by_creation", DEFINER_ALONE),
    allow("index", "stream_topics_by_batch", DEFINER_ALONE),
    allow("index", "jobs_waiting", DEFINER_ALONE),
    allow("index", "jobs_delayed", DEFINER_ALONE),
    allow("index", "jobs_leased", DEFINER_ALONE),
    allow("index", "jobs_completed", DEFINER_ALONE),
    allow("index", "jobs_dead", DEFINER_ALONE),
    allow("index", "operators_pk", NO_CLINICS),
    allow("index", "operators_token_hash_unique", NO_CLINICS),
    allow("index", "sessions_pk", SESSIONS_ARE_A_USERS),
    allow("index", "sessions_by_user", DEFINER_ALONE),
    allow("index", "sessions_by_end", DEFINER_ALONE),
    allow("index", "sessions_by_idleness", DEFINER_ALONE),
    allow("index", "idempotency_keys_expiring", DEFINER_ALONE),
    allow("index", "login_attempts_pk", NO_CLINIC_IS_KNOWN),
    allow("index", "login_attempts_by_end", DEFINER_ALONE),
    allow("index", "webhook_endpoints_pk", THE_INGRESS),
    allow("index", "webhook_endpoints_path_key_unique", THE_INGRESS),
    allow("index", "webhook_endpoint_secrets_pk", THE_INGRESS),
    allow("index", "webhook_inbox_pk", THE_INGRESS),
    allow("index", "webhook_inbox_digest_unique", THE_INGRESS),
    allow("index", "webhook_inbox_unrouted", DEFINER_ALONE),
    allow(
        "index",
        "channels_route_unique",
        "a number is one clinic's within an endpoint; acolhe_app makes channels of the clinic's own \
         endpoints alone and moves none",
    ),
    allow(
        "foreign-key",
        "memberships_user_fk",
        USERS_ARE_NOT_A_CLINICS,
    ),
    allow("foreign-key", "sessions_user_fk", SESSIONS_ARE_A_USERS),
    allow(
        "foreign-key",
        "password_resets_user_fk",
        USERS_ARE_NOT_A_CLINICS,
    ),
    allow("foreign-key", "channels_endpoint_fk", THE_INGRESS),
    allow(
        "foreign-key",
        "webhook_endpoint_secrets_endpoint_fk",
        THE_INGRESS,
    ),
    allow("foreign-key", "webhook_inbox_endpoint_fk", THE_INGRESS),
    allow(
        "stray-relation",
        "__diesel_schema_migrations",
        "the list of applied migrations, which acolhe_app only reads",
    ),
    allow(
        "secret-column",
        "app.webhook_endpoints.path_key",
        "shown to the clinic whose endpoint it is",
    ),
    allow(
        "secret-column",
        "app.webhook_endpoints.verify_token_sealed",
        "sealed; of the present clinic's endpoints",
    ),
    allow(
        "secret-column",
        "app.webhook_endpoint_secrets.sealed",
        "sealed; of the present clinic's endpoints",
    ),
    allow(
        "secret-column",
        "app.idempotency_keys.answer",
        "sealed; an answer of the present clinic's, given again to who had it",
    ),
    allow(
        "definer-column",
        "app.users.email",
        "login finds a user by it",
    ),
    allow("definer-column", "app.users.name", "login greets by it"),
    allow(
        "definer-column",
        "app.users.password_hash",
        "login verifies it",
    ),
    allow(
        "definer-column",
        "app.webhook_endpoints.path_key",
        "a delivery's endpoint is found by it",
    ),
    allow(
        "definer-column",
        "app.webhook_endpoints.verify_token_sealed",
        "sealed; a delivery is verified before its clinic is known",
    ),
    allow(
        "definer-column",
        "app.webhook_endpoint_secrets.sealed",
        "sealed; a delivery is verified before its clinic is known",
    ),
    allow(
        "definer-column",
        "app.sessions.token_hash",
        "hashed; the token that refreshes is compared with it",
    ),
    allow(
        "definer-column",
        "app.sessions.previous_hash",
        "hashed; the token before the newest is compared with it",
    ),
    allow(
        "definer-column",
        "app.sessions.successor_nonce",
        "worthless without the token and the key; a second tab gets the same successor by it",
    ),
    allow(
        "definer-column",
        "app.sessions.user_agent",
        "shown to the session's own user",
    ),
    allow(
        "definer-column",
        "app.sessions.address",
        "shown to the session's own user",
    ),
    allow(
        "definer-column",
        "app.one_time_tokens.hash",
        "a link is found by it; keyed, and good for an hour or some days",
    ),
    allow(
        "definer-column",
        "app.password_resets.subject_hash",
        "requests for one account are counted by it",
    ),
    allow(
        "definer-column",
        "app.password_resets.origin_hash",
        "requests from one address are counted by it",
    ),
    allow(
        "definer-column",
        "app.login_attempts.subject",
        "keyed hash; attempts on an account or from an address are counted by it",
    ),
    allow(
        "definer-column",
        "app.operators.token_hash",
        "hashed; the token that comes in is compared with it",
    ),
    allow(
        "definer-column",
        "app.operators.name",
        "shown to operators alone",
    ),
    allow("password-function", "find_credentials", "login verifies it"),
    allow(
        "password-function",
        "open_session",
        "no session begins by a password that was changed meanwhile",
    ),
    allow(
        "password-function",
        "change_password",
        "replaces it where it is the one that was verified",
    ),
    allow(
        "password-function",
        "join_clinic",
        "an invited person's account is made with it",
    ),
    allow(
        "password-function",
        "reset_password",
        "a one-time link sets it anew",
    ),
    allow(
        "password-function",
        "create_member",
        "an invitation's user is made with it",
    ),
];
