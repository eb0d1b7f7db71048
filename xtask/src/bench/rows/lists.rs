//! Row 2: the uncached list under row security, over HTTP and by the store alone, against `pgbench`
//! doing the same four statements in a pipeline, prepared, as the same role. Over HTTP twice: with the
//! cache off, and with it on but never asked for the same again, as a caller meets it who comes first.

use anyhow::bail;

use super::{Bench, lists, misses, over_http};
use crate::bench::{
    contenders::{Pgbench, Store},
    engine::Pace,
    ground::{Base, CACHE_SWITCH, Setup},
    measure::{Contender, Outcome, Series, interleave},
    report::{Goal, Row},
};

const CONNECTIONS: usize = 20;
/// At which share of its highest rate a server is asked when its times are told. Above it, times are
/// those of a queue that grows.
const SHARE: f64 = 0.7;

pub(crate) fn measure(bench: &Bench<'_>) -> anyhow::Result<Row> {
    let base = bench.base()?;
    let (serving, address, gets) = lists(bench, &base, &Setup::uncached())?;
    let targets = gets.into_targets();
    let gets = || super::Gets::new(targets.clone()).uncached();
    let mut row = Row::default();
    let members = bench.ground.members(&base, bench.crowd.asked())?;
    let (with_cache, there, missed) = misses(bench, &base, &members, &Setup::default())?;
    let rate = {
        let store = Store::start(
            &bench.ground.rate,
            "list",
            &base.app_url,
            CONNECTIONS,
            bench.crowd.asked(),
            bench.ground.watch(0),
        )?;
        let mut contenders: [Box<dyn Contender + '_>; 4] = [
            Box::new(pgbench(bench, &base)?),
            over_http(
                bench,
                "HTTP",
                &serving,
                address,
                CONNECTIONS,
                Pace::Closed,
                gets(),
            ),
            over_http(
                bench,
                "HTTP, not in the cache",
                &with_cache,
                there,
                CONNECTIONS,
                Pace::Closed,
                missed,
            ),
            Box::new(store),
        ];
        let series = interleave("row 2", &mut contenders, bench.rounds)?;
        let [pgbench, http, missed, store] = &series[..] else {
            bail!("four were measured");
        };
        against(
            &mut row,
            "over HTTP, cache off (the membership is read each time)",
            http,
            pgbench,
        );
        if bench.ground.knows(CACHE_SWITCH) {
            let name = "over HTTP, cache on, asked for the first time";
            against(&mut row, name, missed, pgbench);
        }
        against(&mut row, "by the store alone", store, pgbench);
        let rate = http.rate() * SHARE;
        row.keep(series);
        rate
    };
    let paced = |connections| {
        let name = format!("at {connections}");
        let pace = Pace::Open(rate);
        over_http(bench, name, &serving, address, connections, pace, gets()) as Box<dyn Contender>
    };
    drop(with_cache);
    let mut contenders = [paced(20), paced(64)];
    let series = interleave("row 2, open loop", &mut contenders, bench.rounds)?;
    for paced in &series {
        row.figure(
            format!(
                "list over HTTP, p99 {} connections at {rate:.0}/s (open loop)",
                paced.name
            ),
            (paced.p99(), paced.worst_p99()),
            "ms",
            Goal::AtMost(15.0),
            &[paced],
        );
    }
    row.keep(series);
    drop(serving);
    Ok(row)
}

fn against(row: &mut Row, name: &str, ours: &Series, pgbench: &Series) {
    row.ratio(
        format!("list {name}, against pgbench"),
        ours.ratio(pgbench, Outcome::rate),
        Goal::AtLeast(0.5),
        &[ours, pgbench],
    );
    let worst = ours
        .outcomes
        .iter()
        .map(|outcome| outcome.cpu_each().program)
        .fold(0.0, f64::max);
    row.figure(
        format!("list {name}, its CPU"),
        (ours.program_cpu(), worst),
        "µs",
        Goal::AtMost(60.0),
        &[ours],
    );
    row.ratio(
        format!("list {name}, PostgreSQL's CPU"),
        ours.ratio(pgbench, |outcome| outcome.cpu_each().postgres),
        Goal::AtMost(1.15),
        &[ours, pgbench],
    );
}

fn pgbench(bench: &Bench<'_>, base: &Base) -> anyhow::Result<Pgbench> {
    let script = bench.ground.folder.join("list.sql");
    let clinics = bench.crowd.asked();
    let text = include_str!("list.sql").replace(":clinics", &clinics.to_string());
    crate::bench::ground::write(&script, &text)?;
    Ok(Pgbench {
        name: "pgbench".to_owned(),
        program: Pgbench::find()?,
        script,
        url: base.app_url.clone(),
        connections: CONNECTIONS,
        variables: Vec::new,
        watched: crate::bench::machine::Watched {
            program: None,
            ..bench.ground.watch(0)
        },
    })
}
