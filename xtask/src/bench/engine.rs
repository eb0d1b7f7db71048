//! The load generator: many connections, one thread, as little work as can be, since it shares the
//! processors with what it measures.
//!
//! Closed: each connection asks anew as soon as it has its answer. That gives the highest rate; its
//! times are those of a queue as long as there are connections. Open: requests are due at fixed
//! moments whether or not earlier ones have been answered, and each is timed from when it was due,
//! so that a pause of the server is seen by all who would have come meanwhile.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
};

use super::{
    http::{Answer, Measured},
    traffic::Traffic,
};
use crate::interrupt;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often we look at the clock and for Ctrl-C when nothing happens.
const LOOK: Duration = Duration::from_millis(50);
/// Faults that are told word for word.
const TOLD: usize = 3;

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// One after the other on each connection.
    Closed,
    /// So many a second.
    Open(f64),
}

/// What to send where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) warm: Duration,
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) faults: Vec<String>,
    /// Microseconds of each, sorted.
    pub(crate) times: Vec<u32>,
    pub(crate) seconds: f64,
}

impl Tally {
    /// Milliseconds, of so many in a thousand.
    pub(crate) fn percentile(&self, per_mille: usize) -> Option<f64> {
        let index = (self.times.len() * per_mille / 1000).min(self.times.len().checked_sub(1)?);
        self.times.get(index).map(|micros| f64::from(*micros) / 1e3)
    }

    /// Milliseconds.
    pub(crate) fn mean(&self) -> Option<f64> {
        let sum: f64 = self.times.iter().map(|micros| f64::from(*micros)).sum();
        #[expect(clippy::cast_precision_loss, reason = "a mean")]
        let count = self.times.len() as f64;
        (count > 0.0).then(|| sum / count / 1e3)
    }

    fn fault(&mut self, fault: impl FnOnce() -> String) {
        self.failed += 1;
        if self.faults.len() < TOLD {
            self.faults.push(fault());
        }
    }
}

/// Sends traffic for its time. `on_start` is called when the warm-up is over and measuring begins.
pub(crate) fn run(
    load: &Load,
    traffic: &mut dyn Traffic,
    on_start: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Tally> {
    Engine::new(*load, traffic)?.run(on_start)
}

/// One connection.
struct Line {
    stream: TcpStream,
    /// What is to be sent; all of it is sent at once nearly always.
    out: Vec<u8>,
    sent: usize,
    inbox: Vec<u8>,
    filled: usize,
    measured: Option<Measured>,
    /// Since when the request on its way counts, and what tells it from others.
    asked: Option<(Instant, u32)>,
}

struct Engine<'a> {
    load: Load,
    traffic: &'a mut dyn Traffic,
    epoll: OwnedFd,
    lines: Vec<Line>,
    /// Lines without a request on its way, the one that waited longest first. For the open pace.
    free: VecDeque<usize>,
    /// Moments at which requests were due that found no free line.
    waiting: VecDeque<Instant>,
    on_their_way: usize,
    tally: Tally,
    measuring: bool,
    over: bool,
}

impl<'a> Engine<'a> {
    fn new(load: Load, traffic: &'a mut dyn Traffic) -> anyhow::Result<Self> {
        let mut engine = Self {
            load,
            traffic,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            lines: Vec::with_capacity(load.connections),
            free: (0..load.connections).collect(),
            waiting: VecDeque::new(),
            on_their_way: 0,
            tally: Tally::default(),
            measuring: false,
            over: false,
        };
        for index in 0..load.connections {
            let stream = engine.connect(index)?;
            engine.lines.push(Line {
                stream,
                out: Vec::with_capacity(4096),
                sent: 0,
                inbox: vec![0; 32 * 1024],
                filled: 0,
                measured: None,
                asked: None,
            });
        }
        Ok(engine)
    }

