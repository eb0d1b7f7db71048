//! The two processes, and the load: writers, and readers that know what was written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_support::{FaultProxy, TestDatabase, TestRedis, TwoClinics, two_clinics};

use crate::program::{Program, Running, request};

pub(crate) const X_CACHE: &str = "x-cache";
/// What is promised.
const STALE: Duration = Duration::from_secs(1);
const CONTACTS: usize = 3;
const NODES: usize = 2;

/// Two processes over one database and, where asked for, one Redis behind a network that may fail.
pub(crate) struct Stage {
    pub(crate) redis: TestRedis,
    pub(crate) proxy: FaultProxy,
    pub(crate) nodes: Vec<Arc<Running>>,
    clinics: TwoClinics,
    token: String,
    base: TestDatabase,
}

/// What was answered.
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        let found = lines.find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.trim())
    }
}

impl Stage {
    pub(crate) async fn new(with_redis: bool) -> Self {
        let base = TestDatabase::new().await;
        let clinics = two_clinics(&base).await;
        let redis = TestRedis::start();
        let proxy = FaultProxy::before(redis.port());
        let mut program = Program::new(&base.app_url());
        program
            .set("ACOLHE_LIMITS_ENABLED", "false")
            .set("ACOLHE_REDIS_ANSWER_TIMEOUT", "300ms");
        if with_redis {
            program.set(
                "ACOLHE_REDIS_URL",
                &format!("redis://127.0.0.1:{}", proxy.port()),
            );
        }
        let token = program.token(clinics.a.owner);
        let nodes = (0..NODES).map(|_| {
            program.move_to_free_port();
            Arc::new(program.start())
        });
        Self {
            nodes: nodes.collect(),
            redis,
            proxy,
            clinics,
            token,
            base,
        }
    }

    fn caller(&self) -> Caller {
        Caller {
            nodes: self.nodes.clone(),
            token: self.token.clone(),
            clinic: self.clinics.a.id.to_string(),
        }
    }

    pub(crate) fn get(&self, node: usize, path: &str) -> Reply {
        self.get_with(node, path, &[])
    }

    pub(crate) fn get_with(&self, node: usize, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.caller().send(node, "GET", path, headers, "")
    }

    pub(crate) fn get_as_other_clinic(&self, node: usize, path: &str) -> Reply {
        let mut caller = self.caller();
        caller.clinic = self.clinics.b.id.to_string();
        caller.send(node, "GET", path, &[], "")
    }

    /// Asks until the answer comes from one of these places; that answer.
    pub(crate) fn until(&self, node: usize, path: &str, places: &[&str]) -> Reply {
        let began = Instant::now();
        loop {
            let reply = self.get(node, path);
            assert_eq!(reply.status, 200, "{path}: {}", reply.body);
            if places.contains(&reply.header(X_CACHE)) {
                return reply;
            }
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{path} of process {node}: still {}",
                reply.header(X_CACHE)
            );
            sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn redis_keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        // What a look-up has just read is put a moment later.
        let began = Instant::now();
        while keys.len() < 4 && began.elapsed() < Duration::from_secs(5) {
            keys = self.redis.ask_list("KEYS *");
        }
        keys
    }

    pub(crate) fn clinic_prefix(&self) -> String {
        format!("clinic_{}:contacts:", self.clinics.a.id)
    }

    /// As the act that does it would: the row and the event in one transaction.
    pub(crate) async fn disable_owner(&self) {
        let (clinic, user) = (self.clinics.a.id, self.clinics.a.owner);
        let sql = format!(
            "BEGIN;
             UPDATE app.memberships SET status = 'disabled'
             WHERE clinic_id = '{clinic}' AND user_id = '{user}';
             INSERT INTO app.outbox (clinic_id, event_id, name, version, entity_id, at, payload)
             VALUES ('{clinic}', gen_random_uuid(), 'membership.updated', 1, '{user}', now(), '{{}}');
             COMMIT;"
        );
        self.base
            .superuser()
            .await
            .batch_execute(&sql)
            .await
            .unwrap();
    }
}

#[derive(Clone)]
struct Caller {
    nodes: Vec<Arc<Running>>,
    token: String,
    clinic: String,
}

