//! Carries settlements out, as many in one round trip as have gathered, and again until the store takes them. One that it
//! does not take keeps no other from its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::delivery::{Delivery, End};
use super::in_flight::InFlight;
use super::lanes::OnItsWay;
use super::outage::Outage;
use super::shared::Shared;
use crate::events::Event;
use crate::job::{DecodeError, wrap_refused};
use crate::outcome::Settlement;
use crate::queue::error::QueueError;
use crate::queue::limits::{MAX_BATCH, MAX_BATCH_BYTES};
use crate::queue::moves::Offer;
use crate::text::{self, MAX_LINE_BYTES};

/// Settlements held while the store cannot take them. Beyond that attempts wait, so nothing grows.
pub(super) const MAX_UNSETTLED: usize = 1024;

/// KiB of settlements held, in equal parts for each queue. One that alone is larger is held alone.
pub(super) const MAX_UNSETTLED_KIB: u32 = 64 * 1024;

/// How long a batch of several waits for more: under load they come at once, and a message for many costs little more than
/// one for a few. By then their jobs are done, and nothing waits for them but who reads their results.
const GATHERING: Duration = Duration::from_millis(1);

/// First wait before a batch is offered again; doubles.
const RETRY_MIN: Duration = Duration::from_millis(50);

/// Longest wait before a batch is offered again.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Bytes of settlements that every store takes in one message: Redis can be told to take no more than twice this, all that
/// belongs to the message included.
const ANY_STORE_TAKES_BYTES: usize = 512 * 1024;

/// How often a large batch may break its connection, while the store can be used otherwise, before that counts as a
/// refusal for now.
const MAX_BROKEN: u32 = 5;

/// How often a settlement alone may break its connection before that counts as a refusal for good, if it has gone on for
/// so many leases as well: far longer than whatever is between a host and its store takes to start again.
const GIVE_UP_BROKEN: u32 = 12;
const GIVE_UP_LEASES: u32 = 3;

/// Refusals of a batch between two log lines about it: about half a minute.
const RETRIES_LOGGED: u32 = 16;

/// A delivery whose fate is decided, and the room it takes until that is carried out.
pub(super) struct Settled {
    pub(super) delivery: Delivery,
    pub(super) settlement: Settlement,
    /// It has reached its destination in another slot, and is still in the table.
    pub(super) written: bool,
    /// The store refuses it for what it is, as it seems: others need not wait with it.
    pub(super) breaks: Option<Breaks>,
    /// Of one that is to wait, until it does.
    pub(super) _on_its_way: Option<OnItsWay>,
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// Connections that broke when a settlement was sent.
pub(super) struct Breaks {
    times: u32,
    since: Instant,
}

/// The room that a settlement takes.
pub(super) fn room_kib(settlement: &Settlement) -> u32 {
    u32::try_from(settlement.bytes() / 1024).unwrap_or(u32::MAX).max(1)
}

/// Settles what was taken from one queue, until it is told to close and no settlement is left.
pub(super) async fn settle_in_batches(
    shared: Arc<Shared>,
    table: usize,
    mut settlements: mpsc::Receiver<Settled>,
    closing: CancellationToken,
) {
    let mut settler = Settler {
        shared: &shared,
        table: &shared.tables[table],
        held: Held::default(),
    };
    let (mut gathered, mut all_came) = (Vec::with_capacity(MAX_BATCH), false);
    loop {
        let received = tokio::select! {
            biased;
            () = closing.cancelled(), if !settlements.is_closed() => {
                settlements.close();
                continue;
            }
            () = settler.held.due(&shared.outage), if !settler.held.settlements.is_empty() => {
                settler.offer_held().await;
                continue;
            }
            received = settlements.recv_many(&mut gathered, MAX_BATCH), if !all_came => received,
            else => return,
        };
        all_came = received == 0;
        if received > 1 && received < MAX_BATCH {
            tokio::time::sleep(GATHERING).await;
            while gathered.len() < MAX_BATCH
                && let Ok(settled) = settlements.try_recv()
            {
                gathered.push(settled);
            }
        }
        // Those that would be refused like others before them wait with these.
        let held = gathered.extract_if(.., |settled| settler.held.holds(&settled.settlement));
        let held: Vec<_> = held.collect();
        settler.held.settlements.extend(held);
        sort_what_waits(&mut gathered);
        settler.settle(&mut gathered).await;
        settler.tell_how_far_behind();
    }
}

/// Puts what is to wait in the order in which it was fetched, whichever thread was done with it first.
fn sort_what_waits(batch: &mut [Settled]) {
    // A stable sort: the order of all others stays.
    batch.sort_by_key(|settled| match settled.settlement {
        Settlement::Wait { .. } => settled.delivery.tag,
        _ => 0,
    });
}

/// What the store is asked to do with a batch. The host is sure of those whose lease has not ended since it took them.
fn offers(batch: &mut [Settled], first_time: bool) -> Vec<Offer<'_>> {
    let Some(lease) = batch.first().map(|settled| Arc::clone(settled.delivery.stop.lease())) else {
        return Vec::new();
    };
    let in_time = first_time && !lease.is_stopped();
    let offers = batch.iter_mut().map(|settled| Offer {
        tag: settled.delivery.tag,
        settlement: &settled.settlement,
        sure: in_time && Arc::ptr_eq(settled.delivery.stop.lease(), &lease),
        written: &mut settled.written,
    });
    offers.collect()
}

