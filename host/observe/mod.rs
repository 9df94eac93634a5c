//! Watches a host without taking part in running jobs: by its [events](crate::events), and by how its loops go round.

mod alerts;
mod log;
mod metrics;
mod otlp;
mod tally;
mod traces;
mod vitals;

pub use alerts::{Alert, AlertSettings, Alerts, LOOK_EVERY, PING_EVERY};
pub use log::Log;
pub use metrics::{KEPT_AFTER, MAX_PLUGINS, MAX_VERSIONS, Metrics, Reporter};
pub use otlp::Endpoint;
pub use tally::Tally;
pub use traces::{Keep, MAX_WAITING_SPANS, Receiver, Traces};
pub use vitals::{Check, Pulse, Serving, Vitals};
