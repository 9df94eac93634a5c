//! Spans as OTLP writes them.
//!
//! Names of attributes are those of the semantic conventions for messaging, 1.44, and Kiln's own where those have none.

use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::Span;
use crate::observe::otlp::{nanos, resource, scope, seconds, text, whole};

/// `SPAN_KIND_CONSUMER`.
const CONSUMER: u8 = 5;

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// The body of a request that brings these spans.
pub(super) fn body(instance: &str, spans: &[Span]) -> Vec<u8> {
    let spans: Vec<_> = spans.iter().map(span).collect();
    let request = json!({"resourceSpans": [{
        "resource": resource(instance),
        "scopeSpans": [{"scope": scope(), "spans": spans}],
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
        "traceId": span.own.trace_id,
        "spanId": span.own.span_id,
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
            written["parentSpanId"] = (&*producer.span_id).into();
            written["traceState"] = producer.state.as_deref().unwrap_or_default().into();
        }
        producer => {
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
