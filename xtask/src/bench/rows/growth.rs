//! Row 9: the same clinics, first alone and then beside a thousand times as many contacts of others;
//! and a page far back in the largest clinic.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{Bench, LIST, ids, over_http, theirs};
use crate::{
    bench::{
        engine::Pace,
        ground::{Base, Crowd, Member, Setup, learn},
        http::{self, Caller, encoded},
        measure::{Contender, interleave},
        report::{Goal, Row},
        traffic::Gets,
    },
    server::Serving,
    terminal,
};

/// Few, so that what differs is what a request costs and not how it waits.
const CONNECTIONS: usize = 8;
/// The clinics that are asked, the same in both databases.
const SMALL: Crowd = Crowd {
    contacts: 10_000,
    largest: 1_000,
    others: 45,
};
/// How many contacts a page far back has before it: 5,000 pages of 20.
const FAR: u64 = 100_000;

pub(crate) fn measure(bench: &Bench<'_>) -> anyhow::Result<Row> {
    let rest = bench.rows.saturating_sub(SMALL.contacts);
    let others = Crowd {
        contacts: rest,
        // A fifth in one clinic, so that there is a page far back.
        largest: rest / 5,
        others: 99,
    };
    let small = Side::open(bench, "small", &[SMALL])?;
    let grown = Side::open(bench, "grown", &[SMALL, others])?;
    let mut row = Row::default();
    for (name, search) in [("lists", false), ("search of one word", true)] {
        let mut contenders: [Box<dyn Contender + '_>; 2] = [
            small.contender(bench, search)?,
            grown.contender(bench, search)?,
        ];
        let series = interleave(&format!("row 9, {name}"), &mut contenders, bench.rounds)?;
        let [few, many] = &series[..] else {
            bail!("two were measured");
        };
        row.ratio(
            format!(
                "{name} of the same clinics, time beside {} contacts by time alone ({})",
                bench.rows, SMALL.contacts
            ),
            many.ratio(few, |outcome| 1.0 / outcome.rate()),
            Goal::AtMost(1.1),
            &[many, few],
        );
        row.keep(series);
    }
    far_back(bench, &grown, others, &mut row)?;
    Ok(row)
}

/// A database with its server.
struct Side {
    name: &'static str,
    base: Base,
    members: Vec<Member>,
    serving: Serving,
    address: SocketAddr,
}

impl Side {
    fn open(bench: &Bench<'_>, name: &'static str, crowds: &[Crowd]) -> anyhow::Result<Self> {
        let base = bench.ground.base(name, crowds)?;
        // The largest of the others comes right after the small ones.
        let clinics = SMALL.clinics() + usize::from(crowds.len() > 1);
        let members = bench.ground.members(&base, clinics)?;
        let (serving, address) = bench.ground.serve(&base, &Setup::uncached())?;
        Ok(Self {
            name,
            base,
            members,
            serving,
            address,
        })
    }

    /// The newest contacts of each small clinic in turn, or those with the first name of one of them.
    fn contender<'a>(
        &self,
        bench: &Bench<'_>,
        search: bool,
    ) -> anyhow::Result<Box<dyn Contender + 'a>> {
        let mut sql = bench.ground.sql(&self.base)?;
        let members = &self.members[..SMALL.asked()];
        let mut clinics = members.iter();
        let mut words = Vec::new();
        let requests = members
            .iter()
            .map(|member| http::get(LIST, &member.headers))
            .collect();
        let mut learned = learn(self.address, requests, |body| {
            let member = clinics.next().context("more answers than members")?;
            theirs(&mut sql, &member.clinic, &ids(body)?)?;
            words.push(first_word(body)?);
            Ok(())
        })?;
        if search {
            let requests = members
                .iter()
                .zip(&words)
                .map(|(member, word)| {
                    http::get(&format!("{LIST}?search={}", encoded(word)), &member.headers)
                })
                .collect();
            let mut clinics = members.iter();
            learned = learn(self.address, requests, |body| {
                let member = clinics.next().context("more answers than members")?;
                theirs(&mut sql, &member.clinic, &ids(body)?)
            })?;
        }
        let targets = learned
            .into_iter()
            .map(|(request, answer)| (request, answer.body))
            .collect();
        Ok(over_http(
            bench,
            self.name,
            &self.serving,
            self.address,
            CONNECTIONS,
            Pace::Closed,
            Gets::new(targets).uncached(),
        ))
    }
}

/// A page far back in the largest clinic, against its first.
fn far_back(bench: &Bench<'_>, grown: &Side, others: Crowd, row: &mut Row) -> anyhow::Result<()> {
    let member = grown
        .members
        .last()
        .context("nobody is in the largest clinic")?;
    // Some are archived, and not in the list.
    let before = FAR.min(others.largest * 4 / 5);
    let first = http::get(LIST, &member.headers);
    let far = terminal::step(
        &format!("Turning to the contact {before} of the largest clinic"),
        || turn(grown.address, member, before),
    )?;
    let mut sql = bench.ground.sql(&grown.base)?;
    let learned = learn(grown.address, vec![first, far], |body| {
        theirs(&mut sql, &member.clinic, &ids(body)?)
    })?;
    ensure!(
        learned[0].1.body != learned[1].1.body,
        "the page far back is the first"
    );
    let mut contenders: Vec<Box<dyn Contender + '_>> = Vec::new();
    for (name, (request, answer)) in ["page 1", "far page"].into_iter().zip(learned) {
        contenders.push(over_http(
            bench,
            name,
            &grown.serving,
            grown.address,
            CONNECTIONS,
            Pace::Closed,
            Gets::new(vec![(request, answer.body)]).uncached(),
        ));
    }
    let series = interleave("row 9, far back", &mut contenders, bench.rounds)?;
    let [page_one, page_far] = &series[..] else {
        bail!("two were measured");
    };
    row.ratio(
        format!(
            "keyset page {} of a clinic of {} contacts, time by page 1's",
            before / 20,
            others.largest
        ),
        page_far.ratio(page_one, |outcome| 1.0 / outcome.rate()),
        Goal::AtMost(1.2),
        &[page_far, page_one],
    );
    row.keep(series);
    Ok(())
}

/// The request for the page after so many contacts.
fn turn(address: SocketAddr, member: &Member, before: u64) -> anyhow::Result<Vec<u8>> {
    const STEP: u64 = 100;
    let mut caller = Caller::connect(address)?;
    let mut cursor: Option<String> = None;
    for _ in 0..before / STEP {
        crate::interrupt::check()?;
        let after = cursor.map_or_else(String::new, |cursor| {
            format!("&cursor={}", encoded(&cursor))
        });
        let path = format!("{LIST}?limit={STEP}{after}");
        let answer = caller.ask(&http::get(&path, &member.headers))?;
        let body: Value = serde_json::from_slice(&answer.body)?;
        let next = body["nextCursor"]
            .as_str()
            .with_context(|| format!("the clinic has no further page: status {}", answer.status))?;
        cursor = Some(next.to_owned());
    }
    let cursor = cursor.context("the clinic is too small for a page far back")?;
    let path = format!("{LIST}?cursor={}", encoded(&cursor));
    Ok(http::get(&path, &member.headers))
}

fn first_word(body: &Value) -> anyhow::Result<String> {
    let name = body["data"][0]["name"].as_str().context("no name")?;
    let word = name.split(' ').next().context("an empty name")?;
    Ok(word.to_owned())
}
