//! Which spans and events are seen at all.
//!
//! The operator chooses the level of events, by target. Two things are not the operator's to
//! choose:
//!
//! - [`QUIET`] targets never go below `warn`. tokio-postgres logs every statement with its bound
//!   values at `debug`, actix logs paths, the HTTP stacks headers and frames; a day of debugging must not write
//!   patients into a log.
//! - [`EXPORT_STACK`] targets stay on stderr and never enter the OTLP log signal, or each failed
//!   export would be the next export's content.

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::Targets;

use crate::settings::TelemetryError;

/// Prefixes of targets that are heard from `warn` upward only. They are prefixes of the text, so no
/// crate of ours may begin with one (a test sees to it).
pub const QUIET: &[&str] = &[
    "actix_http",
    "actix_web",
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "reqwest",
    "rustls",
    "tokio_postgres",
    "tonic",
    "tower",
    "tracing_opentelemetry",
];

/// Prefixes of targets that the exporters themselves run through.
pub const EXPORT_STACK: &[&str] = &[
    "h2",
    "hyper",
    "opentelemetry",
    "reqwest",
    "rustls",
    "tonic",
    "tower",
    "tracing_opentelemetry",
];

/// Whether a target is one of [`QUIET`] or within it.
fn is_quiet(target: &str) -> bool {
    QUIET.iter().any(|prefix| target.starts_with(prefix))
}

/// Whether a target is one of [`EXPORT_STACK`] or within it.
pub(crate) fn is_export_stack(target: &str) -> bool {
    EXPORT_STACK.iter().any(|prefix| target.starts_with(prefix))
}

/// Events by the operator's filter; spans from `info` upward, none of a quiet target. The same for
/// stderr and for OTLP, and independent of the sampler.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    events: Targets,
    max: LevelFilter,
}

impl Seen {
    /// Reads `info,http_api=debug`. A directive by span or field is refused: it would cost every
    /// span, and nobody needs it here.
    pub(crate) fn parse(directives: &str) -> Result<Self, TelemetryError> {
        let asked: Targets = directives
            .parse()
            .map_err(|error| TelemetryError::LogFilter(format!("{error}")))?;
        let cap = |level: LevelFilter| level.min(LevelFilter::WARN);
        let mut events = Targets::new();
        if let Some(default) = asked.default_level() {
            events = events.with_default(default);
        }
        for (target, level) in &asked {
            let level = if is_quiet(target) { cap(level) } else { level };
            events = events.with_target(target, level);
        }
        for target in QUIET {
            let level = [Level::WARN, Level::ERROR]
                .into_iter()
                .find(|level| asked.would_enable(target, level))
                .map_or(LevelFilter::OFF, LevelFilter::from_level);
            events = events.with_target(*target, level);
        }
        let max = asked
            .iter()
            .map(|(_, level)| level)
            .chain(asked.default_level())
            .fold(LevelFilter::INFO, LevelFilter::max);
        Ok(Self { events, max })
    }

    /// The least severe level that anything is seen at.
    pub(crate) fn max(&self) -> LevelFilter {
        self.max
    }

    pub(crate) fn sees(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            *metadata.level() <= Level::INFO && !is_quiet(metadata.target())
        } else {
            self.events
                .would_enable(metadata.target(), metadata.level())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sees(filter: &str, target: &str, level: Level) -> bool {
        Seen::parse(filter)
            .unwrap()
            .events
            .would_enable(target, &level)
    }

    #[test]
    fn a_target_is_heard_at_the_level_asked_for() {
        assert!(sees(
            "info,http_api=debug",
            "http_api::contacts",
            Level::DEBUG
        ));
        assert!(!sees("info,http_api=debug", "contacts", Level::DEBUG));
        assert!(sees("info", "contacts", Level::INFO));
        assert!(!sees("warn", "contacts", Level::INFO));
    }

    #[test]
    fn no_setting_makes_a_quiet_target_speak_below_warn() {
        for filter in [
            "trace",
            "tokio_postgres=trace",
            "tokio_postgres::query=debug",
            "info,hyper=info",
        ] {
            for target in [
                "tokio_postgres::query",
                "tokio_postgres",
                "hyper_util::client",
                "h2::codec",
            ] {
                assert!(!sees(filter, target, Level::INFO), "{filter} {target}");
            }
        }
        assert!(sees("trace", "tokio_postgres::query", Level::WARN));
        assert!(!sees("error", "tokio_postgres::query", Level::WARN));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        for filter in ["info,http_api=loud", "[span{field=1}]=debug"] {
            assert!(
                matches!(Seen::parse(filter), Err(TelemetryError::LogFilter(_))),
                "{filter}"
            );
        }
    }
}
