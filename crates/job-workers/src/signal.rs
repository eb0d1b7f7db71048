//! The wake-up of this process's workers: [`WakeSignal`].

use std::sync::Arc;

use kernel::job::{JobSignal, Queue};
use tokio::sync::Notify;

/// Wakes the workers of a queue at once instead of at their next poll. To be fired after the
/// commit that enqueued a job. Cheap to clone, never waits, lives in this process alone: it is
/// made before the services that fire it and given to [`crate::Workers::start`] as well.
#[derive(Debug, Clone)]
pub struct WakeSignal(Arc<[(Queue, Notify)]>);

impl WakeSignal {
    /// A signal that nobody listens to yet. A wake-up before that is kept.
    pub fn new() -> Self {
        Self(
            Queue::ALL
                .iter()
                .map(|&queue| (queue, Notify::new()))
                .collect(),
        )
    }

    /// A job of `queue` may be due.
    pub fn wake(&self, queue: Queue) {
        if let Some(notify) = self.of(queue) {
            notify.notify_one();
        }
    }

    /// Waits for the next wake-up of `queue`, or answers at once to one that came meanwhile.
    pub(crate) async fn woken(&self, queue: Queue) {
        match self.of(queue) {
            Some(notify) => notify.notified().await,
            None => std::future::pending().await,
        }
    }

    fn of(&self, queue: Queue) -> Option<&Notify> {
        self.0
            .iter()
            .find(|(of, _)| *of == queue)
            .map(|(_, notify)| notify)
    }
}

impl Default for WakeSignal {
    fn default() -> Self {
        Self::new()
    }
}

impl JobSignal for WakeSignal {
    fn job_enqueued(&self, queue: Queue) {
        self.wake(queue);
    }
}
