//! The account of the operating system that PostgreSQL runs under: PostgreSQL refuses root.

use std::{
    os::unix::{fs::chown, process::CommandExt as _},
    path::Path,
    process::Command,
};

use anyhow::{Context, bail};

use crate::process;

/// Ourselves, or for root an account without rights.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    name: String,
    /// User and group to change to; `None` when we run as ourselves.
    switch_to: Option<(u32, u32)>,
}

impl Account {
    /// Root hands over to `postgres` where there is one, else to `nobody`.
    pub(crate) fn choose() -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self {
                name: "you".to_owned(),
                switch_to: None,
            });
        }
        for name in ["postgres", "nobody"] {
            if let (Some(user), Some(group)) = (id("-u", name), id("-g", name)) {
                return Ok(Self {
                    name: name.to_owned(),
                    switch_to: Some((user, group)),
                });
            }
        }
        bail!(
            "PostgreSQL does not run as root, and this system has neither an account `postgres` nor `nobody`: \
             make one (useradd --system postgres), or run as an ordinary user"
        )
    }

    /// For messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A command under this account, in a folder it can enter, without the caller's `PG…`
    /// variables and language.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/");
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PG") || text.starts_with("LC_") || text == "LANG" {
                command.env_remove(&name);
            }
        }
        command.env("LC_ALL", "C");
        if let Some((user, group)) = self.switch_to {
            command.uid(user).gid(group).env("HOME", "/");
        }
        command
    }

    /// Gives it the file or folder (not what is below).
    pub(crate) fn own(&self, path: &Path) -> anyhow::Result<()> {
        if let Some((user, group)) = self.switch_to {
            chown(path, Some(user), Some(group))
                .with_context(|| format!("cannot give {} to {}", path.display(), self.name))?;
        }
        Ok(())
    }

    /// Can it enter this folder? Tried, since access lists and mounts have their say too.
    pub(crate) fn can_reach(&self, folder: &Path) -> anyhow::Result<bool> {
        if self.switch_to.is_none() {
            return Ok(true);
        }
        let mut command = self.command("/bin/sh");
        command
            .args(["-c", "cd -- \"$1\" 2>/dev/null && test -r .", "sh"])
            .arg(folder);
        let status = command.status().with_context(|| {
            format!(
                "cannot run a program as {}: does this container forbid changing users?",
                self.name
            )
        })?;
        Ok(status.success())
    }
}

fn id(which: &str, name: &str) -> Option<u32> {
    process::quiet(Command::new("id").args([which, name]))
        .ok()?
        .trim()
        .parse()
        .ok()
}
