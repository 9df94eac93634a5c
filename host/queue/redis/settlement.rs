//! Settlements: in flight → done, waiting, delayed, failed or ready again.
//!
//! If all keys are in one slot, a settlement is one script. If not, it takes three steps: check that the delivery is
//! still the host's, write to the destination, remove the source. A crash in between leaves the job in both places,
//! never in neither.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use ::redis::{ErrorKind, RedisError, ServerErrorKind, cmd};

use super::RedisStore;
use super::fault::is_outage;
use super::scripts::{OURS, PUSH_DELAYED, SETTLE};
use crate::outcome::{Lane, Settlement};
use crate::queue::error::QueueError;
use crate::queue::firing::Occurrence;
use crate::queue::limits::MAX_LIMITED_LANES;
use crate::queue::moves::{Claim, Offer, millis};
use crate::queue::unique::{AWAITED_FOR, OfKey};

/// A result: the tag of its delivery, the id of its job, its text.
type Kept<'a> = (u64, &'a str, &'a str);

/// The settlements of a batch, as the script takes them.
#[derive(Default)]
struct Fates<'a> {
    /// Acknowledged without a result, and certainly held by the host: all are removed at once.
    sure: Vec<u64>,
    /// Acknowledged with a result to keep.
    results: Vec<Kept<'a>>,
    /// Settled one by one: tag, fate, bytes, seconds to wait.
    others: Vec<(u64, &'static str, &'a str, f64)>,
    /// What goes into the outbox, beside the fate of the same delivery.
    notes: Vec<(u64, &'a str)>,
    /// Sent to a lane: tag and lane.
    waits: Vec<(u64, &'a Lane)>,
    /// Failed by joining a head to the bytes that Redis has: tag, head, and the entry to write if that cannot be done.
    theirs: Vec<(u64, &'a str, &'a str)>,
    /// Jobs of schedules that end: tag and which.
    ends: Vec<(u64, Occurrence<'a>)>,
    /// Sent to a lane of a group: tag and lane.
    limited: Vec<(u64, &'a Lane)>,
    /// Places of limits that are given back: tag and the lane it came from.
    free: Vec<(u64, &'a Lane)>,
    /// Lanes that are shut for a while: tag of the delivery that came from there, lane, how long.
    shut: Vec<(u64, &'a Lane, Duration)>,
    /// Keys of unique jobs: for how long one waits for its next attempt; none: no longer.
    of_keys: Vec<(u64, &'a OfKey, Option<Duration>)>,
}

impl<'a> Fates<'a> {
    fn of(batch: &'a [Offer<'_>], keep_results: bool) -> Self {
        let mut fates = Self::default();
        for offer in batch {
            fates.add(offer, keep_results);
        }
        fates
    }

    fn add(&mut self, offer: &'a Offer<'_>, keep_results: bool) {
        let tag = offer.tag;
        self.end(offer);
        self.notes.extend(offer.note.map(|note| (tag, note)));
        match offer.settlement {
            Settlement::Ack {
                result: Some((id, json)),
            } if keep_results => self.results.push((tag, id, json)),
            Settlement::Commit(commit) => {
                self.notes.push((tag, commit));
                self.remove(tag);
            }
            // What is sure is removed first. A note is made, a lane is shut, and a key is told of, only of what is still there.
            Settlement::Ack { .. } | Settlement::Drop { .. }
                if offer.sure && offer.note.is_none() && offer.shuts.is_none() && offer.of_key.is_none() =>
            {
                self.sure.push(tag);
            }
            Settlement::Ack { .. } | Settlement::Drop { .. } => self.remove(tag),
            Settlement::Retry { job, wait } => self.others.push((tag, "retry", job, wait.as_secs_f64())),
            Settlement::Fail { entry } => self.others.push((tag, "fail", entry, 0.0)),
            Settlement::FailThere { head, otherwise } => self.theirs.push((tag, head, otherwise)),
            Settlement::Wait { lane } if lane.caps().is_some() => self.limited.push((tag, lane)),
            Settlement::Wait { lane } => self.waits.push((tag, lane)),
            Settlement::Requeue => self.requeue(tag),
        }
    }

    /// Notes that a job of a schedule ends, if one does, that places become free, and that a lane is shut.
    fn end(&mut self, offer: &'a Offer<'_>) {
        self.free.extend(offer.lane.map(|lane| (offer.tag, lane)));
        let shut = offer.lane.zip(offer.shuts).map(|(lane, wait)| (offer.tag, lane, wait));
        self.shut.extend(shut);
        self.ends.extend(offer.ends.map(|ends| (offer.tag, ends)));
        let of_key = offer.of_key.and_then(|key| {
            let waits = match offer.settlement {
                Settlement::Retry { wait, .. } => Some(*wait + AWAITED_FOR),
                Settlement::Fail { .. } | Settlement::FailThere { .. } | Settlement::Drop { .. } if !key.yields => None,
                _ => return None,
            };
            Some((offer.tag, key, waits))
        });
        self.of_keys.extend(of_key);
    }

    fn remove(&mut self, tag: u64) {
        self.others.push((tag, "ack", "", 0.0));
    }

    fn requeue(&mut self, tag: u64) {
        self.others.push((tag, "requeue", "", 0.0));
    }

    fn bytes(&self) -> usize {
        let results = self.results.iter().map(|(_, id, json)| id.len() + json.len());
        let theirs = self.theirs.iter().map(|(_, head, entry)| head.len() + entry.len());
        results
            .chain(self.others.iter().map(|(_, _, bytes, _)| bytes.len()))
            .chain(self.notes.iter().map(|(_, bytes)| bytes.len()))
            .chain(theirs)
            .sum()
    }

    fn is_empty(&self) -> bool {
        let none_is_kept = self.sure.is_empty() && self.results.is_empty();
        let none_waits = self.waits.is_empty() && self.limited.is_empty();
        none_is_kept && none_waits && self.others.is_empty() && self.theirs.is_empty()
    }

    fn have(&self, fate: &str) -> bool {
        self.others.iter().any(|(_, other, ..)| *other == fate)
    }
}

impl RedisStore {
    pub(super) async fn settle(&self, claim: &Claim<'_>, batch: &mut [Offer<'_>]) -> Result<Vec<u64>, QueueError> {
        if self.split {
            self.settle_across(claim, batch).await
        } else {
            self.settle_in_one_slot(claim, batch).await
        }
    }

    pub(super) async fn give_back(&self, claim: &Claim<'_>, tags: &[u64]) -> Result<usize, QueueError> {
        let mut fates = Fates::default();
        for tag in tags {
            fates.requeue(*tag);
        }
        let refused = self.carry_out(claim, &fates).await?;
        Ok(tags.len() - refused.len())
    }

    async fn settle_in_one_slot(&self, claim: &Claim<'_>, batch: &[Offer<'_>]) -> Result<Vec<u64>, QueueError> {
        let fates = Fates::of(batch, self.keeps_results());
        match self.carry_out(claim, &fates).await {
            // A user who may not write results can still acknowledge.
            Err(QueueError::Redis(err)) if !fates.results.is_empty() && err.code() == Some("NOPERM") => {
                let refused = self.carry_out(claim, &Fates::of(batch, false)).await?;
                self.unkept.note(fates.results.len() as u64, &err.to_string());
                Ok(refused)
            }
            settled => settled,
        }
    }

    /// Settles a batch where the delayed set, the failed list and results are in other slots.
    async fn settle_across(&self, claim: &Claim<'_>, batch: &mut [Offer<'_>]) -> Result<Vec<u64>, QueueError> {
        let ours = self.write_elsewhere(claim, batch).await?;
        let (mut fates, mut refused) = (Fates::default(), Vec::new());
        for offer in &*batch {
            match offer.settlement {
                // A job that is at its destination is removed here. One that was not written was not held by this host.
                settlement if goes_elsewhere(settlement) && *offer.written => {
                    fates.end(offer);
                    fates.notes.extend(offer.note.map(|note| (offer.tag, note)));
                    fates.remove(offer.tag);
                }
                settlement if goes_elsewhere(settlement) => refused.push(offer.tag),
                Settlement::Ack { result: Some(_) } if self.keeps_results() && !ours.contains(&offer.tag) => {
                    refused.push(offer.tag);
                }
                _ => fates.add(offer, false),
            }
        }
        refused.extend(self.carry_out(claim, &fates).await?);
        Ok(refused)
    }

    /// Runs the settlement script; across slots, this is the last step. Returns the tags that were refused.
    async fn carry_out(&self, claim: &Claim<'_>, fates: &Fates<'_>) -> Result<Vec<u64>, QueueError> {
        if fates.is_empty() {
            return Ok(Vec::new());
        }
        let queue = claim.queue.as_str();
        let in_flight = self.in_flight(claim);
        // A key that the batch does not use is not named: the user may have no access to it, and it may already be gone
        // from a slot that is moving away. A key in another slot is never named.
        let named = |used: bool, key: String| if used { key } else { in_flight.clone() };
        let mut keys = vec![
            in_flight.clone(),
            named(fates.have("requeue"), self.ready(claim)),
            named(fates.have("retry"), self.keys.delayed(queue)),
            named(fates.have("fail") || !fates.theirs.is_empty(), self.keys.failed()),
            named(
                !(fates.waits.is_empty() && fates.limited.is_empty()),
                self.keys.lanes(queue),
            ),
        ];
        let lanes: BTreeSet<_> = fates.waits.iter().map(|(_, lane)| *lane).collect();
        let first_lane = keys.len() + 1;
        keys.extend(lanes.iter().map(|lane| self.keys.waiting(queue, lane.as_str())));
        let outbox = keys.len() + 1;
        keys.extend((!fates.notes.is_empty()).then(|| self.keys.outbox(queue)));
        let unended = keys.len() + 1;
        keys.extend((!fates.ends.is_empty()).then(|| self.keys.unended(queue)));
        keys.extend(fates.results.iter().map(|(_, id, _)| self.keys.result(id)));
        let mut call = SETTLE.keys(&keys);
        call.arg(fates.sure.len())
            .arg(fates.results.len())
            .arg(millis(self.result_ttl))
            .arg(&fates.sure);
        for (tag, _, json) in &fates.results {
            call.arg(tag).arg(json);
        }
        // Before what takes the delivery out of the table.
        for (tag, note) in &fates.notes {
            call.arg(tag).arg("note").arg(note).arg(outbox);
        }
        for (tag, lane, wait) in &fates.shut {
            let group = self.keys.group(queue, lane.limited().unwrap_or_default());
            let shut = format!("{} {MAX_LIMITED_LANES} {group}", wait.as_secs_f64());
            call.arg(tag).arg("shut").arg(lane.caps()).arg(shut);
        }
        for (tag, key, waits) in &fates.of_keys {
            let OfKey {
                group,
                cap,
                id,
                stamp,
                yields,
            } = key;
            let what = if *yields {
                format!("{} {cap}{stamp} {id}", cap.len())
            } else {
                format!("{} {cap}{id}", cap.len())
            };
            let (fate, what) = match waits {
                Some(waits) => {
                    let rule = if *yields { "yield" } else { "keep" };
                    ("await", format!("{rule} {} {what}", millis(*waits)))
                }
                None => ("forget", what),
            };
            let keys = self.keys.group(queue, group.limited().unwrap_or_default());
            call.arg(tag).arg(fate).arg(what).arg(keys);
        }
        for (tag, fate, bytes, wait_s) in &fates.others {
            call.arg(tag).arg(fate).arg(bytes).arg(wait_s);
        }
        for (tag, head, otherwise) in &fates.theirs {
            call.arg(tag).arg("failthere").arg(head).arg(otherwise);
        }
        for (tag, lane) in &fates.waits {
            let place = lanes.iter().take_while(|other| *other != lane).count();
            call.arg(tag).arg("wait").arg(lane.as_str()).arg(first_lane + place);
        }
        for (tag, ends) in &fates.ends {
            let job = format!("{} {}", ends.at.as_millisecond(), ends.schedule);
            call.arg(tag).arg("close").arg(job).arg(unended);
        }
        for (tag, lane) in &fates.limited {
            let (group, stem) = (lane.group(), lane.limited().unwrap_or_default());
            let group = group.as_str();
            let keys = format!("{} {group}{}", group.len(), self.keys.group(queue, stem));
            call.arg(tag).arg("limit").arg(lane.caps()).arg(keys);
        }
        for (tag, lane) in &fates.free {
            let keys = self.keys.group(queue, lane.limited().unwrap_or_default());
            call.arg(tag).arg("free").arg(lane.caps()).arg(keys);
        }
        let (refused, lost, why): (Vec<u64>, u64, String) = self.pool.call_with(&call, fates.bytes()).await?;
        if !fates.results.is_empty() {
            self.unkept.note(lost, &why);
        }
        Ok(refused)
    }

    /// The first two steps across slots: checks which deliveries the host holds, and writes those jobs and results to
    /// their destinations. Returns the tags that the host holds.
    async fn write_elsewhere(&self, claim: &Claim<'_>, batch: &mut [Offer<'_>]) -> Result<HashSet<u64>, QueueError> {
        let moves = |offer: &Offer<'_>| !*offer.written && goes_elsewhere(offer.settlement);
        let results = if self.keeps_results() {
            results(batch)
        } else {
            Vec::new()
        };
        let asked = batch.iter().filter(|offer| moves(offer)).map(|offer| offer.tag);
        let asked: Vec<_> = asked.chain(results.iter().map(|(tag, ..)| *tag)).collect();
        if asked.is_empty() {
            return Ok(HashSet::new());
        }
        let mut call = OURS.keys(&[self.in_flight(claim), self.leases(claim)]);
        let ours: Option<HashSet<u64>> = self.pool.call(call.arg(claim.host).arg(asked)).await?;
        let Some(ours) = ours else {
            let queue = claim.queue.clone();
            return Err(QueueError::Lapsed { queue });
        };
        // Results are written before their jobs are acknowledged, so that an acknowledged job has its result.
        let results = results.into_iter().filter(|(tag, ..)| ours.contains(tag));
        self.keep_elsewhere(results.map(|(_, id, json)| (id, json))).await?;
        for offer in batch
            .iter_mut()
            .filter(|offer| moves(offer) && ours.contains(&offer.tag))
        {
            match offer.settlement {
                Settlement::Retry { job, wait } => {
                    let mut call = PUSH_DELAYED.keys(&[self.keys.delayed(claim.queue.as_str())]);
                    let from_now = format!("+{}", wait.as_secs_f64());
                    self.pool.call::<()>(call.arg(job).arg(from_now)).await?;
                }
                // The list is in another slot than the bytes that Redis has of the job, so the entry is made of those
                // that this host has.
                Settlement::Fail { entry } | Settlement::FailThere { otherwise: entry, .. } => {
                    self.run::<()>(cmd("RPUSH").arg(self.keys.failed()).arg(entry)).await?;
                }
                Settlement::Ack { .. }
                | Settlement::Commit(_)
                | Settlement::Wait { .. }
                | Settlement::Requeue
                | Settlement::Drop { .. } => {}
            }
            *offer.written = true;
        }
        Ok(ours)
    }

    /// Keeps results, each in a slot of its own: the id of the job, and its text.
    pub(super) async fn keep_elsewhere<'a>(
        &self,
        results: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), QueueError> {
        let sets: Vec<_> = results
            .map(|(id, json)| {
                let mut set = cmd("SET");
                set.arg(self.keys.result(id))
                    .arg(json)
                    .arg("PX")
                    .arg(millis(self.result_ttl));
                set
            })
            .collect();
        if sets.is_empty() {
            return Ok(());
        }
        let all = sets.len() as u64;
        match self.pool.run_all(sets).await {
            Ok(()) => self.unkept.note(0, ""),
            Err(QueueError::Redis(err)) if costs_only_results(&err) => self.unkept.note(all, &err.to_string()),
            Err(err) => return Err(err),
        }
        Ok(())
    }

    pub(super) fn keeps_results(&self) -> bool {
        !self.result_ttl.is_zero()
    }
}

/// Whether a settlement writes to another slot than the delivery's.
fn goes_elsewhere(settlement: &Settlement) -> bool {
    use Settlement::{Fail, FailThere, Retry};
    matches!(settlement, Retry { .. } | Fail { .. } | FailThere { .. })
}

/// The batch's results.
fn results<'a>(batch: &[Offer<'a>]) -> Vec<Kept<'a>> {
    let result = |offer: &Offer<'a>| match offer.settlement {
        Settlement::Ack {
            result: Some((id, json)),
        } => Some((offer.tag, id.as_str(), json.as_str())),
        _ => None,
    };
    batch.iter().filter_map(result).collect()
}

/// Whether a job is acknowledged in spite of this error, without its result. A Redis that is out of memory takes no
/// results, but it takes acknowledgements, which make room. After a move in a Cluster, the next result can be kept: the
/// client then knows the new node.
fn costs_only_results(err: &RedisError) -> bool {
    use ServerErrorKind::{Ask, Moved};
    let has_moved = matches!(err.kind(), ErrorKind::Server(Moved | Ask));
    err.code() == Some("OOM") || !(is_outage(err) || has_moved)
}
