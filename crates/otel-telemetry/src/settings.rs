//! What telemetry needs to be told. Reading configuration is the server's; these are its results.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How to observe one process.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySettings {
    /// `service.name` of every signal.
    pub service_name: String,
    /// `service.version` of every signal.
    pub service_version: String,
    /// `service.instance.id` of every signal: tells this process from others of its service, whose
    /// metrics would be taken for its own. Empty: there is no other.
    pub service_instance: String,
    /// The collector's base URL (`http://127.0.0.1:4318`), without the path of a signal and
    /// without credentials. `None`: nothing leaves but the lines on stderr.
    pub otlp_endpoint: Option<String>,
    /// What the collector speaks at that URL.
    pub otlp_protocol: OtlpProtocol,
    /// The share of traces that are kept, from 0 to 1, decided when a trace begins.
    pub sampling_ratio: f64,
    /// Which events are logged: a level, then exceptions by target (`info,http_api=debug`). Some
    /// targets never go below `warn`, whatever is asked: see [`crate::filter`].
    pub log_filter: String,
    /// What a line on stderr looks like.
    pub log_format: LogFormat,
    /// How often metrics are sent to the collector.
    pub metrics_interval: Duration,
    /// The bytes of memory that the process should not exceed; `None`: those of its control
    /// group, where it has a limit.
    pub memory_limit: Option<u64>,
    /// From which delay of a worker's event loop on a warning is given.
    pub lag_warning: Duration,
    /// A warning of one sort is given once in so long a time.
    pub warning_window: Duration,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            service_name: "acolhe-server".to_owned(),
            service_version: env!("CARGO_PKG_VERSION").to_owned(),
            service_instance: String::new(),
            otlp_endpoint: None,
            otlp_protocol: OtlpProtocol::Http,
            sampling_ratio: 0.05,
            log_filter: "info".to_owned(),
            log_format: LogFormat::Json,
            metrics_interval: Duration::from_secs(15),
            memory_limit: None,
            lag_warning: Duration::from_millis(100),
            warning_window: Duration::from_mins(1),
        }
    }
}

/// The transport of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP/1.1, by custom on port 4318.
    #[default]
    Http,
    /// gRPC, by custom on port 4317.
    Grpc,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    #[default]
    Json,
    /// For people at a terminal.
    Text,
}

/// The text names none of the choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one of: {0}")]
pub struct UnknownChoice(&'static str);

impl FromStr for OtlpProtocol {
    type Err = UnknownChoice;
    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "http" => Ok(Self::Http),
            "grpc" => Ok(Self::Grpc),
            _ => Err(UnknownChoice("http, grpc")),
        }
    }
}

impl fmt::Display for OtlpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        })
    }
}

impl FromStr for LogFormat {
    type Err = UnknownChoice;
    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(UnknownChoice("json, text")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Text => "text",
        })
    }
}

/// Why telemetry could not begin. No variant repeats a setting that could hold a credential.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter cannot be read, or asks by span field.
    #[error("log filter: {0}")]
    LogFilter(String),
    /// The collector's URL is not `http(s)://host[:port][/path]`.
    #[error("OTLP endpoint: {0}")]
    Endpoint(&'static str),
    /// The ratio is not between 0 and 1.
    #[error("sampling ratio: expected a number from 0 to 1")]
    SamplingRatio,
    /// An exporter could not be built.
    #[error("OTLP exporter: {0}")]
    Exporter(String),
    /// No thread for the gRPC transport.
    #[error("OTLP runtime: {0}")]
    Runtime(#[from] std::io::Error),
    /// The process has a subscriber already.
    #[error("telemetry is installed already")]
    AlreadyInstalled,
}

/// The endpoint without a slash at its end.
pub(crate) fn checked_endpoint(url: &str) -> Result<&str, TelemetryError> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or(TelemetryError::Endpoint("expected http:// or https://"))?;
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() {
        return Err(TelemetryError::Endpoint("the host is missing"));
    }
    if rest.contains(['?', '#', '@']) || rest.contains(char::is_whitespace) {
        return Err(TelemetryError::Endpoint(
            "expected a scheme, a host and a path only",
        ));
    }
    Ok(url.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_path() {
        for (good, kept) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
            (
                "https://collector.internal/otlp/",
                "https://collector.internal/otlp",
            ),
        ] {
            assert_eq!(checked_endpoint(good).unwrap(), kept);
        }
        for bad in [
            "",
            "127.0.0.1:4318",
            "ftp://a",
            "http://",
            "http://u:p@a",
            "http://a?k=v",
            "http://a b",
        ] {
            assert!(checked_endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn choices_are_read_as_they_are_written() {
        for choice in [OtlpProtocol::Http, OtlpProtocol::Grpc] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for choice in [LogFormat::Json, LogFormat::Text] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("xml".parse::<LogFormat>().is_err());
    }
}
