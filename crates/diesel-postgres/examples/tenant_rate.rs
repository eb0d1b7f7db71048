//! How fast one clinic's newest contacts are read, as a ratio to `pgbench` doing the same.
//!
//! Not part of the tests: rates on a shared machine say little. To run it:
//!
//! ```text
//! ACOLHE_TEST_DATABASE_URL=postgres://… cargo run --release -p diesel-postgres \
//!     --example tenant_rate -- [contacts] [rounds] [seconds]
//! ```
//!
//! 20 connections, 50 clinics of which one has half the contacts, row security forced, generic
//! plans. `pgbench` sends BEGIN, the tenant, the query and COMMIT in a pipeline, prepared. Rounds
//! are interleaved and their order is reversed every second time; CPU per request is of this
//! process and of all of PostgreSQL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a command for developers"
)]
#![allow(clippy::cast_precision_loss, reason = "rates and shares")]

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_postgres::{Database, QueryName, query_name, statement, tenant_select};
use kernel::{Action, Permissions, TenantContext};
use test_support::TestDatabase;
use tokio_postgres::Client;
use uuid::Uuid;

const CLINICS: u128 = 50;
const CONNECTIONS: usize = 20;
const WORKERS: usize = 2;

type RowSql = (
    SqlUuid,
    Text,
    Text,
    Text,
    Array<Text>,
    Nullable<Text>,
    Nullable<Text>,
    BigInt,
    Timestamptz,
    Timestamptz,
);

type Row = (
    Uuid,
    String,
    String,
    String,
    Vec<String>,
    Option<String>,
    Option<String>,
    i64,
    DateTime<Utc>,
    DateTime<Utc>,
);

macro_rules! columns {
    () => {
        "SELECT id, name, status, source, tags, primary_phone, primary_email, row_version, \
         created_at, updated_at FROM app.contacts"
    };
}

macro_rules! newest {
    () => {
        " AND merged_into IS NULL ORDER BY created_at DESC, id DESC LIMIT 20"
    };
}

tenant_select! {
    struct Newest {} -> RowSql = concat!(columns!(), " WHERE clinic_id = s.t", newest!())
}
statement! {
    struct NewestOf { clinic: Uuid => SqlUuid } -> RowSql =
        concat!(columns!(), " WHERE clinic_id = ?", newest!())
}

const LIST: QueryName = query_name!("contact.list", "SELECT", "contacts");

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Pgbench,
    Read,
    Once,
}

/// One round's outcome.
struct Outcome {
    rate: f64,
    p50: Duration,
    p99: Duration,
    own_cpu: f64,
    server_cpu: f64,
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u64>().unwrap());
    let contacts = arguments.next().unwrap_or(1_000_000);
    let rounds = arguments.next().unwrap_or(8);
    let seconds = arguments.next().unwrap_or(5);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let base = runtime.block_on(TestDatabase::new());
    let behind = runtime.block_on(prepare(&base, contacts));
    let postmaster = runtime.block_on(postmaster(&behind));
    drop(behind);

    let ways = [Way::Pgbench, Way::Read, Way::Once];
    let mut outcomes: Vec<(Way, Outcome)> = Vec::new();
    for round in 0..rounds {
        let mut order = ways;
        if round % 2 == 1 {
            order.reverse();
        }
        for way in order {
            let before = (own_cpu(), cpu_of(postmaster));
            let (requests, mut times) = match way {
                Way::Pgbench => (pgbench(&base, seconds), Vec::new()),
                _ => ours(&base, way, Duration::from_secs(seconds)),
            };
            let requests = requests as f64;
            times.sort_unstable();
            let at = |per_mille: usize| {
                let index = times.len() * per_mille / 1000;
                times.get(index).copied().unwrap_or_default()
            };
            let outcome = Outcome {
                rate: requests / seconds as f64,
                p50: at(500),
                p99: at(990),
                own_cpu: (own_cpu() - before.0) / requests,
                server_cpu: (cpu_of(postmaster) - before.1) / requests,
            };
            println!(
                "round {round} {way:?}: {:.0}/s, p50 {:?}, p99 {:?}, CPU {:.1} + {:.1} µs",
                outcome.rate, outcome.p50, outcome.p99, outcome.own_cpu, outcome.server_cpu
            );
            outcomes.push((way, outcome));
        }
    }
    summarize(&outcomes, ways);
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn summarize(outcomes: &[(Way, Outcome)], ways: [Way; 3]) {
    let of = |way| {
        outcomes
            .iter()
            .filter(move |entry| entry.0 == way)
            .map(|entry| &entry.1)
    };
    let limit = median(of(Way::Pgbench).map(|outcome| outcome.rate));
    let limit_cpu = median(of(Way::Pgbench).map(|outcome| outcome.server_cpu));
    println!("\nmedians:");
    for way in ways {
        println!(
            "{way:?}: {:.0}/s = {:.2} x pgbench; own CPU {:.1} µs; PostgreSQL {:.1} µs = {:.2} x; p99 {:.1} ms",
            median(of(way).map(|outcome| outcome.rate)),
            median(of(way).map(|outcome| outcome.rate)) / limit,
            median(of(way).map(|outcome| outcome.own_cpu)),
            median(of(way).map(|outcome| outcome.server_cpu)),
            median(of(way).map(|outcome| outcome.server_cpu)) / limit_cpu,
            median(of(way).map(|outcome| outcome.p99.as_secs_f64() * 1000.0)),
        );
    }
}

