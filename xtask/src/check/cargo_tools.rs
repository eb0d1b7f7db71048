//! Format and lints, by Cargo's own tools.

use anyhow::bail;

use crate::{checkout::Checkout, process};

pub(super) fn format(checkout: &Checkout) -> anyhow::Result<String> {
    let status = process::run(checkout.cargo().args(["fmt", "--all", "--check"]))?;
    if !status.success() {
        bail!("some files are not formatted. Run: cargo fmt --all");
    }
    Ok(String::new())
}

pub(super) fn clippy(checkout: &Checkout) -> anyhow::Result<String> {
    let status = process::run(checkout.cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--keep-going",
        "--",
        "--deny",
        "warnings",
    ]))?;
    if !status.success() {
        bail!(
            "clippy found something: mend it, or `#[expect(…, reason = \"…\")]` it where it is right"
        );
    }
    Ok(String::new())
}
