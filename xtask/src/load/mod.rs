//! `cargo xtask load`: what the product promised to many users at once, checked.
//!
//! A mixed workflow of 500 and 1,000 users of many clinics, and of 1,000 in one. Requests are due at
//! fixed moments, whether or not earlier ones were answered; every answer is checked, and that all
//! of it belongs to its user's clinic.

mod workflow;

use std::{
    collections::HashMap,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use ::postgres::Client as Sql;
use anyhow::{Context, bail, ensure};
use serde_json::json;

use self::workflow::{Kind, Owners, User, Workflow, parse, text};
use crate::{
    bench::{
        self,
        engine::{self, Load, Pace, Tally},
        ground::{self, Base, Crowd, Ground, Setup},
        http::Caller,
        in_release, machine, report,
        rows::{create::Copy, memory::megabytes},
        stamp,
    },
    checkout::Checkout,
    postgres::address::explain,
    server::Build,
    terminal,
};

/// Users that there are at most.
const USERS: usize = 1_000;
/// Callers that log users in side by side.
const DOORS: usize = 4;

/// Let 500 and 1,000 users work at once, and hold what they see against what was promised.
///
/// Users list, read, search, create and change contacts, and read conversations: in 46 clinics, then
/// all of them in one. Latency is counted from the moment a request was due. Each answer is checked,
/// and that every record in it is its clinic's. Prints the table of promises and writes it into
/// docs/performance.md. Needs Linux.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask load\n  \
    cargo xtask load --quick                 some seconds of it, to see that it works")]
pub(crate) struct Args {
    /// Seconds of each stage, after five that are not counted.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Contacts of the database, in 46 clinics.
    #[arg(long, default_value_t = 300_000)]
    contacts: u64,
    /// Requests a second of 500 users; 1,000 send four times as many.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// 200 users for 3 seconds on a small database. Writes no document.
    #[arg(long)]
    quick: bool,
    /// With --quick: take the builds that tests have, which are there sooner.
    #[arg(long, requires = "quick")]
    debug: bool,
    /// Leave docs/performance.md as it is.
    #[arg(long)]
    no_write: bool,
    /// Where the server writes its log. Nowhere when left out.
    #[arg(long, value_name = "FILE")]
    log: Option<std::path::PathBuf>,
}

/// One way of working.
struct Stage {
    name: &'static str,
    users: usize,
    /// All in the largest clinic.
    in_one_clinic: bool,
    rate: f64,
}

/// What came of a stage.
struct Seen {
    stage: Stage,
    tally: Tally,
    by_kind: Vec<(Kind, Times)>,
    hits: (u64, u64),
    /// Megabytes at its end.
    memory: f64,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Times {
    count: usize,
    mean: f64,
    p50: f64,
    p95: f64,
    p99: f64,
}

impl Times {
    fn of(mut micros: Vec<u32>) -> Option<Self> {
        micros.sort_unstable();
        let tally = Tally {
            times: micros,
            ..Tally::default()
        };
        Some(Self {
            count: tally.times.len(),
            mean: tally.mean()?,
            p50: tally.percentile(500)?,
            p95: tally.percentile(950)?,
            p99: tally.percentile(990)?,
        })
    }
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let build = if self.debug {
            Build::Debug
        } else if cfg!(debug_assertions) {
            return in_release(checkout);
        } else {
            Build::Release
        };
        let ground = Ground::open(checkout, build, self.log.clone())?;
        bench::warn_of_others();
        let (contacts, seconds, users) = if self.quick {
            (20_000, 3, 200)
        } else {
            (self.contacts, self.seconds, USERS)
        };
        let crowd = bench::crowd(contacts);
        let main = ground.base("main", &[crowd])?;
        let copy = Copy::make(&ground, &main, "load")?;
        let base = &copy.base;
        let mut sql = ground.sql(base)?;
        invite(&mut sql, users, crowd)?;
        let owners = owners(&mut sql)?;
        let tokens = log_in(&ground, base, users)?;
        let (serving, address) = ground.serve(base, &Setup::default())?;
        thread::sleep(Duration::from_secs(2));
        let idle = resident(serving.pid())?;

        let mut all = Vec::new();
        let mut first = 0;
        for stage in self.stages(users) {
            let people = people(&tokens, &stage, crowd);
            let mut workflow = Workflow::new(people, owners.clone(), first);
            terminal::note(format!(
                "  {}: {} users, {:.0} requests a second for {seconds} s",
                stage.name, stage.users, stage.rate
            ));
            let load = Load {
                address,
                connections: stage.users,
                pace: Pace::Open(stage.rate),
                warm: Duration::from_secs(if self.quick { 1 } else { 5 }),
                time: Duration::from_secs(seconds),
            };
            let mut tally = engine::run(&load, &mut workflow, &mut || Ok(()))?;
            let strangers = strangers(&mut sql, &workflow.unsure)?;
            if strangers > 0 {
                tally.failed += strangers;
                tally
                    .faults
                    .insert(0, "a record of another clinic".to_owned());
            }
            first = workflow.next_number();
            let seen = Seen {
                by_kind: Kind::ALL
                    .iter()
                    .zip(workflow.times)
                    .filter_map(|((kind, _), times)| Some((*kind, Times::of(times)?)))
                    .collect(),
                hits: workflow.hits,
                memory: resident(serving.pid())?,
                stage,
                tally,
            };
            tell(&seen);
            all.push(seen);
        }
        let promises = promises(idle, &all);
        let body = table(&promises, &all);
        println!("{body}");
        let on = stamp(checkout)?;
        keep(&ground, &all, &on)?;
        if !self.quick && !self.no_write {
            let file = checkout.root().join(report::DOCUMENT);
            let document = std::fs::read_to_string(&file)?;
            let body = format!("{}; {on}.\n\n{body}", machine::describe());
            ground::write(&file, &report::put(&document, report::LOAD, &body)?)?;
        }
        let wrong: u64 = all.iter().map(|seen| seen.tally.failed).sum();
        let broken: Vec<&str> = promises
            .iter()
            .filter(|promise| !promise.is_kept)
            .map(|promise| promise.what.as_str())
            .collect();
        if !broken.is_empty() {
            terminal::note(format!("Not kept: {}", broken.join("; ")));
        }
        Ok(if wrong == 0 && broken.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn stages(&self, users: usize) -> Vec<Stage> {
        let rate = f64::from(self.rate);
        vec![
            Stage {
                name: "many clinics",
                users: users / 2,
                in_one_clinic: false,
                rate,
            },
            Stage {
                name: "many clinics, twice the users",
                users,
                in_one_clinic: false,
                rate: rate * 4.0,
            },
            Stage {
                name: "one clinic",
                users,
                in_one_clinic: true,
                rate: rate * 2.0,
            },
        ]
    }
}

fn email(number: usize) -> String {
    format!("load{number}@load.example")
}

/// Makes the users, each a member of one of the clinics and of the largest, with the password that
/// the crowd's users have.
fn invite(sql: &mut Sql, users: usize, crowd: Crowd) -> anyhow::Result<()> {
    let row = sql
        .query_one(
            "SELECT password_hash FROM app.users WHERE email = 'user0@clinic0.example'",
            &[],
        )
        .map_err(explain)?;
    let hash: Option<String> = row.get(0);
    terminal::step(&format!("Inviting {users} users"), || {
        for number in 0..users {
            let rank = number % crowd.clinics();
            let ranks = if rank == 0 { vec![0] } else { vec![rank, 0] };
            for rank in ranks {
                sql.execute(
                    "SELECT sec.create_member($1::text::uuid, $2, $3, $4, $5::text::uuid,
                         'receptionist', now())",
                    &[
                        &format!("01a23456-7000-7000-8000-d000{number:08x}"),
                        &email(number),
                        &format!("Load {number}"),
                        &hash,
                        &Crowd::clinic(rank),
                    ],
                )
                .map_err(explain)?;
            }
        }
        Ok(())
    })
}

/// Whom every contact and conversation belongs to.
fn owners(sql: &mut Sql) -> anyhow::Result<Owners> {
    let rows = sql
        .query(
            "SELECT id::text, clinic_id::text FROM app.contacts
             UNION ALL SELECT id::text, clinic_id::text FROM app.conversations",
            &[],
        )
        .map_err(explain)?;
    rows.iter()
        .map(|row| {
            let id = parse(row.get(0)).context("an id is none")?;
            let clinic = parse(row.get(1)).context("a clinic's id is none")?;
            Ok((id, rank(clinic)))
        })
        .collect()
}

/// The rank that a clinic's id holds.
fn rank(clinic: u128) -> u16 {
    u16::try_from((clinic >> 8) & 0xffff).unwrap_or(u16::MAX)
}

/// Logs all users in, at a server of their own, which ends. Answers token and address of each.
fn log_in(ground: &Ground, base: &Base, users: usize) -> anyhow::Result<Vec<(String, String)>> {
    terminal::step(&format!("Logging in {users} users"), || {
        let (_serving, address) = ground.serve(base, &Setup::default())?;
        let next = AtomicUsize::new(0);
        let mut all = thread::scope(|scope| {
            let doors: Vec<_> = (0..DOORS)
                .map(|_| {
                    scope.spawn(|| -> anyhow::Result<Vec<_>> {
                        let mut caller = Caller::connect(address)?;
                        let mut tokens = Vec::new();
                        loop {
                            crate::interrupt::check()?;
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            if number >= users {
                                return Ok(tokens);
                            }
                            let token = ground::token(&mut caller, &email(number), number)?;
                            tokens.push((number, token));
                        }
                    })
                })
                .collect();
            let mut all = Vec::new();
            for door in doors {
                match door.join() {
                    Ok(tokens) => all.extend(tokens?),
                    Err(_) => bail!("a door fell"),
                }
            }
            Ok(all)
        })?;
        all.sort_by_key(|(number, _)| *number);
        Ok(all.into_iter().map(|(_, token)| token).collect())
    })
}

fn people(tokens: &[(String, String)], stage: &Stage, crowd: Crowd) -> Vec<User> {
    tokens
        .iter()
        .take(stage.users)
        .enumerate()
        .map(|(number, (token, address))| {
            let rank = if stage.in_one_clinic {
                0
            } else {
                number % crowd.clinics()
            };
            let clinic = Crowd::clinic(rank);
            let headers = vec![
                format!("Authorization: Bearer {token}"),
                format!("X-Clinic-Id: {clinic}"),
                "Accept: application/json".to_owned(),
                address.clone(),
            ];
            let rank = u16::try_from(rank).unwrap_or_default();
            User::new(email(number), headers, (rank, clinic))
        })
        .collect()
}

/// How many of these are not of the clinic that saw them.
fn strangers(sql: &mut Sql, unsure: &[(u128, u16)]) -> anyhow::Result<u64> {
    let mut by_clinic: HashMap<u16, Vec<String>> = HashMap::new();
    for (id, clinic) in unsure {
        by_clinic.entry(*clinic).or_default().push(text(*id));
    }
    let mut strangers = 0;
    for (clinic, mut ids) in by_clinic {
        ids.sort_unstable();
        ids.dedup();
        let clinic = Crowd::clinic(usize::from(clinic));
        let row = sql
            .query_one(
                "SELECT (SELECT count(*) FROM app.contacts
                         WHERE clinic_id = $1::text::uuid AND id = ANY ($2::text[]::uuid[]))
                      + (SELECT count(*) FROM app.conversations
                         WHERE clinic_id = $1::text::uuid AND id = ANY ($2::text[]::uuid[]))",
                &[&clinic, &ids],
            )
            .map_err(explain)?;
        let found = u64::try_from(row.get::<_, i64>(0)).unwrap_or_default();
        strangers += (ids.len() as u64).saturating_sub(found);
    }
    Ok(strangers)
}

fn resident(pid: u32) -> anyhow::Result<f64> {
    Ok(megabytes(machine::resident(pid)?.all))
}

impl Seen {
    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let requests = self.tally.requests as f64;
        requests / self.tally.seconds
    }

    fn p(&self, per_mille: usize) -> f64 {
        self.tally.percentile(per_mille).unwrap_or(f64::NAN)
    }

    fn mean(&self) -> f64 {
        self.tally.mean().unwrap_or(f64::NAN)
    }

    fn kind(&self, wanted: Kind) -> Option<Times> {
        let found = self.by_kind.iter().find(|(kind, _)| *kind == wanted);
        found.map(|(_, times)| *times)
    }
}

