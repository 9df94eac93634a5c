//! Tells browsers that there is something new, as server-sent events: one stream for each tab.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::live::Sample;
use super::room::{Room, Shared};

/// After so long without news the stream says that it is still there.
const SILENCE: Duration = Duration::from_secs(15);

pub(super) fn router(end: CancellationToken) -> Router<Shared> {
    let events = move |State(room): State<Shared>| {
        let end = end.clone();
        async move { events(&room, end) }
    };
    Router::new()
        .route("/events", get(events.clone()))
        .route("/api/v1/events", get(events))
}

/// An event `sample` for each sample, with the figures that most readers want.
fn events(room: &Shared, end: CancellationToken) -> Response {
    let samples = room.sampler.watch();
    let room = std::sync::Arc::clone(room);
    let begun = (samples, room, end, true);
    let told = stream::unfold(begun, |(mut samples, room, end, first)| async move {
        if first {
            // Says at once that the stream is open.
            let hello = Bytes::from_static(b"retry: 2000\n\n");
            return Some((Ok::<_, Infallible>(hello), (samples, room, end, false)));
        }
        let news = end
            .clone()
            .run_until_cancelled_owned(timeout(SILENCE, samples.changed()))
            .await?;
        let text = match news {
            Err(_) => ": still here\n\n".to_owned(),
            Ok(Err(_)) => return None,
            Ok(Ok(())) => {
                let sample = samples.borrow_and_update().clone()?;
                format!("event: sample\ndata: {}\n\n", summary(&room, &sample))
            }
        };
        Some((Ok(Bytes::from(text)), (samples, room, end, false)))
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(told)).into_response()
}

fn summary(room: &Room, sample: &Sample) -> serde_json::Value {
    json!({
        "at": format!("{:.3}", sample.time),
        "error": sample.error,
        "totals": sample.totals(),
        "failed": sample.figures.failed,
        "oldest_ms": sample.oldest_of_all().map(|(_, age)| age.as_millis()),
        "rate": sample.fleet.rate,
        "bulk": room.bulks.running(),
    })
}
