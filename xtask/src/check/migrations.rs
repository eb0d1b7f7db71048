//! Migrations that lock nobody out, redone, and the Rust side of the schema up to date.

use anyhow::bail;

use super::{locks, verdict};
use crate::{checkout::Checkout, schema};

pub(super) fn check(checkout: &Checkout) -> anyhow::Result<String> {
    let faults = locks::check(&checkout.root().join("migrations"))?;
    verdict(&faults, "migrations/README.md says how.", String::new())?;
    let (count, text) = schema::redo(checkout)?;
    if !schema::is_written(checkout, &text) {
        bail!(
            "{} is not what the migrations make. Run: cargo xtask db schema",
            schema::RUST_FILE
        );
    }
    Ok(format!("{count} migrations up, down, up"))
}
