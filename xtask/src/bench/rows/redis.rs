//! Row 12: lists while Redis is dead. Each asks for what no cache has, so that each goes all the way:
//! past the first tier, past the Redis that does not answer, to the store.

use anyhow::bail;

use super::{Bench, misses, over_http};
use crate::{
    bench::{
        engine::Pace,
        ground::Setup,
        measure::{Contender, Outcome, interleave},
        report::{Goal, Row},
    },
    redis::Redis,
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
        let (serving, address, traffic) = misses(bench, &base, &members, &setup)?;
        contenders.push(over_http(
            bench,
            name,
            &serving,
            address,
            CONNECTIONS,
            Pace::Closed,
            traffic,
        ));
        servings.push(serving);
    }
    // The server has worked with it until now.
    drop(dead);
    let series = interleave("row 12", &mut contenders, bench.rounds)?;
    let [without, living, died] = &series[..] else {
        bail!("three were measured");
    };
    drop(servings);
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
