//! Embeds the folders of `migrations/` into the crate, in their order. A folder that lacks its
//! `up.sql` or `down.sql`, or that says something unknown in its `metadata.toml`, fails the build.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut folders: Vec<PathBuf> = fs::read_dir(&root)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    // Beside the folders lie bootstrap.sql and the guide.
    folders.retain(|path| path.is_dir());
    folders.sort();

    let mut code = String::from("&[\n");
    let mut newest = String::new();
    for folder in folders {
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or("a migration's name is not UTF-8")?;
        let (date, words) = name
            .split_once('_')
            .ok_or_else(|| format!("{name}: named like 2026-01-31-000001_what_it_adds"))?;
        let version: String = date.chars().filter(char::is_ascii_digit).collect();
        if version.len() != 14 || words.is_empty() {
            return Err(format!("{name}: named like 2026-01-31-000001_what_it_adds").into());
        }
        if version == newest {
            return Err(format!("{name}: another migration has its version").into());
        }
        newest.clone_from(&version);
        let up = sql(&folder, "up.sql")?;
        let down = sql(&folder, "down.sql")?;
        let in_transaction = in_transaction(&folder)?;
        writeln!(
            code,
            "    Migration {{ version: {version:?}, name: {name:?}, up: include_str!({up:?}), \
             down: include_str!({down:?}), in_transaction: {in_transaction} }},"
        )?;
    }
    code.push_str("]\n");
    let out = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    fs::write(Path::new(&out).join("migrations.rs"), code)?;
    Ok(())
}

/// The path of a migration's file, which must be there and say something.
fn sql(folder: &Path, file: &str) -> Result<String, Box<dyn Error>> {
    let path = folder.join(file);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if text.trim().is_empty() {
        return Err(format!("{}: empty", path.display()).into());
    }
    let path = path.canonicalize()?;
    Ok(path
        .to_str()
        .ok_or("the checkout's path is not UTF-8")?
        .to_owned())
}

/// Whether the migration runs in a transaction: yes, unless its `metadata.toml` says otherwise.
fn in_transaction(folder: &Path) -> Result<bool, Box<dyn Error>> {
    let path = folder.join("metadata.toml");
    if !path.exists() {
        return Ok(true);
    }
    let mut answer = true;
    for line in fs::read_to_string(&path)?.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        match line.replace(' ', "").as_str() {
            "" | "run_in_transaction=true" => {}
            "run_in_transaction=false" => answer = false,
            _ => return Err(format!("{}: unknown line `{line}`", path.display()).into()),
        }
    }
    Ok(answer)
}
