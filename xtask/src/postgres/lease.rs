//! The use of a running cluster by one command: who leaves last stops it.

use std::fs::{File, TryLockError};

use crate::{
    postgres::{
        Home,
        cluster::{Cluster, Kind, Running},
    },
    terminal,
};

/// A running cluster. Dropped, it stops the server unless another command still uses it or
/// `db start` began it.
pub(crate) struct Lease {
    home: Home,
    pub(crate) cluster: Cluster,
    pub(crate) running: Running,
    /// Held shared by every user.
    users: File,
}

impl Lease {
    /// Starts the cluster, or joins those who use it.
    pub(crate) fn take(home: Home, kind: Kind) -> anyhow::Result<Self> {
        let users = home.lock_file(&format!("{}.users", kind.name()))?;
        users.lock_shared()?;
        let starting = home.lock(kind)?;
        let mut cluster = home.cluster(kind)?;
        let (running, started) = cluster.start()?;
        if started {
            home.say_where();
            cluster.keep(false)?;
        } else {
            terminal::note(format!(
                "Using PostgreSQL {} ({}), which runs already on 127.0.0.1:{}.",
                cluster.installation().version,
                kind.name(),
                running.port
            ));
        }
        drop(starting);
        Ok(Self {
            home,
            cluster,
            running,
            users,
        })
    }

    fn leave(&self) -> anyhow::Result<()> {
        let _stopping = self.home.lock(self.cluster.kind)?;
        // Read anew: a `db start` may have asked to keep it meanwhile.
        let kept = self
            .home
            .existing(self.cluster.kind)
            .iter()
            .any(|cluster| cluster.folder == self.cluster.folder && cluster.kept());
        if kept {
            return Ok(());
        }
        match self.users.try_lock() {
            Ok(()) => {
                self.cluster.stop()?;
                if self.cluster.kind == Kind::Test {
                    self.cluster.remove()?;
                }
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Err(error) = self.leave() {
            terminal::failure(
                &error
                    .context("the database server may still be running; try: cargo xtask db stop"),
            );
        }
    }
}