impl Caller {
    fn send(
        &self,
        node: usize,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![
            ("Authorization", bearer.as_str()),
            ("X-Clinic-Id", self.clinic.as_str()),
        ];
        all.extend_from_slice(headers);
        Reply::of(&self.nodes[node].send(&request(method, path, &all, body)))
    }
}

/// One acknowledged write of a contact.
struct Written {
    version: u64,
    node: usize,
    acknowledged: Instant,
}

/// Where answers came from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) near: u64,
    pub(crate) far: u64,
    pub(crate) missed: u64,
    pub(crate) passed_by: u64,
    pub(crate) written: u64,
}

#[derive(Default)]
struct Record {
    writes: [Mutex<Vec<Written>>; CONTACTS],
    counts: [AtomicU64; 5],
    /// What must not be, with how often.
    wrong: Mutex<BTreeMap<String, u64>>,
    /// The longest that a reader was behind, in milliseconds, and that anybody waited.
    behind: AtomicU64,
    slowest: AtomicU64,
    ended: AtomicBool,
}

impl Record {
    fn wrong(&self, what: String) {
        *self.wrong.lock().unwrap().entry(what).or_default() += 1;
    }

    fn count(&self, reply: &Reply) {
        let place = match reply.header(X_CACHE) {
            "HIT-L1" => 0,
            "HIT-L2" => 1,
            "MISS" => 2,
            _ => 3,
        };
        self.counts[place].fetch_add(1, Ordering::Relaxed);
    }

    /// Holds what was read against what was written.
    fn judge(&self, contact: usize, node: usize, asked: Instant, read: u64) {
        let writes = self.writes[contact].lock().unwrap();
        for write in writes.iter().rev().take(500) {
            if write.version <= read || write.acknowledged >= asked {
                continue;
            }
            let behind = asked - write.acknowledged;
            let millis = u64::try_from(behind.as_millis()).unwrap();
            self.behind.fetch_max(millis, Ordering::Relaxed);
            if write.node == node {
                self.wrong("a process did not show what was written by it".to_owned());
            } else if behind > STALE {
                self.wrong("a process showed what was overwritten longer ago".to_owned());
            }
        }
    }
}

/// Writers and readers at work.
pub(crate) struct Load {
    record: Arc<Record>,
    threads: Vec<JoinHandle<()>>,
    began: Instant,
}

/// How it went.
pub(crate) struct Verdict {
    counts: Counts,
    wrong: BTreeMap<String, u64>,
    behind: u64,
    slowest: u64,
    took: Duration,
}

impl Load {
    pub(crate) fn start(stage: &Stage) -> Self {
        let record = Arc::new(Record::default());
        let caller = stage.caller();
        let mut threads = Vec::new();
        let mut ids = Vec::new();
        for contact in 0..CONTACTS {
            let body = json!({ "name": name(contact, 0) }).to_string();
            let reply = caller.send(0, "POST", "/api/v1/contacts", &[], &body);
            assert_eq!(reply.status, 201, "{}", reply.body);
            let created: Value = serde_json::from_str(&reply.body).unwrap();
            let id = created["id"].as_str().unwrap().to_owned();
            let tag = reply.header("etag").to_owned();
            ids.push(id.clone());
            let (record, caller) = (Arc::clone(&record), caller.clone());
            threads.push(spawn(move || write(&record, &caller, contact, &id, tag)));
        }
        for node in 0..NODES {
            for turn in 0..2 {
                let (record, caller, ids) = (Arc::clone(&record), caller.clone(), ids.clone());
                threads.push(spawn(move || read(&record, &caller, node, turn, &ids)));
            }
        }
        Self {
            record,
            threads,
            began: Instant::now(),
        }
    }

    /// Lets it go on for so long, and tells how it went.
    pub(crate) fn watch(&self, what: &str, time: Duration) {
        let before = self.counts();
        sleep(time);
        let now = self.counts();
        println!(
            "{:>6.1} s  {what:<26} memory {:>6}  Redis {:>5}  store {:>6}  passed by {:>6}  written {:>5}",
            self.began.elapsed().as_secs_f64(),
            now.near - before.near,
            now.far - before.far,
            now.missed - before.missed,
            now.passed_by - before.passed_by,
            now.written - before.written,
        );
    }

