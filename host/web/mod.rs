//! What Kiln answers over HTTP: probes and metrics of a worker, and the dashboard with its API.
//!
//! A connection of a probe costs a worker no more than the bounds of its listener, and never touches the store or a job. The
//! dashboard is served where an operator asked for it alone: by `kiln serve`, or by a worker with `--ui`. It knows no move and
//! no key: what it shows and does is [`admin`](crate::admin)'s.
//!
//! - `guard`: who may ask for what; every request passes it.
//! - `live`: what is shown, sampled once for all who look.
//! - `pages`: HTML, made here, readable without scripts.
//! - `api`: the same as JSON.
//! - `events`: tells browsers when there is something new.

mod api;
mod body;
mod dashboard;
mod events;
mod guard;
mod listener;
mod live;
mod multipart;
mod pages;
mod problem;
mod redaction;
mod room;
mod stall;
mod trials;
mod visit;
mod words;
mod worker;

pub use body::MAX_BODIES_BYTES;
pub use dashboard::{Dashboard, DashboardSettings};
pub use guard::{MAX_SESSIONS, MIN_TOKEN_BYTES, Network, Proxies, Role, Tokens};
pub use listener::{
    CONNECTION_TIME, DASHBOARD_CONNECTION_TIME, HEADER_TIME, LAST_ANSWER_TIME, Listener, MAX_CONNECTIONS,
    MAX_DASHBOARD_CONNECTIONS, MAX_HEADER_BYTES, STRANGER_TIME,
};
pub use live::{KEPT_AWAKE, Local, SAMPLE_INTERVAL};
pub use pages::check_trace_link;
pub use stall::STALL_TIME;
pub use trials::{MAX_TRIALS, MAX_UPLOAD_BYTES, TrialSettings};
pub use worker::worker;
