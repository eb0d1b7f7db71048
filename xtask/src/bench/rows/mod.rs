//! The rows of the goals, one module each.

pub(crate) mod cached;
pub(crate) mod create;
pub(crate) mod growth;
pub(crate) mod lists;
pub(crate) mod memory;
pub(crate) mod redis;
pub(crate) mod telemetry;
mod written;

use std::{net::SocketAddr, time::Duration};

use ::postgres::Client as Sql;
use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    contenders::Http,
    engine::{Load, Pace},
    ground::{Base, Crowd, Ground, Member, Setup, learn},
    http::{self, Kept},
    measure::Rounds,
    traffic::{Gets, Misses, Traffic},
};
use crate::{postgres::address::explain, server::Serving};

/// What all rows are told.
pub(crate) struct Bench<'a> {
    pub(crate) ground: &'a Ground,
    pub(crate) rounds: Rounds,
    /// The database of most rows.
    pub(crate) crowd: Crowd,
    /// Contacts of the grown database of row 9.
    pub(crate) rows: u64,
    /// How long memory is watched.
    pub(crate) memory: Duration,
}

impl Bench<'_> {
    /// The database that most rows read.
    pub(crate) fn base(&self) -> anyhow::Result<Base> {
        self.ground.base("main", &[self.crowd])
    }
}

/// A running server with traffic for it.
pub(crate) struct Scene<'a> {
    pub(crate) serving: Serving,
    pub(crate) address: SocketAddr,
    pub(crate) traffic: Box<dyn Traffic + 'a>,
    pub(crate) connections: usize,
}

/// The list that callers begin with.
pub(crate) const LIST: &str = "/api/v1/contacts";

/// A server with the newest contacts of each clinic in turn, every answer looked at once.
pub(crate) fn lists(
    bench: &Bench<'_>,
    base: &Base,
    setup: &Setup,
) -> anyhow::Result<(Serving, SocketAddr, Gets)> {
    let members = bench.ground.members(base, bench.crowd.asked())?;
    let (serving, address) = bench.ground.serve(base, setup)?;
    let targets = first_pages(bench, base, address, &members)?
        .into_iter()
        .map(|(request, answer)| (request, answer.body))
        .collect();
    Ok((serving, address, Gets::new(targets)))
}

/// A server with lists of these members' clinics that nobody asked for before, so that no cache has
/// them.
pub(crate) fn misses(
    bench: &Bench<'_>,
    base: &Base,
    members: &[Member],
    setup: &Setup,
) -> anyhow::Result<(Serving, SocketAddr, Misses)> {
    let (serving, address) = bench.ground.serve(base, setup)?;
    let pages = first_pages(bench, base, address, members)?;
    let targets = members
        .iter()
        .zip(pages)
        .map(|(member, (_, answer))| (member.headers.clone(), answer.body))
        .collect();
    Ok((serving, address, Misses::new(targets)))
}

/// The first page of each member's clinic, looked at.
fn first_pages(
    bench: &Bench<'_>,
    base: &Base,
    address: SocketAddr,
    members: &[Member],
) -> anyhow::Result<Vec<(Vec<u8>, Kept)>> {
    let mut sql = bench.ground.sql(base)?;
    let requests = members
        .iter()
        .map(|member| http::get(LIST, &member.headers))
        .collect();
    let mut members = members.iter();
    learn(address, requests, |body| {
        let member = members.next().context("more answers than members")?;
        theirs(&mut sql, &member.clinic, &ids(body)?)
    })
}

/// The ids of a page.
pub(crate) fn ids(body: &Value) -> anyhow::Result<Vec<String>> {
    let rows = body["data"].as_array().context("the answer is no list")?;
    ensure!(!rows.is_empty(), "the list is empty");
    rows.iter()
        .map(|row| {
            let id = row["id"].as_str().context("a row has no id")?;
            Ok(id.to_owned())
        })
        .collect()
}

/// Fails unless every one of these contacts is of that clinic.
pub(crate) fn theirs(sql: &mut Sql, clinic: &str, ids: &[String]) -> anyhow::Result<()> {
    let row = sql
        .query_one(
            "SELECT count(*) FROM app.contacts
             WHERE clinic_id = $1::text::uuid AND id = ANY ($2::text[]::uuid[])",
            &[&clinic, &ids],
        )
        .map_err(explain)?;
    let found = usize::try_from(row.get::<_, i64>(0)).unwrap_or_default();
    ensure!(
        found == ids.len(),
        "a clinic was shown contacts that are not its own"
    );
    Ok(())
}

/// A server's contender.
pub(crate) fn over_http<'a>(
    bench: &Bench<'_>,
    name: impl Into<String>,
    serving: &Serving,
    address: SocketAddr,
    connections: usize,
    pace: Pace,
    traffic: impl Traffic + 'a,
) -> Box<Http<'a>> {
    Box::new(Http {
        name: name.into(),
        load: Load {
            address,
            connections,
            pace,
            warm: bench.rounds.warm,
            time: bench.rounds.time,
        },
        traffic: Box::new(traffic),
        watched: bench.ground.watch(serving.pid()),
    })
}
