//! Carries settlements out: all that have gathered in one round trip, repeated until the store takes them. A settlement
//! that the store refuses does not delay the others.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::delivery::{Delivery, End};
use super::in_flight::InFlight;
use super::lanes::OnItsWay;
use super::outage::Outage;
use super::refusals::Refusals;
use super::shared::Shared;
use crate::events::Event;
use crate::job::{self, Reply};
use crate::outcome::Settlement;
use crate::queue::error::QueueError;
use crate::queue::firing::Occurrence;
use crate::queue::history::Record;
use crate::queue::limits::{MAX_BATCH, MAX_BATCH_BYTES};
use crate::queue::moves::Offer;
use crate::queue::queue_name::QueueName;
use crate::text;

/// Most settlements held while the store cannot take them. Beyond that, attempts wait for room.
pub(in crate::queue) const MAX_UNSETTLED: usize = 1024;

/// Settlements of a queue that are held or given up before nothing more is taken from it.
pub(in crate::queue) const MAX_BEHIND: usize = MAX_UNSETTLED / 2;

/// KiB of settlements held, divided equally among the queues. A settlement that is larger than its queue's part is held
/// alone.
pub(in crate::queue) const MAX_UNSETTLED_KIB: u32 = 64 * 1024;

/// How long a batch of several waits for more. Under load settlements come close together, and a message for many costs
/// little more than one for a few. The wait delays no job, only those who read results.
const GATHERING: Duration = Duration::from_millis(1);

/// First wait before a batch is offered again; doubles.
const RETRY_MIN: Duration = Duration::from_millis(50);

/// Longest wait before a batch is offered again.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// How often a batch or its answer may be lost on the way, while the lease can be renewed, before that counts as a
/// refusal.
const MAX_BROKEN: u32 = 5;

/// Refusals of a batch between two log lines about it: about half a minute.
const RETRIES_LOGGED: u32 = 16;

/// A delivery whose fate is decided, and the room it occupies until that is carried out.
pub(super) struct Settled {
    pub(super) delivery: Delivery,
    pub(super) settlement: Settlement,
    /// The job has reached its destination in another slot, but is still in the table.
    pub(super) written: bool,
    /// Whoever waits for the job has been told.
    pub(super) answered: bool,
    /// Refusals that it met when it was offered alone; none if there were none.
    pub(super) refusals: Option<Refusals>,
    /// Announces a job that goes to a lane, until it is there.
    pub(super) _on_its_way: Option<OnItsWay>,
    /// What it takes of the room for settlements that are held.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// The room that a settlement takes.
pub(super) fn room_kib(delivery: &Delivery, settlement: &Settlement) -> u32 {
    let bytes = settlement.bytes() + delivery.record_bytes();
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX).max(1)
}

/// Settles the deliveries of one queue, until told to close and no settlement is left.
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
        // Settlements that would be refused for the same reason as held ones are held with them.
        let held = gathered.extract_if(.., |settled| settler.held.holds(&settled.settlement));
        let held: Vec<_> = held.collect();
        settler.held.settlements.extend(held);
        sort_what_waits(&mut gathered);
        settler.settle(&mut gathered).await;
        settler.tell_how_far_behind();
    }
}

/// Sorts the jobs for lanes by the order in which they were fetched, whichever thread finished first.
fn sort_what_waits(batch: &mut [Settled]) {
    // A stable sort: the order of all others stays.
    batch.sort_by_key(|settled| match settled.settlement {
        Settlement::Wait { .. } => settled.delivery.tag,
        _ => 0,
    });
}

/// Tells those who wait for jobs of a batch what these come to. Jobs are settled even if nobody can be told, unless the store
/// is away.
async fn answer(shared: &Shared, batch: &mut [Settled]) -> Result<(), QueueError> {
    let replies = batch.iter().filter(|settled| !settled.answered).filter_map(|settled| {
        let id = settled.delivery.reply_to.as_deref()?;
        Reply::to(id, &settled.settlement)
    });
    let replies: Vec<_> = replies.collect();
    if replies.is_empty() {
        return Ok(());
    }
    match shared.backend().reply(&replies).await {
        Err(err) if err.is_outage() => return Err(err),
        Err(err) => {
            let jobs = replies.len();
            tracing::warn!(jobs, %err, "those who wait for jobs could not be told that they have ended");
        }
        Ok(()) => {}
    }
    for settled in batch {
        settled.answered = true;
    }
    Ok(())
}

