//! Row 3: a contact is created, with identities, tokens, tags, outbox, audit and idempotency key in
//! one transaction, over HTTP and by the store alone, against `pgbench` doing the same inserts under
//! row security.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{Bench, over_http, written::Written};
use crate::{
    bench::{
        contenders::{Pgbench, Store},
        engine::Pace,
        ground::{self, Base, Crowd, Ground, Member, Setup},
        http::{self, Caller},
        machine::Watched,
        measure::{Contender, Outcome, Series, interleave},
        report::{Goal, Row},
        traffic::Creates,
    },
    postgres::address::explain,
};

const CONNECTIONS: usize = 20;

pub(crate) fn measure(bench: &Bench<'_>) -> anyhow::Result<Row> {
    let copy = Copy::make(bench.ground, &bench.base()?, "write")?;
    copy.without_waiting_for_the_disk()?;
    let base = &copy.base;
    let members = bench.ground.members(base, bench.crowd.asked())?;
    let written = write_one(bench, base, &members[0])?;
    let (serving, address) = bench.ground.serve(base, &Setup::default())?;
    let headers: Vec<_> = members.into_iter().map(|member| member.headers).collect();
    let store = Store::start(
        &bench.ground.rate,
        "create",
        &base.app_url,
        CONNECTIONS,
        bench.crowd.asked(),
        bench.ground.watch(0),
    )?;
    let before = count(bench.ground, base)?;
    let mut contenders: [Box<dyn Contender + '_>; 3] = [
        Box::new(pgbench(bench, base)?),
        over_http(
            bench,
            "HTTP",
            &serving,
            address,
            CONNECTIONS,
            Pace::Closed,
            Creates::new(headers, 21),
        ),
        Box::new(store),
    ];
    let series = interleave("row 3", &mut contenders, bench.rounds)?;
    drop(contenders);
    let [pgbench, http, store] = &series[..] else {
        bail!("three were measured");
    };
    let mut row = Row::default();
    for (name, ours) in [("over HTTP", http), ("by the store alone", store)] {
        row.ratio(
            format!("create contact {name}, against pgbench ({written})"),
            ours.ratio(pgbench, Outcome::rate),
            Goal::AtLeast(0.9),
            &[ours, pgbench],
        );
        // One that was acknowledged and is not there is worse than a wrong answer.
        if let Err(lost) = all_are_there(&series, count(bench.ground, base)? - before) {
            row.fail(&lost.to_string());
        }
    }
    row.keep(series);
    Ok(row)
}

/// A server with this row's traffic, for profiles: on the copy, which goes with it.
pub(crate) fn scene<'a>(bench: &Bench<'a>) -> anyhow::Result<(Copy<'a>, super::Scene<'static>)> {
    let copy = Copy::make(bench.ground, &bench.base()?, "write")?;
    copy.without_waiting_for_the_disk()?;
    let members = bench.ground.members(&copy.base, bench.crowd.asked())?;
    let (serving, address) = bench.ground.serve(&copy.base, &Setup::default())?;
    let headers = members.into_iter().map(|member| member.headers).collect();
    let scene = super::Scene {
        serving,
        address,
        traffic: Box::new(Creates::new(headers, 21)),
        connections: CONNECTIONS,
    };
    Ok((copy, scene))
}

/// A database to write to, dropped at the end.
pub(crate) struct Copy<'a> {
    ground: &'a Ground,
    pub(crate) base: Base,
}

impl<'a> Copy<'a> {
    pub(crate) fn make(ground: &'a Ground, base: &Base, name: &str) -> anyhow::Result<Self> {
        Ok(Self {
            ground,
            base: ground.copy(base, name)?,
        })
    }

    /// The wait would be the same for all, and hide what differs.
    fn without_waiting_for_the_disk(&self) -> anyhow::Result<()> {
        let sql = format!(
            "ALTER DATABASE {} SET synchronous_commit = off",
            self.base.name
        );
        let mut client = self.ground.sql(&self.base)?;
        client.batch_execute(&sql).map_err(explain)
    }
}

impl Drop for Copy<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.ground.drop(&self.base) {
            crate::terminal::failure(&error);
        }
    }
}

