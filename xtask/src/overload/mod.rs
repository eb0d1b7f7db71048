//! `cargo xtask overload`: many times more requests than the server can answer. What it does answer
//! must be right and in time, its memory flat, and it must be itself again within seconds.

mod load;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::{
    checkout::Checkout,
    client::Client,
    postgres::{cluster::Kind, site::Site},
    server::{self, Addresses, Build, Server},
    terminal,
};
use load::{Ask, Pace, Seen};

const PASSWORD: &str = "uma senha bem longa";
/// Contacts on a page, as many as each clinic has.
const ROWS: usize = 20;
/// Connections of a calm phase, and of the storm: more than the server lets in at once.
const CALM: usize = 16;
const STORM: usize = 600;
/// Nine in ten of an accepted request's time the server may itself decide: four times its target.
const BOUND: Duration = Duration::from_secs(1);
/// In a debug build everything but the bound on requests in progress is slower.
const BOUND_OF_DEBUG: Duration = Duration::from_secs(3);
/// How much more memory the storm may take at its end than when it had begun.
const GROWTH: f64 = 1.15;
/// How soon it must be itself again.
const RECOVERY: Duration = Duration::from_secs(5);

/// Ask for five times what the server can answer, and check what it does.
///
/// On a database of its own (of the test cluster, or of the server of DATABASE_URL).
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many times its capacity is asked for.
    #[arg(long, default_value_t = 5.0)]
    times: f64,
    /// For how many seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Take the server as it goes to production (its build takes some minutes more).
    #[arg(long)]
    release: bool,
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let (build, bound) = if self.release {
            (Build::Release, BOUND)
        } else {
            (Build::Debug, BOUND_OF_DEBUG)
        };
        let site = Site::open(checkout, Kind::Test)?;
        let program = server::build(checkout, build)?;
        let database = format!("acolhe_overload_{}", std::process::id());
        site.prepare(checkout, &database)?;
        let addresses = site.addresses(&database)?;
        let judged = self.storm(checkout, program, &addresses, bound);
        site.drop_database(&database)?;
        judged?;
        Ok(ExitCode::SUCCESS)
    }

    fn storm(
        &self,
        checkout: &Checkout,
        program: std::path::PathBuf,
        addresses: &Addresses,
        bound: Duration,
    ) -> anyhow::Result<()> {
        let folder = checkout.root().join(".acolhe");
        let mut server = Server::new(program, addresses, &folder.join("overload-keys.env"))?;
        server.set("ACOLHE_TELEMETRY_LOG_FILTER", "warn");
        // A handful of users stands for thousands: only the load is to be felt.
        server.set("ACOLHE_LIMITS_ENABLED", "false");
        server.migrate()?;
        let serving = server.serve(18_280, Some(&folder.join("overload.log")))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, serving.port));
        let asks = ground(&server, &serving.base_url)?;
        let pid = serving.pid();

        let second = Duration::from_secs(1);
        load::run(address, &asks, CALM, Pace::AsAnswered, second * 2)?;
        let capacity = load::run(address, &asks, CALM, Pace::AsAnswered, second * 5)?;
        let capacity = per_second(&capacity, second * 5);
        terminal::note(format!("  capacity: {capacity:.0} requests a second"));
        let calm = Pace::EachSecond(capacity / 2.0);
        let before = load::run(address, &asks, CALM * 4, calm, second * 5)?;

        let span = second * u32::try_from(self.seconds.max(5))?;
        let rate = Pace::EachSecond(capacity * self.times);
        let memory = Mutex::new(Vec::new());
        let over = AtomicBool::new(false);
        let during = thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    thread::sleep(second);
                    let resident = resident(pid).unwrap_or(0);
                    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                    memory.push(resident);
                }
            });
            let during = load::run(address, &asks, STORM, rate, span);
            over.store(true, Ordering::Relaxed);
            during
        })?;
        let after = load::run(address, &asks, CALM * 4, calm, RECOVERY + second * 5)?;
        drop(serving);

        let memory = memory.into_inner().unwrap_or_else(PoisonError::into_inner);
        let report = Report {
            phases: [
                ("half of it, before", &before, second * 5),
                ("the storm", &during, span),
                ("half of it, after", &after, RECOVERY + second * 5),
            ],
            memory: &memory,
            recovered: recovered(&before, &after),
        };
        report.print();
        report.judge(bound)
    }
}

/// Two clinics with as many contacts as a page holds, told apart by their contacts' names.
fn ground(server: &Server, base_url: &str) -> anyhow::Result<Vec<Ask>> {
    let client = Client::new(base_url);
    let words = ["Alfa", "Beta"];
    let mut asks = Vec::new();
    for (own, foreign) in words.iter().zip(words.iter().rev()) {
        let name = format!("Clinica {own}");
        let made = server.admin(&["create-clinic", "--name", &name], None)?;
        let clinic = text(&made, "clinicId")?;
        let email = format!("{}@example.com", own.to_lowercase());
        let owner = ["create-owner", "--clinic", clinic, "--email", &email];
        let owner = [&owner[..], &["--name", "Ana Lima", "--password-stdin"]].concat();
        server.admin(&owner, Some(PASSWORD))?;
        let session = client.log_in(&email, PASSWORD, clinic)?;
        for number in 0..ROWS {
            let letter = char::from(b'a' + u8::try_from(number)?);
            let name = format!("Maria {own} {}", letter.to_string().repeat(3));
            session.post("/api/v1/contacts", &json!({ "name": name }))?;
        }
        let request = format!(
            "GET /api/v1/contacts?limit={ROWS} HTTP/1.1\r\nHost: localhost\r\n\
             Authorization: Bearer {}\r\nX-Clinic-Id: {clinic}\r\n\r\n",
            session.token()
        );
        asks.push(Ask {
            request: request.into_bytes(),
            own: (format!("Maria {own} ").into_bytes(), ROWS),
            foreign: format!("Maria {foreign} ").into_bytes(),
        });
    }
    Ok(asks)
}

