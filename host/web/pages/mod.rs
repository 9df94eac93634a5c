//! The pages. Each is whole HTML, made on this side and readable without scripts; a small script keeps it up to date.

mod assets;
mod attention;
mod audit;
mod batch;
mod bulk;
mod chart;
mod failed;
mod hosts;
mod job;
mod lanes;
mod layout;
mod life;
mod links;
mod login;
mod overview;
mod plugins;
mod queue;
mod queues;
mod said;
mod schedules;
mod stats;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use maud::{Markup, html};

pub(super) use self::attention::concerns;
pub(super) use self::failed::filter_of;
use self::layout::{Pace, Tab};
pub use self::links::check_trace_link;
use super::body::Pairs;
use super::guard::{Caller, Role};
use super::live::Sample;
use super::problem::Problem;
use super::room::Shared;
use super::words;

/// What every page needs to know.
pub(super) struct View {
    caller: Caller,
    /// The store's address.
    store: String,
    /// Entries of the failed list.
    failed: u64,
    /// Why the store does not answer.
    error: Option<String>,
    /// How old the sample is.
    age: Option<Duration>,
    /// What was just done.
    done: Option<&'static str>,
    /// Whether the page has scripts.
    script: bool,
    sample: Option<Arc<Sample>>,
    query: Pairs,
}

/// What can have been done, by the word for it in an address.
const DONE: [(&str, &str); 14] = [
    ("retried", "The job is back in its queue, with its attempts reset."),
    ("deleted", "The failed entry is deleted."),
    (
        "gone",
        "That entry is no longer in the failed list: somebody else has retried, moved or deleted it.",
    ),
    (
        "stays",
        "That entry holds no job that could be put back; it is still there.",
    ),
    (
        "paused",
        "Paused: no host takes a job from this queue. What runs goes on to its end.",
    ),
    ("resumed", "Resumed: hosts take jobs from this queue again."),
    (
        "released",
        "Released: the hosts that had set the plugin aside serve with it again within seconds.",
    ),
    (
        "aborted",
        "The work ends after its current step. What is done stays done.",
    ),
    ("pushed", "The job is in its queue."),
    (
        "edited",
        "The job is in its queue with its new payload and all its attempts. The failed entry is deleted.",
    ),
    (
        "edited-kept",
        "The job is in its queue with its new payload. The failed entry was gone before it could be deleted.",
    ),
    (
        "cancelled",
        "Cancelled: wherever the job is, it ends. A host that runs it interrupts it within a second.",
    ),
    (
        "draining",
        "Asked to drain: within some seconds the host takes nothing new, and ends once what runs has ended. Whatever started it may start it again.",
    ),
    (
        "uncancelled",
        "The cancel is undone, unless a host has come to the job already.",
    ),
];

impl FromRequestParts<Shared> for View {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, room: &Shared) -> Result<Self, Problem> {
        let Some(Extension(caller)) = Extension::<Caller>::from_request_parts(parts, room).await.ok() else {
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "nobody asks"));
        };
        let query = Pairs::of(parts.uri.query().unwrap_or_default().as_bytes());
        let sample = room.sampler.latest().await;
        let done = query.get("done");
        Ok(Self {
            caller,
            store: room.store_name.clone(),
            failed: sample.as_ref().map_or(0, |sample| sample.figures.failed),
            error: match &sample {
                Some(sample) => sample.error.clone(),
                None => Some("it has not answered yet".to_owned()),
            },
            age: sample.as_ref().and_then(|sample| sample.age()),
            done: done
                .and_then(|done| DONE.iter().find(|(word, _)| *word == done))
                .map(|(_, said)| *said),
            script: true,
            sample,
            query,
        })
    }
}

impl View {
    fn may(&self, role: Role) -> bool {
        self.caller.may(role)
    }
}

/// A filter in words; empty for one that holds for all.
pub(super) fn filter_in_words(filter: &crate::admin::failed::Filter) -> String {
    failed::in_words(filter, None)
}

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(overview::show))
        .route("/queues", get(queues::show))
        .route("/queues/{queue}", get(queue::show))
        .route("/queues/{queue}/pause", post(queue::pause))
        .route("/queues/{queue}/resume", post(queue::resume))
        .route("/queues/{queue}/lanes", get(lanes::show))
        .route("/batches", get(batch::ask))
        .route("/batches/{id}", get(batch::show))
        .route("/failed", get(failed::show))
        .route("/failed/bulk", get(failed::confirm))
        .route("/bulk", get(bulk::list).post(bulk::begin))
        .route("/bulk/{id}", get(bulk::show))
        .route("/bulk/{id}/abort", post(bulk::abort))
        .nest("/jobs/{id}", job::of_one())
        .nest("/entries/{entry}", job::of_one())
        .route("/jobs/{id}/cancel", post(job::cancel))
        .route("/jobs/{id}/uncancel", post(job::uncancel))
        .route("/schedules", get(schedules::show))
        .route("/schedules/run", post(schedules::run))
        .route("/stats", get(stats::show))
        .route("/tries/{id}", get(trial::show))
        .route("/audit", get(audit::show))
        .route("/plugins", get(plugins::show))
        .route("/plugins/{plugin}/release", post(plugins::release))
        .route("/hosts", get(hosts::show))
        .route("/hosts/{host}/drain", post(hosts::drain))
        .route("/login", get(login::show).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/assets/{file}", get(assets::show))
}

/// The answer for a path that leads nowhere.
pub(super) async fn nothing(uri: Uri) -> Problem {
    Problem::missing(format!("there is nothing at {}", uri.path()))
}

/// Makes a page of a problem, where a browser asked for one.
pub(super) async fn as_page(request: Request, next: Next) -> Response {
    let is_page = !request.uri().path().starts_with("/api/") && request.uri().path() != "/events";
    let response = next.run(request).await;
    let Some(problem) = response.extensions().get::<Problem>().filter(|_| is_page) else {
        return response;
    };
    let title = match problem.status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::CONFLICT => "Not now",
        StatusCode::UNAUTHORIZED => "Nobody is known to ask",
        StatusCode::SERVICE_UNAVAILABLE => "Not available",
        StatusCode::INTERNAL_SERVER_ERROR => "The store is not as it should be",
        _ => "That did not work",
    };
    let content = html! {
        h1 { (title) }
        div.card { p { (crate::text::line(&problem.detail, crate::text::MAX_LINE_BYTES)) } p { a href="/" { "To the overview" } } }
    };
    let page = layout::bare(title, &content);
    let (status, headers) = (problem.status, response.headers().clone());
    let mut page = (status, shown(&page)).into_response();
    for name in ["allow", "www-authenticate"] {
        if let Some(value) = headers.get(name) {
            page.headers_mut().insert(name, value.clone());
        }
    }
    page
}

fn shown(page: &Markup) -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], page.0.clone()).into_response()
}

/// Leads a browser on after something was done.
fn to(path: &str, done: &str) -> Response {
    let query = words::query(&[("done", done)]);
    (StatusCode::SEE_OTHER, [(LOCATION, format!("{path}{query}"))]).into_response()
}

/// A page of a tab, live.
fn live(view: &View, tab: Tab, title: &str, content: &Markup) -> Response {
    shown(&layout::page(view, tab, title, Pace::Live, content))
}

/// A page of a tab that stays as it is.
fn still(view: &View, tab: Tab, title: &str, content: &Markup) -> Response {
    shown(&layout::page(view, tab, title, Pace::Still, content))
}
