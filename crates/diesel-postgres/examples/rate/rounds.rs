//! Rounds of one act, from workers with a runtime each.

use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use contacts::ports::ContactStore as _;
use contacts::{
    Contact, ContactEmail, ContactFilter, ContactOrder, ContactPhone, ContactQuery, Contacts,
    CreateContact, Source, Tag, Tags,
};
use diesel_postgres::audit::PgAuditTrail;
use diesel_postgres::contacts::PgContactStore;
use diesel_postgres::{Database, PoolSettings};
use kernel::email::Email;
use kernel::phone::Phone;
use kernel::text::PersonName;
use kernel::{Action, Gate, Keys, Once, OnceKey, PageLimit, Permissions, TenantContext, Toolkit};
use security::{SystemClock, SystemRandom};
use test_support::{Crowd, keys};
use uuid::Uuid;

/// Threads with a runtime and a shard each.
const WORKERS: usize = 2;

/// What is done again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// The newest contacts of a clinic.
    List,
    /// A new contact with a phone, an e-mail, two tags, its tokens, audit entry, event and
    /// idempotency key.
    Create,
}

/// What the lines of a round share.
struct Round {
    stop: AtomicBool,
    /// Told when measuring begins.
    measures: AtomicBool,
}

/// Takes rounds from standard input until it ends.
pub(crate) fn serve(url: &str, act: Act, connections: usize, clinics: usize) {
    let bench = Bench::new(url, act, connections, clinics);
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let mut numbers = line.split_whitespace().map(str::parse);
        let (Some(Ok(warm)), Some(Ok(time))) = (numbers.next(), numbers.next()) else {
            eprintln!("a round is two numbers of milliseconds");
            return;
        };
        bench.round(Duration::from_millis(warm), Duration::from_millis(time));
    }
}

struct Bench {
    url: String,
    act: Act,
    connections: usize,
    contexts: Vec<TenantContext>,
    keys: Arc<dyn Keys>,
    /// Counts new contacts, so that no two have a phone in common.
    number: AtomicU64,
}

/// What a round asks. Made anew for each: a pool belongs to the runtimes that use it.
struct Asked {
    store: PgContactStore,
    service: Contacts,
}

impl Bench {
    fn new(url: &str, act: Act, connections: usize, clinics: usize) -> Arc<Self> {
        let contexts = (0..clinics)
            .map(|rank| {
                let permissions = Permissions::of(Action::ALL);
                TenantContext::for_test(Crowd::clinic(rank), Crowd::user(rank, 0), permissions)
            })
            .collect();
        Arc::new(Self {
            url: url.to_owned(),
            act,
            connections,
            contexts,
            keys: keys(),
            number: AtomicU64::new(0),
        })
    }

    fn asked(&self) -> Asked {
        let mut settings = PoolSettings::new(self.url.as_str());
        settings.shards = WORKERS;
        // One lane of the pool is for jobs.
        settings.max_connections = self.connections + self.connections / WORKERS;
        let db = Database::new(settings).expect("a good address");
        let tools = Toolkit::new(Arc::new(SystemClock), Arc::new(SystemRandom), keys());
        let store = PgContactStore::new(db.clone(), keys());
        let gate = Gate::new(Arc::new(PgAuditTrail::new(db)), tools.clone());
        Asked {
            service: Contacts::new(Arc::new(store.clone()), gate, tools),
            store,
        }
    }

    fn round(self: &Arc<Self>, warm: Duration, time: Duration) {
        let round = Arc::new(Round {
            stop: AtomicBool::new(false),
            measures: AtomicBool::new(false),
        });
        let asked = Arc::new(self.asked());
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (bench, round) = (Arc::clone(self), Arc::clone(&round));
                let asked = Arc::clone(&asked);
                thread::spawn(move || bench.work(worker, &round, &asked))
            })
            .collect();
        thread::sleep(warm);
        round.measures.store(true, Ordering::Relaxed);
        let began = Instant::now();
        println!("begun");
        thread::sleep(time);
        round.stop.store(true, Ordering::Relaxed);
        let mut times: Vec<u64> = workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a worker ends well"))
            .collect();
        let seconds = began.elapsed().as_secs_f64();
        times.sort_unstable();
        let at = |per_mille: usize| times.get(times.len() * per_mille / 1000).copied();
        println!(
            "{}",
            serde_json::json!({
                "requests": times.len(), "seconds": seconds, "p50": at(500), "p99": at(990),
                "slowest": times.last(),
            })
        );
    }

    /// Answers microseconds of each.
    fn work(self: &Arc<Self>, worker: usize, round: &Arc<Round>, asked: &Arc<Asked>) -> Vec<u64> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let lines: Vec<_> = (0..self.connections / WORKERS)
                .map(|line| {
                    let (bench, round) = (Arc::clone(self), Arc::clone(round));
                    let (asked, turn) = (Arc::clone(asked), worker + line * WORKERS);
                    tokio::spawn(async move { bench.line(turn, &round, &asked).await })
                })
                .collect();
            let mut times = Vec::new();
            for line in lines {
                times.extend(line.await.expect("a line ends well"));
            }
            times
        })
    }

    async fn line(&self, mut turn: usize, round: &Round, asked: &Asked) -> Vec<u64> {
        let mut times = Vec::new();
        while !round.stop.load(Ordering::Relaxed) {
            let cx = &self.contexts[turn % self.contexts.len()];
            turn += 1;
            let began = Instant::now();
            match self.act {
                Act::List => list(&asked.store, cx).await,
                Act::Create => self.create(&asked.service, cx).await,
            }
            if round.measures.load(Ordering::Relaxed) {
                times.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
        }
        times
    }

    async fn create(&self, service: &Contacts, cx: &TenantContext) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let pid = u64::from(std::process::id());
        let digits = 60_000_000 + (pid * 1_000_003 + number) % 40_000_000;
        let contact = CreateContact {
            name: PersonName::parse("Helena Nakamura Dias").expect("a name"),
            social_name: None,
            birth_date: None,
            document: None,
            status: None,
            source: Some(Source::new("instagram").expect("a source")),
            owner: None,
            notes: None,
            tags: Tags::new(vec![
                Tag::new("retorno").expect("a tag"),
                Tag::new("particular").expect("a tag"),
            ])
            .expect("two tags"),
            phones: vec![ContactPhone {
                phone: Phone::parse(&format!("+55319{digits:08}")).expect("a phone"),
                label: None,
            }],
            emails: vec![ContactEmail {
                email: Email::parse(&format!("helena.{digits:08}@loja.example"))
                    .expect("an e-mail"),
                label: None,
            }],
            custom_fields: std::collections::BTreeMap::new(),
        };
        let key = OnceKey::new(
            cx,
            self.keys.as_ref(),
            "POST /contacts",
            &format!("rate-{digits}"),
            &digits.to_be_bytes(),
        );
        // As long as the API's answer about such a contact.
        let answer = |made: &Contact| format!("{:>750}", Uuid::from(made.id)).into_bytes();
        let once = Once::new(key, Arc::new(answer));
        let created = service.create(cx, contact, Some(once)).await;
        created.expect("a contact is created");
    }
}

async fn list(store: &PgContactStore, cx: &TenantContext) {
    let query = ContactQuery {
        filter: ContactFilter::default(),
        order: ContactOrder::NewestFirst,
        rows: PageLimit::default().rows_to_fetch(),
        after: None,
        with_notes: false,
        with_custom_fields: false,
    };
    let rows = store.list(cx, &query).await;
    rows.expect("a list comes");
}