fn text<'a>(value: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    value[name]
        .as_str()
        .with_context(|| format!("no {name} came"))
}

/// What a process holds in memory, in bytes.
fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[expect(clippy::cast_precision_loss, reason = "a number of requests is small")]
fn per_second(seen: &Seen, span: Duration) -> f64 {
    seen.served.len() as f64 / span.as_secs_f64()
}

/// The time within which a share of them, in hundredths, ended.
fn quantile(mut times: Vec<Duration>, hundredths: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len() * hundredths / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

fn times(seen: &Seen) -> Vec<Duration> {
    seen.served.iter().map(|(_, took)| *took).collect()
}

/// The first second after the storm in which nobody is refused and the slowest hundredth takes no
/// longer than three times what it took before; `None` when there is none.
fn recovered(before: &Seen, after: &Seen) -> Option<Duration> {
    let usual = quantile(times(before), 99).max(Duration::from_millis(5)) * 3;
    (0..RECOVERY.as_secs())
        .map(Duration::from_secs)
        .find(|from| {
            let within: Vec<Duration> = after
                .served
                .iter()
                .filter(|(sent, _)| sent >= from && *sent < *from + Duration::from_secs(1))
                .map(|(_, took)| *took)
                .collect();
            !within.is_empty() && quantile(within, 99) <= usual
        })
}

struct Report<'a> {
    phases: [(&'static str, &'a Seen, Duration); 3],
    memory: &'a [u64],
    recovered: Option<Duration>,
}

impl Report<'_> {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn print(&self) {
        println!(
            "| phase | sent/s | served/s | refused/s | wrong | broken | served p50 | p99 | refused p99 | sent late p99 |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        for (name, seen, span) in &self.phases {
            let each = |count: usize| count as f64 / span.as_secs_f64();
            let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
            println!(
                "| {name} | {:.0} | {:.0} | {:.0} | {} | {} | {} | {} | {} | {} |",
                each(seen.sent()),
                each(seen.served.len()),
                each(seen.refused.len()),
                seen.wrong,
                seen.broken,
                ms(quantile(times(seen), 50)),
                ms(quantile(times(seen), 99)),
                ms(quantile(seen.refused.clone(), 99)),
                ms(quantile(seen.late.clone(), 99)),
            );
        }
        let (early, late) = self.grown();
        println!(
            "\nMemory in the storm: {:.1} MB after a fifth of it, {:.1} MB at its end.",
            early / 1e6,
            late / 1e6
        );
        match self.recovered {
            Some(after) => println!("Itself again within {} s.", after.as_secs() + 1),
            None => println!("Not itself again within {} s.", RECOVERY.as_secs()),
        }
    }

    /// The most that was held in the second fifth of the storm, and in the last one.
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn grown(&self) -> (f64, f64) {
        let fifth = (self.memory.len() / 5).max(1);
        let most = |part: Option<&[u64]>| part.and_then(|part| part.iter().max()).copied();
        let early = most(self.memory.get(fifth..fifth * 2));
        let late = most(self.memory.get(self.memory.len().saturating_sub(fifth)..));
        (early.unwrap_or(0) as f64, late.unwrap_or(0) as f64)
    }

    fn judge(&self, bound: Duration) -> anyhow::Result<()> {
        let mut faults = Vec::new();
        for (name, seen, _) in &self.phases {
            if seen.wrong > 0 {
                let example = seen.example.as_deref().unwrap_or_default();
                faults.push(format!(
                    "{name}: {} wrong answers, such as\n{example}",
                    seen.wrong
                ));
            }
            if seen.served.is_empty() {
                faults.push(format!("{name}: nothing was answered"));
            }
        }
        let storm = self.phases[1].1;
        if storm.refused.is_empty() {
            faults.push("nothing was refused: that was no overload".to_owned());
        }
        let slowest = quantile(times(storm), 99);
        if slowest > bound {
            faults.push(format!(
                "one in a hundred served took {} or longer, more than {}",
                terminal::time(slowest),
                terminal::time(bound)
            ));
        }
        let (early, late) = self.grown();
        if late > early * GROWTH {
            faults.push(format!("memory grew from {early:.0} to {late:.0} bytes"));
        }
        if self.recovered.is_none() {
            faults.push(format!("not itself again within {} s", RECOVERY.as_secs()));
        }
        if !faults.is_empty() {
            bail!("{}", faults.join("\n"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(seconds: &[(u64, u64)]) -> Seen {
        let served = seconds
            .iter()
            .map(|(sent, took)| (Duration::from_secs(*sent), Duration::from_millis(*took)));
        Seen {
            served: served.collect(),
            ..Seen::default()
        }
    }

    #[test]
    fn it_has_recovered_in_the_first_second_that_is_as_those_before() {
        let before = seen(&[(0, 10), (1, 12)]);
        let after = seen(&[(0, 900), (1, 500), (2, 20), (3, 10)]);
        assert_eq!(recovered(&before, &after), Some(Duration::from_secs(2)));
        assert_eq!(recovered(&before, &seen(&[(0, 900), (4, 900)])), None);
    }

    #[test]
    fn a_quantile_of_nothing_is_nothing() {
        assert_eq!(quantile(Vec::new(), 99), Duration::ZERO);
        let times = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(times, 99), Duration::from_millis(199));
    }
}
