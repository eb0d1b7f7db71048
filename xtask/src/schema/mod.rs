//! The database's schema as the migrations make it: redone (up, down, up) and written down for
//! Diesel.
//!
//! The migrations are run here statement for statement as `acolhe-server migrate` would, on a
//! scratch database of the test cluster.

mod rust;
mod scratch;
mod snapshot;

use std::{
    fs,
    path::{Path, PathBuf},
};

use ::postgres::Client;
use anyhow::{Context, bail};

use crate::{checkout::Checkout, interrupt, postgres::address::explain};

pub(crate) use scratch::Scratch;
use snapshot::Snapshot;

/// Where the Rust side of the schema is kept.
pub(crate) const RUST_FILE: &str = "crates/diesel-postgres/src/schema.rs";

/// One folder of `migrations/`.
struct Migration {
    name: String,
    folder: PathBuf,
}

impl Migration {
    fn up(&self, owner: &mut Client) -> anyhow::Result<()> {
        self.run(owner, "up.sql")
    }

    fn down(&self, owner: &mut Client) -> anyhow::Result<()> {
        self.run(owner, "down.sql")
    }

    /// In one transaction, as several statements sent together are; a migration that says
    /// `run_in_transaction = false` holds a single statement.
    fn run(&self, owner: &mut Client, file: &str) -> anyhow::Result<()> {
        interrupt::check()?;
        let path = self.folder.join(file);
        let sql = fs::read_to_string(&path)
            .with_context(|| format!("{} has no {file}: every migration has both", self.name))?;
        owner
            .batch_execute(&sql)
            .map_err(explain)
            .with_context(|| format!("migrations/{}/{file} failed", self.name))
    }
}

/// All migrations, oldest first.
fn migrations(checkout: &Checkout) -> anyhow::Result<Vec<Migration>> {
    let root = checkout.root().join("migrations");
    let mut found: Vec<Migration> = fs::read_dir(&root)
        .with_context(|| format!("cannot read {}", root.display()))?
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| Migration {
            name: entry.file_name().to_string_lossy().into_owned(),
            folder: entry.path(),
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Runs every migration up, each down again, and all up once more. Each `down.sql` must bring the
/// schema back to exactly what was before its `up.sql`. Gives their number and the final schema in
/// Rust.
pub(crate) fn redo(checkout: &Checkout) -> anyhow::Result<(usize, String)> {
    let scratch = Scratch::make(checkout)?;
    let migrations = migrations(checkout)?;
    let mut owner = scratch.owner()?;
    let mut admin = scratch.admin()?;

    let mut before = Vec::new();
    for migration in &migrations {
        before.push(Snapshot::take(&mut admin)?);
        migration.up(&mut owner)?;
    }
    let whole = Snapshot::take(&mut admin)?;

    for (migration, before) in migrations.iter().zip(&before).rev() {
        migration.down(&mut owner)?;
        let differences = Snapshot::take(&mut admin)?.differences(before);
        if !differences.is_empty() {
            bail!(
                "migrations/{}/down.sql does not undo its up.sql (- was before, + is now):\n  {}",
                migration.name,
                differences.join("\n  ")
            );
        }
    }
    for migration in &migrations {
        migration.up(&mut owner)?;
    }
    let differences = Snapshot::take(&mut admin)?.differences(&whole);
    if !differences.is_empty() {
        bail!(
            "up, down, up gives another schema than up (- first, + second):\n  {}",
            differences.join("\n  ")
        );
    }
    Ok((migrations.len(), rust::render(checkout, &mut admin)?))
}

/// The schema in Rust, by running every migration once.
pub(crate) fn in_rust(checkout: &Checkout) -> anyhow::Result<String> {
    let scratch = Scratch::make(checkout)?;
    let mut owner = scratch.owner()?;
    for migration in migrations(checkout)? {
        migration.up(&mut owner)?;
    }
    rust::render(checkout, &mut scratch.admin()?)
}

/// The file in the checkout, and whether it says this.
pub(crate) fn is_written(checkout: &Checkout, text: &str) -> bool {
    fs::read_to_string(checkout.root().join(RUST_FILE)).is_ok_and(|found| found == text)
}

/// Writes it into the checkout.
pub(crate) fn write(checkout: &Checkout, text: &str) -> anyhow::Result<()> {
    let file = checkout.root().join(Path::new(RUST_FILE));
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}
