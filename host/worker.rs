//! The line of one job: decode, admit, run, decide, settle.
//!
//! Knows nothing about Redis keys or Wasm engines, and starts nothing: `service` calls it once for each delivery, on the
//! thread on which the handler then runs.
//!
#![doc = include_str!("../docs/performance.md")]

mod admission;

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::aside::aside;
use crate::config::{RetryPolicy, Unknown};
use crate::events::{Event, Events, Run};
use crate::job::{DecodeError, Job, failed_head, wrap_partial};
use crate::outcome::{Failure, Outcome, RetryHint, Settlement};
use crate::plugins::Plugins;
use crate::queue::{Arrival, Consumer, Delivery, QueueError};
use crate::retry::{self, Moment};
use crate::sandbox::{AttemptContext, Listener};
use crate::stop::StopReason;
use crate::text;

pub use admission::Reserved;
use admission::{Admission, Gate};

/// Runs deliveries.
#[derive(Debug)]
pub struct Worker {
    consumer: Arc<Consumer>,
    gate: Gate,
    draining: Arc<CancellationToken>,
    listener: Option<Arc<dyn Listener>>,
    events: Events,
}

impl Worker {
    /// A worker that settles through `consumer`, runs the handlers of `plugins`, and starts nothing once it is
    /// `draining`. Its events go to the subscribers of `plugins`.
    #[must_use]
    pub fn new(consumer: Arc<Consumer>, plugins: Arc<Plugins>, unknown: Unknown, draining: CancellationToken) -> Self {
        Self {
            events: plugins.events().clone(),
            gate: Gate::new(Arc::clone(&consumer), plugins, unknown),
            consumer,
            draining: Arc::new(draining),
            listener: None,
        }
    }

    /// Subscribes a listener to what handlers report while they run.
    #[must_use]
    pub fn with_listener(self, listener: Arc<dyn Listener>) -> Self {
        let listener = Some(listener);
        Self { listener, ..self }
    }

    /// Runs one job and has its fate carried out. `reserved` is the permit to start it, for a job that came from a
    /// lane.
    pub async fn process(&self, delivery: Delivery, reserved: Option<Reserved>) {
        let Some(mut delivery) = self.complete(delivery).await else {
            return;
        };
        let bytes = delivery.bytes().len();
        let settlement = match aside(bytes, || delivery.decode()) {
            Ok(job) => {
                delivery.drop_bytes();
                self.attempt(job, &delivery, reserved).await
            }
            Err(err) => aside(bytes, || malformed(&delivery, &err, self.consumer.now())),
        };
        match settlement {
            Settlement::Requeue => drop(delivery),
            settlement => self.consumer.settle(delivery, settlement).await,
        }
    }

    /// Decides about a delivery that was taken over from a host that died, without running it.
    pub async fn recover(&self, delivery: Delivery) {
        let Some(delivery) = self.complete(delivery).await else {
            return;
        };
        let bytes = delivery.bytes().len();
        let settlement = match aside(bytes, || delivery.decode()) {
            Ok(job) => {
                let (id, name) = (text::name(&job.id).into_owned(), text::name(&job.name).into_owned());
                let lost = job.lost.saturating_add(1);
                let settlement = aside(bytes, || retry::settle_lost(job, self.moment()));
                let fails = matches!(settlement, Settlement::Fail { .. });
                tracing::warn!(id, name, queue = %delivery.queue(), lost, fails, "job lost its host");
                settlement
            }
            Err(err) => aside(bytes, || malformed(&delivery, &err, self.consumer.now())),
        };
        self.consumer.settle(delivery, settlement).await;
    }

    /// Fetches the rest of a large job's bytes. None: the job is no longer this host's, or its bytes never came and it
    /// has failed.
    async fn complete(&self, mut delivery: Delivery) -> Option<Delivery> {
        if !delivery.is_incomplete() {
            return Some(delivery);
        }
        match self.consumer.complete(&mut delivery).await {
            Arrival::Whole => Some(delivery),
            Arrival::Stopped => None,
            Arrival::Never(err) => {
                let settlement = never_came(&delivery, &err, self.consumer.now());
                self.consumer.settle(delivery, settlement).await;
                None
            }
        }
    }

