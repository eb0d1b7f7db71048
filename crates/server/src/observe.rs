//! What nobody tells by itself is looked at from time to time: how the pool stands, and how many
//! jobs wait.

use std::sync::Arc;
use std::time::Duration;

use diesel_postgres::Database;
use kernel::job::JobCensus;
use kernel::metrics::JobState;
use kernel::{Measurement, Origin, SystemContext, SystemPurpose, Toolkit};

/// How often the pool is looked at.
const POOL_EVERY: Duration = Duration::from_secs(5);
/// How often the jobs are counted: at every third look.
const JOBS_EVERY: u32 = 3;

/// Looks at the pool and, where `jobs` is given, at the jobs, until dropped.
pub(crate) async fn watch(database: Database, jobs: Option<Arc<dyn JobCensus>>, tools: Toolkit) {
    for look in 0u32.. {
        database.measure_pool();
        if let Some(jobs) = &jobs
            && look % JOBS_EVERY == 0
        {
            count_jobs(jobs.as_ref(), &tools).await;
        }
        tokio::time::sleep(POOL_EVERY).await;
    }
}

/// Counts the jobs. While the database is away the last count stands.
async fn count_jobs(jobs: &dyn JobCensus, tools: &Toolkit) {
    let origin = Origin::internal(tools.id());
    let sys = SystemContext::new(SystemPurpose::OperatorCounts, origin);
    let Ok(tallies) = jobs.count(&sys).await else {
        return;
    };
    let now = tools.now();
    for queue in kernel::job::Queue::ALL {
        for state in JobState::ALL {
            let tally = tallies
                .iter()
                .find(|tally| tally.queue == *queue && tally.state == *state);
            let count = tally.map_or(0, |tally| tally.jobs);
            tools.measure(Measurement::JobCount(*queue, *state, count));
            if *state == JobState::Waiting {
                let since = tally.and_then(|tally| tally.oldest);
                let age = since.and_then(|since| (now - since).to_std().ok());
                let age = age.unwrap_or_default();
                tools.measure(Measurement::JobAge(*queue, age));
            }
        }
    }
}
