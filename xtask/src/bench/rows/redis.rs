//! Row 12: lists while Redis is dead. Each asks for what no cache has, so that each goes all the way:
//! past the first tier, past the Redis that does not answer, to the store.

use anyhow::{bail, ensure};

use super::{Bench, LIST, ids, over_http, theirs};
use crate::{
    bench::{
        engine::Pace,
        ground::{Base, Member, Setup, learn},
        http,
        measure::{Contender, Outcome, interleave},
        report::{Goal, Row},
        traffic::Misses,
    },
    redis::Redis,
    server::Serving,
};

const CONNECTIONS: usize = 20;

pub(crate) fn measure(bench: &Bench<'_>) -> anyhow::Result<Row> {
    const WHAT: &str = "list while Redis is dead, against row 2's";
    const KEY: &str = "redis.url";
    if !bench.ground.knows(KEY) {
        let why = "the server knows no Redis yet";
        return Ok(Row::not_measured(WHAT, "≥ 0.95 ×", why));
    }
    let base = bench.base()?;
    let members = bench.ground.members(&base, bench.crowd.asked())?;
    let (alive, dead) = (
        Redis::private(bench.ground.checkout())?,
        Redis::private(bench.ground.checkout())?,
    );
    let with = |redis: &Redis| Setup {
        keys: vec![(KEY, redis.url().to_owned())],
        ..Setup::default()
    };
    let mut servings = Vec::new();
    let mut contenders: Vec<Box<dyn Contender + '_>> = Vec::new();
    for (name, setup) in [
        ("row 2", Setup::uncached()),
        ("Redis alive", with(&alive)),
        ("Redis dead", with(&dead)),
    ] {
        let (serving, contender) = side(bench, &base, &members, name, &setup)?;
        servings.push(serving);
        contenders.push(contender);
    }
    // The server has worked with it until now.
    drop(dead);
    let series = interleave("row 12", &mut contenders, bench.rounds)?;
    let [without, living, died] = &series[..] else {
        bail!("three were measured");
    };
    ensure!(!servings.is_empty(), "no server runs");
    let mut row = Row::default();
    row.ratio(
        WHAT,
        died.ratio(without, Outcome::rate),
        Goal::AtLeast(0.95),
        &[died, without, living],
    );
    row.keep(series);
    Ok(row)
}

fn side<'a>(
    bench: &Bench<'_>,
    base: &Base,
    members: &[Member],
    name: &str,
    setup: &Setup,
) -> anyhow::Result<(Serving, Box<dyn Contender + 'a>)> {
    let (serving, address) = bench.ground.serve(base, setup)?;
    let mut sql = bench.ground.sql(base)?;
    let requests = members
        .iter()
        .map(|member| http::get(LIST, &member.headers))
        .collect();
    let mut clinics = members.iter();
    let learned = learn(address, requests, |body| match clinics.next() {
        Some(member) => theirs(&mut sql, &member.clinic, &ids(body)?),
        None => bail!("more answers than members"),
    })?;
    let targets = members
        .iter()
        .zip(learned)
        .map(|(member, (_, answer))| (member.headers.clone(), answer.body))
        .collect();
    let contender = over_http(
        bench,
        name,
        &serving,
        address,
        CONNECTIONS,
        Pace::Closed,
        Misses::new(targets),
    );
    Ok((serving, contender))
}
