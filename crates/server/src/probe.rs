//! `acolhe-server health`: asks the server of this configuration whether it is well. For
//! orchestrators whose images hold no other program that could ask.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

use crate::config::Http;

/// The whole question takes no longer; the server gives its database two seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// The first line of an answer is no longer than this.
const HEAD: u64 = 256;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// Does the process answer?
    Live,
    /// Can it work?
    Ready,
}

impl Question {
    fn path(self) -> &'static str {
        match self {
            Self::Live => "/api/health/live",
            Self::Ready => "/api/health/ready",
        }
    }
}

/// `Ok` when the answer is a 200.
pub(crate) fn ask(http: &Http, question: Question) -> anyhow::Result<()> {
    let address = SocketAddr::new(reachable(http.bind), http.port);
    let line = first_line(address, question.path())
        .with_context(|| format!("no answer from {address}"))?;
    let status = line.split_ascii_whitespace().nth(1).unwrap_or("no HTTP");
    anyhow::ensure!(status == "200", "{} answers {status}", question.path());
    Ok(())
}

/// Where a server that listens on `bind` is reached from its own machine.
fn reachable(bind: IpAddr) -> IpAddr {
    match bind {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

fn first_line(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut head = Vec::new();
    stream.take(HEAD).read_to_end(&mut head)?;
    let text = String::from_utf8_lossy(&head);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one request with this status, and gives the request's first line.
    fn answering(status: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let answer = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut request = String::new();
            reader.read_line(&mut request).unwrap();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            request.trim().to_owned()
        });
        (address, answer)
    }

    fn http(address: SocketAddr) -> Http {
        let environment = vec![
            ("ACOLHE_HTTP_BIND".to_owned(), "0.0.0.0".to_owned()),
            ("ACOLHE_HTTP_PORT".to_owned(), address.port().to_string()),
        ];
        let sources = crate::config::Sources {
            file: None,
            environment,
        };
        let values = crate::config::load(&sources).unwrap();
        crate::config::Config::read(&values).unwrap().http
    }

    #[test]
    fn a_server_that_is_ready_is_well() {
        let (address, answer) = answering("200 OK");
        ask(&http(address), Question::Ready).unwrap();
        assert_eq!(answer.join().unwrap(), "GET /api/health/ready HTTP/1.1");
    }

    #[test]
    fn a_server_that_cannot_work_is_not_well_and_its_status_is_told() {
        let (address, answer) = answering("503 Service Unavailable");
        let error = ask(&http(address), Question::Live).unwrap_err();
        assert_eq!(error.to_string(), "/api/health/live answers 503");
        answer.join().unwrap();
    }

    #[test]
    fn no_server_is_not_well() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = ask(&http(address), Question::Ready).unwrap_err();
        assert!(error.to_string().starts_with("no answer from 127.0.0.1"));
    }
}
