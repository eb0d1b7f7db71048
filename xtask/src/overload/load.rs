//! The load: requests that are sent when it is their time, whether or not those before them were
//! answered, and answers that are read to their last byte.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

/// How long an answer may take before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// A caller's stack: it reads one answer at a time.
const STACK: usize = 256 * 1024;

/// A request, and what an answer to it may hold.
pub(super) struct Ask {
    pub(super) request: Vec<u8>,
    /// Stands in a right answer so often.
    pub(super) own: (Vec<u8>, usize),
    /// Stands in no right answer: another clinic's.
    pub(super) foreign: Vec<u8>,
}

/// What a phase saw.
#[derive(Default)]
pub(super) struct Seen {
    /// Right answers: when they were sent, from the phase's beginning, and how long they took.
    pub(super) served: Vec<(Duration, Duration)>,
    /// Turned away as documented, with how long that took.
    pub(super) refused: Vec<Duration>,
    /// Anything else: another status, another body.
    pub(super) wrong: u64,
    /// The first of these.
    pub(super) example: Option<String>,
    /// Connections that broke.
    pub(super) broken: u64,
    /// How late requests were sent: the generator's own share.
    pub(super) late: Vec<Duration>,
}

impl Seen {
    fn take(&mut self, other: Self) {
        self.served.extend(other.served);
        self.refused.extend(other.refused);
        self.late.extend(other.late);
        self.wrong += other.wrong;
        self.broken += other.broken;
        self.example = self.example.take().or(other.example);
    }

    pub(super) fn sent(&self) -> usize {
        self.served.len() + self.refused.len()
    }
}

/// How a phase asks.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// The next as soon as the last was answered: what there is to be had.
    AsAnswered,
    /// So many each second, answered or not.
    EachSecond(f64),
}

/// Asks for `span` from `callers` connections.
pub(super) fn run(
    address: SocketAddr,
    asks: &[Ask],
    callers: usize,
    pace: Pace,
    span: Duration,
) -> anyhow::Result<Seen> {
    let began = Instant::now() + Duration::from_millis(50);
    let stop = AtomicBool::new(false);
    let mut all = Seen::default();
    thread::scope(|scope| -> anyhow::Result<()> {
        let mut threads = Vec::with_capacity(callers);
        for caller in 0..callers {
            let stop = &stop;
            let work = move || call(address, asks, caller, callers, pace, began, span, stop);
            let thread = thread::Builder::new().stack_size(STACK);
            threads.push(thread.spawn_scoped(scope, work)?);
        }
        while began.elapsed() < span {
            thread::sleep(Duration::from_millis(20));
            if crate::interrupt::check().is_err() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            let seen = thread.join().ok().context("a caller failed")?;
            all.take(seen);
        }
        Ok(())
    })?;
    crate::interrupt::check()?;
    Ok(all)
}

#[expect(clippy::too_many_arguments, reason = "one caller's whole world")]
fn call(
    address: SocketAddr,
    asks: &[Ask],
    caller: usize,
    callers: usize,
    pace: Pace,
    began: Instant,
    span: Duration,
    stop: &AtomicBool,
) -> Seen {
    let mut seen = Seen::default();
    let mut connection: Option<TcpStream> = None;
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut number = caller;
    thread::sleep(began.saturating_duration_since(Instant::now()));
    while !stop.load(Ordering::Relaxed) {
        if let Pace::EachSecond(rate) = pace {
            #[expect(clippy::cast_precision_loss, reason = "a number of requests is small")]
            let due = Duration::from_secs_f64(number as f64 / rate);
            if due >= span {
                break;
            }
            let now = began.elapsed();
            thread::sleep(due.saturating_sub(now));
            seen.late.push(began.elapsed().saturating_sub(due));
        }
        let ask = &asks[number % asks.len()];
        number += callers;
        let sent = Instant::now();
        let Ok(status) = exchange(&mut connection, address, &ask.request, &mut buffer) else {
            connection = None;
            seen.broken += 1;
            // Whoever cannot connect does not try a thousand times a second.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let took = sent.elapsed();
        let is_own = count(&buffer, &ask.own.0) == ask.own.1 && count(&buffer, &ask.foreign) == 0;
        let is_refusal =
            count(&buffer, b"\"overloaded\"") == 1 && count(&buffer, b"retry-after:") == 1;
        match status {
            200 if is_own => seen.served.push((sent - began, took)),
            503 if is_refusal => seen.refused.push(took),
            _ => {
                seen.wrong += 1;
                let text =
                    || String::from_utf8_lossy(&buffer[..buffer.len().min(600)]).into_owned();
                seen.example.get_or_insert_with(text);
            }
        }
    }
    seen
}

/// How often `part` stands in `text`.
fn count(text: &[u8], part: &[u8]) -> usize {
    text.windows(part.len())
        .filter(|window| *window == part)
        .count()
}

/// Sends a request and reads its answer, head and body, into `buffer`.
fn exchange(
    connection: &mut Option<TcpStream>,
    address: SocketAddr,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> anyhow::Result<u16> {
    if connection.is_none() {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        *connection = Some(stream);
    }
    let stream = connection.as_mut().context("connected above")?;
    stream.write_all(request)?;
    buffer.clear();
    let mut chunk = [0; 16 * 1024];
    let mut whole: Option<usize> = None;
    while whole.is_none_or(|whole| buffer.len() < whole) {
        let read = stream.read(&mut chunk)?;
        anyhow::ensure!(read > 0, "the connection ended");
        buffer.extend_from_slice(&chunk[..read]);
        if whole.is_none() {
            whole = length(buffer)?;
        }
    }
    let status = buffer
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    status
        .and_then(|digits| digits.parse().ok())
        .context("no status")
}

/// How long the whole answer is, once its head is there.
fn length(buffer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .context("no content-length")?;
    Ok(Some(end + 4 + length.trim().parse::<usize>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_long_as_its_head_and_what_that_says() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(length(answer).unwrap(), Some(answer.len()));
        assert_eq!(length(&answer[..20]).unwrap(), None);
        assert!(length(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn parts_are_counted_where_they_stand() {
        assert_eq!(count(b"Alfa, Alfa, Beta", b"Alfa"), 2);
        assert_eq!(count(b"", b"Alfa"), 0);
    }
}
