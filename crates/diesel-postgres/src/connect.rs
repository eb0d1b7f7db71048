//! How a connection is made: TCP or a unix socket, with TLS where the address asks for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kernel::StoreError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connection::PgConn;
use crate::error::from_connect;

/// Why an address of the database cannot be used. Never repeats the address: it holds a password.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Not a URL or key-value string that PostgreSQL knows.
    #[error("the database's address cannot be read")]
    Unreadable,
    /// The named file of root certificates cannot be read.
    #[error("the root certificates of the database cannot be read")]
    Certificates,
}

/// How long an abandoned statement may go on by itself.
const CANCEL_AFTER: Duration = Duration::from_millis(20);

/// How long the server may take to accept that.
const CANCEL_WITHIN: Duration = Duration::from_secs(10);
/// What was sent may stay unacknowledged so long before the connection counts as lost: the other
/// side may be gone without a word.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Makes connections to one address.
pub(crate) struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

/// A connection, driven by a task on the runtime that made it.
pub(crate) struct Conn {
    pub(crate) pg: PgConn,
    closed: Arc<AtomicBool>,
    pub(crate) idle_since: Instant,
}

impl Conn {
    /// Whether the server or the network ended it.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// Notes the end of the driving task, however it ends.
struct Closing(Arc<AtomicBool>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Connector {
    /// Reads an address: what `tokio-postgres` knows, and `sslmode=verify-ca`,
    /// `sslmode=verify-full` and `sslrootcert=<file>` beside it.
    ///
    /// TLS: a server on another host must offer it with a certificate that the named file, or
    /// else the system's roots (or `SSL_CERT_FILE`), vouch for, unless the address says
    /// `sslmode=disable`; a socket or the loopback address is spoken to in clear unless it says
    /// `sslmode=require` or stronger. Certificate and host name are always verified.
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, AddressError> {
        let (address, root_file) = without_root_file(url);
        let mut config: Config = address.parse().map_err(|_| AddressError::Unreadable)?;
        if config.get_ssl_mode() == SslMode::Prefer {
            let local = config.get_hosts().iter().all(is_local);
            config.ssl_mode(if local {
                SslMode::Disable
            } else {
                SslMode::Require
            });
        }
        if config.get_application_name().is_none() {
            config.application_name("acolhe");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(timeout);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNACKNOWLEDGED);
        }
        let tls = (config.get_ssl_mode() == SslMode::Require)
            .then(|| tls(root_file.as_deref()))
            .transpose()?;
        Ok(Self { config, tls })
    }

    /// Opens a connection; its task runs on the present runtime.
    pub(crate) async fn connect(&self) -> Result<Conn, StoreError> {
        let (client, closed) = self.dial().await.map_err(|e| from_connect(&e))?;
        Ok(Conn {
            pg: PgConn::new(client),
            closed,
            idle_since: Instant::now(),
        })
    }

    /// Throws a connection away, and asks the server to cancel what it may still be doing:
    /// nobody waits for it, but its locks may be waited for.
    pub(crate) fn abandon(&self, conn: Conn) {
        let token = conn.pg.cancel_token();
        let closed = Arc::clone(&conn.closed);
        drop(conn);
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let tls = self.tls.clone();
        runtime.spawn(async move {
            // Most statements end by themselves sooner than a cancellation arrives, and the
            // connection with them.
            tokio::time::sleep(CANCEL_AFTER).await;
            if closed.load(Ordering::Relaxed) {
                return;
            }
            let cancel = async {
                match tls {
                    Some(tls) => token.cancel_query(tls).await,
                    None => token.cancel_query(NoTls).await,
                }
            };
            // Where it fails, the statement's own timeout ends it; where the server hangs, it is
            // not waited for.
            let _ = tokio::time::timeout(CANCEL_WITHIN, cancel).await;
        });
    }

    /// Opens a bare connection, for what runs outside the pool: migrations, the sequencer. It
    /// ends when the client is dropped.
    pub(crate) async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        Ok(self.dial().await?.0)
    }

    async fn dial(&self) -> Result<(Client, Arc<AtomicBool>), tokio_postgres::Error> {
        Ok(if let Some(tls) = &self.tls {
            let (client, connection) = self.config.connect(tls.clone()).await?;
            (client, drive(connection))
        } else {
            let (client, connection) = self.config.connect(NoTls).await?;
            (client, drive(connection))
        })
    }
}

fn drive<S>(connection: tokio_postgres::Connection<tokio_postgres::Socket, S>) -> Arc<AtomicBool>
where
    S: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    let closed = Arc::new(AtomicBool::new(false));
    let closing = Closing(Arc::clone(&closed));
    tokio::spawn(async move {
        let _closing = closing;
        if let Err(error) = connection.await {
            tracing::debug!(
                target: "acolhe::db",
                sqlstate = error.code().map(tokio_postgres::error::SqlState::code),
                "a database connection ended"
            );
        }
    });
    closed
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
    }
}

/// The address without `sslrootcert`, with `verify-*` as `require`, and the certificates' file.
fn without_root_file(url: &str) -> (String, Option<String>) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let mut root_file = None;
    let kept: Vec<String> = query
        .split('&')
        .filter_map(|pair| match pair.split_once('=') {
            Some(("sslrootcert", file)) => {
                root_file = Some(file.replace("%2F", "/").replace("%2f", "/"));
                None
            }
            Some(("sslmode", "verify-ca" | "verify-full")) => Some("sslmode=require".to_owned()),
            _ => Some(pair.to_owned()),
        })
        .collect();
    (format!("{base}?{}", kept.join("&")), root_file)
}

fn tls(root_file: Option<&str>) -> Result<MakeRustlsConnect, AddressError> {
    let mut roots = RootCertStore::empty();
    match root_file {
        Some(file) => {
            let found =
                CertificateDer::pem_file_iter(file).map_err(|_| AddressError::Certificates)?;
            for certificate in found {
                let certificate = certificate.map_err(|_| AddressError::Certificates)?;
                roots
                    .add(certificate)
                    .map_err(|_| AddressError::Certificates)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(AddressError::Certificates);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| AddressError::Certificates)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> SslMode {
        let connector = Connector::new(url, Duration::from_secs(1)).unwrap();
        connector.config.get_ssl_mode()
    }

    #[test]
    fn sockets_and_loopback_are_spoken_to_in_clear_and_nothing_else_is() {
        for (url, clear) in [
            ("postgres://app@localhost/acolhe", true),
            ("postgres://app@127.0.0.1/acolhe", true),
            ("postgres://app@[::1]/acolhe", true),
            ("host=/run/postgresql user=app", true),
            ("postgres://app@10.0.0.1/acolhe", false),
            ("postgres://app@localhost.example.org/acolhe", false),
            ("postgres://app@localhost/acolhe?sslmode=require", false),
            ("postgres://app@10.0.0.1/acolhe?sslmode=disable", true),
            ("postgres://app@10.0.0.1/acolhe?sslmode=verify-full", false),
        ] {
            assert_eq!(mode(url) == SslMode::Disable, clear, "{url}");
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_without_repeating_it() {
        for url in [
            "postgres://app:hunter2@[/acolhe",
            "postgres://app:hunter2@10.0.0.1/acolhe?sslmode=verify-full&sslrootcert=%2Fno%2Fsuch",
        ] {
            let Err(error) = Connector::new(url, Duration::from_secs(1)) else {
                panic!("{url} was accepted");
            };
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }
}
