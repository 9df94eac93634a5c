//! The line of one job: decode, admit, run, decide, settle.
//!
//! Knows nothing about Redis keys or Wasm engines, and starts nothing: `service` calls it once for each delivery, on the
//! thread on which the handler then runs.
//!
#![doc = include_str!("../docs/performance.md")]

mod admission;
mod after;
mod history;
mod live;
mod sorting;
mod start;
mod unique;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::aside::aside;
use crate::config::{Cap, Expired, HistorySettings, RetryPolicy, Unknown};
use crate::events::{Event, Events, Run};
use crate::job::{DecodeError, Job, Options, TraceContext, asks_for_reply, failed_head, wrap_partial};
use crate::outcome::{Asked, Commit, Failure, FailureKind, Lane, Outcome, RetryHint, Settlement};
use crate::plugins::{Plugin, Plugins};
use crate::queue::{Arrival, Consumer, Delivery, QueueError};
use crate::retry::{self, Moment};
use crate::sandbox::{AttemptContext, Listener, PluginPermit};
use crate::stop::StopReason;
use crate::text;

use admission::Gate;
pub use admission::Reserved;
use after::After;
use history::{History, keep};
pub use live::{Live, REPORT_EVERY};
pub use sorting::Sorting;
use start::Start;
use unique::Decided;

/// Wait before the store is asked again for a batch that it could not tell of.
const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// How attempts' spans belong to their producers'.
#[derive(Debug, Clone, Copy)]
pub struct Spans {
    /// Whether that of a job's first attempt is a child of its producer's; the others begin traces of their own.
    pub as_child: bool,
}

impl Spans {
    /// The span of the next attempt at a job, if the job has a trace.
    fn of(self, job: &Job) -> Option<TraceContext> {
        let producer = job.trace_context()?;
        Some(producer.of_attempt(self.as_child && job.next_attempt() == 1))
    }
}