/// Has the server create one contact, and writes the limit's script off from its rows. Tells how
/// many rows of which tables.
fn write_one(bench: &Bench<'_>, base: &Base, member: &Member) -> anyhow::Result<String> {
    const DIGITS: u64 = 99_999_999;
    // Without the sequencer, which would take the event out of the outbox.
    let setup = Setup {
        no_jobs: true,
        ..Setup::default()
    };
    let (_serving, address) = bench.ground.serve(base, &setup)?;
    let mut headers = member.headers.clone();
    headers.push("Idempotency-Key: bench-written".to_owned());
    let request = http::post("/api/v1/contacts", &headers, &Creates::body(11, DIGITS));
    let answer = Caller::connect(address)?.ask(&request)?;
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    ensure!(
        answer.status == 201,
        "a contact could not be created: status {} {}",
        answer.status,
        body["code"]
    );
    let contact = body["id"].as_str().context("the contact has no id")?;
    let mut sql = bench.ground.sql(base)?;
    let written = Written::by_the_creation_of(&mut sql, contact)?;
    let user: String = sql
        .query_one(
            "SELECT id::text FROM app.users WHERE email = 'user0@clinic0.example'",
            &[],
        )
        .map_err(explain)?
        .get(0);
    let known = [member.clinic.clone(), user];
    let script = written.script(&member.clinic, &known, &DIGITS.to_string());
    // Every clinic in turn, as the others do.
    let script = script
        .replace(
            &format!("'{}'", Crowd::clinic(0)),
            "('01a23456-7000-7000-8000-c200' || lpad(to_hex((:n * 256)::int), 8, '0'))",
        )
        .replace(
            &format!("'{}'", known[1]),
            "('01a23456-7000-7000-8000-c300' || lpad(to_hex((:n * 256)::int), 8, '0'))",
        );
    let clinics = bench.crowd.asked();
    let script = script.replacen(
        "\\startpipeline",
        &format!("\\set n random(0, {clinics} - 1)\n\\startpipeline"),
        1,
    );
    ground::write(&script_file(bench), &script)?;
    Ok(written.describe())
}

fn script_file(bench: &Bench<'_>) -> std::path::PathBuf {
    bench.ground.folder.join("create.sql")
}

fn pgbench(bench: &Bench<'_>, base: &Base) -> anyhow::Result<Pgbench> {
    Ok(Pgbench {
        name: "pgbench".to_owned(),
        program: Pgbench::find()?,
        script: script_file(bench),
        url: base.app_url.clone(),
        connections: CONNECTIONS,
        variables,
        watched: Watched {
            program: None,
            ..bench.ground.watch(0)
        },
    })
}

/// Each run begins at the present time, and has a million numbers of its own.
fn variables() -> Vec<(&'static str, u64)> {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    #[expect(
        clippy::disallowed_methods,
        reason = "ids of the limit begin with the time, as the product's do"
    )]
    let now = SystemTime::now();
    let ms = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let run = RUNS.fetch_add(1, Ordering::Relaxed) * 1_000_000;
    vec![
        ("i", 0),
        ("ms", u64::try_from(ms).unwrap_or_default()),
        ("run", run),
    ]
}

fn count(ground: &Ground, base: &Base) -> anyhow::Result<i64> {
    let row = ground
        .sql(base)?
        .query_one("SELECT count(*) FROM app.contacts", &[])
        .map_err(explain)?;
    Ok(row.get(0))
}

/// What was acknowledged while it was measured, against the rows that came; warm-ups come on top.
fn all_are_there(series: &[Series], stored: i64) -> anyhow::Result<()> {
    let acknowledged: f64 = series
        .iter()
        .flat_map(|series| &series.outcomes)
        .map(|outcome| outcome.requests)
        .sum();
    #[expect(
        clippy::cast_precision_loss,
        reason = "far below what a float holds exactly"
    )]
    let stored = stored as f64;
    ensure!(
        stored >= acknowledged,
        "{acknowledged} were acknowledged, {stored} are there"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_acknowledged_and_is_not_there_is_noticed() {
        let series = [Series {
            name: String::new(),
            outcomes: vec![Outcome {
                requests: 10.0,
                ..Outcome::default()
            }],
        }];
        assert!(all_are_there(&series, 10).is_ok());
        assert!(all_are_there(&series, 9).is_err());
    }
}
