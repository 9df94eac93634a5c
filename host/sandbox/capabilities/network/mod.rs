//! From a name to a connection, as every capability that connects makes one: resolved once, checked, and only then
//! connected to.
//!
//! Knows no grants: its callers say what is granted, and whether that goes for addresses that are not public.

mod address;
mod connect;
mod fault;
mod host;
mod patience;
mod tls;
mod tunnel;

use std::sync::Arc;

use tokio::runtime::Handle;

use super::denied::LateDenial;
use crate::job::TraceContext;
use crate::sandbox::run::deadline::Deadline;
pub(super) use connect::{Network, NoConnection};
pub(super) use fault::Unconnected;
pub(super) use host::Host;
pub(super) use patience::Patience;
pub(super) use tls::{secure, tls};

/// What the connections of one attempt share.
#[derive(Clone)]
pub(super) struct Outbound {
    /// Where they are made: threads that guests cannot occupy.
    pub(super) io: Handle,
    pub(super) deadline: Deadline,
    pub(super) late_denial: LateDenial,
    /// The trace of the job, where some request may carry it.
    pub(super) trace: Option<Arc<TraceContext>>,
}