/// How many of a batch, at least one, go to the store in one message.
fn fitting(batch: &[Settled]) -> usize {
    let mut size = 0;
    let fits = batch.iter().take(MAX_BATCH).take_while(|settled| {
        size += settled.settlement.bytes();
        size <= MAX_BATCH_BYTES
    });
    fits.count().max(1)
}

/// Settles what was taken from one queue.
struct Settler<'a> {
    shared: &'a Shared,
    table: &'a InFlight,
    held: Held,
}

/// Settlements that the store refuses because of the state it is in: the list they go to is of the wrong type, or closed
/// to this host. They are offered again and again, and those that go elsewhere do not wait for them.
#[derive(Default)]
struct Held {
    settlements: Vec<Settled>,
    /// When they are offered again.
    again: Option<Instant>,
    wait: Duration,
    refusals: u32,
}

impl Held {
    fn holds(&self, settlement: &Settlement) -> bool {
        let mut held = self.settlements.iter();
        held.any(|held| held.breaks.is_none() && held.settlement.goes_with(settlement))
    }

    /// Returns when they are to be offered again, or as soon as an outage is over.
    async fn due(&self, outage: &Outage) {
        let left = self.again.map(|again| again.saturating_duration_since(Instant::now()));
        outage.wait(left.unwrap_or_default()).await;
    }
}

/// Why the store does not take a batch.
enum Refusal {
    /// One of it is more than the store takes from anybody.
    Content(QueueError),
    /// One of it seems to be, since its connection breaks again and again.
    Broken(QueueError),
    /// It would not take others that go to the same place either.
    State(QueueError),
}

