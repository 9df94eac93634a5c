//! What traces and metrics have in common that are sent to a receiver over OTLP: how it is asked, and the words of its
//! JSON, <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.
//!
//! Absent on purpose: the SDK of OpenTelemetry, which would count and collect once more what is known here already, and
//! gRPC.

mod post;
mod sending;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

pub(super) use post::Post;
pub(super) use sending::Sending;

/// A receiver of OTLP over HTTP, and who sends to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Such as `http://127.0.0.1:4318`. Without a path, it gets that of what is sent: `/v1/traces`, `/v1/metrics`.
    pub url: String,
    /// Go with each request.
    pub headers: Vec<(String, String)>,
    /// Tells this worker from others.
    pub instance: String,
}

/// Who sends, as every request says.
pub(super) fn resource(instance: &str) -> Value {
    let attributes = [
        text("service.name", "kiln"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", instance),
    ];
    json!({"attributes": attributes})
}

/// What made the spans, or counted.
pub(super) fn scope() -> Value {
    json!({"name": "kiln", "version": env!("CARGO_PKG_VERSION")})
}

pub(super) fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// 64-bit numbers are strings in this encoding.
pub(super) fn whole(key: &str, value: u64) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

pub(super) fn seconds(key: &str, value: Duration) -> Value {
    json!({"key": key, "value": {"doubleValue": value.as_secs_f64()}})
}

pub(super) fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
        .to_string()
}
