//! The settings of our own clusters, in a file beside PostgreSQL's own, written at each start.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::postgres::cluster::Kind;

const NAME: &str = "acolhe.conf";

/// Where the settings of the cluster with this data folder are.
pub(crate) fn file(data: &Path) -> PathBuf {
    data.join(NAME)
}

/// Has PostgreSQL read our file after its own.
pub(crate) fn include_ours(data: &Path) -> anyhow::Result<()> {
    let main = data.join("postgresql.conf");
    let mut text =
        fs::read_to_string(&main).with_context(|| format!("cannot read {}", main.display()))?;
    text.push_str("\ninclude_if_exists = 'acolhe.conf'\n");
    fs::write(&main, text)?;
    Ok(())
}

pub(crate) fn write(
    data: &Path,
    kind: Kind,
    port: u16,
    socket_folder: Option<&Path>,
) -> anyhow::Result<()> {
    let file = file(data);
    fs::write(&file, text(kind, port, socket_folder))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn text(kind: Kind, port: u16, socket_folder: Option<&Path>) -> String {
    let mut text = String::from("# Written by `cargo xtask` at each start: changes are lost.\n");
    let mut set = |name: &str, value: &str| {
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    };
    set("listen_addresses", "127.0.0.1");
    set("port", &port.to_string());
    // A comma separates folders unless the name is quoted.
    let sockets = socket_folder
        .map(|folder| format!("\"{}\"", folder.to_string_lossy().replace('"', "\"\"")));
    set("unix_socket_directories", &sockets.unwrap_or_default());
    set("timezone", "UTC");
    set("log_timezone", "UTC");
    // No values of ours in the server's log: neither bound ones nor those of a violated constraint.
    set("log_parameter_max_length", "0");
    set("log_parameter_max_length_on_error", "0");
    set("log_error_verbosity", "terse");
    match kind {
        Kind::Dev => {
            set("fsync", "on");
        }
        Kind::Test => {
            set("max_connections", "200");
            set("fsync", "off");
            set("synchronous_commit", "off");
            set("full_page_writes", "off");
            set("wal_level", "minimal");
            set("max_wal_senders", "0");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_throwaway_cluster_trusts_the_disk() {
        assert!(text(Kind::Dev, 1, None).contains("\nfsync = 'on'"));
        assert!(text(Kind::Test, 1, None).contains("\nfsync = 'off'"));
    }

    #[test]
    fn a_folder_with_quotes_stays_one_folder() {
        let folder = Path::new("/o'brien, \"x\"");
        assert!(
            text(Kind::Dev, 1, Some(folder))
                .contains("unix_socket_directories = '\"/o''brien, \"\"x\"\"\"'")
        );
    }
}
