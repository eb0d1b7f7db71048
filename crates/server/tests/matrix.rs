//! Who may do what, operation by operation, asked of the running server.
//!
//! `matrix.txt` beside this file is the answer, read by people: each operation of the OpenAPI
//! document is a row, made from the document, and a change of any cell fails here until the file
//! is written anew with `ACOLHE_BLESS=1` and its difference was read. An operation that is new has
//! no row there, so it fails too.
//!
//! Operations that need no membership are exempt from the columns of the clinic. `exempt.txt`
//! names them, with the reason; it holds to [`MOST_EXEMPT`] lines, a number that only goes down.

#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clinics::Role;
use common::records::{RANDOM, filled, foreign_records, kind};
use common::{Answer, Operation, Stage, code, operations};
use kernel::Action;

/// Lines of `exempt.txt`. Lower it when one goes; raising it is a decision about who may come in.
const MOST_EXEMPT: usize = 16;

/// What an operation answered in each of the situations.
struct Row {
    permission: String,
    cells: Vec<String>,
}

#[actix_web::test]
async fn the_matrix_of_roles_operations_and_clinics_is_the_reviewed_one() {
    let stage = Stage::new().await;
    let records = foreign_records(&stage).await;
    let tokens = tokens(&stage).await;
    let mut rows = BTreeMap::new();
    for operation in operations() {
        let name = name(&operation);
        let permission = operation.parts["x-permission"].as_str().unwrap().to_owned();
        let mut cells = strangers(&stage, &operation, &records, &tokens).await;
        for role in Role::ALL {
            cells.push(if operation.is_tenant() {
                member(&stage, &operation, *role, &tokens[role.name()]).await
            } else {
                "-".to_owned()
            });
        }
        rows.insert(name, Row { permission, cells });
    }
    compare(&beside("matrix.txt"), &table(&rows));
}

#[test]
fn nothing_is_exempt_without_a_reason_and_the_list_only_shrinks() {
    let text = fs::read_to_string(beside("exempt.txt")).unwrap();
    let mut listed = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (operation, reason) = line
            .split_once(": ")
            .unwrap_or_else(|| panic!("{line}: say why after a colon"));
        assert!(reason.len() > 10, "{line}: say why");
        assert!(listed.insert(operation.to_owned()), "{line}: twice");
    }
    let exempt: BTreeSet<String> = operations()
        .iter()
        .filter(|operation| !operation.is_tenant())
        .map(name)
        .collect();
    let strange: Vec<_> = exempt.difference(&listed).collect();
    assert!(
        strange.is_empty(),
        "need a clinic, or a reason: {strange:?}"
    );
    let stale: Vec<_> = listed.difference(&exempt).collect();
    assert!(stale.is_empty(), "no longer exempt: {stale:?}");
    assert_eq!(listed.len(), MOST_EXEMPT, "MOST_EXEMPT only goes down");
}

fn name(operation: &Operation) -> String {
    // By path first, so that what belongs together stands together.
    format!("{} {}", operation.path, operation.method.to_uppercase())
}

/// A token of clinic A's member in each role.
async fn tokens(stage: &Stage) -> BTreeMap<&'static str, String> {
    let mut tokens = BTreeMap::new();
    for role in Role::ALL {
        let email = format!("{role}@example.com");
        stage.member(&stage.clinics.a, &email, *role).await;
        tokens.insert(role.name(), stage.token_of(&email).await);
    }
    tokens
}

/// Nobody; somebody who names no clinic; a foreign one; a foreign record in the own one.
async fn strangers(
    stage: &Stage,
    operation: &Operation,
    records: &BTreeMap<&'static str, String>,
    tokens: &BTreeMap<&'static str, String>,
) -> Vec<String> {
    let permission = operation.parts["x-permission"].as_str().unwrap();
    let path = filled(operation, RANDOM);
    let ask = || operation.prepare(stage.ask(&operation.method, &path));
    let owner = &tokens[Role::Owner.name()];
    if permission == "public" {
        return vec!["-".to_owned(); 4];
    }
    let nobody = ask().answer().await.status.to_string();
    if permission == "signed-in" {
        let mut cells = vec!["-".to_owned(); 4];
        cells[0] = nobody;
        return cells;
    }
    let nowhere = ask().token(owner).answer().await.status.to_string();
    let foreign = ask()
        .token(owner)
        .header("X-Clinic-Id", &stage.clinics.b.id.to_string());
    let foreign = foreign.answer().await.status.to_string();
    let record = if operation.has_path_parameter() {
        let id = records
            .get(kind(operation))
            .unwrap_or_else(|| panic!("{path}: make one in common/records.rs"));
        let ask = |id: &str| {
            let path = filled(operation, id);
            let ask = stage.acting(owner, &stage.clinics.a, &operation.method, &path);
            operation.prepare(ask).answer()
        };
        let (foreign, random) = (ask(id).await, ask(RANDOM).await);
        assert_eq!(foreign.comparable(), random.comparable(), "{path}");
        foreign.status.to_string()
    } else {
        "-".to_owned()
    };
    vec![nobody, nowhere, foreign, record]
}

/// Whether a member may, as the server answers it, which must be what the role table says of the
/// documented permission.
async fn member(stage: &Stage, operation: &Operation, role: Role, token: &str) -> String {
    let path = filled(operation, RANDOM);
    let ask = stage.acting(token, &stage.clinics.a, &operation.method, &path);
    let answer: Answer = operation.prepare(ask).answer().await;
    let may = code(&answer) != (403, "forbidden");
    let name = format!("{} as {role}: {}", name(operation), answer.body);
    assert!(![401, 403].contains(&answer.status) || !may, "{name}");
    assert!(answer.status < 500, "{name}");
    let permission = operation.parts["x-permission"].as_str().unwrap();
    let action = Action::ALL
        .iter()
        .find(|action| action.name() == permission);
    let action = action.unwrap_or_else(|| panic!("{name}: no action is called {permission}"));
    assert_eq!(may, role.permissions().allows(*action), "{name}");
    if may { "yes" } else { "403" }.to_owned()
}

fn table(rows: &BTreeMap<String, Row>) -> String {
    let heads = ["nobody", "no clinic", "other clinic", "other's record"];
    let heads = heads
        .into_iter()
        .chain(Role::ALL.iter().map(|role| role.name()));
    let heads: Vec<&str> = heads.collect();
    let name_width = rows.keys().map(String::len).max().unwrap_or(0);
    let permissions = rows.values().map(|row| row.permission.len());
    let permission_width = permissions.max().unwrap_or(0);
    let mut text = format!(
        "{:name_width$}  {:permission_width$}",
        "operation", "permission"
    );
    for head in &heads {
        let _ = write!(text, "  {head}");
    }
    text.push('\n');
    for (name, row) in rows {
        let permission = &row.permission;
        let mut line = format!("{name:name_width$}  {permission:permission_width$}");
        for (head, cell) in heads.iter().zip(&row.cells) {
            let width = head.len();
            let _ = write!(line, "  {cell:width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn beside(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(file)
}

fn compare(file: &Path, found: &str) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a developer's switch of this test alone"
    )]
    let bless = std::env::var("ACOLHE_BLESS").is_ok();
    if bless {
        fs::write(file, found).unwrap();
    }
    let expected = fs::read_to_string(file).unwrap_or_default();
    let changed: Vec<&str> = found
        .lines()
        .filter(|line| !expected.lines().any(|it| it == *line))
        .collect();
    assert!(
        expected == found,
        "{} says otherwise; ACOLHE_BLESS=1 writes it anew. Now:\n{}",
        file.display(),
        changed.join("\n")
    );
}
