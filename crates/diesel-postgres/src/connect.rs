//! How a connection is made: TCP or a unix socket, with TLS where the address asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel_async::AsyncPgConnection;
use kernel::StoreError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{from_connect, unavailable};

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

/// Makes connections to one address.
pub(crate) struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

/// A connection, driven by a task on the runtime that made it.
pub(crate) struct Conn {
    pub(crate) pg: AsyncPgConnection,
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
    /// TLS is used when `sslmode` is `require` or stronger, and always verifies the server's
    /// certificate and name.
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, AddressError> {
        let (address, root_file) = without_root_file(url);
        let mut config: Config = address.parse().map_err(|_| AddressError::Unreadable)?;
        config.application_name("acolhe");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(timeout);
        }
        let tls = (config.get_ssl_mode() == SslMode::Require)
            .then(|| tls(root_file.as_deref()))
            .transpose()?;
        Ok(Self { config, tls })
    }

    /// Opens a connection; its task runs on the present runtime.
    pub(crate) async fn connect(&self) -> Result<Conn, StoreError> {
        let (client, closed) = self.dial().await.map_err(|e| from_connect(&e))?;
        let pg = AsyncPgConnection::try_from(client)
            .await
            .map_err(|_| unavailable("the connection could not be set up"))?;
        Ok(Conn {
            pg,
            closed,
            idle_since: Instant::now(),
        })
    }

    /// Opens a bare connection, for what runs outside the pool: migrations, the sequencer. It
    /// ends when the client is dropped.
    pub(crate) async fn client(&self) -> Result<Client, tokio_postgres::Error> {
        Ok(self.dial().await?.0)
    }

    async fn dial(&self) -> Result<(Client, Arc<AtomicBool>), tokio_postgres::Error> {
        Ok(match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                (client, drive(connection))
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                (client, drive(connection))
            }
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
