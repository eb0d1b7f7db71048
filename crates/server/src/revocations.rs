//! Keeps this process's list of revocations current, and drops what is over.
//!
//! It has a connection of its own: were it to wait behind requests or jobs, the process would have
//! to ask the database about each session just when that is busy.

use std::time::Duration;

use clinics::SessionUpkeep;
use diesel_postgres::clinics::PgSessions;
use kernel::{Origin, SystemContext, SystemPurpose, Toolkit};
use security::RevocationList;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often the store is asked. A list vouches for a second, so some questions may fail.
const EVERY: Duration = Duration::from_millis(250);

/// One question. Longer, and its answer would be of no use.
const ANSWER_WITHIN: Duration = Duration::from_millis(900);

/// How often what is over is dropped, in questions: every ten minutes.
const PRUNE_EVERY: u64 = 2400;

/// What has been over for so long is dropped: every token of it is over as well.
const KEPT: Duration = Duration::from_hours(24);

/// Rows that are dropped at a time.
const PRUNED: i32 = 5000;

/// Follows revocations until it is dropped.
pub(crate) async fn follow(list: RevocationList, store: PgSessions, tools: Toolkit) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut behind = false;
    for tick in 0_u64.. {
        ticks.tick().await;
        let sys = SystemContext::new(SystemPurpose::Login, Origin::internal(tools.id()));
        let asked = timeout(ANSWER_WITHIN, list.follow(&store, &sys)).await;
        let failed = !matches!(asked, Ok(Ok(())));
        if failed && !behind {
            tracing::warn!("revocations are not known: sessions are looked up for each request");
        } else if behind && !failed {
            tracing::info!("revocations are known again");
        }
        behind = failed;
        if tick % PRUNE_EVERY == PRUNE_EVERY / 2 {
            // The store reports a failure; the next time tries again.
            let before = tools.now() - KEPT;
            let _reported_by_the_store = store.prune(&sys, before, PRUNED).await;
        }
    }
}
