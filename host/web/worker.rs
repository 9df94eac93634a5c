//! What a worker answers: whether it lives, is ready, has started, and what it has counted.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::observe::{Check, Metrics, Vitals};

/// The paths of a worker. `/livez`, `/readyz` and `/startupz` answer 200 or 503, and with `?verbose` list every check;
/// `/metrics` is for Prometheus.
pub fn worker(vitals: Arc<Vitals>, metrics: Arc<Metrics>) -> Router {
    type Answer = (StatusCode, String);
    async fn livez(State(vitals): State<Arc<Vitals>>, uri: Uri) -> Answer {
        probe(&vitals.liveness(), &uri)
    }
    async fn readyz(State(vitals): State<Arc<Vitals>>, uri: Uri) -> Answer {
        probe(&vitals.readiness(), &uri)
    }
    async fn startupz(State(vitals): State<Arc<Vitals>>, uri: Uri) -> Answer {
        probe(&vitals.startup(), &uri)
    }
    async fn scrape(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
        ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], metrics.write())
    }
    let scraped = Router::new().route("/metrics", get(scrape)).with_state(metrics);
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .with_state(vitals)
        .merge(scraped)
}

/// Answers with what fails, or with every check where the query asks for it.
fn probe(checks: &[Check], uri: &Uri) -> (StatusCode, String) {
    let verbose = uri.query() == Some("verbose");
    let mut text = String::new();
    for check in checks {
        _ = match &check.fault {
            Some(fault) => writeln!(text, "[-] {}: {fault}", check.name),
            None if verbose => writeln!(text, "[+] {}: ok", check.name),
            None => Ok(()),
        };
    }
    let failed = checks.iter().any(|check| check.fault.is_some());
    if failed {
        return (StatusCode::SERVICE_UNAVAILABLE, text);
    }
    text.push_str("ok\n");
    (StatusCode::OK, text)
}