/// What is to be kept of the attempts of a batch. It is taken out: whatever becomes of a settlement, its attempt was made.
fn records(batch: &mut [Settled]) -> Vec<Record> {
    let records = batch.iter_mut().filter_map(|settled| settled.delivery.record.take());
    records.map(|record| *record).collect()
}

/// Keeps what attempts came to. Only an outage has it offered again.
async fn record(shared: &Shared, queue: &QueueName, records: &mut Vec<Record>) {
    if records.is_empty() {
        return;
    }
    match shared.backend().record(queue, records).await {
        Err(err) if err.is_outage() => {}
        Err(err) => {
            tracing::debug!(%queue, %err, "what attempts came to is not kept");
            records.clear();
        }
        Ok(()) => records.clear(),
    }
}

/// What to offer the store for a batch. An offer is `sure` if the lease has not ended since the delivery was taken.
fn offers(batch: &mut [Settled], first_time: bool) -> Vec<Offer<'_>> {
    let Some(lease) = batch.first().map(|settled| Arc::clone(settled.delivery.stop.lease())) else {
        return Vec::new();
    };
    let in_time = first_time && !lease.is_stopped();
    let offers = batch.iter_mut().map(|settled| Offer {
        tag: settled.delivery.tag,
        settlement: &settled.settlement,
        ends: ends(&settled.settlement, settled.delivery.stop.job_id()),
        note: note(&settled.settlement, &settled.delivery),
        lane: settled.delivery.places(),
        shuts: settled.delivery.shuts,
        of_key: settled.delivery.of_key.as_deref(),
        sure: in_time && Arc::ptr_eq(settled.delivery.stop.lease(), &lease),
        written: &mut settled.written,
    });
    offers.collect()
}

/// Which job of a schedule a settlement ends. `started` is the id of a job that was started.
fn ends<'a>(settlement: &'a Settlement, started: Option<&'a str>) -> Option<Occurrence<'a>> {
    let id = match settlement {
        Settlement::Ack {
            result: Some((id, _)), ..
        } => Some(id.as_str()),
        Settlement::Ack { .. } | Settlement::Commit(_) | Settlement::FailThere { .. } | Settlement::Drop { .. } => {
            started
        }
        // Kiln writes the id first. One with an escape in it is none of ours.
        Settlement::Fail { entry } => entry.strip_prefix("{\"id\":\"").and_then(|rest| rest.split('"').next()),
        Settlement::Retry { .. } | Settlement::Wait { .. } | Settlement::Requeue => None,
    };
    Occurrence::of(id?)
}

/// What a settlement notes in the outbox, if it ends a job that has not completed.
fn note<'a>(settlement: &Settlement, delivery: &'a Delivery) -> Option<&'a str> {
    use Settlement::{Drop, Fail, FailThere};
    let ends = matches!(settlement, Drop { .. } | Fail { .. } | FailThere { .. });
    delivery.note.as_deref().filter(|_| ends)
}

