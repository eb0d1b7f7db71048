//! The values that labels may have: each a closed list, so that no caller decides how many series
//! there are.

/// Makes an enum whose variants are the values of one label.
macro_rules! label {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// Every value, in the order of [`Self::index`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// Their names, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($text,)+];

            /// Its name in the label.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Its place in [`Self::ALL`].
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// A request's method. Callers may invent any: those outside RFC 9110 and PATCH are one.
    Method {
        /// GET; a HEAD is counted apart, though it is answered as a GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// PUT.
        Put = "PUT",
        /// PATCH.
        Patch = "PATCH",
        /// DELETE.
        Delete = "DELETE",
        /// OPTIONS.
        Options = "OPTIONS",
        /// TRACE.
        Trace = "TRACE",
        /// CONNECT.
        Connect = "CONNECT",
        /// Any other, as the semantic conventions spell it.
        Other = "_OTHER",
    }
}

impl Method {
    /// The method of that name. Case matters (RFC 9110 section 9.1).
    pub fn of(name: &str) -> Self {
        Self::ALL
            .iter()
            .copied()
            .find(|method| method.name() == name)
            .unwrap_or(Self::Other)
    }
}

label! {
    /// Who uses a database connection.
    Lane {
        /// Requests.
        Requests = "requests",
        /// Jobs and other background work.
        Jobs = "jobs",
    }
}

label! {
    /// What a database connection does.
    ConnectionState {
        /// It waits for work.
        Idle = "idle",
        /// Somebody works with it.
        Used = "used",
    }
}

label! {
    /// What is cached: one row of the cache policy each.
    CacheDomain {
        /// Contact lists and details.
        Contacts = "contacts",
        /// Appointments and day views.
        Appointments = "appointments",
        /// Conversation lists.
        Conversations = "conversations",
        /// Funnels and stages.
        Funnels = "funnels",
        /// Medical records.
        Records = "records",
        /// Analytics.
        Analytics = "analytics",
        /// Settings, services, prompts.
        Settings = "settings",
        /// Sessions.
        Sessions = "sessions",
        /// Memberships.
        Memberships = "memberships",
    }
}

label! {
    /// How a cache look-up ended.
    CacheOutcome {
        /// Found in the process.
        HitL1 = "hit_l1",
        /// Found in Redis.
        HitL2 = "hit_l2",
        /// Found nowhere: the store was asked.
        Miss = "miss",
        /// Not looked for: switched off, lagging, or just written by this node.
        Bypass = "bypass",
    }
}

label! {
    /// A tier of the cache.
    CacheTier {
        /// In the process.
        L1 = "l1",
        /// Redis.
        L2 = "l2",
    }
}

label! {
    /// How an attempt of a job ended.
    JobOutcome {
        /// Its effect stands.
        Done = "done",
        /// It failed and is tried again.
        Retried = "retried",
        /// It failed for good and stays as a dead letter.
        Dead = "dead",
        /// Its lease was lost, or its failure could not be recorded.
        Lost = "lost",
    }
}

label! {
    /// Where a job stands.
    JobState {
        /// Due.
        Waiting = "waiting",
        /// Not due yet.
        Delayed = "delayed",
        /// Being worked on.
        Active = "active",
        /// A dead letter.
        Dead = "dead",
    }
}

label! {
    /// How a delivery of a provider was answered.
    WebhookOutcome {
        /// It is durable.
        Stored = "stored",
        /// Its signature is not the endpoint's.
        Refused = "refused",
        /// There is no such endpoint.
        Unknown = "unknown",
        /// The database did not take it: the provider sends it again.
        Failed = "failed",
    }
}

label! {
    /// What became of one change of a delivery.
    ChangeOutcome {
        /// Stored, and a clinic's job.
        Routed = "routed",
        /// Stored; no channel takes it yet.
        Unrouted = "unrouted",
        /// Known already.
        Duplicate = "duplicate",
    }
}

label! {
    /// Whose limit refused a request.
    RateLimit {
        /// The user's.
        User = "user",
        /// The clinic's.
        Clinic = "clinic",
        /// The operation's.
        Operation = "operation",
        /// The address's, before anybody has logged in.
        Address = "address",
        /// The webhook endpoint's.
        Webhook = "webhook",
    }
}

label! {
    /// Why a request was turned away unserved.
    ShedReason {
        /// Too many are in progress.
        Busy = "busy",
        /// The ceiling of active users is reached.
        ActiveUsers = "active_users",
        /// It waited too long for its turn.
        Waited = "waited",
    }
}

label! {
    /// Which share of the processor's time.
    CpuMode {
        /// In the program.
        User = "user",
        /// In the kernel, on its behalf.
        System = "system",
    }
}

label! {
    /// Which quantile of a window.
    Quantile {
        /// The median.
        P50 = "0.5",
        /// One in twenty takes longer.
        P95 = "0.95",
        /// One in a hundred takes longer.
        P99 = "0.99",
    }
}

label! {
    /// Over which time a quantile is taken; each ends with the present.
    Window {
        /// One minute.
        Minute = "1m",
        /// Five minutes.
        FiveMinutes = "5m",
        /// One hour.
        Hour = "1h",
    }
}

impl Window {
    /// Its length in seconds.
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::FiveMinutes => 300,
            Self::Hour => 3600,
        }
    }
}
