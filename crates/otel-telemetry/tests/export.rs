//! What reaches a collector and stderr, and in which form.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "the common module is shared by several test binaries"
)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{CLINIC, REQUEST, Watched, named};
use otel_telemetry::sink::Sink;
use otel_telemetry::trace::{current_trace_id, link_remote_parent};
use otel_telemetry::{LogFormat, Telemetry, TelemetryError, TelemetrySettings};
use serde_json::{Value, json};

#[test]
fn a_request_with_a_query_and_a_log_line_arrives_whole() {
    let watched = Watched::new(|settings| {
        settings.service_version = "1.2.3".to_owned();
        settings.service_instance = "host:1".to_owned();
    });
    let (trace_id, span) = watched.during(|| {
        let span = request_span!("GET", "/api/v1/contacts/{id}");
        let trace_id = span.in_scope(|| {
            span.record("acolhe.clinic_id", tracing::field::display(CLINIC));
            let query = tracing::info_span!(
                "db.contacts.find",
                otel.kind = "client",
                db.system.name = "postgresql",
                db.operation.name = "SELECT",
                db.collection.name = "contacts",
                db.query.summary = "SELECT contacts",
                db.response.status_code = tracing::field::Empty,
            );
            query.in_scope(|| tracing::warn!(attempt = 2_u32, "the query is slow"));
            span.record("http.response.status_code", 200_i64);
            current_trace_id().unwrap()
        });
        (trace_id, span)
    });
    drop(span);
    assert!(watched.telemetry.dropped_fields().is_empty());
    let (sink, lines) = watched.finish();

    let request = named(&sink, "GET /api/v1/contacts/{id}");
    assert_eq!(request.violations(), Vec::<String>::new());
    assert_eq!(request.kind, "server");
    assert_eq!(request.trace_id, trace_id);
    assert_eq!(request.parent_span_id, "");
    assert!(!request.failed);
    assert_eq!(
        request.attributes,
        BTreeMap::from(
            [
                ("acolhe.clinic_id", json!(CLINIC)),
                ("acolhe.request_id", json!(REQUEST)),
                ("http.request.method", json!("GET")),
                ("http.response.status_code", json!(200)),
                ("http.route", json!("/api/v1/contacts/{id}")),
                ("url.scheme", json!("https")),
            ]
            .map(|(key, value)| (key.to_owned(), value))
        )
    );
    assert_eq!(request.resource["service.name"], "acolhe-server");
    assert_eq!(request.resource["service.version"], "1.2.3");
    assert_eq!(request.resource["service.instance.id"], "host:1");

    let query = named(&sink, "db.contacts.find");
    assert_eq!(query.violations(), Vec::<String>::new());
    assert_eq!(query.parent_span_id, request.span_id);
    assert_eq!(query.trace_id, trace_id);

    let logs = sink.logs();
    assert_eq!(logs.len(), 1);
    assert_eq!(logs[0].body, "the query is slow");
    assert_eq!(logs[0].severity, "WARN");
    assert_eq!(logs[0].trace_id, trace_id);
    assert_eq!(logs[0].span_id, query.span_id);
    assert_eq!(logs[0].attributes["attempt"], 2);
    assert_eq!(logs[0].attributes["acolhe.clinic_id"], CLINIC);
    assert_eq!(logs[0].attributes["http.route"], "/api/v1/contacts/{id}");

    let line: Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!(line["message"], "the query is slow");
    assert_eq!(line["traceId"], trace_id);
    assert_eq!(line["acolhe.request_id"], REQUEST);
    assert_eq!(line["attempt"], 2);
}

#[test]
fn a_server_error_marks_the_span_and_a_client_error_does_not() {
    let watched = Watched::new(|_| {});
    watched.during(|| {
        let failed = request_span!("POST", "/api/v1/contacts");
        failed.in_scope(|| {
            failed.record("http.response.status_code", 503_i64);
            failed.record("otel.status_code", "error");
            failed.record("error.type", "503");
        });
        let refused = request_span!("PUT", "unmatched");
        refused.in_scope(|| refused.record("http.response.status_code", 404_i64));
    });
    let (sink, _) = watched.finish();
    let failed = named(&sink, "POST /api/v1/contacts");
    assert!(failed.failed);
    assert_eq!(failed.attributes["error.type"], "503");
    assert_eq!(failed.violations(), Vec::<String>::new());
    assert!(!named(&sink, "PUT unmatched").failed);
}

