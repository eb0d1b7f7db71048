//! [`SmtpMailer`]: one connection for each mail, within one time limit for all of it.
//!
//! Mails are few, and a connection that is kept open is closed by most servers after a minute: so
//! none is kept. TLS is rustls with the system's roots, and those of a file where one is given.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use kernel::Sensitive;
use kernel::mail::{Mail, MailError, Mailer};
use lettre::transport::smtp::client::{Certificate, Tls as LettreTls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use crate::letter::{Sender, message};

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// Begins in the open and demands STARTTLS before anything is said: a server that does not
    /// offer it gets no mail.
    #[default]
    StartTls,
    /// TLS from the first byte.
    Implicit,
    /// Not at all: for a mail server on this machine.
    None,
}

impl Tls {
    /// The usual port (RFC 6409, RFC 8314).
    pub const fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

impl std::str::FromStr for Tls {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "starttls" => Ok(Self::StartTls),
            "implicit" => Ok(Self::Implicit),
            "none" => Ok(Self::None),
            _ => Err(()),
        }
    }
}

/// Who logs in to the mail server.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The account.
    pub user: String,
    /// Its password.
    pub password: Sensitive<String>,
}

/// Where the mail server is.
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    /// Its name, which its certificate must have.
    pub host: String,
    /// Its port; that of `tls` when not given.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: Tls,
    /// Who logs in; nobody when not given.
    pub credentials: Option<Credentials>,
    /// Certificates in PEM that are trusted beside the system's.
    pub roots: Option<Vec<u8>>,
    /// How long one mail may take in all.
    pub timeout: Duration,
    /// Who mails are from.
    pub sender: Sender,
}

/// Settings with which no mail can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SmtpError {
    /// The file of trusted certificates holds none that can be read.
    #[error("the trusted certificates must be PEM")]
    Roots,
    /// TLS cannot be set up for that name.
    #[error("TLS cannot be set up for that host")]
    Tls,
    /// A password would travel in the open.
    #[error("a password is sent to another machine over TLS alone")]
    OpenPassword,
}

/// Sends through a mail server.
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    sender: Sender,
    timeout: Duration,
}

impl SmtpMailer {
    /// For that server. Connects to nothing yet.
    pub fn new(settings: SmtpSettings) -> Result<Self, SmtpError> {
        let SmtpSettings {
            host,
            port,
            tls,
            credentials,
            roots,
            timeout,
            sender,
        } = settings;
        if tls == Tls::None && credentials.is_some() && !is_this_machine(&host) {
            return Err(SmtpError::OpenPassword);
        }
        let protection = match tls {
            Tls::None => LettreTls::None,
            Tls::StartTls => LettreTls::Required(parameters(&host, roots)?),
            Tls::Implicit => LettreTls::Wrapper(parameters(&host, roots)?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port.unwrap_or(tls.port()))
            .tls(protection)
            .timeout(Some(timeout));
        if let Some(Credentials { user, password }) = credentials {
            builder = builder.credentials((user, password.into_inner()).into());
        }
        Ok(Self {
            transport: builder.build(),
            sender,
            timeout,
        })
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn parameters(host: &str, roots: Option<Vec<u8>>) -> Result<TlsParameters, SmtpError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = roots {
        let root = Certificate::from_pem(&pem).map_err(|_| SmtpError::Roots)?;
        builder = builder.add_root_certificate(root);
    }
    builder.build_rustls().map_err(|_| SmtpError::Tls)
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = message(&self.sender, mail)?;
        match tokio::time::timeout(self.timeout, self.transport.send(message)).await {
            Ok(Ok(_taken_over)) => Ok(()),
            Ok(Err(error)) => Err(reason(&error)),
            Err(_elapsed) => Err(MailError::Later("timeout")),
        }
    }
}

/// What a failure means. Only a refusal of the message itself is for good: whatever the operator
/// can mend (the server's address, its certificate, our password) is tried again.
fn reason(error: &lettre::transport::smtp::Error) -> MailError {
    if let Some(status) = error.status() {
        return match u16::from(status) {
            // RFC 4954 section 6.
            530 | 534 | 535 | 538 => MailError::Later("not-authenticated"),
            // RFC 3207 section 4.
            454 => MailError::Later("tls"),
            500..=599 => MailError::Refused("refused"),
            _ => MailError::Later("deferred"),
        };
    }
    MailError::Later(if error.is_timeout() {
        "timeout"
    } else if error.is_tls() {
        "tls"
    } else if error.is_client() {
        "not-offered"
    } else if error.is_response() {
        "unintelligible"
    } else {
        "unreachable"
    })
}

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SmtpMailer")
    }
}
