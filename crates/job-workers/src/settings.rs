//! How jobs are worked: [`WorkerSettings`].

use std::time::Duration;

use kernel::job::Queue;

use crate::BackOff;

/// How a process works its queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSettings {
    /// The queues that this process works. Others are left to other processes.
    pub queues: Vec<QueueSettings>,
    /// How long a lease holds when nobody renews it: what a crash delays its jobs by, at most.
    /// Renewed at a third of it.
    pub lease_ttl: Duration,
    /// Shortest and longest wait between two looks at a queue that nobody woke. The wait
    /// doubles while nothing is found.
    pub poll: (Duration, Duration),
    /// An attempt that takes longer is cut and counts as failed.
    pub attempt_timeout: Duration,
    /// When a failed attempt is tried again.
    pub back_off: BackOff,
    /// How long [`crate::Workers::stop`] waits for running jobs.
    pub stop_within: Duration,
}

/// How a process works one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// The queue.
    pub queue: Queue,
    /// Jobs that run at once. 0 leaves the queue to others.
    pub concurrency: u16,
}

impl WorkerSettings {
    /// Jobs of a queue that run at once unless configured otherwise.
    pub const fn default_concurrency(queue: Queue) -> u16 {
        match queue {
            Queue::Message => 10,
        }
    }
}

impl Default for WorkerSettings {
    /// Every queue, leases of 30 s, polls every 250 ms to 1 s, attempts of two minutes at most,
    /// and 8 s to stop.
    fn default() -> Self {
        Self {
            queues: Queue::ALL
                .iter()
                .map(|&queue| QueueSettings {
                    queue,
                    concurrency: Self::default_concurrency(queue),
                })
                .collect(),
            lease_ttl: Duration::from_secs(30),
            poll: (Duration::from_millis(250), Duration::from_secs(1)),
            attempt_timeout: Duration::from_mins(2),
            back_off: BackOff::default(),
            stop_within: Duration::from_secs(8),
        }
    }
}