    fn connect(&self, index: usize) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.load.address, PATIENCE)
            .with_context(|| format!("connection {index} was refused"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(
            &self.epoll,
            &stream,
            EventData::new_u64(index as u64),
            EventFlags::IN,
        )?;
        Ok(stream)
    }

    fn run(mut self, on_start: &mut dyn FnMut() -> anyhow::Result<()>) -> anyhow::Result<Tally> {
        let begun = Instant::now();
        let mut start = begun;
        let mut end = begun + self.load.warm;
        let mut events = Vec::with_capacity(self.load.connections.max(64));
        let mut due = begun;
        let step = match self.load.pace {
            Pace::Closed => Duration::ZERO,
            Pace::Open(rate) => Duration::from_secs_f64(1.0 / rate),
        };
        if step.is_zero() {
            for index in 0..self.lines.len() {
                self.ask(index, Instant::now())?;
            }
            self.free.clear();
        }
        loop {
            let now = Instant::now();
            if now >= end && !self.measuring {
                on_start()?;
                // A wrong answer is one whenever it comes.
                self.tally = Tally {
                    failed: self.tally.failed,
                    faults: std::mem::take(&mut self.tally.faults),
                    ..Tally::default()
                };
                self.measuring = true;
                start = Instant::now();
                end = start + self.load.time;
                // What our own reading of the machine held up is not the server's fault.
                due = due.max(start);
                self.waiting.clear();
                continue;
            }
            self.over = self.measuring && now >= end;
            if self.over && self.on_their_way == 0 && self.waiting.is_empty() {
                break;
            }
            if self.over && now > end + PATIENCE {
                let missing = (self.on_their_way + self.waiting.len()) as u64;
                self.tally
                    .fault(|| format!("{missing} answers did not come within {PATIENCE:?}"));
                self.tally.failed += missing.saturating_sub(1);
                break;
            }
            let mut timeout = LOOK;
            if !step.is_zero() {
                while due <= now && !self.over {
                    self.waiting.push_back(due);
                    due += step;
                }
                self.dispatch()?;
                if !self.over {
                    timeout = timeout.min(due.saturating_duration_since(Instant::now()));
                }
            }
            let timeout = Timespec::try_from(timeout).unwrap_or_default();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if events.is_empty() {
                interrupt::check()?;
            }
            for event in events.drain(..) {
                let index = usize::try_from(event.data.u64())?;
                self.serve(index)?;
            }
        }
        self.tally.seconds = start.elapsed().as_secs_f64();
        self.tally.times.sort_unstable();
        if self.tally.requests == 0 {
            bail!(
                "not one right answer came{}",
                self.tally
                    .faults
                    .first()
                    .map_or_else(String::new, |fault| format!(": {fault}"))
            );
        }
        Ok(self.tally)
    }

    /// Hands what is due to free lines.
    fn dispatch(&mut self) -> anyhow::Result<()> {
        while let Some(due) = self.waiting.front().copied() {
            let Some(index) = self.free.pop_front() else {
                return Ok(());
            };
            self.waiting.pop_front();
            self.ask(index, due)?;
        }
        Ok(())
    }

    fn ask(&mut self, index: usize, since: Instant) -> anyhow::Result<()> {
        let line = &mut self.lines[index];
        line.out.clear();
        line.sent = 0;
        line.filled = 0;
        line.measured = None;
        let ticket = self.traffic.write(index, &mut line.out);
        line.asked = Some((since, ticket));
        self.on_their_way += 1;
        self.send(index)
    }

    /// Sends what is left of a request.
    fn send(&mut self, index: usize) -> anyhow::Result<()> {
        let line = &mut self.lines[index];
        while line.sent < line.out.len() {
            match line.stream.write(&line.out[line.sent..]) {
                Ok(count) => line.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let flags = EventFlags::IN | EventFlags::OUT;
                    let data = EventData::new_u64(index as u64);
                    epoll::modify(&self.epoll, &line.stream, data, flags)?;
                    return Ok(());
                }
                Err(error) => return self.lost(index, &error.to_string()),
            }
        }
        Ok(())
    }

    /// Takes what has come on a line.
    fn serve(&mut self, index: usize) -> anyhow::Result<()> {
        let line = &mut self.lines[index];
        if line.sent < line.out.len() {
            self.send(index)?;
            let line = &self.lines[index];
            if line.sent == line.out.len() {
                let data = EventData::new_u64(index as u64);
                epoll::modify(&self.epoll, &line.stream, data, EventFlags::IN)?;
            }
        }
        let line = &mut self.lines[index];
        if line.filled == line.inbox.len() {
            line.inbox.resize(line.filled * 2, 0);
        }
        let count = match line.stream.read(&mut line.inbox[line.filled..]) {
            Ok(0) => return self.lost(index, "the server hung up"),
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(());
            }
            Err(error) => return self.lost(index, &error.to_string()),
        };
        line.filled += count;
        if line.measured.is_none() {
            match Answer::measure(&line.inbox[..line.filled]) {
                Ok(measured) => line.measured = measured,
                Err(error) => return self.lost(index, &error.to_string()),
            }
        }
        let Some(measured) = line.measured else {
            return Ok(());
        };
        if line.filled < measured.length {
            return Ok(());
        }
        let Some((since, ticket)) = line.asked.take() else {
            return self.lost(index, "an answer came that nobody asked for");
        };
        self.on_their_way -= 1;
        let answer = Answer::of(&line.inbox, measured);
        match self.traffic.check(index, ticket, &answer) {
            Ok(()) => {
                self.tally.requests += 1;
                let micros = u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX);
                self.tally.times.push(micros);
                if self.measuring {
                    self.traffic.timed(ticket, micros);
                }
            }
            Err(fault) => self.tally.fault(|| fault),
        }
        self.next(index)
    }

    fn next(&mut self, index: usize) -> anyhow::Result<()> {
        match self.load.pace {
            Pace::Closed if self.over => Ok(()),
            Pace::Closed => self.ask(index, Instant::now()),
            Pace::Open(_) => {
                self.free.push_back(index);
                self.dispatch()
            }
        }
    }

    /// The connection is gone: a failure where an answer was owed, and a new one in its place.
    fn lost(&mut self, index: usize, why: &str) -> anyhow::Result<()> {
        let owed = self.lines[index].asked.take().is_some();
        if owed {
            self.on_their_way -= 1;
            self.tally.fault(|| format!("no answer: {why}"));
        }
        // Closing the old one takes it out of epoll.
        self.lines[index].stream = self.connect(index)?;
        self.lines[index].out.clear();
        self.lines[index].sent = 0;
        if owed { self.next(index) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::bench::traffic::Gets;

    /// A server that answers each connection's requests with `body`, and every `nth` of all with
    /// something else; after `pause` where one is given, once.
    fn server(body: &'static str, nth: Option<usize>, pause: Option<Duration>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let count = std::sync::Arc::clone(&count);
                std::thread::spawn(move || {
                    let mut bytes = [0; 1024];
                    while let Ok(1..) = stream.read(&mut bytes) {
                        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let said = match nth {
                            Some(nth) if number.is_multiple_of(nth) => "wrong",
                            _ => body,
                        };
                        if let Some(pause) = pause
                            && number == 100
                        {
                            std::thread::sleep(pause);
                        }
                        let text = format!(
                            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}",
                            said.len()
                        );
                        if stream.write_all(text.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    fn gets() -> Gets {
        Gets::new(vec![(super::super::http::get("/", &[]), b"right".to_vec())])
    }

    fn load(address: SocketAddr, pace: Pace) -> Load {
        Load {
            address,
            connections: 4,
            pace,
            warm: Duration::from_millis(20),
            time: Duration::from_millis(500),
        }
    }

    #[test]
    fn right_answers_are_counted_and_timed() {
        let mut started = 0;
        let load = load(server("right", None, None), Pace::Closed);
        let tally = run(&load, &mut gets(), &mut || {
            started += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(started, 1);
        assert_eq!(tally.failed, 0, "{:?}", tally.faults);
        assert_eq!(tally.times.len() as u64, tally.requests);
        assert!(tally.requests > 10);
        assert!(tally.percentile(500) <= tally.percentile(990));
    }

    #[test]
    fn a_wrong_answer_is_a_failure() {
        let load = load(server("right", Some(7), None), Pace::Closed);
        let tally = run(&load, &mut gets(), &mut || Ok(())).unwrap();
        assert!(tally.failed > 0);
        assert!(
            tally.faults[0].contains("another body"),
            "{:?}",
            tally.faults
        );
    }

    #[test]
    fn all_who_would_have_come_during_a_pause_have_waited_for_it() {
        // One connection: what is due during the pause waits behind it.
        let pause = Duration::from_millis(200);
        let mut load = load(server("right", None, Some(pause)), Pace::Open(500.0));
        load.connections = 1;
        load.time = Duration::from_secs(1);
        let tally = run(&load, &mut gets(), &mut || Ok(())).unwrap();
        assert_eq!(tally.failed, 0, "{:?}", tally.faults);
        // A fifth of a second holds a hundred of five hundred: each waited for the rest of it. One
        // that counts only what it sent would know of a single slow answer.
        let slow = tally
            .times
            .iter()
            .filter(|micros| **micros > 50_000)
            .count();
        assert!(slow > 40, "{slow} of {}", tally.times.len());
    }
}
