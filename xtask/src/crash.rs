//! `cargo xtask crash`: the server is killed, again and again, while deliveries come in. What it
//! had acknowledged must be there exactly once.

use std::{
    collections::HashSet,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use fastrand::Rng;

use crate::{
    checkout::Checkout,
    interrupt,
    postgres::address,
    replay::stage::{Arena, Stage},
    seed::{self, Number},
    server::Build,
    terminal,
};

/// Kill the server while it takes deliveries, start it again, and count what was acknowledged.
///
/// Only acolhe-server is killed, never PostgreSQL: the test cluster, or the server of DATABASE_URL
/// (its account must be a superuser).
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How many messages to post.
    #[arg(long, default_value_t = 10_000)]
    events: usize,
    /// How many callers post at once.
    #[arg(long, default_value_t = 8)]
    callers: usize,
    /// How many times to kill the server.
    #[arg(long, default_value_t = 3)]
    kills: usize,
    /// The seed of messages and moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take the server as it goes to production (its build takes some minutes more).
    #[arg(long)]
    release: bool,
}

impl Args {
    pub(crate) fn run(self, checkout: &Checkout) -> anyhow::Result<ExitCode> {
        let build = if self.release {
            Build::Release
        } else {
            Build::Debug
        };
        let arena = Arena::open(checkout, build)?;
        let number = Number {
            phone_number_id: "100000000000001".to_owned(),
            display: "551130034000".to_owned(),
        };
        let mut stage = Stage::set(&arena, std::slice::from_ref(&number.phone_number_id))?;
        let mut rng = Rng::with_seed(self.seed);
        // A thousand people at most: most messages go into threads that are there already.
        let people: Vec<_> = (0..self.events.min(1_000))
            .map(|_| seed::newcomer(&mut rng))
            .collect();
        let messages: Vec<(String, String)> = (0..self.events)
            .map(|index| {
                let id = seed::message_id(&mut rng);
                let at = 1_796_000_000 + i64::try_from(index / 10).unwrap_or_default();
                let person = &people[index % people.len()];
                let body =
                    seed::delivery(&number, person, &id, at, seed::text("Tem horario hoje?"));
                (id, body.to_string())
            })
            .collect();

        let mut acknowledged: HashSet<String> = HashSet::new();
        let mut next = 0;
        for round in 0..=self.kills {
            interrupt::check()?;
            // The last round posts the rest; the others are cut off somewhere.
            let until = if round == self.kills {
                messages.len()
            } else {
                (messages.len() * (round + 1)) / (self.kills + 1)
            };
            let posted = AtomicUsize::new(next);
            let taken = Mutex::new(Vec::new());
            let cut_at = next + (until - next) * 3 / 4;
            let poster = stage.poster()?;
            let began = Instant::now();
            thread::scope(|scope| -> anyhow::Result<()> {
                for _ in 0..self.callers {
                    scope.spawn(|| {
                        loop {
                            let index = posted.fetch_add(1, Ordering::Relaxed);
                            let Some((id, body)) = messages.get(index).filter(|_| index < until)
                            else {
                                return;
                            };
                            if matches!(poster.post(body), Ok(200)) {
                                let mut taken =
                                    taken.lock().unwrap_or_else(PoisonError::into_inner);
                                taken.push(id.clone());
                            }
                        }
                    });
                }
                if round < self.kills {
                    while posted.load(Ordering::Relaxed) < cut_at {
                        thread::sleep(Duration::from_millis(2));
                    }
                    stage.kill()?;
                }
                Ok(())
            })?;
            let taken = taken.into_inner().unwrap_or_else(PoisonError::into_inner);
            terminal::note(format!(
                "  round {}: {} posted in {}, {} acknowledged{}",
                round + 1,
                until - next,
                terminal::time(began.elapsed()),
                taken.len(),
                if round < self.kills {
                    ", then killed"
                } else {
                    ""
                }
            ));
            acknowledged.extend(taken);
            next = until;
            if round < self.kills {
                stage.start()?;
            }
        }
        judge(&stage, &acknowledged)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn judge(stage: &Stage<'_>, acknowledged: &HashSet<String>) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut sql = stage.settle()?;
    terminal::note(format!(
        "  the jobs had ended {} after the last delivery",
        terminal::time(began.elapsed())
    ));
    let rows = sql
        .query(
            "SELECT provider_id, count(*) FROM app.messages GROUP BY 1",
            &[],
        )
        .map_err(address::explain)?;
    let mut stored = HashSet::new();
    let mut doubled = 0;
    for row in &rows {
        stored.insert(row.get::<_, String>(0));
        doubled += usize::from(row.get::<_, i64>(1) > 1);
    }
    let lost = acknowledged
        .iter()
        .filter(|id| !stored.contains(*id))
        .count();
    let extra = stored
        .iter()
        .filter(|id| !acknowledged.contains(*id))
        .count();
    terminal::note(format!(
        "{} acknowledged, {} stored ({extra} of them stored before the answer was cut off), \
         {lost} lost, {doubled} doubled.",
        acknowledged.len(),
        stored.len()
    ));
    if lost > 0 || doubled > 0 {
        bail!("an acknowledged message was lost or doubled");
    }
    Ok(())
}
