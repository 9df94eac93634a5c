//! What watches a host from beside the line of a job, by its [events](crate::events).

mod log;

pub use log::Log;