/// How many settlements of a batch, at least one, go into one message.
fn fitting(batch: &[Settled]) -> usize {
    let mut size = 0;
    let fits = batch.iter().take(MAX_BATCH).take_while(|settled| {
        let note = note(&settled.settlement, &settled.delivery);
        size += settled.settlement.bytes() + note.map_or(0, str::len);
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

/// Settlements that the store refuses. Each is held until it is taken or given up; one refused for lack of access is
/// offered again for as long as that lasts. Settlements with other destinations do not wait for these.
#[derive(Default)]
struct Held {
    settlements: Vec<Settled>,
    /// When they are offered again.
    again: Option<Instant>,
    wait: Duration,
    refusals: u32,
    /// The store's latest error.
    why: Option<String>,
}

impl Held {
    fn holds(&self, settlement: &Settlement) -> bool {
        let mut held = self.settlements.iter();
        held.any(|held| held.refusals.is_none() && held.settlement.goes_with(settlement))
    }

    /// Returns once the held settlements are to be offered again: at that time, or when an outage ends.
    async fn due(&self, outage: &Outage) {
        let left = self.again.map(|again| again.saturating_duration_since(Instant::now()));
        outage.wait(left.unwrap_or_default()).await;
    }
}

/// Why the store does not take a batch.
enum Refusal {
    /// A settlement in the batch is too long for the store in any state.
    Content(QueueError),
    /// A settlement in the batch may be too long, or its destination may be broken; the store might take the others.
    Perhaps(QueueError),
    /// This host may not write to the destination, or not through this node.
    Closed(QueueError),
}

impl Settler<'_> {
    /// Carries a batch out. Divides it where the store does not take it whole, and holds what is refused for now.
    async fn settle(&mut self, batch: &mut Vec<Settled>) {
        // A settlement that was refused alone is offered alone again.
        let mut parts: Vec<_> = batch
            .extract_if(.., |settled| settled.refusals.is_some())
            .map(|settled| vec![settled])
            .collect();
        while !batch.is_empty() {
            parts.push(batch.drain(..fitting(batch)).collect());
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
            let (err, at_once) = match refusal {
                Refusal::Closed(err) => {
                    self.hold(part, &err);
                    continue;
                }
                Refusal::Content(err) => (err, true),
                Refusal::Perhaps(err) => (err, false),
            };
            if part.len() > 1 {
                let half = part.split_off(part.len() / 2);
                parts.extend([half, part]);
                continue;
            }
            let alone = part.pop();
            let substitute = alone.and_then(|settled| self.refused(settled, &err, at_once));
            parts.extend(substitute.map(|settled| vec![settled]));
        }
        self.note_refusals();
    }

    /// Decides about a settlement that was refused alone: hold it, replace it by another now (which is returned), or set
    /// its delivery aside.
    fn refused(&mut self, mut settled: Settled, err: &QueueError, at_once: bool) -> Option<Settled> {
        let mut refusals = settled.refusals.take().unwrap_or_default();
        let are_enough = refusals.are_enough(self.shared.length) || at_once;
        if !are_enough {
            settled.refusals = Some(refusals);
            self.hold(vec![settled], err);
            return None;
        }
        let (queue, len, id) = (settled.delivery.queue(), settled.settlement.bytes(), id_of(&settled));
        let id = text::name(&id);
        let substitute = refusals.substitute(&settled.settlement, queue, err);
        settled.refusals = Some(refusals);
        let Some(substitute) = substitute else {
            tracing::error!(
                %queue, %id, bytes = len, %err,
                "the store takes no settlement of this job; it stays in flight until this worker has ended"
            );
            settled.delivery.end = End::Aside;
            self.table.aside.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        tracing::error!(%queue, %id, bytes = len, %err, "the store will not take this settlement; offering another in its place");
        settled.settlement = substitute;
        Some(settled)
    }

    /// Offers a batch until the store takes it, or refuses it for what it is. Offering it twice is harmless: each
    /// delivery is settled once, and then refused.
    async fn offer(&mut self, batch: &mut [Settled]) -> Result<(), Refusal> {
        let (shared, lease) = (self.shared, &self.table.lease);
        let queue = &lease.queue;
        let (mut wait, mut failures, mut broken) = (RETRY_MIN, 0_u32, 0);
        // A settlement that was refused before gets one try only, so that others need not wait.
        let mut records = records(batch);
        let may_break = if batch[0].refusals.is_some() { 1 } else { MAX_BROKEN };
        let refused = loop {
            // First those who wait for jobs are told: if this host dies in between, they are told again.
            let told = answer(shared, batch).await;
            let mut offers = offers(batch, failures == 0);
            let settled = match told {
                Ok(()) if records.is_empty() => shared.backend().settle(&shared.claim(queue), &mut offers).await,
                Ok(()) => {
                    let claim = shared.claim(queue);
                    let settling = shared.backend().settle(&claim, &mut offers);
                    tokio::join!(settling, record(shared, queue, &mut records)).0
                }
                Err(err) => Err(err),
            };
            match settled {
                Ok(refused) => break refused,
                Err(QueueError::Lapsed { .. }) => {
                    // Whatever the renewal says, the batch is simply offered again.
                    let _ = shared.renew(lease).await;
                }
                Err(err) if err.is_about_content() => return Err(Refusal::Content(err)),
                // A store that refuses so long a message closes the connection, and its reason is seldom received.
                Err(err) if err.is_on_the_way() => {
                    if shared.renew(lease).await.is_ok() {
                        broken += 1;
                    } else {
                        shared.outage.note(&err);
                    }
                    if broken >= may_break {
                        return Err(Refusal::Perhaps(err));
                    }
                }
                Err(err) if shared.outage.note(&err) => {}
                Err(err) if err.is_about_access() => return Err(Refusal::Closed(err)),
                Err(err) => return Err(Refusal::Perhaps(err)),
            }
            failures += 1;
            shared.outage.wait(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        };
        for settled in &mut *batch {
            let is_refused = refused.contains(&settled.delivery.tag);
            settled.delivery.end = if is_refused { End::Refused } else { End::Settled };
        }
        // A refused commit may stand in the outbox, too: the answer to its first offer may have been lost.
        let mut entries = batch.iter().filter_map(|settled| {
            let bytes = match &settled.settlement {
                Settlement::Commit(commit) => commit.len(),
                other => note(other, &settled.delivery)?.len(),
            };
            Some((settled.delivery.tag, bytes))
        });
        if let Some(first) = entries.next() {
            shared.outboxes.filled_by(queue, std::iter::once(first).chain(entries));
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

    fn hold(&mut self, refused: Vec<Settled>, err: &QueueError) {
        self.held.settlements.extend(refused);
        self.held.why = Some(err.to_string());
    }

    /// Sets the time at which the refused settlements are offered again, and logs them now and then.
    fn note_refusals(&mut self) {
        let held = &mut self.held;
        let Some(err) = held.why.take() else { return };
        if held.refusals.is_multiple_of(RETRIES_LOGGED) {
            let (queue, jobs) = (self.table.queue(), held.settlements.len());
            tracing::error!(%queue, jobs, err, "the store refuses settlements; holding them and offering them again");
        }
        held.refusals += 1;
        held.wait = (held.wait * 2).clamp(RETRY_MIN, RETRY_MAX);
        held.again = Some(Instant::now() + held.wait);
    }

    /// Offers the held settlements again, a few for each destination. The rest follows once these are taken.
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
            tracing::info!(queue = %self.table.queue(), jobs, "no settlement is held any more");
        }
        self.tell_how_far_behind();
    }

    /// Stops further fetches while much is held or set aside: further jobs could not be settled either, and would keep
    /// other queues' jobs from running.
    fn tell_how_far_behind(&self) {
        let held = &self.held.settlements;
        let kib: u32 = held
            .iter()
            .map(|settled| room_kib(&settled.delivery, &settled.settlement))
            .sum();
        let unsettled = held.len() + self.table.aside.load(Ordering::Relaxed);
        let behind = unsettled >= MAX_BEHIND || kib >= self.shared.room_kib / 2;
        self.table.behind.store(behind, Ordering::Relaxed);
    }
}

/// The job's id, if the settlement or the delivery knows it.
fn id_of(settled: &Settled) -> String {
    let found = match &settled.settlement {
        Settlement::Retry { job: json, .. } | Settlement::Fail { entry: json } => job::id_of(json),
        Settlement::Ack { result } => result.as_ref().map(|(id, _)| id.clone()),
        _ => None,
    };
    let started = || settled.delivery.stop.job_id().map(str::to_owned);
    found.or_else(started).unwrap_or_default()
}