fn tell(seen: &Seen) {
    terminal::note(format!(
        "    {:.0}/s, average {:.1} ms, p50 {:.1}, p95 {:.1}, p99 {:.1} ms, {:.0} MB, {} wrong{}",
        seen.rate(),
        seen.mean(),
        seen.p(500),
        seen.p(950),
        seen.p(990),
        seen.memory,
        seen.tally.failed,
        seen.tally
            .faults
            .first()
            .map_or_else(String::new, |fault| format!(": {fault}"))
    ));
}

/// A figure that was promised.
#[derive(Debug, Clone, PartialEq)]
struct Promise {
    what: String,
    promised: String,
    seen: String,
    is_kept: bool,
}

fn at_most(what: impl Into<String>, most: f64, seen: f64, unit: &str) -> Promise {
    Promise {
        what: what.into(),
        promised: format!("≤ {most} {unit}"),
        seen: format!("{seen:.1} {unit}"),
        is_kept: seen <= most,
    }
}

fn promises(idle: f64, all: &[Seen]) -> Vec<Promise> {
    let mut promises = vec![at_most("memory, idle", 95.0, idle, "MB")];
    for seen in all {
        let Stage {
            name, users, rate, ..
        } = seen.stage;
        let of = |figure: &str| format!("{users} users, {name}: {figure}");
        promises.extend([
            Promise {
                what: of("throughput"),
                promised: format!("{rate:.0}/s"),
                seen: format!("{:.0}/s", seen.rate()),
                is_kept: seen.rate() >= rate * 0.99,
            },
            Promise {
                what: of("wrong or missing answers, of other clinics' records"),
                promised: "none (< 0.1 %)".to_owned(),
                seen: seen.tally.failed.to_string(),
                is_kept: seen.tally.failed == 0,
            },
            at_most(of("average"), 5.0, seen.mean(), "ms"),
            at_most(of("p50"), 50.0, seen.p(500), "ms"),
            at_most(of("p95"), 100.0, seen.p(950), "ms"),
            at_most(of("p99"), 500.0, seen.p(990), "ms"),
            at_most(of("memory"), 180.0, seen.memory, "MB"),
        ]);
        if let Some(search) = seen.kind(Kind::Search) {
            promises.push(at_most(of("search, average"), 25.0, search.mean, "ms"));
        }
        if seen.hits.1 > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            let share = 100.0 * seen.hits.0 as f64 / seen.hits.1 as f64;
            promises.push(Promise {
                what: of("reads from the cache"),
                promised: "≥ 95 %".to_owned(),
                seen: format!("{share:.1} %"),
                is_kept: share >= 95.0,
            });
        }
    }
    promises
}

