//! The runtime beside the HTTP workers: start-up checks, the sequencer, jobs. It ends after them,
//! so that what their last requests committed is still taken along.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clinics::Flags;
use diesel_postgres::clinics::PgSessions;
use diesel_postgres::database::AddressError;
use diesel_postgres::jobs::PgJobs;
use diesel_postgres::sequencer::{Sequencer, SequencerSettings};
use diesel_postgres::stream::StreamTail;
use http_api::Api;
use job_workers::settings::QueueSettings;
use job_workers::workers::JobPorts;
use job_workers::{MailWorker, WorkerSettings, Workers};
use kernel::job::{JobCensus, Queue};
use redis_cache::Running;
use redis_cache::link::Connecting;
use security::SystemClock;
use tokio::runtime::Runtime;

use crate::config::{Config, ConfigError};
use crate::observe;
use crate::revocations;
use crate::wiring::{self, Foundation};

/// How long background work may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is asked whether flags or plans have changed: twice within the second that is promised.
const ROLLOUT_EVERY: Duration = Duration::from_millis(500);

/// The runtime and what runs on it.
pub(crate) struct Background {
    runtime: Runtime,
    redis: Option<Connecting>,
    cache: Option<(Running, StreamTail)>,
    sequencer: Option<Sequencer>,
    workers: Option<Workers>,
    mail: Option<MailWorker>,
}

impl Background {
    /// The runtime, with nothing on it yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("acolhe-jobs")
            .enable_all()
            .build()
            .context("no thread for background work")?;
        Ok(Self {
            runtime,
            redis: None,
            cache: None,
            sequencer: None,
            workers: None,
            mail: None,
        })
    }

    /// Waits for `work` on it.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Connects to Redis, follows the stream for the cache, and starts the sequencer and the jobs where this process runs them.
    pub(crate) fn start(
        &mut self,
        config: &Config,
        foundation: &Foundation,
    ) -> Result<(), ConfigError> {
        if let Some(redis) = &foundation.redis {
            let _inside = self.runtime.enter();
            self.redis = Some(redis.connect());
        }
        let jobs = Arc::new(PgJobs::new(&foundation.database));
        let counted = config
            .jobs
            .enabled
            .then(|| jobs.clone() as Arc<dyn JobCensus>);
        let watch = observe::watch(foundation.database.clone(), counted, foundation.tools());
        self.runtime.spawn(watch);
        self.follow_revocations(config, foundation)?;
        let addresses = &config.database;
        let url = addresses.direct_url.as_ref().or(addresses.url.as_ref());
        let url = url.ok_or_else(|| ConfigError::missing("database.url"))?;
        let refused = |error: AddressError| ConfigError::refused("database.direct_url", &error);
        {
            let _inside = self.runtime.enter();
            let sink = foundation.cache.sink();
            let tail = StreamTail::start(url.expose(), sink, foundation.tail.clone());
            self.cache = Some((foundation.cache.run(), tail.map_err(refused)?));
        }
        if !config.jobs.enabled {
            return Ok(());
        }
        let settings = SequencerSettings::new(url.expose().clone());
        let _inside = self.runtime.enter();
        let started = Sequencer::start(
            settings,
            Arc::new(SystemClock),
            foundation.database.sequencer_signal(),
        );
        self.sequencer = Some(started.map_err(refused)?);
        let ports = JobPorts {
            leases: jobs.clone(),
            outcomes: jobs,
            tools: foundation.tools(),
        };
        let settings = WorkerSettings {
            queues: vec![QueueSettings {
                queue: Queue::Message,
                concurrency: u16::try_from(config.jobs.message_concurrency).unwrap_or(u16::MAX),
            }],
            ..WorkerSettings::default()
        };
        let handlers = wiring::handlers(foundation);
        self.workers = Some(Workers::start(
            ports,
            handlers,
            settings,
            foundation.jobs.clone(),
        ));
        self.mail = crate::mail::post(foundation).map(MailWorker::start);
        Ok(())
    }

    /// Leases units of rate limits from the counters that all nodes share, where there are any.
    pub(crate) fn lease_units(&self, foundation: &Foundation, api: &Api) {
        if foundation.redis.is_some() {
            self.runtime.spawn(api.limits().keep_leases());
        }
    }

    /// Every process that checks tokens does, whether or not it runs jobs. Ends with the runtime:
    /// there is nothing to finish.
    fn follow_revocations(
        &self,
        config: &Config,
        foundation: &Foundation,
    ) -> Result<(), ConfigError> {
        let list = foundation.tokens.revocations().clone();
        let store = PgSessions::new(wiring::watch_database(config)?);
        self.runtime
            .spawn(revocations::follow(list, store, foundation.tools()));
        Ok(())
    }

    /// Keeps flags and plans as operators set them.
    pub(crate) fn follow_rollout(&self, flags: Flags, api: &Api) {
        let limits = api.limits();
        self.runtime.spawn(async move {
            let mut told = false;
            loop {
                match flags.refresh().await {
                    Ok(changed) => {
                        told = false;
                        if changed {
                            limits.set_plans(flags.present().plans.clone());
                        }
                    }
                    // The store has said why; what was set last goes on.
                    Err(_) if !std::mem::replace(&mut told, true) => {
                        tracing::warn!("flags and plans stay as they were last read");
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(ROLLOUT_EVERY).await;
            }
        });
    }

    /// Ends what runs, in order, within the time there is.
    pub(crate) fn stop(mut self) {
        let sequencer = self.sequencer.take();
        let workers = self.workers.take();
        let mail = self.mail.take();
        self.runtime.block_on(async {
            if let Some(mail) = mail {
                mail.stop().await;
            }
            // First the jobs: what they commit last still gets its positions.
            if let Some(workers) = workers {
                workers.stop().await;
            }
            if let Some(sequencer) = sequencer
                && tokio::time::timeout(STOP_TIMEOUT, sequencer.stop())
                    .await
                    .is_err()
            {
                tracing::warn!("the sequencer did not end in time");
            }
        });
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
