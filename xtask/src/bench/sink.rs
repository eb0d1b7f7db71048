//! Where telemetry goes while something is measured: a collector that accepts everything and keeps
//! nothing. It counts, so that a row can tell whether telemetry came at all.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::Context;

/// Listens as long as the process lives.
pub(crate) struct Sink {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
}

impl Sink {
    pub(crate) fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
        let address = listener.local_addr()?;
        let bytes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&bytes);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                thread::spawn(move || swallow(stream, &counter));
            }
        });
        Ok(Self { address, bytes })
    }

    /// For `telemetry.otlp_endpoint`, with OTLP over HTTP.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many bytes of telemetry have come.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Answers each request of a connection with an empty message, which accepts everything.
fn swallow(stream: TcpStream, counter: &AtomicU64) -> Option<()> {
    let mut answers = stream.try_clone().ok()?;
    let mut requests = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if requests.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse::<u64>().ok()?;
            }
        }
        let read = std::io::copy(&mut requests.by_ref().take(length), &mut std::io::sink()).ok()?;
        counter.fetch_add(read, Ordering::Relaxed);
        answers
            .write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
            )
            .ok()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::http::{Caller, post};

    #[test]
    fn everything_is_accepted_and_counted() {
        let sink = Sink::open().unwrap();
        let mut caller = Caller::connect(sink.address).unwrap();
        for _ in 0..2 {
            let answer = caller.ask(&post("/v1/traces", &[], "0123456789")).unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, 0));
        }
        assert_eq!(sink.bytes(), 20);
    }
}
