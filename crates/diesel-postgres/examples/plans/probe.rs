//! Asks the stores, and catches the plans that come with the answers.

use std::sync::{Arc, Mutex, PoisonError};

use contacts::ports::ContactStore as _;
use conversations::ports::ConversationStore as _;
use diesel_postgres::contacts::PgContactStore;
use diesel_postgres::conversations::PgConversationStore;
use diesel_postgres::{Database, PoolSettings};
use kernel::{Action, Permissions, TenantContext};
use test_support::{Crowd, FixedClock, keys, toolkit};
use tokio_postgres::Client;

use crate::cases::{Ask, Case};
use crate::database::{Filled, explain_the_role};
use crate::plan::Plan;

/// How often a case is asked; the first time prepares it.
const TIMES: usize = 8;

static NOTICES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The driver tells a connection's notices to the log.
struct Notices;

impl log::Log for Notices {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("tokio_postgres")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) && record.level() == log::Level::Info {
            let mut notices = NOTICES.lock().unwrap_or_else(PoisonError::into_inner);
            notices.push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Begins to catch notices.
pub(crate) fn listen() {
    if log::set_logger(&Notices).is_ok() {
        log::set_max_level(log::LevelFilter::Info);
    }
}

/// What was seen of a case.
pub(crate) struct Seen {
    /// The last time's plan.
    pub(crate) plan: Plan,
    /// PostgreSQL's own time, the median.
    pub(crate) ms: f64,
}

/// The stores as the server has them, on connections whose statements are explained.
pub(crate) struct Probe {
    contacts: PgContactStore,
    conversations: PgConversationStore,
}

impl Probe {
    /// Has the connections that are opened from now on explained.
    pub(crate) async fn attach(filled: &Filled, behind: &Client) -> Self {
        explain_the_role(behind, true).await;
        let db = Database::new(PoolSettings::new(filled.app_url())).expect("a good address");
        let tools = toolkit(Arc::new(FixedClock::default()));
        Self {
            contacts: PgContactStore::new(db.clone(), keys()),
            conversations: PgConversationStore::new(db, tools),
        }
    }

    /// Has them explained no longer.
    pub(crate) async fn detach(self, behind: &Client) {
        explain_the_role(behind, false).await;
    }

    /// Asks a case some times.
    pub(crate) async fn explain(&self, case: &Case) -> Seen {
        let user = Crowd::user(case.clinic, 0);
        let permissions = Permissions::of(Action::ALL);
        let cx = TenantContext::for_test(Crowd::clinic(case.clinic), user, permissions);
        let mut last = None;
        let mut times = Vec::new();
        for time in 0..TIMES {
            NOTICES
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
            match &case.ask {
                Ask::Contacts(query) => {
                    let rows = self.contacts.list(&cx, query).await;
                    rows.unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
                }
                Ask::Numbered(query, skipped) => {
                    let rows = self.contacts.list_numbered(&cx, query, *skipped).await;
                    rows.unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
                }
                Ask::Contact(id) => {
                    let found = self.contacts.find(&cx, *id).await;
                    found.unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
                }
                Ask::Conversations(filter, after, limit) => {
                    let rows = self
                        .conversations
                        .list(&cx, filter, after.clone(), *limit)
                        .await;
                    rows.unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
                }
            }
            let notices = NOTICES.lock().unwrap_or_else(PoisonError::into_inner);
            // A numbered page is two statements: the one that finds it is the longer.
            let explained = notices
                .iter()
                .filter_map(|notice| Plan::read(notice))
                .max_by(|one, other| one.0.total_cmp(&other.0));
            let (ms, plan) = explained.unwrap_or_else(|| panic!("{}: no plan came", case.name));
            if time > 0 {
                times.push(ms);
            }
            last = Some(plan);
        }
        times.sort_unstable_by(f64::total_cmp);
        Seen {
            plan: last.expect("asked at least once"),
            ms: times[times.len() / 2],
        }
    }
}
