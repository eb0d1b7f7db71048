//! Whether the store answers, told once each time that changes: [`Outage`].

use std::time::Duration;

use kernel::{StoreError, Toolkit};

use crate::{BackOff, JobError};

/// First and longest wait of who asks a store that does not answer.
const BACK_OFF: BackOff = BackOff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(5),
};

/// The failures in a row of one thing that is asked of the store.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    failures: u32,
}

/// What just changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    /// It answered until now. The code says how it failed.
    Began(&'static str),
    /// It answers again, after so many failures.
    Ended(u32),
}

impl Outage {
    /// It answered.
    pub(crate) fn answered(&mut self) -> Option<Changed> {
        let failures = std::mem::take(&mut self.failures);
        (failures > 0).then_some(Changed::Ended(failures))
    }

    /// It failed; answers how long to wait.
    pub(crate) fn failed(
        &mut self,
        error: StoreError,
        tools: &Toolkit,
    ) -> (Duration, Option<Changed>) {
        self.failures = self.failures.saturating_add(1);
        let began = (self.failures == 1).then(|| Changed::Began(JobError::from(error).code().0));
        (BACK_OFF.wait(self.failures, tools), began)
    }
}
