//! Row 10: what telemetry costs, with its default sampling: a server that sends and logs against one
//! that does neither, on lists and on cached reads.

use std::{net::SocketAddr, rc::Rc};

use anyhow::{bail, ensure};

use super::{
    Bench,
    cached::{self, NO_CACHE},
    lists, over_http,
};
use crate::{
    bench::{
        engine::Pace,
        ground::{Base, Setup},
        measure::{Contender, Outcome, interleave},
        report::{Goal, Row},
        traffic::{Gets, Hits},
    },
    server::Serving,
};

pub(crate) fn measure(bench: &Bench<'_>) -> anyhow::Result<Row> {
    let base = bench.base()?;
    let mut row = Row::default();
    let mut pair = Vec::new();
    for no_telemetry in [true, false] {
        let setup = Setup {
            no_telemetry,
            ..Setup::uncached()
        };
        let (serving, address, gets) = lists(bench, &base, &setup)?;
        pair.push((serving, address, gets.uncached()));
    }
    compare(bench, &mut row, "list", 20, 0.97, pair)?;
    match cached_pair(bench, &base)? {
        Some(pair) => compare(bench, &mut row, "cached list", 64, 0.9, pair)?,
        None => row.lines.extend(
            Row::not_measured("cached list, telemetry on against off", "≥ 0.9 ×", NO_CACHE).lines,
        ),
    }
    Ok(row)
}

fn cached_pair(
    bench: &Bench<'_>,
    base: &Base,
) -> anyhow::Result<Option<Vec<(Serving, SocketAddr, Gets)>>> {
    let mut pair = Vec::new();
    for no_telemetry in [true, false] {
        let setup = Setup {
            no_telemetry,
            ..Setup::default()
        };
        let Some((serving, address, targets)) = cached::product(bench, base, &setup)? else {
            return Ok(None);
        };
        let gets = Gets::new(cached::requests(&targets)).counting(&Rc::new(Hits::default()));
        pair.push((serving, address, gets));
    }
    Ok(Some(pair))
}

/// The first of the pair is without telemetry.
fn compare(
    bench: &Bench<'_>,
    row: &mut Row,
    what: &str,
    connections: usize,
    least: f64,
    pair: Vec<(Serving, SocketAddr, Gets)>,
) -> anyhow::Result<()> {
    let sent = bench.ground.sink().bytes();
    let mut servers = Vec::new();
    let mut contenders: Vec<Box<dyn Contender + '_>> = Vec::new();
    for (name, (serving, address, gets)) in ["off", "on"].into_iter().zip(pair) {
        contenders.push(over_http(
            bench,
            name,
            &serving,
            address,
            connections,
            Pace::Closed,
            gets,
        ));
        servers.push(serving);
    }
    let series = interleave(
        &format!("row 10, {what}, telemetry"),
        &mut contenders,
        bench.rounds,
    )?;
    drop(servers);
    ensure!(
        bench.ground.sink().bytes() > sent,
        "no telemetry reached the sink: it was off on both sides"
    );
    let [off, on] = &series[..] else {
        bail!("two were measured");
    };
    row.ratio(
        format!("{what}, telemetry on against off"),
        on.ratio(off, Outcome::rate),
        Goal::AtLeast(least),
        &[on, off],
    );
    row.keep(series);
    Ok(())
}
