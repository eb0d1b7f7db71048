//! What every table, function and role must be like, present and future: the database's own
//! catalogue is asked, so whatever a migration adds is held to it without anybody thinking of it.
//!
//! Each rule is a query that answers what breaks it ([`rules`]). The few exceptions are named with
//! their reasons ([`allowed`]); one that no longer applies fails too, so the list only shrinks.
//! And each rule is itself tested: something that breaks it is planted, and must be found
//! ([`plants`]).
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod allowed;
mod plants;
mod rules;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use allowed::ALLOWED;
use diesel_postgres::migrations;
use plants::PLANTS;
use rules::RULES;
use test_support::TestDatabase;
use tokio_postgres::Client;

/// What was found: the rule, and what breaks it.
type Finding = (String, String);

async fn findings(client: &Client) -> BTreeSet<Finding> {
    let mut found = BTreeSet::new();
    for rule in RULES {
        let rows = client
            .query(rule.sql, &[])
            .await
            .unwrap_or_else(|error| panic!("the rule {} cannot be asked: {error:?}", rule.name));
        for row in rows {
            found.insert((rule.name.to_owned(), row.get(0)));
        }
    }
    found
}

/// A superuser's connection to a migrated database with its rights as they are in production.
async fn migrated() -> (TestDatabase, Client) {
    let base = TestDatabase::new().await;
    // A copy of a template has none of the rights on the database itself.
    migrations::bootstrap(&base.superuser_url()).await.unwrap();
    let client = base.superuser().await;
    (base, client)
}

#[tokio::test]
async fn every_table_function_and_role_keeps_the_rules() {
    let (_base, client) = migrated().await;
    let found = findings(&client).await;
    let allowed: BTreeSet<Finding> = ALLOWED
        .iter()
        .map(|allowed| (allowed.rule.to_owned(), allowed.object.to_owned()))
        .collect();
    let mut report = String::new();
    for (name, object) in found.difference(&allowed) {
        let rule = RULES.iter().find(|rule| rule.name == name).unwrap();
        let _ = writeln!(report, "\n{object}\n    {}", rule.says);
    }
    for (name, object) in allowed.difference(&found) {
        let _ = writeln!(
            report,
            "\n{object}\n    is no exception to '{name}' any more: take it off"
        );
    }
    assert!(
        report.is_empty(),
        "the catalogue breaks its rules:\n{report}"
    );
}

#[tokio::test]
async fn every_rule_finds_what_breaks_it() {
    let (_base, client) = migrated().await;
    let before = findings(&client).await;
    for plant in PLANTS {
        // Roles are the cluster's: nothing is ever committed.
        client
            .batch_execute(&format!("BEGIN; {}", plant.sql))
            .await
            .unwrap_or_else(|error| panic!("{} cannot be planted: {error:?}", plant.object));
        let found = findings(&client).await;
        client.batch_execute("ROLLBACK").await.unwrap();
        let expected = (plant.rule.to_owned(), plant.object.to_owned());
        assert!(
            !before.contains(&expected) && found.contains(&expected),
            "'{}' does not find {}; it finds {:#?}",
            plant.rule,
            plant.object,
            found.difference(&before).collect::<Vec<_>>()
        );
    }
    let untested: Vec<&str> = RULES
        .iter()
        .map(|rule| rule.name)
        .filter(|name| !PLANTS.iter().any(|plant| plant.rule == *name))
        .collect();
    assert!(untested.is_empty(), "rules without a plant: {untested:?}");
}

/// The ports without a tenant: all that is ever seen or done across clinics. To add one, add its
/// line; the reviewer asks why it may see across clinics, and whether it answers more than it must.
#[tokio::test]
async fn the_functions_that_see_across_clinics_are_these() {
    let (_base, client) = migrated().await;
    let rows = client
        .query(
            "SELECT p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ') -> '
                    || coalesce(pg_get_function_result(p.oid), 'nothing')
             FROM pg_proc p WHERE p.prosecdef OR p.pronamespace = 'sec'::regnamespace
             ORDER BY p.proname COLLATE \"C\", p.oid::regprocedure::text",
            &[],
        )
        .await
        .unwrap();
    let present: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let listed: Vec<&str> = include_str!("tenantless_ports.txt").lines().collect();
    assert!(
        present == listed,
        "tests/catalogue/tenantless_ports.txt should read:\n{}\n",
        present.join("\n")
    );
}