impl Settler<'_> {
    /// Carries a batch out, divided where the store does not take it whole. What it refuses for now is held.
    async fn settle(&mut self, batch: &mut Vec<Settled>) {
        let mut parts = Vec::new();
        while !batch.is_empty() {
            parts.push(batch.drain(..fitting(batch)).collect::<Vec<_>>());
        }
        parts.reverse();
        while let Some(mut part) = parts.pop() {
            let refusal = match self.offer(&mut part).await {
                Ok(()) => continue,
                Err(refusal) => refusal,
            };
            let first = &part[0].settlement;
            let goes_elsewhere = |settled: &Settled| !settled.settlement.goes_with(first);
            let elsewhere: Vec<_> = part.iter().map(goes_elsewhere).collect();
            if elsewhere.contains(&true) {
                let mut elsewhere = elsewhere.into_iter();
                let others = part.extract_if(.., |_| elsewhere.next() == Some(true)).collect();
                parts.extend([others, part]);
                continue;
            }
            match refusal {
                Refusal::Content(_) | Refusal::Broken(_) if part.len() > 1 => {
                    let half = part.split_off(part.len() / 2);
                    parts.extend([half, part]);
                }
                Refusal::Content(err) if abridge(&mut part[0], &err) => parts.push(part),
                Refusal::Content(err) | Refusal::Broken(err) => {
                    if self.is_given_up(&mut part[0]) && abridge(&mut part[0], &err) {
                        parts.push(part);
                    } else {
                        self.hold(part, &err);
                    }
                }
                Refusal::State(err) => self.hold(part, &err),
            }
        }
    }

    /// Offers a batch until the store takes it, or refuses it for what it is. To offer it twice is harmless: each delivery
    /// is settled once or refused.
    async fn offer(&mut self, batch: &mut [Settled]) -> Result<(), Refusal> {
        let size: usize = batch.iter().map(|settled| settled.settlement.bytes()).sum();
        let (shared, lease) = (self.shared, &self.table.lease);
        let queue = &lease.queue;
        let (mut wait, mut failures, mut broken) = (RETRY_MIN, 0_u32, 0);
        // Of one that is known to break its connection, others do not wait for more than one try.
        let may_break = if batch[0].breaks.is_some() { 1 } else { MAX_BROKEN };
        let refused = loop {
            let mut offers = offers(batch, failures == 0);
            match shared.backend().settle(&shared.claim(queue), &mut offers).await {
                Ok(refused) => break refused,
                Err(QueueError::Lapsed { .. }) => {
                    // Whatever this finds, asking anew is all there is to do.
                    let _ = shared.renew(lease).await;
                }
                Err(err) if err.is_about_content() => return Err(Refusal::Content(err)),
                // A store that will not read so much at once closes the connection, and seldom is heard to say why.
                Err(err) if size > ANY_STORE_TAKES_BYTES && err.is_broken_connection() => {
                    if shared.renew(lease).await.is_ok() {
                        broken += 1;
                    } else {
                        shared.outage.note(&err);
                    }
                    if broken >= may_break {
                        return Err(Refusal::Broken(err));
                    }
                }
                Err(err) if !shared.outage.note(&err) => return Err(Refusal::State(err)),
                Err(_) => {}
            }
            failures += 1;
            shared.outage.wait(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        };
        for settled in &mut *batch {
            let is_refused = refused.contains(&settled.delivery.tag);
            settled.delivery.end = if is_refused { End::Refused } else { End::Settled };
        }
        // Also one that is refused may stand there: the answer to it may have been lost the first time.
        if batch
            .iter()
            .any(|settled| matches!(settled.settlement, Settlement::Commit(_)))
        {
            shared.outbox.notify_one();
        }
        if shared.events.are_heard() {
            let settled = batch.iter().filter(|settled| settled.delivery.end == End::Settled);
            let settled = settled.map(|settled| (settled.delivery.tag, settled.settlement.fate()));
            shared.events.tell(Event::Settled {
                queue: queue.as_str(),
                settled: &settled.collect::<Vec<_>>(),
                refused: &refused.into_iter().collect::<Vec<_>>(),
                again: failures > 0,
            });
        }
        Ok(())
    }

    /// Takes note of a settlement that breaks its connection, and tells whether it has done so often and long enough.
    fn is_given_up(&self, settled: &mut Settled) -> bool {
        let first = Breaks {
            times: MAX_BROKEN - 1,
            since: Instant::now(),
        };
        let breaks = settled.breaks.get_or_insert(first);
        breaks.times += 1;
        breaks.times >= GIVE_UP_BROKEN && breaks.since.elapsed() >= self.shared.length * GIVE_UP_LEASES
    }

    fn hold(&mut self, refused: Vec<Settled>, err: &QueueError) {
        let held = &mut self.held;
        held.settlements.extend(refused);
        if held.refusals.is_multiple_of(RETRIES_LOGGED) {
            let (queue, jobs) = (self.table.queue(), held.settlements.len());
            tracing::error!(%queue, jobs, %err, "the store refuses settlements; holding them and offering them again");
        }
        held.refusals += 1;
        held.wait = (held.wait * 2).clamp(RETRY_MIN, RETRY_MAX);
        held.again = Some(Instant::now() + held.wait);
    }

    /// Offers the held settlements again: of those that go to one place a few, and the others if these were taken.
    async fn offer_held(&mut self) {
        let mut held = std::mem::take(&mut self.held.settlements);
        let jobs = held.len();
        while !held.is_empty() {
            let mut some: Vec<_> = held.drain(..fitting(&held)).collect();
            self.settle(&mut some).await;
            let again = held.extract_if(.., |settled| self.held.holds(&settled.settlement));
            let again: Vec<_> = again.collect();
            self.held.settlements.extend(again);
        }
        if self.held.settlements.is_empty() {
            self.held = Held::default();
            tracing::info!(queue = %self.table.queue(), jobs, "the store takes settlements again");
        }
        self.tell_how_far_behind();
    }

    /// Nothing more is fetched while much is held: what is fetched could not be settled either, and would keep others' jobs
    /// from running.
    fn tell_how_far_behind(&self) {
        let held = &self.held.settlements;
        let kib: u32 = held.iter().map(|settled| room_kib(&settled.settlement)).sum();
        let behind = held.len() >= MAX_UNSETTLED / 2 || kib >= self.shared.room_kib / 2;
        self.table.behind.store(behind, Ordering::Relaxed);
    }
}

/// Replaces what the store does not take by what every store does, and says so. False: it is no larger than that.
fn abridge(settled: &mut Settled, err: &QueueError) -> bool {
    let (queue, len) = (settled.delivery.queue(), settled.settlement.bytes());
    if len <= ANY_STORE_TAKES_BYTES {
        return false;
    }
    tracing::error!(%queue, bytes = len, %err, "the store will not take this settlement; keeping the beginning of it");
    settled.settlement = match &settled.settlement {
        Settlement::Retry { job: json, .. } | Settlement::Fail { entry: json } => {
            let why = DecodeError::Refused {
                len,
                why: text::line(&err.to_string(), MAX_LINE_BYTES).into_owned(),
            };
            let entry = wrap_refused(json.as_bytes(), queue.as_str(), &why, Timestamp::now());
            Settlement::Fail { entry }
        }
        // A commit is never that large (`state_commit_bytes`).
        Settlement::Ack { .. } | Settlement::Commit(_) | Settlement::Wait { .. } | Settlement::Requeue => {
            Settlement::Ack { result: None }
        }
    };
    settled.breaks = None;
    true
}