#[test]
fn a_status_in_capitals_is_a_status_too() {
    let watched = Watched::new(|_| {});
    watched.during(|| {
        let span = request_span!("POST", "/api/v1/contacts");
        span.in_scope(|| span.record("otel.status_code", "ERROR"));
    });
    let (sink, _) = watched.finish();
    assert!(named(&sink, "POST /api/v1/contacts").failed);
}

#[test]
fn a_number_arrives_as_a_number_however_it_was_recorded() {
    let watched = Watched::new(|_| {});
    watched.during(|| {
        let span = request_span!("GET", "/health");
        span.in_scope(|| span.record("http.response.status_code", 204_u16));
        tracing::info_span!("step", count = u64::MAX, attempt = %7);
    });
    let (sink, _) = watched.finish();
    let span = named(&sink, "GET /health");
    assert_eq!(span.attributes["http.response.status_code"], json!(204));
    let step = named(&sink, "step");
    assert_eq!(step.attributes["count"], json!(i64::MAX));
    assert_eq!(step.attributes["attempt"], json!(7));
}

#[test]
fn a_span_can_be_named_until_it_ends() {
    let watched = Watched::new(|_| {});
    watched.during(|| {
        let span = tracing::info_span!("http.request", otel.name = tracing::field::Empty);
        span.in_scope(|| span.record("otel.name", "late"));
    });
    let (sink, _) = watched.finish();
    named(&sink, "late");
}

#[test]
fn the_last_value_of_a_field_wins() {
    let watched = Watched::new(|_| {});
    watched.during(|| {
        let span = tracing::info_span!("step", attempt = 1_i64);
        span.record("attempt", 2_i64);
    });
    let (sink, _) = watched.finish();
    let span = named(&sink, "step");
    assert_eq!(span.attributes["attempt"], 2);
    assert_eq!(span.json.matches("\"attempt\"").count(), 1);
}

#[test]
fn an_explicit_parent_is_the_parent_and_an_explicit_root_has_none() {
    let watched = Watched::new(|_| {});
    watched.during(|| {
        let first = tracing::info_span!("first");
        let second = tracing::info_span!("second");
        second.in_scope(|| {
            tracing::info_span!(parent: &first, "child");
            tracing::info_span!(parent: None, "alone");
        });
    });
    let (sink, _) = watched.finish();
    let (first, child) = (named(&sink, "first"), named(&sink, "child"));
    assert_eq!(
        (child.parent_span_id, child.trace_id),
        (first.span_id, first.trace_id)
    );
    assert_eq!(named(&sink, "alone").parent_span_id, "");
}

#[test]
fn the_innermost_context_is_inherited_and_too_long_a_route_is_not() {
    let watched = Watched::new(|_| {});
    watched.during(|| {
        let outer = tracing::info_span!(
            "outer",
            acolhe.clinic_id = REQUEST,
            acolhe.request_id = REQUEST
        );
        outer.in_scope(|| {
            let route = "/a".repeat(60);
            tracing::info_span!("inner", acolhe.clinic_id = CLINIC, http.route = route)
                .in_scope(|| tracing::info!("said"));
        });
    });
    let (sink, _) = watched.finish();
    let log = &sink.logs()[0];
    assert_eq!(log.attributes["acolhe.clinic_id"], CLINIC);
    assert_eq!(log.attributes["acolhe.request_id"], REQUEST);
    assert!(!log.attributes.contains_key("http.route"));
    assert_eq!(log.span_id, named(&sink, "inner").span_id);
}

#[test]
fn a_future_that_moves_between_threads_keeps_its_span() {
    use tracing::Instrument as _;
    use tracing::instrument::WithSubscriber as _;
    let watched = Watched::new(|_| {});
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let work = async {
        let both = (0..2).map(|_| {
            let task = async {
                tokio::task::yield_now().await;
                tracing::info_span!("db.contacts.find").in_scope(current_trace_id)
            };
            let task = task.instrument(tracing::info_span!("request"));
            tokio::spawn(task.with_current_subscriber())
        });
        for task in both.collect::<Vec<_>>() {
            assert!(task.await.unwrap().is_some());
        }
    };
    runtime.block_on(work.with_subscriber(watched.dispatch.clone()));
    let (sink, _) = watched.finish();
    let spans = sink.spans();
    for query in spans.iter().filter(|span| span.name == "db.contacts.find") {
        let request = spans
            .iter()
            .find(|span| span.span_id == query.parent_span_id)
            .unwrap();
        assert_eq!(
            (request.name.as_str(), &request.trace_id),
            ("request", &query.trace_id)
        );
    }
    assert_eq!(spans.len(), 4);
}

