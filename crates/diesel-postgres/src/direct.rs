//! Opens one connection to PostgreSQL, with TLS where the server is another host.
//!
//! What runs outside the pool uses it: migrations, the sequencer, listeners.

use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// What drives a [`Client`], and brings its notices and notifications.
pub(crate) type PgConnection =
    Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>;

/// Parses `url` and connects.
///
/// TLS: a server on another host must offer it with a certificate that the system's roots
/// (or `SSL_CERT_FILE`) vouch for, unless the URL says `sslmode=disable`; a socket or the
/// loopback address is spoken to in clear unless the URL says `sslmode=require`.
pub(crate) async fn open(url: &str) -> Result<(Client, PgConnection), tokio_postgres::Error> {
    let mut config: Config = url.parse()?;
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
    config.connect(tls()).await
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|ip| ip.is_loopback())
        }
    }
}

/// The TLS connector, its roots read once in the life of the process.
fn tls() -> MakeRustlsConnect {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut store = RootCertStore::empty();
        // Unreadable files are left out: a server they would have vouched for is then refused.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    });
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    #[expect(
        clippy::expect_used,
        reason = "aws-lc-rs supports the default versions: a constant of the build, not an input"
    )]
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default TLS versions");
    MakeRustlsConnect::new(
        builder
            .with_root_certificates(Arc::clone(roots))
            .with_no_client_auth(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_loopback_are_local_and_nothing_else_is() {
        for (url, local) in [
            ("postgres://app@localhost/acolhe", true),
            ("postgres://app@127.0.0.1/acolhe", true),
            ("postgres://app@[::1]/acolhe", true),
            ("host=/run/postgresql user=app", true),
            ("postgres://app@10.0.0.1/acolhe", false),
            ("postgres://app@localhost.example.org/acolhe", false),
        ] {
            let config: Config = url.parse().unwrap();
            assert_eq!(config.get_hosts().iter().all(is_local), local, "{url}");
        }
    }
}