fn clinic(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Fills the database past row security; half of the contacts are clinic 1's.
async fn prepare(base: &TestDatabase, contacts: u64) -> Client {
    let behind = base.superuser().await;
    let mut sql = String::new();
    for number in 1..=CLINICS {
        let _ = write!(
            sql,
            "SELECT sec.create_clinic('{}', 'Clinic {number}', 'America/Sao_Paulo', 'pt-BR', '{{}}', now());",
            clinic(number)
        );
    }
    let _ = write!(
        sql,
        "INSERT INTO app.contacts (clinic_id, id, name, name_key, name_source, status, source,
             tags, primary_phone, primary_email, curated, row_version, created_at, updated_at)
         SELECT CASE WHEN n % 2 = 0 THEN '{}'::uuid
                     ELSE lpad(to_hex(1 + (n / 2) % {CLINICS}), 32, '0')::uuid END,
                gen_random_uuid(), 'Contato número ' || n, 'contato numero ' || n, 'person',
                'lead', 'whatsapp', '{{vip,retorno}}', '+5511' || (900000000 + n), NULL, true, 1,
                now() - n * interval '1 second', now()
         FROM generate_series(1, {contacts}) n;",
        clinic(1)
    );
    behind.batch_execute(&sql).await.unwrap();
    behind
        .batch_execute("VACUUM ANALYZE app.contacts")
        .await
        .unwrap();
    behind
}

async fn postmaster(behind: &Client) -> u32 {
    let row = behind
        .query_one(
            "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)",
            &[],
        )
        .await
        .unwrap();
    row.get::<_, String>(0).parse().unwrap()
}

/// `pgbench` for so many seconds; answers its transactions.
fn pgbench(base: &TestDatabase, seconds: u64) -> u64 {
    let tenant = "lpad(to_hex((:n)::int), 32, '0')";
    let script = format!(
        "\\set n random(1, {CLINICS})\n\\startpipeline\nBEGIN;\n\
         SELECT set_config('app.clinic_id', {tenant}, true);\n\
         {} WHERE clinic_id = {tenant}::uuid{};\nCOMMIT;\n\\endpipeline\n",
        columns!(),
        newest!()
    );
    let file = std::env::temp_dir().join(format!("tenant_rate_{}.sql", std::process::id()));
    fs::write(&file, script).unwrap();
    let output = Command::new("pgbench")
        .args(["-n", "-M", "prepared", "-j", "2", "-c"])
        .arg(CONNECTIONS.to_string())
        .args(["-T", &seconds.to_string(), "-f"])
        .arg(&file)
        .arg(base.app_url())
        .output()
        .expect("pgbench is installed (postgresql-client or postgresql-contrib)");
    let _ = fs::remove_file(&file);
    let told = String::from_utf8_lossy(&output.stdout);
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix("number of transactions actually processed: "))
        .unwrap_or_else(|| panic!("{told}{}", String::from_utf8_lossy(&output.stderr)));
    let done = line.split('/').next().unwrap().trim().parse().unwrap();
    assert!(
        done > 0,
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    done
}

/// The product's way, from workers with a runtime each, as the server has them.
fn ours(base: &TestDatabase, way: Way, time: Duration) -> (u64, Vec<Duration>) {
    let db = base.database_with(|settings| {
        settings.shards = WORKERS;
        settings.max_connections = CONNECTIONS + CONNECTIONS / WORKERS;
    });
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (db, stop) = (db.clone(), Arc::clone(&stop));
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let lines: Vec<_> = (0..CONNECTIONS / WORKERS)
                        .map(|line| {
                            let seed = (worker * 100 + line) as u64;
                            tokio::spawn(requests(db.clone(), way, seed, Arc::clone(&stop)))
                        })
                        .collect();
                    let mut times = Vec::new();
                    for line in lines {
                        times.extend(line.await.unwrap());
                    }
                    times
                })
            })
        })
        .collect();
    thread::sleep(time);
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.join().unwrap());
    }
    (times.len() as u64, times)
}

async fn requests(db: Database, way: Way, seed: u64, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let contexts: Vec<TenantContext> = (1..=CLINICS)
        .map(|number| {
            let user = Uuid::nil().into();
            TenantContext::for_test(clinic(number).into(), user, Permissions::of(Action::ALL))
        })
        .collect();
    let mut times = Vec::new();
    let mut dice = seed;
    while !stop.load(Ordering::Relaxed) {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let cx = &contexts[usize::try_from((dice >> 33) % contexts.len() as u64).unwrap()];
        let began = Instant::now();
        let rows: Vec<Row> = if way == Way::Read {
            db.read(cx, LIST, Newest {}).await.unwrap()
        } else {
            let clinic = cx.clinic().into();
            db.once(cx, LIST, NewestOf { clinic }).await.unwrap()
        };
        times.push(began.elapsed());
        assert_eq!(rows.len(), 20);
    }
    times
}

/// User and system time of a process in µs, with what its ended children used.
fn cpu(pid: &str) -> Option<(u32, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields[11..15]
        .iter()
        .map(|field| field.parse::<f64>().unwrap_or(0.0))
        .sum();
    Some((fields[1].parse().ok()?, ticks * 10_000.0))
}

fn own_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    fields[11..13]
        .iter()
        .map(|field| field.parse::<f64>().unwrap())
        .sum::<f64>()
        * 10_000.0
}

/// The server and all its processes.
fn cpu_of(postmaster: u32) -> f64 {
    let children: f64 = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| cpu(entry.ok()?.file_name().to_str()?))
        .filter(|(parent, _)| *parent == postmaster)
        .map(|(_, time)| time)
        .sum();
    children + cpu(&postmaster.to_string()).map_or(0.0, |(_, time)| time)
}
