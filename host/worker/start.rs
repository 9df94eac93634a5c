//! Whether a job that was fetched starts.

use std::sync::Arc;

use super::admission::{Admission, Reserved};
use super::{ASKED_AGAIN, Worker};
use crate::events::Event;
use crate::job::{Job, Options};
use crate::outcome::{Failure, FailureKind, Lane, Settlement};
use crate::plugins::Plugin;
use crate::queue::{Admitted, Delivery};
use crate::retry;
use crate::sandbox::PluginPermit;

/// What was decided about a job that was fetched.
pub(super) enum Start {
    /// It starts, on this plugin.
    Now(Box<Job>, Arc<Plugin>, PluginPermit),
    /// It is settled so.
    Not(Settlement),
    /// The store has moved it already.
    Moved,
}

impl Worker {
    pub(super) async fn start(
        &self,
        job: Box<Job>,
        options: &Options,
        delivery: &mut Delivery,
        reserved: Option<Reserved>,
    ) -> Start {
        if self.consumer.is_cancelled(delivery.queue(), &job.id) {
            return Start::Not(self.cancelled(*job, delivery));
        }
        if let Some(why) = &options.plans().refused {
            let failure = Failure::new(FailureKind::Malformed, why);
            return Start::Not(self.give_up(*job, delivery, &failure));
        }
        if let Some(batch) = &options.plans().unless_ended {
            // In a box: few jobs ask for it.
            match Box::pin(self.consumer.batch(batch)).await {
                Ok(Some(batch)) if batch.complete => return Start::Not(self.no_longer_wanted(&job, delivery)),
                Ok(_) => {}
                Err(err) => {
                    let why = Failure::new(FailureKind::Internal, format!("cannot ask for its batch: {err}"));
                    return Start::Not(retry::hold(*job, &why, ASKED_AGAIN, self.moment()));
                }
            }
        }
        match self.gate.admit(&job, options, delivery, reserved) {
            Admission::Start(plugin, permit) => Start::Now(job, plugin, permit),
            // In a box: few jobs have limits across hosts.
            Admission::Ask(lane, plugin, permit) => Box::pin(self.ask(job, delivery, lane, plugin, permit)).await,
            otherwise => Start::Not(self.not_now(*job, delivery, otherwise)),
        }
    }

    /// Asks whether limits across hosts let a job start that was ready.
    async fn ask(
        &self,
        job: Box<Job>,
        delivery: &mut Delivery,
        lane: Lane,
        plugin: Arc<Plugin>,
        permit: PluginPermit,
    ) -> Start {
        // It would take places, only to give its delivery back.
        if self.draining.is_cancelled() || delivery.stop().is_stopped() {
            return Start::Not(self.never_started(*job, delivery));
        }
        match self.consumer.admit(delivery, &lane, plugin.handler.caps()).await {
            Some(Admitted::Starts) => Start::Now(job, plugin, permit),
            Some(Admitted::Waits | Admitted::Gone) => Start::Moved,
            None => Start::Not(Settlement::Wait { lane }),
        }
    }

    /// The fate of a job that may not start.
    pub(super) fn not_now(&self, job: Job, delivery: &mut Delivery, admission: Admission) -> Settlement {
        match admission {
            Admission::Start(plugin, _) => Settlement::Wait {
                lane: Lane::of_plugin(plugin.handler.name()),
            },
            Admission::Wait(lane) | Admission::Ask(lane, ..) => Settlement::Wait { lane },
            Admission::Until(time) => retry::wait(job, time, self.consumer.now()),
            Admission::Hold(wait, why) => retry::hold(job, &why, wait, self.moment()),
            Admission::Refuse(failure) => self.refuse(job, delivery, failure),
            Admission::Fail(failure) => self.give_up(job, delivery, &failure),
        }
    }

    /// The fate of a job whose batch has ended.
    fn no_longer_wanted(&self, job: &Job, delivery: &Delivery) -> Settlement {
        self.events.tell(Event::NotRun {
            queue: delivery.queue().as_str(),
            job,
            why: FailureKind::Expired,
            duplicate_of: None,
        });
        delivery.starts(job);
        let why = Failure::new(FailureKind::Expired, "its batch has ended in time");
        Settlement::Drop { why: Box::new(why) }
    }
}