/// Runs deliveries.
#[derive(Debug)]
pub struct Worker {
    consumer: Arc<Consumer>,
    gate: Gate,
    draining: Arc<CancellationToken>,
    listener: Option<Arc<dyn Listener>>,
    expired: Expired,
    history: History,
    spans: Option<Spans>,
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
            history: History::new(HistorySettings::default(), consumer.host()),
            consumer,
            draining: Arc::new(draining),
            listener: None,
            expired: Expired::default(),
            spans: None,
        }
    }

    /// Subscribes a listener to what handlers report while they run.
    #[must_use]
    pub fn with_listener(self, listener: Arc<dyn Listener>) -> Self {
        let listener = Some(listener);
        Self { listener, ..self }
    }

    /// Does this with jobs that grew too old to run.
    #[must_use]
    pub fn with_expired(self, expired: Expired) -> Self {
        Self { expired, ..self }
    }

    /// Keeps this of attempts.
    #[must_use]
    pub fn with_history(self, settings: HistorySettings) -> Self {
        let history = History::new(settings, self.consumer.host());
        Self { history, ..self }
    }

    /// What running attempts have to report.
    #[must_use]
    pub fn live(&self) -> &Arc<Live> {
        self.history.live()
    }

    /// Gives attempts whose requests carry a trace spans of their own, since there is somebody who is told of them.
    #[must_use]
    pub fn with_spans(self, spans: Option<Spans>) -> Self {
        Self { spans, ..self }
    }

    /// Runs one job and has its fate carried out. `reserved` is the permit to start it, for a job that came from a
    /// lane.
    pub async fn process(&self, mut delivery: Delivery, reserved: Option<Reserved>) {
        if delivery.is_incomplete() {
            // In a box: few jobs are that large, and all others would move its state along with their own.
            let Some(whole) = Box::pin(self.complete(delivery)).await else {
                return;
            };
            delivery = whole;
        }
        let bytes = delivery.bytes().len();
        let settlement = match aside(bytes, || delivery.decode()) {
            Ok(job) => {
                delivery.drop_bytes();
                let options = self.options(&job, &mut delivery);
                // In a box: what follows would hold it several times over, each time it is passed on.
                let mut job = Box::new(job);
                if options.plans().unique.is_some() {
                    // In a box: few jobs are unique.
                    match Box::pin(self.contend(job, &options, &mut delivery)).await {
                        Decided::Goes(goes) => job = goes,
                        Decided::Settled(settlement) => return self.consumer.settle(delivery, settlement).await,
                        Decided::Moved => return,
                    }
                }
                match self.start(job, &options, &mut delivery, reserved).await {
                    Start::Now(job, plugin, permit) => self.attempt(job, options, &mut delivery, plugin, permit).await,
                    Start::Not(settlement) => settlement,
                    Start::Moved => return,
                }
            }
            Err(err) => self.malformed(&mut delivery, &err),
        };
        match settlement {
            Settlement::Requeue => drop(delivery),
            settlement => self.consumer.settle(delivery, settlement).await,
        }
    }

    /// Which queues are to be sorted.
    #[must_use]
    pub fn sorting(&self) -> &Sorting {
        &self.gate.sorting
    }

    /// Sends a job that was ready to the lane in which it waits for its turn, without running it: one that may start to that of
    /// its plugin. Returns whether it waits for limits across hosts.
    pub async fn sort(&self, mut delivery: Delivery) -> bool {
        let bytes = delivery.bytes().len();
        let settlement = match aside(bytes, || delivery.decode()) {
            Ok(job) if self.consumer.is_cancelled(delivery.queue(), &job.id) => {
                self.options(&job, &mut delivery);
                self.cancelled(job, &mut delivery)
            }
            Ok(job) => {
                let options = self.options(&job, &mut delivery);
                match Box::pin(self.contend(Box::new(job), &options, &mut delivery)).await {
                    Decided::Goes(job) => {
                        let admission = self.gate.admit(&job, &options, &delivery, None);
                        self.not_now(*job, &mut delivery, admission)
                    }
                    Decided::Settled(settlement) => settlement,
                    Decided::Moved => return true,
                }
            }
            Err(err) => self.malformed(&mut delivery, &err),
        };
        let is_limited = matches!(&settlement, Settlement::Wait { lane } if lane.limited().is_some());
        self.consumer.settle(delivery, settlement).await;
        is_limited
    }

    /// Decides about a delivery that was taken over from a host that died, without running it.
    pub async fn recover(&self, mut delivery: Delivery) {
        if delivery.is_incomplete() {
            let Some(whole) = Box::pin(self.complete(delivery)).await else {
                return;
            };
            delivery = whole;
        }
        let bytes = delivery.bytes().len();
        let settlement = match aside(bytes, || delivery.decode()) {
            Ok(job) => {
                self.options(&job, &mut delivery);
                if self.consumer.is_cancelled(delivery.queue(), &job.id) {
                    let settlement = self.cancelled(job, &mut delivery);
                    return self.consumer.settle(delivery, settlement).await;
                }
                let (id, name) = (text::name(&job.id).into_owned(), text::name(&job.name).into_owned());
                let lost = job.lost.saturating_add(1);
                let why = Failure::new(FailureKind::Lost, "its host died while it ran, or was about to");
                let kept = self.history.of_none(&job, &delivery, &why, self.consumer.now());
                let settlement = aside(bytes, || retry::settle_lost(job, self.moment()));
                keep(&mut delivery, kept, &settlement);
                let fails = matches!(settlement, Settlement::Fail { .. });
                tracing::warn!(id, name, queue = %delivery.queue(), lost, fails, "job lost its host");
                settlement
            }
            Err(err) => self.malformed(&mut delivery, &err),
        };
        self.consumer.settle(delivery, settlement).await;
    }

    /// What a job counts against that was taken over: a group of lanes, and limits and a key there by their names. None: nothing
    /// limits it.
    #[must_use]
    pub fn counts_against(&self, delivery: &Delivery) -> Option<(Lane, Vec<String>)> {
        let job = aside(delivery.bytes().len(), || delivery.decode()).ok()?;
        let (options, _) = job.options();
        self.gate.counts_against(&job, &options)
    }

    /// What the job asks of Kiln. From here on, whoever waits for it is told what it comes to.
    fn options(&self, job: &Job, delivery: &mut Delivery) -> Options {
        let (options, ignored) = job.options();
        if let Some(ignored) = ignored {
            self.gate
                .tell(job, delivery.queue().as_str(), &ignored, "a job's wish is ignored");
        }
        if options.reply {
            delivery.reply_to(&job.id);
        }
        if options.plans().unique.is_some()
            && let Some(key) = self.gate.key_of(job, &options)
        {
            delivery.is_of(key);
        }
        if !options.plans().batches.is_empty() {
            let after = After::of(options.plans(), job, delivery.queue().as_str());
            let batches = after.marks(true, &[], self.consumer.now());
            delivery.note(&Commit {
                batches,
                ..Commit::default()
            });
        }
        options
    }

    /// The fate of bytes that are no job. Where they can be read so far, whoever waits for it is told.
    fn malformed(&self, delivery: &mut Delivery, err: &DecodeError) -> Settlement {
        aside(delivery.bytes().len(), || {
            if let Some(id) = asks_for_reply(delivery.bytes()) {
                delivery.reply_to(&id);
            }
            malformed(delivery, err, self.consumer.now())
        })
    }

    /// Fetches the rest of a large job's bytes. None: the job is no longer this host's, or its bytes never came and it
    /// has failed.
    async fn complete(&self, mut delivery: Delivery) -> Option<Delivery> {
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

    async fn attempt(
        &self,
        mut job: Box<Job>,
        options: Options,
        delivery: &mut Delivery,
        plugin: Arc<Plugin>,
        permit: PluginPermit,
    ) -> Settlement {
        let otherwise = plugin.handler.expire();
        match job.expires(options.expires, otherwise) {
            Some(time) if time <= self.consumer.now() => return self.expired(*job, delivery, time),
            Some(_) if otherwise.is_some() => job.keep_expiry(otherwise),
            _ => {}
        }
        let stop = delivery.stop();
        let log = self.history.listen(&plugin, &stop, self.listener.clone());
        let span = self.spans.filter(|_| plugin.handler.traces_requests());
        let span = span.and_then(|spans| spans.of(&job)).map(Arc::new);
        let context = AttemptContext {
            draining: Arc::clone(&self.draining),
            stop,
            listener: Some(Arc::clone(&log) as Arc<dyn Listener>),
            span: span.clone(),
        };
        delivery.starts(&job);
        // Whoever hears of a cancel from now on finds this attempt. Before, it did not.
        if self.consumer.is_cancelled(delivery.queue(), &job.id) {
            context.stop.cancel();
        }
        if self.draining.is_cancelled() || context.stop.is_stopped() {
            return self.never_started(*job, delivery);
        }
        let queue = delivery.queue().as_str();
        let run = Run {
            tag: delivery.tag(),
            queue,
            job: &job,
            fetched: delivery.fetched(),
            from_lane: delivery.lane().is_some_and(|lane| !lane.is_of_large()),
            plugin: plugin.id(),
            attempt: job.next_attempt(),
            max_attempts: plugin.handler.retry().attempts_of(&job),
            span: span.as_deref(),
        };
        self.events.tell(Event::Started(run));
        let mut attempt = plugin.handler.attempt(permit, &job, queue, &context).await;
        // First, since a result that cannot be handed on fails the attempt.
        let after = After::of(options.plans(), &job, queue);
        let (outcome, next) = after.chain(attempt.outcome);
        attempt.outcome = outcome;
        self.events.tell(Event::Ended { run, attempt: &attempt });
        shut_lane(&plugin, delivery, &attempt.outcome);
        let now = || self.consumer.now();
        let kept = self
            .history
            .of_attempt(&plugin, &job, delivery, &attempt, log.end(), now);
        let bytes = job.given_bytes();
        let (settlement, commit) = aside(bytes, || {
            let (reply_to, at) = (options.reply.then(|| job.id.clone()), self.moment());
            let settlement = retry::settle(plugin.handler.retry(), *job, attempt.outcome, at);
            let Asked { writes, follow_ups } = attempt.asked;
            let follow_ups: Vec<_> = follow_ups.into_iter().chain(next).collect();
            let batches = after.marks(false, &follow_ups, at.now);
            let jobs = follow_ups
                .into_iter()
                .map(|follow_up| Job::follow_up(follow_up, at.now));
            let commit = Commit {
                writes,
                batches,
                jobs: jobs.collect(),
                reply_to,
                ..Commit::default()
            };
            (settlement, commit)
        });
        keep(delivery, kept, &settlement);
        aside(bytes, || settlement.with(commit))
    }

    /// The fate of a job that is stopped just before it starts.
    fn never_started(&self, job: Job, delivery: &mut Delivery) -> Settlement {
        match delivery.stop().close() {
            Some(StopReason::Cancelled) => self.cancelled(job, delivery),
            Some(StopReason::Host) | None => Settlement::Requeue,
        }
    }

    /// The fate of a job that an operator cancelled before it ran.
    fn cancelled(&self, job: Job, delivery: &mut Delivery) -> Settlement {
        self.events.tell(Event::NotRun {
            queue: delivery.queue().as_str(),
            job: &job,
            why: FailureKind::Cancelled,
            duplicate_of: None,
        });
        self.give_up(job, delivery, &Failure::cancelled())
    }

    /// The fate of a job that fails for good without an attempt.
    fn give_up(&self, job: Job, delivery: &mut Delivery, why: &Failure) -> Settlement {
        let now = self.consumer.now();
        let kept = self.history.of_none(&job, delivery, why, now);
        let settlement = retry::give_up(job, why, now);
        keep(delivery, kept, &settlement);
        settlement
    }

    /// The fate of a job that was to run by this time.
    fn expired(&self, job: Job, delivery: &mut Delivery, time: Timestamp) -> Settlement {
        self.events.tell(Event::NotRun {
            queue: delivery.queue().as_str(),
            job: &job,
            why: FailureKind::Expired,
            duplicate_of: None,
        });
        let why = Failure::new(FailureKind::Expired, format!("it was to run by {time}"));
        match self.expired {
            Expired::Drop => {
                // By this the settlement knows the job's id: a schedule may wait for its end.
                delivery.starts(&job);
                let kept = self.history.of_none(&job, delivery, &why, self.consumer.now());
                let settlement = Settlement::Drop { why: Box::new(why) };
                keep(delivery, kept, &settlement);
                settlement
            }
            Expired::Keep => self.give_up(job, delivery, &why),
        }
    }

    /// The fate of a job that cannot run; it counts as an attempt.
    fn refuse(&self, job: Job, delivery: &mut Delivery, failure: Failure) -> Settlement {
        let kept = self.history.of_none(&job, delivery, &failure, self.consumer.now());
        let retry = RetryHint::ByPolicy;
        let outcome = Outcome::Failed { failure, retry };
        let settlement = retry::settle(&RetryPolicy::default(), job, outcome, self.moment());
        keep(delivery, kept, &settlement);
        settlement
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.consumer.now(),
            luck: fastrand::f64(),
        }
    }
}

/// Shuts the lane of a job whose handler says that it is too early: what it reaches would refuse the others of the lane.
fn shut_lane(plugin: &Plugin, delivery: &mut Delivery, outcome: &Outcome) {
    if let Outcome::Failed { retry, .. } = outcome
        && let RetryHint::NotBefore(wait) = *retry
        && plugin.handler.caps().iter().any(Cap::is_limit)
    {
        delivery.shut_lane(wait.min(plugin.handler.retry().max));
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
#[cold]
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
