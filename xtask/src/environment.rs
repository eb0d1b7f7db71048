//! The one place where the environment is read.

use std::ffi::OsString;

/// A variable's value; empty counts as unset.
#[expect(
    clippy::disallowed_methods,
    reason = "the developers' commands are configured by the environment, here and nowhere else"
)]
pub(crate) fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The folders of `PATH`.
pub(crate) fn search_path() -> Vec<std::path::PathBuf> {
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}

/// Where an executable called `name` is found on `PATH`.
pub(crate) fn find_program(name: &str) -> Option<std::path::PathBuf> {
    search_path()
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
