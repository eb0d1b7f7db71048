//! A serving process from its first check to its last flush.
//!
//! Starting: configuration, telemetry, the database's role and shape, then the port. Stopping, at
//! SIGTERM or SIGINT: no new connections, requests in progress are answered, background work
//! ends, telemetry is flushed. A second signal ends the process at once.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use actix_web::HttpServer;
use anyhow::Context as _;
use diesel_postgres::migrations;
use http_api::{Api, ApiSettings, Cors, OperatorsApi, TrustedProxies};
use kernel::{Origin, SystemContext, SystemPurpose};
use otel_telemetry::{Meter, Telemetry};
use redis_cache::ResponseCache;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::background::Background;
use crate::config::{Config, Http};
use crate::output;
use crate::wiring::{self, Foundation, Services};

/// Operators and what scrapes for them are few.
const OPERATORS_CONNECTIONS: usize = 64;
/// How long telemetry may take to send what it holds.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until told to stop. `print_address`: says on standard output where, once it listens.
pub(crate) fn serve(config: &Config, print_address: bool) -> anyhow::Result<()> {
    let telemetry = Telemetry::install(&config.telemetry)?;
    std::panic::set_hook(Box::new(log_panic));
    let served = run(config, telemetry.meter(), print_address);
    if let Err(error) = &served {
        tracing::error!(error = %format_args!("{error:#}"), "the server ends");
    }
    // On the main thread, where no runtime is left: this blocks.
    if let Err(error) = telemetry.shutdown(FLUSH_TIMEOUT) {
        tracing::warn!(error = %error, "telemetry was lost");
    }
    served
}

fn run(config: &Config, meter: Arc<Meter>, print_address: bool) -> anyhow::Result<()> {
    let workers = match config.http.workers {
        0 => available_parallelism().map_or(2, usize::from),
        workers => workers,
    };
    let foundation = Foundation::from_config(config, workers, meter.clone())?;
    if foundation.mail.is_none() {
        tracing::warn!(
            setting = "mail.smtp_host",
            "no mail is sent: nobody can be invited, and no password be reset"
        );
    }
    let services = Services::new(&foundation);
    let settings = api_settings(config);
    let mut background = Background::new()?;
    background.block_on(check_database(config, &foundation))?;
    let stop = background.block_on(async { stop_signal() })?;
    background.start(config, &foundation)?;
    background.block_on(async { switch_by_signals(&foundation.cache) })?;
    let operators = config.operators.port.map(|port| {
        let api = wiring::operators_api(&foundation, meter, settings.clone());
        (SocketAddr::new(config.operators.bind, port), api)
    });
    let flags = services.flags.clone();
    let api = wiring::api(&foundation, services, settings);
    background.lease_units(&foundation, &api);
    background.follow_rollout(flags, &api);
    let served = listen(&config.http, workers, api, operators, stop, print_address);
    background.stop();
    served
}

fn api_settings(config: &Config) -> ApiSettings {
    let http = &config.http;
    ApiSettings {
        proxies: TrustedProxies {
            hops: http.proxy_hops,
            networks: http.proxy_networks.clone(),
            header: http.proxy_header,
        },
        body_timeout: http.body_timeout,
        request_timeout: http.request_timeout,
        cors: Cors {
            origins: http.cors_origins.clone(),
            max_age: http.cors_max_age,
        },
        secure_cookies: config.auth.secure_cookies,
        limits: http.limits,
        slow_request: config.warnings.slow_request,
        warning_window: config.warnings.window,
    }
}

/// Refuses a database whose role or shape is not right.
pub(crate) async fn check_database(config: &Config, foundation: &Foundation) -> anyhow::Result<()> {
    let origin = Origin::internal(foundation.tools().id());
    let sys = SystemContext::new(SystemPurpose::OperatorCounts, origin);
    foundation
        .database
        .for_jobs()
        .verify_role(&sys)
        .await
        .context("the database cannot be used: is it running, and is database.url right?")?;
    if let Some(url) = &config.database.url {
        let missing = migrations::pending(url.expose()).await?;
        anyhow::ensure!(
            missing.is_empty(),
            "the database lacks {} migrations: run `acolhe-server migrate`",
            missing.len()
        );
    }
    Ok(())
}

