//! Somebody who writes through the API without a pause, and remembers what was acknowledged.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::json;

use super::cluster::Cluster;
use crate::{
    client::{Client, Session},
    postgres::{address, bootstrap::connect},
    seed::Demo,
};

/// Between two writes.
const PAUSE: Duration = Duration::from_millis(100);

/// A write that was acknowledged.
pub(super) struct Written {
    pub(super) id: String,
    pub(super) at: Instant,
}

pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Written>>,
}

impl Writer {
    /// As the first user of the first clinic. Ends by itself when a write fails.
    pub(super) fn start(base_url: &str, demo: &Demo) -> anyhow::Result<Self> {
        let clinic = demo.clinics.first().context("the demo has no clinic")?;
        let user = clinic.users.first().context("the demo has no user")?;
        let (base_url, clinic, user) = (base_url.to_owned(), clinic.clone(), user.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut written = Vec::new();
            let client = Client::new(&base_url);
            let Ok(session) = client.log_in(&user.email, &user.password, &clinic.id) else {
                return written;
            };
            while !stopped.load(Ordering::Relaxed) {
                let Ok(id) = add(&session, "during the drill") else {
                    break;
                };
                written.push(Written {
                    id,
                    at: Instant::now(),
                });
                thread::sleep(PAUSE);
            }
            written
        });
        Ok(Self { stop, thread })
    }

    /// What was acknowledged, in its order.
    pub(super) fn stop(self) -> anyhow::Result<Vec<Written>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow::anyhow!("the writer panicked"))
    }
}

/// Creates a contact; answers its id.
pub(super) fn add(session: &Session<'_>, name: &str) -> anyhow::Result<String> {
    let made = session.post("/api/v1/contacts", &json!({ "name": name }))?;
    made["id"].as_str().map(str::to_owned).context("no id came")
}

/// Every contact's id.
pub(super) fn ids(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    let rows = connect(&cluster.admin(address::DATABASE))?
        .query("SELECT id::text FROM app.contacts", &[])?;
    Ok(rows.into_iter().map(|row| row.get(0)).collect())
}