    async fn attempt(&self, job: Job, delivery: &Delivery, reserved: Option<Reserved>) -> Settlement {
        let (plugin, permit) = match self.gate.admit(&job, delivery, reserved) {
            Admission::Start(plugin, permit) => (plugin, permit),
            Admission::Wait(lane) => return Settlement::Wait { lane },
            Admission::Until(time) => return retry::wait(job, time, self.consumer.now()),
            Admission::Hold(wait, why) => return retry::hold(job, &why, wait, self.moment()),
            Admission::Refuse(failure) => return self.refuse(job, failure),
            Admission::Fail(failure) => return retry::give_up(job, &failure, self.consumer.now()),
        };
        let context = AttemptContext {
            draining: Arc::clone(&self.draining),
            stop: delivery.stop(),
            listener: self.listener.clone(),
        };
        delivery.starts(&job);
        if self.draining.is_cancelled() || context.stop.is_stopped() {
            return self.never_started(job, &context);
        }
        let queue = delivery.queue().as_str();
        let run = Run {
            tag: delivery.tag(),
            queue,
            job: &job,
            plugin: plugin.id(),
            attempt: job.next_attempt(),
            max_attempts: plugin.handler.retry().attempts_of(&job),
        };
        self.events.tell(Event::Started(run));
        let attempt = plugin.handler.attempt(permit, &job, queue, &context).await;
        self.events.tell(Event::Ended { run, attempt: &attempt });
        let bytes = job.given_bytes();
        aside(bytes, || {
            retry::settle(plugin.handler.retry(), job, attempt.outcome, self.moment()).with_writes(attempt.writes)
        })
    }

    /// The fate of a job that is stopped just before it starts.
    fn never_started(&self, job: Job, context: &AttemptContext) -> Settlement {
        match context.stop.close() {
            Some(StopReason::Cancelled) => retry::give_up(job, &Failure::cancelled(), self.consumer.now()),
            Some(StopReason::Host) | None => Settlement::Requeue,
        }
    }

    /// The fate of a job that cannot run; it counts as an attempt.
    fn refuse(&self, job: Job, failure: Failure) -> Settlement {
        let retry = RetryHint::ByPolicy;
        let outcome = Outcome::Failed { failure, retry };
        retry::settle(&RetryPolicy::default(), job, outcome, self.moment())
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.consumer.now(),
            luck: fastrand::f64(),
        }
    }
}

/// The fate of bytes that are no job: they are kept in a failed entry.
#[must_use]
pub fn malformed(delivery: &Delivery, err: &DecodeError, now: Timestamp) -> Settlement {
    let queue = delivery.queue().as_str();
    let bytes = delivery.pushed_bytes();
    let sha1 = delivery.sha1().map(str::to_owned);
    tracing::warn!(queue, bytes, %err, "malformed job");
    Settlement::Fail {
        entry: wrap_partial(delivery.bytes(), bytes, sha1, queue, err, now),
    }
}

/// The fate of a job whose bytes never arrive here: the store makes its failed entry, since it has the bytes.
fn never_came(delivery: &Delivery, err: &QueueError, now: Timestamp) -> Settlement {
    let (queue, len, came) = (delivery.queue(), delivery.pushed_bytes(), delivery.bytes().len());
    tracing::error!(%queue, bytes = len, came, %err, "the bytes of a large job never arrive; it fails unread");
    let why = err.to_string();
    let err = DecodeError::NeverCame { len, why };
    Settlement::FailThere {
        head: failed_head(queue.as_str(), &err, now),
        otherwise: wrap_partial(delivery.bytes(), len, None, queue.as_str(), &err, now),
    }
}