#[test]
fn a_callers_trace_is_linked_and_is_no_parent() {
    let watched = Watched::new(|_| {});
    let claimed = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    watched.during(|| {
        let before = request_span!("GET", "/before");
        link_remote_parent(&before, Some(claimed));
        before.in_scope(|| {});
        let after = request_span!("GET", "/after");
        after.in_scope(|| link_remote_parent(&after, Some(claimed)));
        let long = format!("{claimed}{}", "-a".repeat(200));
        for (name, header) in [
            ("/none", None),
            ("/empty", Some("")),
            (
                "/upper",
                Some("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"),
            ),
            (
                "/zero",
                Some("00-00000000000000000000000000000000-b7ad6b7169203331-01"),
            ),
            ("/short", Some("00-0af7651916cd43dd8448eb211c80319c-01")),
            ("/long", Some(long.as_str())),
        ] {
            let span = request_span!("GET", name);
            link_remote_parent(&span, header);
            span.in_scope(|| {});
        }
    });
    let (sink, _) = watched.finish();
    for name in ["GET /before", "GET /after"] {
        let span = named(&sink, name);
        assert_eq!(
            span.links,
            [(
                "0af7651916cd43dd8448eb211c80319c".to_owned(),
                "b7ad6b7169203331".to_owned()
            )]
        );
        assert_eq!(span.parent_span_id, "");
        assert_ne!(span.trace_id, "0af7651916cd43dd8448eb211c80319c");
    }
    for name in ["/none", "/empty", "/upper", "/zero", "/short", "/long"] {
        assert_eq!(named(&sink, &format!("GET {name}")).links, [], "{name}");
    }
}

#[test]
fn a_caller_who_asks_for_sampling_does_not_get_it() {
    let watched = Watched::new(|settings| settings.sampling_ratio = 0.0);
    watched.during(|| {
        let span = request_span!("GET", "/api/v1/contacts");
        link_remote_parent(
            &span,
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        );
        span.in_scope(|| tracing::info!("seen"));
    });
    let (sink, _) = watched.finish();
    assert_eq!(sink.spans(), []);
    assert_eq!(sink.logs().len(), 1);
}

#[test]
fn sampling_keeps_whole_traces_in_about_the_share_asked_for() {
    let watched = Watched::new(|settings| settings.sampling_ratio = 0.2);
    watched.during(|| {
        for _ in 0..800 {
            let request = request_span!("GET", "/api/v1/contacts");
            request.in_scope(|| tracing::info_span!("db.contacts.list").in_scope(|| {}));
        }
    });
    let (sink, _) = watched.finish();
    let spans = sink.spans();
    let roots = spans.iter().filter(|span| span.kind == "server").count();
    // Eight standard deviations of a binomial around 160.
    assert!((70..250).contains(&roots), "{roots}");
    assert_eq!(spans.len(), roots * 2);
}

#[test]
fn an_unsampled_trace_has_an_id_and_its_records_carry_it() {
    let watched = Watched::new(|settings| settings.sampling_ratio = 0.0);
    let trace_id = watched.during(|| {
        request_span!("GET", "/api/v1/contacts").in_scope(|| {
            tracing::error!("it failed");
            current_trace_id().unwrap()
        })
    });
    assert_eq!(trace_id.len(), 32);
    let (sink, lines) = watched.finish();
    assert_eq!(sink.logs()[0].trace_id, trace_id);
    assert!(lines.contains(&trace_id));
}

#[test]
fn there_is_no_trace_id_outside_of_a_span_or_without_a_collector() {
    let watched = Watched::new(|_| {});
    assert_eq!(watched.during(current_trace_id), None);
    let silent = Watched::new(|settings| settings.otlp_endpoint = None);
    silent.during(|| {
        request_span!("GET", "/").in_scope(|| {
            assert_eq!(current_trace_id(), None);
            tracing::info!("still logged");
        });
    });
    let (sink, lines) = silent.finish();
    assert!(
        lines.contains("still logged") && lines.contains(REQUEST),
        "{lines}"
    );
    assert_eq!(sink.everything(), "");
}

