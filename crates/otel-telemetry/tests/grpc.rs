//! OTLP over gRPC arrives. The other end is a bare HTTP/2 server: a message is five bytes of
//! framing and a protobuf, an answer is an empty message and `grpc-status: 0`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::mpsc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otel_telemetry::{OtlpProtocol, Telemetry, TelemetrySettings};
use prost::Message as _;

/// Serves until the test ends; hands on the path and the protobuf of each call.
fn collector() -> (String, mpsc::Receiver<(String, Bytes)>) {
    let (address, at) = mpsc::channel();
    let (calls, received) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            address.send(listener.local_addr().unwrap()).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let calls = calls.clone();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let calls = calls.clone();
                        tokio::spawn(async move {
                            let path = request.uri().path().to_owned();
                            let mut body = request.into_body();
                            let mut whole = BytesMut::new();
                            while let Some(Ok(part)) = body.data().await {
                                body.flow_control().release_capacity(part.len()).unwrap();
                                whole.extend_from_slice(&part);
                            }
                            let head = http::Response::builder()
                                .header("content-type", "application/grpc")
                                .body(())
                                .unwrap();
                            let mut answer = respond.send_response(head, false).unwrap();
                            answer
                                .send_data(Bytes::from_static(&[0; 5]), false)
                                .unwrap();
                            let mut trailers = http::HeaderMap::new();
                            trailers.insert("grpc-status", "0".parse().unwrap());
                            answer.send_trailers(trailers).unwrap();
                            let _ = calls.send((path, whole.freeze().slice(5..)));
                        });
                    }
                });
            }
        });
    });
    (format!("http://{}", at.recv().unwrap()), received)
}

#[test]
fn spans_and_records_arrive_over_grpc() {
    let (endpoint, calls) = collector();
    let settings = TelemetrySettings {
        otlp_endpoint: Some(endpoint),
        otlp_protocol: OtlpProtocol::Grpc,
        sampling_ratio: 1.0,
        ..TelemetrySettings::default()
    };
    // Outside of any runtime, as in a `main` that has not started one yet.
    let (dispatch, telemetry) = Telemetry::scoped(&settings, |_| {}).unwrap();
    tracing::dispatcher::with_default(&dispatch, || {
        tracing::info_span!("step", patient = "Maria").in_scope(|| tracing::info!("said"));
    });
    telemetry.shutdown(Duration::from_secs(10)).unwrap();

    let calls: Vec<_> = calls.try_iter().collect();
    let body = |service: &str| {
        let found = calls.iter().find(|(path, _)| path.contains(service));
        found.map(|(_, body)| body.clone()).unwrap()
    };
    let traces = ExportTraceServiceRequest::decode(body("TraceService/Export")).unwrap();
    let span = &traces.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.name, "step");
    assert!(span.attributes.is_empty(), "{span:?}");
    let logs = ExportLogsServiceRequest::decode(body("LogsService/Export")).unwrap();
    let record = &logs.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(record.trace_id, span.trace_id);
}
