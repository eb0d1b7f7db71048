//! Row 1: a cached read with real authentication, tenant key and default telemetry, against a bare
//! actix handler that sends the same bytes.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    rc::Rc,
    thread::available_parallelism,
};

use anyhow::{Context, bail};

use super::{Bench, LIST, lists, over_http};
use crate::{
    bench::{
        engine::Pace,
        ground::{Base, Setup},
        http::{self, Caller, Kept},
        measure::{Contender, Outcome, interleave},
        report::{Goal, Row},
        traffic::{Gets, Hits, up_to_cursor},
    },
    server::Serving,
};

const WHAT: &str = "cached list, against a bare handler";
const GOAL: &str = "≥ 0.85 × at 64, ≥ 0.8 × at 500";

/// What must be under the hits of the first tier: entries grow old once a minute.
const LEAST_HITS: f64 = 98.0;

pub(crate) fn measure(bench: &Bench<'_>) -> anyhow::Result<Row> {
    let base = bench.base()?;
    let Some((serving, address, targets)) = product(bench, &base, &Setup::default())? else {
        return Ok(Row::not_measured(WHAT, GOAL, NO_CACHE));
    };
    let bare = Bare::start(
        &bench.ground.bare,
        &bench.ground.folder.join("bare"),
        &targets,
    )?;
    let mut row = Row::default();
    for (connections, least) in [(64, 0.85), (500, 0.8)] {
        let hits = Rc::new(Hits::default());
        let product = over_http(
            bench,
            format!("cached at {connections}"),
            &serving,
            address,
            connections,
            Pace::Closed,
            Gets::new(requests(&targets)).counting(&hits),
        );
        let mut limit = over_http(
            bench,
            format!("bare at {connections}"),
            &serving,
            bare.address,
            connections,
            Pace::Closed,
            Gets::new(Bare::requests(&targets)),
        );
        limit.watched.program = Some(bare.child.id());
        let mut contenders: [Box<dyn Contender + '_>; 2] = [limit, product];
        let series = interleave("row 1", &mut contenders, bench.rounds)?;
        let [bare, cached] = &series[..] else {
            bail!("two were measured");
        };
        let told = format!(
            "cached list at {connections} connections, {:.1} % from the first tier",
            hits.percent()
        );
        row.ratio(
            told,
            cached.ratio(bare, Outcome::rate),
            Goal::AtLeast(least),
            &[cached, bare],
        );
        row.ratio(
            format!("its CPU at {connections}"),
            cached.ratio(bare, |outcome| outcome.cpu_each().program),
            Goal::AtMost(1.5),
            &[cached],
        );
        if hits.percent() < LEAST_HITS {
            row.fail(&format!(
                "only {:.1} % came from the first tier",
                hits.percent()
            ));
        }
        row.keep(series);
    }
    Ok(row)
}

pub(crate) const NO_CACHE: &str = "the server has no cache yet: no answer says X-Cache: HIT-L1";

/// A server with an address, and requests with the answers that its first tier holds.
type Warm = (Serving, SocketAddr, Vec<(Vec<u8>, Kept)>);

/// A server whose first tier holds the list of every clinic, with those lists. `None`: it has no
/// cache.
pub(crate) fn product(
    bench: &Bench<'_>,
    base: &Base,
    setup: &Setup,
) -> anyhow::Result<Option<Warm>> {
    let (serving, address, first) = lists(bench, base, setup)?;
    let mut caller = Caller::connect(address)?;
    let mut targets = Vec::new();
    for (request, body) in first.into_targets() {
        let mut answer = caller.ask(&request)?;
        for _ in 0..50 {
            if answer.header("x-cache") == Some("HIT-L1") {
                break;
            }
            // A node that has just begun does not trust its cache yet.
            std::thread::sleep(std::time::Duration::from_millis(40));
            answer = caller.ask(&request)?;
        }
        if answer.header("x-cache") != Some("HIT-L1") {
            return Ok(None);
        }
        if answer.status != 200 || up_to_cursor(&answer.body) != up_to_cursor(&body) {
            bail!("the cache answers {LIST} otherwise than the store");
        }
        targets.push((request, answer));
    }
    Ok(Some((serving, address, targets)))
}

pub(crate) fn requests(targets: &[(Vec<u8>, Kept)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    targets
        .iter()
        .map(|(request, answer)| (request.clone(), answer.body.clone()))
        .collect()
}

/// The bare handler.
struct Bare {
    child: Child,
    address: SocketAddr,
}

impl Bare {
    fn start(program: &Path, folder: &Path, targets: &[(Vec<u8>, Kept)]) -> anyhow::Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        for (index, (_, answer)) in targets.iter().enumerate() {
            // Written by actix for every answer.
            let own = |line: &str| {
                let name = line.split(':').next().unwrap_or_default();
                ["content-length", "date", "connection"]
                    .iter()
                    .any(|own| name.eq_ignore_ascii_case(own))
            };
            let head = String::from_utf8_lossy(&answer.head);
            let head: Vec<&str> = head.lines().filter(|line| !own(line)).collect();
            fs::write(folder.join(format!("{index}.head")), head.join("\n"))?;
            fs::write(folder.join(format!("{index}.body")), &answer.body)?;
        }
        let workers = available_parallelism().map_or(2, usize::from);
        let mut child = Command::new(program)
            .arg(folder)
            .arg(workers.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line
            .trim()
            .strip_prefix("http://")
            .and_then(|text| text.parse().ok())
            .context("the bare handler does not listen")?;
        Ok(Self { child, address })
    }

    /// The same requests, headers and all, for the paths it knows.
    fn requests(targets: &[(Vec<u8>, Kept)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        targets
            .iter()
            .enumerate()
            .map(|(index, (request, answer))| {
                let text = String::from_utf8_lossy(request);
                let headers: Vec<String> = text
                    .lines()
                    .skip(2)
                    .filter(|line| !line.is_empty())
                    .map(str::to_owned)
                    .collect();
                // Of the same length as the path it stands for.
                let path = format!("/{index:0width$}", width = LIST.len() - 1);
                (http::get(&path, &headers), answer.body.clone())
            })
            .collect()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
