//! Spans as OTLP writes them, in JSON: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.
//!
//! Names of attributes are those of the semantic conventions for messaging, 1.44, and Kiln's own where those have none.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Span;

/// `SPAN_KIND_CONSUMER`.
const CONSUMER: u8 = 5;

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// The body of a request that brings these spans.
pub(super) fn request(host: &str, spans: &[Span]) -> Vec<u8> {
    let spans: Vec<_> = spans.iter().map(span).collect();
    let resource = [
        text("service.name", "kiln"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", host),
    ];
    let request = json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "kiln", "version": env!("CARGO_PKG_VERSION")}, "spans": spans}],
    }]});
    request.to_string().into_bytes()
}

fn span(span: &Span) -> Value {
    let began = span.ended.checked_sub(span.took).unwrap_or(UNIX_EPOCH);
    let mut attributes = vec![
        text("messaging.system", "kiln"),
        text("messaging.operation.name", "process"),
        text("messaging.operation.type", "process"),
        text("messaging.destination.name", &span.queue),
        text("messaging.message.id", &span.id),
        text("kiln.job.name", &span.name),
        text("kiln.plugin", &span.plugin),
        text("kiln.plugin.digest", &span.digest),
        text("kiln.outcome", span.outcome),
        whole("kiln.attempt", u64::from(span.attempt)),
        whole("kiln.peak_memory_bytes", span.peak_memory_bytes),
        seconds("kiln.cpu_seconds", span.cpu),
        seconds("kiln.wait_seconds", span.waited),
    ];
    let mut written = json!({
        "spanId": span.told.as_ref().map_or_else(|| format!("{:016x}", fastrand::u64(1..)), |told| told.span_id.clone()),
        "name": format!("process {}", span.queue),
        "kind": CONSUMER,
        "startTimeUnixNano": nanos(began),
        "endTimeUnixNano": nanos(span.ended),
    });
    if let Some(error) = &span.error {
        attributes.push(text("error.type", span.outcome));
        written["status"] = json!({"code": ERROR, "message": error});
    }
    written["attributes"] = attributes.into();
    match &span.producer {
        Some(producer) if span.is_child => {
            written["traceId"] = (&*producer.trace_id).into();
            written["parentSpanId"] = (&*producer.span_id).into();
            written["traceState"] = producer.state.as_deref().unwrap_or_default().into();
        }
        producer => {
            let told = span.told.as_ref().map(|told| told.trace_id.clone());
            written["traceId"] = told.unwrap_or_else(|| format!("{:032x}", fastrand::u128(1..))).into();
            let links = producer.iter().map(|producer| {
                json!({
                    "traceId": producer.trace_id,
                    "spanId": producer.span_id,
                    "traceState": producer.state.as_deref().unwrap_or_default(),
                    "flags": producer.flags,
                })
            });
            written["links"] = links.collect();
        }
    }
    written
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// 64-bit numbers are strings in this encoding.
fn whole(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

fn seconds(key: &str, value: Duration) -> Value {
    json!({"key": key, "value": {"doubleValue": value.as_secs_f64()}})
}

fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
        .to_string()
}
