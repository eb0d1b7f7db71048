//! All queues that this process works: [`Workers`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kernel::Toolkit;
use kernel::job::{JobLeases, JobOutcomes, Queue};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::held::HeldLeases;
use crate::queue::{Means, QueueWorker};
use crate::{Handlers, WakeSignal, WorkerSettings};

/// What workers need from outside.
#[derive(Clone)]
pub struct JobPorts {
    /// Taking jobs.
    pub leases: Arc<dyn JobLeases>,
    /// Recording failures.
    pub outcomes: Arc<dyn JobOutcomes>,
    /// Clock, chance and ids.
    pub tools: Toolkit,
}

impl fmt::Debug for JobPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JobPorts")
    }
}

/// Running workers. Dropped, they end at once, which is safe: what was cut is taken up by
/// whoever leases next, once the leases have run out.
#[derive(Debug)]
pub struct Workers {
    stop: watch::Sender<bool>,
    queues: Vec<Running>,
    stop_within: Duration,
}

#[derive(Debug)]
struct Running {
    queue: Queue,
    held: HeldLeases,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Workers {
    /// Starts on the present runtime. Nothing is refused here: an unreachable store is asked
    /// again until it answers.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn start(
        ports: JobPorts,
        handlers: Handlers,
        settings: WorkerSettings,
        signal: WakeSignal,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let means = Arc::new(Means {
            ports,
            handlers,
            settings,
            signal,
        });
        let settings = &means.settings;
        let queues = settings.queues.iter().filter(|queue| queue.concurrency > 0);
        let queues = queues
            .map(|queue| {
                let held = HeldLeases::default();
                let worker = QueueWorker {
                    queue: queue.queue,
                    concurrency: queue.concurrency,
                    means: Arc::clone(&means),
                    held: held.clone(),
                    stopped: stopped.clone(),
                };
                Running {
                    queue: queue.queue,
                    held,
                    task: tokio::spawn(worker.run()),
                }
            })
            .collect();
        Self {
            stop,
            queues,
            stop_within: settings.stop_within,
        }
    }

    /// Jobs that are running now.
    pub fn running(&self) -> usize {
        self.queues.iter().map(|queue| queue.held.count()).sum()
    }

    /// Leases nothing more, waits for running jobs as long as the settings say, and cuts the
    /// rest: their leases run out and others take them up. Answers how many were cut.
    pub async fn stop(mut self) -> usize {
        let deadline = Instant::now() + self.stop_within;
        // An error means that every queue has ended already.
        let _ = self.stop.send(true);
        let mut cut = 0;
        for running in &mut self.queues {
            if timeout_at(deadline, &mut running.task).await.is_ok() {
                continue;
            }
            // Before the cut: what is cut holds nothing any more.
            let count = running.held.count();
            running.task.abort();
            cut += count;
            tracing::warn!(
                queue = running.queue.name(),
                count = i64::try_from(count).unwrap_or(i64::MAX),
                "jobs were cut: their leases run out"
            );
        }
        cut
    }
}
