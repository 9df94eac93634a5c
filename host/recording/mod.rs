//! Exchanges with servers, kept as files and answered from them: what a handler's tests run with, where there is no network.
//!
//! One file is one exchange, in the order in which they were begun. [`Recorder`] writes them, [`Replayer`] finds the one that
//! answers a request. What is known to be secret is hidden before it gets here or by [`hidden`]; the same is done to the request
//! that is compared. [`Withheld`] only notes what would have been sent. Absent on purpose: time. An answer comes at once, and in
//! one piece.

mod exchange;
pub(crate) mod hidden;
mod known;
mod recorder;
mod replayer;
mod withheld;

use std::sync::Arc;

pub use exchange::{Answer, Exchange, Fault, Request};
pub(crate) use exchange::{text_of, value_of};
pub(crate) use known::Known;
pub use recorder::Recorder;
pub(crate) use replayer::Claim;
pub use replayer::{Replayer, Unrecorded};
pub use withheld::{MAX_WITHHELD, MAX_WITHHELD_BODY_BYTES, Withheld, Would, WouldSend};

/// What to do with the exchanges of handlers.
#[derive(Debug, Clone)]
pub enum Tape {
    /// Requests go out, and what comes of them is kept.
    Record(Arc<Recorder>),
    /// No request goes out. What was kept is the answer.
    Replay(Arc<Replayer>),
    /// No request goes out. Each is noted, and fails as if its server could not be reached.
    Withhold(Arc<Withheld>),
}

impl Tape {
    /// Whether no server is reached.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        matches!(self, Self::Replay(_) | Self::Withhold(_))
    }
}
