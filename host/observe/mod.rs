//! Watches a host through its [events](crate::events), without taking part in running jobs.

mod log;

pub use log::Log;
