//! HTTP/1.1 as far as a load generator needs it: where an answer ends, and what it says.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};

/// A whole answer, within the bytes that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// The header lines, without the status line.
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// The answer's head and the length of it all, once the head is whole.
    pub(crate) fn measure(bytes: &[u8]) -> anyhow::Result<Option<Measured>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let status = bytes
            .get(9..12)
            .filter(|_| bytes.starts_with(b"HTTP/1.1 "))
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
            .context("what came is no HTTP/1.1 answer")?;
        let line_end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(end) + 1;
        let measured = Measured {
            status,
            head: (line_end.min(end), end),
            length: end + 4,
        };
        let head = &bytes[measured.head.0..measured.head.1];
        let length = match header(head, "content-length") {
            Some(text) => std::str::from_utf8(text)?.parse::<usize>()?,
            None if header(head, "transfer-encoding").is_some() => {
                bail!("the answer comes in chunks, which are not read here")
            }
            None => 0,
        };
        Ok(Some(Measured {
            length: measured.length + length,
            ..measured
        }))
    }

    pub(crate) fn of(bytes: &'a [u8], measured: Measured) -> Self {
        Self {
            status: measured.status,
            head: &bytes[measured.head.0..measured.head.1],
            body: &bytes[measured.head.1 + 4..measured.length],
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        header(self.head, name)
    }
}

/// Where the parts of an answer lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measured {
    status: u16,
    head: (usize, usize),
    pub(crate) length: usize,
}

/// The value of the first header of that name, which is given in small letters.
fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, rest) = line.split_at_checked(name.len())?;
        if rest.first() != Some(&b':') || !found.eq_ignore_ascii_case(name.as_bytes()) {
            return None;
        }
        Some(rest[1..].trim_ascii())
    })
}

/// An answer of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) status: u16,
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Kept {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(header(&self.head, name)?).ok()
    }
}

/// A connection for asking one thing after the other.
pub(crate) struct Caller {
    stream: TcpStream,
}

impl Caller {
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("nobody listens")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream })
    }

    pub(crate) fn ask(&mut self, request: &[u8]) -> anyhow::Result<Kept> {
        self.stream.write_all(request)?;
        let mut bytes = Vec::new();
        let mut part = vec![0; 64 * 1024];
        loop {
            let count = self.stream.read(&mut part).context("no answer came")?;
            if count == 0 {
                bail!("the server hung up");
            }
            bytes.extend_from_slice(&part[..count]);
            if let Some(measured) = Answer::measure(&bytes)?
                && bytes.len() >= measured.length
            {
                let answer = Answer::of(&bytes, measured);
                return Ok(Kept {
                    status: answer.status,
                    head: answer.head.to_vec(),
                    body: answer.body.to_vec(),
                });
            }
        }
    }
}

/// A GET with these headers, each a line without its end.
pub(crate) fn get(path: &str, headers: &[String]) -> Vec<u8> {
    let mut text = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// A POST of JSON with these headers.
pub(crate) fn post(path: &str, headers: &[String], body: &str) -> Vec<u8> {
    let mut text = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n",
        body.len()
    );
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

/// As a value in a query.
pub(crate) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-cache:  HIT-L1 \r\nETag: \"a\"\r\n\r\nhello";

    #[test]
    fn an_answer_ends_where_its_length_says() {
        let measured = Answer::measure(WHOLE).unwrap().unwrap();
        assert_eq!(measured.length, WHOLE.len());
        let answer = Answer::of(WHOLE, measured);
        assert_eq!((answer.status, answer.body), (200, &b"hello"[..]));
        assert_eq!(answer.header("x-cache"), Some(&b"HIT-L1"[..]));
        assert_eq!(answer.header("etag"), Some(&b"\"a\""[..]));
        assert_eq!(answer.header("cache"), None);
    }

    #[test]
    fn accents_travel_in_a_query() {
        assert_eq!(encoded("José-1"), "Jos%C3%A9-1");
    }

    #[test]
    fn half_a_head_is_not_measured_yet() {
        for length in 0..WHOLE.len() - 5 {
            assert_eq!(Answer::measure(&WHOLE[..length]).unwrap(), None, "{length}");
        }
    }

    #[test]
    fn an_answer_without_a_body_and_one_in_chunks_are_told_apart() {
        let empty = b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n";
        let measured = Answer::measure(empty).unwrap().unwrap();
        assert_eq!(measured.length, empty.len());
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(Answer::measure(chunks).is_err());
        assert!(Answer::measure(b"SSH-2.0-x\r\n\r\n\r\n").is_err());
    }
}