/// The promises, and beside them what each kind of request took.
fn table(promises: &[Promise], all: &[Seen]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("| what | promised | seen | |\n|---|---|---|---|\n");
    for promise in promises {
        let _infallible = writeln!(
            text,
            "| {} | {} | {} | {} |",
            promise.what,
            promise.promised,
            promise.seen,
            if promise.is_kept {
                "kept"
            } else {
                "**not kept**"
            }
        );
    }
    text.push_str("\n| request | users | of them | average | p50 | p95 | p99 |\n|---|---|---|---|---|---|---|\n");
    for seen in all {
        for (kind, times) in &seen.by_kind {
            let _infallible = writeln!(
                text,
                "| {} | {}, {} | {} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms |",
                kind.name(),
                seen.stage.users,
                seen.stage.name,
                times.count,
                times.mean,
                times.p50,
                times.p95,
                times.p99
            );
        }
    }
    text
}

fn keep(ground: &Ground, all: &[Seen], on: &str) -> anyhow::Result<()> {
    let stages: Vec<_> = all
        .iter()
        .map(|seen| {
            let kinds: Vec<_> = seen
                .by_kind
                .iter()
                .map(|(kind, times)| {
                    json!({
                        "request": kind.name(), "count": times.count, "mean": times.mean,
                        "p50": times.p50, "p95": times.p95, "p99": times.p99,
                    })
                })
                .collect();
            json!({
                "stage": seen.stage.name, "users": seen.stage.users, "asked": seen.stage.rate,
                "rate": seen.rate(), "mean": seen.mean(), "p50": seen.p(500), "p95": seen.p(950),
                "p99": seen.p(990), "slowest": seen.p(1000), "memory": seen.memory,
                "failed": seen.tally.failed, "faults": seen.tally.faults, "kinds": kinds,
            })
        })
        .collect();
    ensure!(!stages.is_empty(), "nothing was measured");
    let text = serde_json::to_string_pretty(&json!({ "on": on, "stages": stages }))?;
    ground::write(&ground.folder.join("load.json"), &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_is_not_kept_is_told() {
        let promises = [
            at_most("p99", 500.0, 499.0, "ms"),
            at_most("p50", 50.0, 51.0, "ms"),
        ];
        assert!(promises[0].is_kept && !promises[1].is_kept);
        let table = table(&promises, &[]);
        assert!(
            table.contains("| p50 | ≤ 50 ms | 51.0 ms | **not kept** |"),
            "{table}"
        );
    }

    #[test]
    fn times_are_in_milliseconds() {
        let times = Times::of((1..=1000).map(|n| n * 1000).collect()).unwrap();
        assert!((times.mean - 500.5).abs() < 1e-6);
        assert!((times.p99 - 991.0).abs() < 1e-6);
        assert_eq!(Times::of(Vec::new()), None);
    }

    #[test]
    fn a_clinics_rank_is_read_off_its_id() {
        for number in [0, 45, 300] {
            let id = parse(&Crowd::clinic(number)).unwrap();
            assert_eq!(usize::from(rank(id)), number);
        }
    }
}
