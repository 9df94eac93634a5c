//! `kiln:job/context`: what a handler may ask of the attempt it runs in, and reports to it. Every handler has it.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wasmtime::component::{HasData, Linker};

use super::log;
use super::offer::{Interfaces, Offer};
use crate::outcome::Report;
use crate::sandbox::bindings::kiln::job::{context, types};
use crate::sandbox::run::deadline::Deadline;

pub(super) const OFFERS: &[Interfaces] = &[Interfaces {
    package: "kiln:job",
    version: "0.1",
    names: &["types", "context"],
    offer: Offer::Always,
}];

/// One attempt's data for `kiln:job/context`.
pub(in crate::sandbox) struct Context {
    deadline: Deadline,
    draining: Arc<CancellationToken>,
    /// The handler has asked whether the host is shutting down, and was told so.
    heard_of_drain: bool,
}

impl Context {
    pub(super) fn new(deadline: Deadline, draining: Arc<CancellationToken>) -> Self {
        Self {
            deadline,
            draining,
            heard_of_drain: false,
        }
    }

    pub(super) fn report(&self, report: &mut Report) {
        report.heard_of_drain = self.heard_of_drain;
    }
}

/// Serves a handler's calls: the attempt's [`Context`], and the log that takes its progress reports.
pub(super) struct View<'a> {
    pub(super) context: &'a mut Context,
    pub(super) log: log::View<'a>,
}

impl context::Host for View<'_> {
    fn progress(&mut self, percent: u8, note: Option<String>) {
        self.log.progress(percent.min(100), note.as_deref().unwrap_or_default());
    }

    fn remaining_ms(&mut self) -> u64 {
        u64::try_from(self.context.deadline.remaining().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_cancelled(&mut self) -> bool {
        let draining = self.context.draining.is_cancelled();
        self.context.heard_of_drain |= draining;
        draining
    }
}

impl types::Host for View<'_> {}

/// Makes a [`View`] of an attempt's data.
struct OfAttempt;

impl HasData for OfAttempt {
    type Data<'a> = View<'a>;
}

pub(super) fn link<T: 'static>(linker: &mut Linker<T>, view: fn(&mut T) -> View<'_>) -> wasmtime::Result<()> {
    context::add_to_linker::<_, OfAttempt>(linker, view)
}