fn listen(
    http: &Http,
    workers: usize,
    api: Api,
    operators: Option<(SocketAddr, OperatorsApi)>,
    stop: watch::Receiver<bool>,
    print_address: bool,
) -> anyhow::Result<()> {
    let address = SocketAddr::new(http.bind, http.port);
    let api = Arc::new(api);
    let server = HttpServer::new(move || http_api::app(&api))
        .workers(workers)
        .max_connections(http.max_connections)
        .client_request_timeout(http.head_timeout)
        .client_disconnect_timeout(Duration::from_secs(1))
        .keep_alive(http.keep_alive)
        .shutdown_timeout(http.shutdown_timeout.as_secs().max(1))
        .shutdown_signal(stopped(stop.clone()))
        .bind_auto_h2c(address)
        .map_err(|error| cannot_listen(&error, address, "http"))?;
    let beside = match operators {
        Some((address, api)) => Some(listen_to_operators(http, address, api, stop)?),
        None => None,
    };
    let addresses = server.addrs();
    if print_address {
        for address in &addresses {
            output::print(&format!("http://{address}\n"))?;
        }
    }
    actix_web::rt::System::new().block_on(async move {
        let running = server.run();
        let beside = beside.map(|(server, address)| {
            tracing::info!(address = %address, "listening to operators");
            server()
        });
        for address in addresses {
            tracing::info!(address = %address, workers = i64::try_from(workers).unwrap_or(0), "listening");
        }
        let beside = async {
            match beside {
                Some(server) => server.await,
                None => Ok(()),
            }
        };
        let (served, beside) = tokio::join!(running, beside);
        served.and(beside)
    })?;
    tracing::info!("no request is in progress any more");
    Ok(())
}

/// The operators' own listener: one worker, and nothing of it on the public one.
fn listen_to_operators(
    http: &Http,
    address: SocketAddr,
    api: OperatorsApi,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<(impl FnOnce() -> actix_web::dev::Server, SocketAddr)> {
    let api = Arc::new(api);
    let server = HttpServer::new(move || http_api::operators_app(&api))
        .workers(1)
        .max_connections(OPERATORS_CONNECTIONS)
        .client_request_timeout(http.head_timeout)
        .client_disconnect_timeout(Duration::from_secs(1))
        .keep_alive(http.keep_alive)
        .shutdown_timeout(http.shutdown_timeout.as_secs().max(1))
        .shutdown_signal(stopped(stop))
        .bind(address)
        .map_err(|error| cannot_listen(&error, address, "operators"))?;
    let address = server.addrs().first().copied().unwrap_or(address);
    Ok((move || server.run(), address))
}

/// Ends when the process is told to stop.
async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that nobody can signal any more.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn cannot_listen(error: &std::io::Error, address: SocketAddr, section: &str) -> anyhow::Error {
    let variable = section.to_uppercase();
    let advice = match error.kind() {
        ErrorKind::AddrInUse => format!(
            "something listens there already: stop it, or choose another {section}.port (ACOLHE_{variable}_PORT)"
        ),
        ErrorKind::PermissionDenied => format!(
            "this user may not: choose an {section}.port (ACOLHE_{variable}_PORT) from 1024 on"
        ),
        ErrorKind::AddrNotAvailable => format!(
            "this machine has no such address: set {section}.bind (ACOLHE_{variable}_BIND) to one it has, or to 0.0.0.0"
        ),
        _ => format!(
            "see {section}.bind and {section}.port (ACOLHE_{variable}_BIND, ACOLHE_{variable}_PORT)"
        ),
    };
    anyhow::anyhow!("cannot listen on {address} ({}): {advice}", error.kind())
}

/// SIGUSR1 turns the cache off, SIGUSR2 on.
fn switch_by_signals(cache: &ResponseCache) -> anyhow::Result<()> {
    let mut off = signal(SignalKind::user_defined1())?;
    let mut on = signal(SignalKind::user_defined2())?;
    let cache = cache.clone();
    tokio::spawn(async move {
        loop {
            let wanted = tokio::select! {
                _ = off.recv() => false,
                _ = on.recv() => true,
            };
            cache.switch(wanted);
        }
    });
    Ok(())
}

/// Becomes true at the first SIGTERM or SIGINT. The second ends the process.
fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    async fn either(term: &mut Signal, int: &mut Signal) {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        either(&mut term, &mut int).await;
        tracing::info!("stopping");
        let _ = sender.send(true);
        either(&mut term, &mut int).await;
        std::process::exit(1);
    });
    Ok(receiver)
}

/// Logs where a panic happened. Its message may repeat what it stumbled over.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    tracing::error!(reason = place.unwrap_or_default(), "panicked");
}
