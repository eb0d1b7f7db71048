//! A mail server as RFC 5321 has it, in this process: it keeps the order of commands, takes dots
//! off, and refuses what it is told to refuse.

use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The authority that signed the stand-in's certificate (for `localhost`). Both are of no other
/// use, and end in a hundred years.
pub(crate) const ROOT: &[u8] = include_bytes!("../fixtures/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../fixtures/server.pem");
const KEY: &[u8] = include_bytes!("../fixtures/server.key");

/// How the server behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manners {
    /// TLS from the first byte.
    pub(crate) implicit_tls: bool,
    /// STARTTLS is offered.
    pub(crate) starttls: bool,
    /// Nothing but STARTTLS is taken in the open (530, RFC 3207 section 4).
    pub(crate) demands_tls: bool,
    /// Who must log in: `user` and `password`.
    pub(crate) login: Option<(&'static str, &'static str)>,
    /// What is said to each RCPT; taken when nothing is.
    pub(crate) to_recipient: Option<&'static str>,
    /// What is said to the end of the message; taken when nothing is.
    pub(crate) to_message: Option<&'static str>,
    /// It falls silent at this command.
    pub(crate) silent_at: Option<&'static str>,
}

/// A message that was taken over.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) message: String,
    pub(crate) encrypted: bool,
    pub(crate) logged_in: bool,
}

/// A running server. It ends with the test's runtime.
pub(crate) struct StandIn {
    pub(crate) port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    said: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    pub(crate) async fn start(manners: Manners) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let said = Arc::new(Mutex::new(Vec::new()));
        let (kept, heard) = (Arc::clone(&received), Arc::clone(&said));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let session = Session {
                    manners: manners.clone(),
                    received: Arc::clone(&kept),
                    said: Arc::clone(&heard),
                };
                tokio::spawn(session.serve(stream));
            }
        });
        Self {
            port,
            received,
            said,
        }
    }

    /// What was taken over.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Every command that arrived before TLS.
    pub(crate) fn said_in_the_open(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
}

struct Session {
    manners: Manners,
    received: Arc<Mutex<Vec<Received>>>,
    said: Arc<Mutex<Vec<String>>>,
}

impl Session {
    async fn serve(self, stream: TcpStream) {
        if self.manners.implicit_tls {
            if let Ok(stream) = acceptor().accept(stream).await {
                self.talk(stream, true, true).await;
            }
        } else if let Some(stream) = self.talk(stream, false, true).await
            && let Ok(stream) = acceptor().accept(stream).await
        {
            self.talk(stream, true, false).await;
        }
    }

    /// One conversation; answers the stream where STARTTLS was agreed.
    async fn talk<S>(&self, stream: S, encrypted: bool, greets: bool) -> Option<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let manners = &self.manners;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        let (mut from, mut to) = (None, Vec::new());
        let mut logged_in = false;
        if greets {
            say(&mut stream, "220 stand-in ESMTP").await?;
        }
        loop {
            line.clear();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let command = line.trim_end().to_owned();
            let verb = command.split([' ', ':']).next().unwrap().to_uppercase();
            if !encrypted {
                self.said.lock().unwrap().push(command.clone());
            }
            if manners.silent_at == Some(verb.as_str()) {
                std::future::pending::<()>().await;
            }
            let open = manners.demands_tls && !encrypted;
            let stranger = manners.login.is_some() && !logged_in;
            let answer = match verb.as_str() {
                "EHLO" => {
                    let mut lines = vec!["250-stand-in", "250-8BITMIME"];
                    if manners.starttls && !encrypted {
                        lines.push("250-STARTTLS");
                    }
                    if manners.login.is_some() && !open {
                        lines.push("250-AUTH PLAIN");
                    }
                    lines.push("250 SIZE 1000000");
                    lines.join("\r\n")
                }
                "STARTTLS" if manners.starttls && !encrypted => {
                    say(&mut stream, "220 go ahead").await?;
                    return Some(stream.into_inner());
                }
                "QUIT" => {
                    say(&mut stream, "221 bye").await?;
                    return None;
                }
                "RSET" | "NOOP" => "250 ok".to_owned(),
                _ if open => "530 Must issue a STARTTLS command first".to_owned(),
                "AUTH" => {
                    let (user, password) = manners.login.unwrap_or_default();
                    logged_in = command == format!("AUTH PLAIN {}", plain(user, password));
                    let answer = if logged_in { "235 ok" } else { "535 no" };
                    answer.to_owned()
                }
                "MAIL" if stranger => "530 Authentication required".to_owned(),
                "MAIL" => {
                    from = Some(address(&command));
                    "250 ok".to_owned()
                }
                "RCPT" if from.is_none() => "503 MAIL first".to_owned(),
                "RCPT" if manners.to_recipient.is_some() => {
                    manners.to_recipient.unwrap_or_default().to_owned()
                }
                "RCPT" => {
                    to.push(address(&command));
                    "250 ok".to_owned()
                }
                "DATA" if to.is_empty() => "503 RCPT first".to_owned(),
                "DATA" => {
                    say(&mut stream, "354 go on").await?;
                    let message = message(&mut stream).await?;
                    if manners.silent_at == Some("END") {
                        std::future::pending::<()>().await;
                    }
                    if manners.to_message.is_none() {
                        self.received.lock().unwrap().push(Received {
                            from: from.take().unwrap_or_default(),
                            to: std::mem::take(&mut to),
                            message,
                            encrypted,
                            logged_in,
                        });
                    }
                    manners.to_message.unwrap_or("250 taken over").to_owned()
                }
                _ => "502 unknown".to_owned(),
            };
            say(&mut stream, &answer).await?;
        }
    }
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, text: &str) -> Option<()> {
    stream
        .write_all(format!("{text}\r\n").as_bytes())
        .await
        .ok()?;
    stream.flush().await.ok()
}

async fn message<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut message = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == ".\r\n" {
            return Some(message);
        }
        message.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

fn address(command: &str) -> String {
    let inner = command.split_once('<').map_or("", |(_, rest)| rest);
    inner.split('>').next().unwrap_or_default().to_owned()
}

/// RFC 4616, in base64.
fn plain(user: &str, password: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = format!("\0{user}\0{password}").into_bytes();
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = 0_u32;
        for at in 0..3 {
            bits = bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for at in 0..4 {
            let digit = (bits >> (18 - 6 * at)) & 63;
            let filled = at <= chunk.len();
            text.push(if filled {
                char::from(DIGITS[digit as usize])
            } else {
                '='
            });
        }
    }
    text
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