    pub(crate) fn counts(&self) -> Counts {
        let of = |at: usize| self.record.counts[at].load(Ordering::Relaxed);
        Counts {
            near: of(0),
            far: of(1),
            missed: of(2),
            passed_by: of(3),
            written: of(4),
        }
    }

    pub(crate) fn end(self) -> Verdict {
        self.record.ended.store(true, Ordering::Relaxed);
        let counts = self.counts();
        for thread in self.threads {
            thread.join().unwrap();
        }
        Verdict {
            counts,
            wrong: self.record.wrong.lock().unwrap().clone(),
            behind: self.record.behind.load(Ordering::Relaxed),
            slowest: self.record.slowest.load(Ordering::Relaxed),
            took: self.began.elapsed(),
        }
    }
}

impl Verdict {
    pub(crate) fn assert(&self) {
        assert!(self.wrong.is_empty(), "{self}");
        assert!(self.counts.written > 10, "{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts;
        let read = counts.near + counts.far + counts.missed + counts.passed_by;
        write!(
            f,
            "{read} reads, {} writes in {:.1} s; the furthest behind {} ms, the slowest answer {} ms; ",
            counts.written,
            self.took.as_secs_f64(),
            self.behind,
            self.slowest
        )?;
        if self.wrong.is_empty() {
            return f.write_str("nothing failed, nothing was stale");
        }
        write!(f, "wrong: {:?}", self.wrong)
    }
}

fn name(contact: usize, version: u64) -> String {
    format!("Pessoa {contact} Versao {version}")
}

fn version_of(name: &str) -> Option<(usize, u64)> {
    let rest = name.strip_prefix("Pessoa ")?;
    let (contact, version) = rest.split_once(" Versao ")?;
    Some((contact.parse().ok()?, version.parse().ok()?))
}

/// Changes a contact again and again, by turns on each process.
fn write(record: &Record, caller: &Caller, contact: usize, id: &str, mut tag: String) {
    let path = format!("/api/v1/contacts/{id}");
    for version in 1.. {
        if record.ended.load(Ordering::Relaxed) {
            return;
        }
        let node = usize::try_from(version).unwrap() % NODES;
        let body = json!({ "name": name(contact, version) }).to_string();
        let began = Instant::now();
        let reply = caller.send(node, "PATCH", &path, &[("If-Match", &tag)], &body);
        note_time(record, began);
        if reply.status != 200 {
            record.wrong(format!(
                "a change was answered {}: {}",
                reply.status, reply.body
            ));
            return;
        }
        reply.header("etag").clone_into(&mut tag);
        let acknowledged = Instant::now();
        record.writes[contact].lock().unwrap().push(Written {
            version,
            node,
            acknowledged,
        });
        record.counts[4].fetch_add(1, Ordering::Relaxed);
        // Sometimes in a row, sometimes so far apart that what is kept is found.
        sleep(Duration::from_millis(
            [15, 120, 400][usize::try_from(version).unwrap() % 3],
        ));
    }
}

/// Reads the contacts and their list, and holds them against what was written.
fn read(record: &Record, caller: &Caller, node: usize, turn: usize, ids: &[String]) {
    for at in turn.. {
        if record.ended.load(Ordering::Relaxed) {
            return;
        }
        let path = match at % (CONTACTS + 1) {
            CONTACTS => "/api/v1/contacts?limit=10&sort=createdAt".to_owned(),
            contact => format!("/api/v1/contacts/{}", ids[contact]),
        };
        let asked = Instant::now();
        let reply = caller.send(node, "GET", &path, &[], "");
        note_time(record, asked);
        record.count(&reply);
        if reply.status != 200 {
            record.wrong(format!(
                "a read was answered {}: {}",
                reply.status, reply.body
            ));
            continue;
        }
        let answer: Value = serde_json::from_str(&reply.body).unwrap();
        let rows = answer["data"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![answer]);
        for row in rows {
            if let Some((contact, version)) = version_of(row["name"].as_str().unwrap_or_default()) {
                record.judge(contact, node, asked, version);
            }
        }
    }
}

fn note_time(record: &Record, began: Instant) {
    let took = u64::try_from(began.elapsed().as_millis()).unwrap();
    record.slowest.fetch_max(took, Ordering::Relaxed);
}