#[test]
fn shutdown_sends_what_the_next_batch_would_have_sent() {
    let watched = Watched::new(|_| {});
    watched.during(|| {
        for _ in 0..1_500 {
            tracing::info_span!("step").in_scope(|| tracing::info!("said"));
        }
    });
    let (sink, _) = watched.finish();
    assert_eq!(sink.spans().len(), 1_500);
    assert_eq!(sink.logs().len(), 1_500);
}

#[test]
fn spans_and_records_leave_without_a_shutdown() {
    let watched = Watched::new(|_| {});
    watched.during(|| tracing::info_span!("step").in_scope(|| tracing::info!("said")));
    let both = watched
        .sink
        .wait_for(Duration::from_secs(20), |spans, logs| {
            spans.len() == 1 && logs.len() == 1
        });
    assert!(both);
}

#[test]
fn quiet_targets_stay_quiet_whatever_is_asked() {
    let watched =
        Watched::new(|settings| settings.log_filter = "trace,tokio_postgres=trace".to_owned());
    watched.during(|| {
        tracing::debug!(target: "tokio_postgres::query", "executing statement s0 with parameters: [\"Maria\"]");
        tracing::info!(target: "hyper_util::client", "a connection");
        tracing::info_span!(target: "h2", "Connection").in_scope(|| {});
        tracing::debug!(target: "contacts", "heard");
        tracing::warn!(target: "tokio_postgres", "connection lost");
        tracing::warn!(target: "reqwest::connect", "refused");
    });
    let (sink, lines) = watched.finish();
    assert!(
        !lines.contains("Maria") && !lines.contains("a connection"),
        "{lines}"
    );
    assert!(
        lines.contains("heard") && lines.contains("connection lost") && lines.contains("refused")
    );
    assert_eq!(sink.spans(), []);
    let bodies: Vec<_> = sink.logs().into_iter().map(|log| log.body).collect();
    assert!(bodies.contains(&"heard".to_owned()) && bodies.contains(&"connection lost".to_owned()));
    // The exporter's own stack is heard on stderr only.
    assert!(!bodies.contains(&"refused".to_owned()), "{bodies:?}");
}

#[test]
fn lines_for_people_have_the_same_content() {
    let watched = Watched::new(|settings| settings.log_format = LogFormat::Text);
    watched.during(|| tracing::info!(target: "server", workers = 2, "listening"));
    let (_, lines) = watched.finish();
    assert!(
        lines.ends_with("  INFO server: listening workers=2\n"),
        "{lines}"
    );
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let refused = |change: fn(&mut TelemetrySettings)| {
        let mut settings = TelemetrySettings::default();
        change(&mut settings);
        Telemetry::scoped(&settings, |_| {})
            .map(|_| ())
            .unwrap_err()
    };
    assert!(matches!(
        refused(|s| s.sampling_ratio = 1.5),
        TelemetryError::SamplingRatio
    ));
    assert!(matches!(
        refused(|s| s.sampling_ratio = f64::NAN),
        TelemetryError::SamplingRatio
    ));
    assert!(matches!(
        refused(|s| s.log_filter = "info,a=b".to_owned()),
        TelemetryError::LogFilter(_)
    ));
    assert!(matches!(
        refused(|s| s.otlp_endpoint = Some("collector:4317".to_owned())),
        TelemetryError::Endpoint(_)
    ));
}

#[test]
fn an_endpoint_over_tls_is_accepted_by_both_transports() {
    for protocol in ["http", "grpc"] {
        let settings = TelemetrySettings {
            otlp_endpoint: Some("https://127.0.0.1:1".to_owned()),
            otlp_protocol: protocol.parse().unwrap(),
            ..TelemetrySettings::default()
        };
        assert!(Telemetry::scoped(&settings, |_| {}).is_ok(), "{protocol}");
    }
}

#[test]
fn a_sink_keeps_what_it_cannot_read() {
    use std::io::Write as _;
    let sink = Sink::start().unwrap();
    let address = sink.endpoint().replace("http://", "");
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream
        .write_all(b"POST /v1/other HTTP/1.1\r\ncontent-length: 6\r\n\r\ncanary")
        .unwrap();
    for _ in 0..200 {
        if sink.everything().contains("canary") {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{}", sink.everything());
}
