//! What must hold, whatever happens.

use super::Place::{Delayed, Done, Dropped, Failed, InFlight, Ready, Waiting};
use super::Process::{Gone, Paused};
use super::Stage::{Running, Settling};
use super::{Entry, Host, Lease, Protocol, State, Step};

/// Copies that one mishap may leave where moves across slots take several scripts: of the settlement and the promotion
/// that its host was at.
const DUPLICATES: usize = 2;

/// What holds in every reachable state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Property {
    /// Every job is ready, waiting, delayed, in flight, failed or done.
    NeverLost,
    /// In one slot, it is only one of these. Across slots, mishaps bound its copies.
    NeverDoubled,
    /// No job runs twice at one time, unless on a paused host. Across slots copies may, so there without a mishap.
    NeverRunTwiceAtOnce,
    /// With a limit across hosts, no two jobs run at one time, unless on a paused host.
    NeverMoreThanAllowed,
    /// Of jobs that are unique by one key, one is dropped only for another, so not all of them are.
    NeverDroppedForNobody,
    /// Where only the newest of a key is to run, none is dropped for an older one, and none starts after a newer one has.
    NewestRunsLast,
    /// No more jobs are let on than a throttle lets.
    NeverTooOften,
    /// What was put off for as long as it may is put off no longer.
    OpensInTime,
    /// Without a mishap, a job runs once for each attempt.
    RunOncePerAttempt,
    /// Nothing counts as lost without a mishap.
    CountedRight,
    /// No fetch takes anything from a paused queue.
    NothingTakenWhilePaused,
    /// No job starts that was cancelled before it was fetched.
    NothingStartedOnceCancelled,
    /// Without further mishaps every job can still end, and what dead hosts left be cleared away.
    NeverStuck,
}

impl State {
    /// The first property that this state breaks by itself: whether it is stuck, the others tell.
    pub(super) fn breaks(&self, protocol: &Protocol) -> Option<Property> {
        let certain = !protocol.split || self.mishaps == 0;
        let any = |broken: &dyn Fn(u8) -> bool| (0..protocol.jobs).any(broken);
        if any(&|id| self.of(id).count() == 0) {
            return Some(Property::NeverLost);
        }
        if any(&|id| self.of(id).count() > 1 + self.duplicates_allowed(protocol, id)) {
            return Some(Property::NeverDoubled);
        }
        if certain && any(&|id| self.running(id) > 1) {
            return Some(Property::NeverRunTwiceAtOnce);
        }
        if protocol.limited && (0..protocol.jobs).map(|id| self.running(id)).sum::<usize>() > 1 {
            return Some(Property::NeverMoreThanAllowed);
        }
        if (0..protocol.jobs).all(|id| self.of(id).all(|(_, at)| at == Dropped)) {
            return Some(Property::NeverDroppedForNobody);
        }
        if let Some(broken) = self.key.breaks(self.waits().is_some()) {
            return Some(broken);
        }
        if any(&|id| self.of(id).all(|(job, _)| self.runs[usize::from(id)] > 1 + job.retries)) {
            return Some(Property::RunOncePerAttempt);
        }
        if self.taken_while_paused {
            return Some(Property::NothingTakenWhilePaused);
        }
        if self.started_when_cancelled {
            return Some(Property::NothingStartedOnceCancelled);
        }
        let miscounted = self.copies().any(|(job, _)| job.lost > self.mishaps);
        miscounted.then_some(Property::CountedRight)
    }

    fn of(&self, id: u8) -> impl Iterator<Item = Entry> {
        self.copies().filter(move |(job, _)| job.id == id)
    }

    fn duplicates_allowed(&self, protocol: &Protocol, id: u8) -> usize {
        if !protocol.split {
            return 0;
        }
        self.of(id).filter(|entry| self.moved(*entry)).count() + DUPLICATES * usize::from(self.mishaps)
    }

    /// About to be removed, since its destination has been written.
    fn moved(&self, (job, at): Entry) -> bool {
        match at {
            InFlight { host, tag } => matches!(self.held(host, tag), Some((_, Settling(_, Step::Moved)))),
            Delayed(_) => self.hosts.iter().any(|host| host.promoting == Some((job, Step::Moved))),
            Ready | Waiting | Failed | Done | Dropped => false,
        }
    }

    /// Hosts that run the job and are not paused; a host twice if it runs it twice.
    fn running(&self, id: u8) -> usize {
        let awake = self.hosts.iter().filter(|host| host.process != Paused);
        let held = awake.flat_map(|host| host.held.iter().flatten());
        held.filter(|(job, stage)| job.id == id && *stage == Running).count()
    }

    /// Every job is done or failed, and dead hosts have left nothing.
    pub(super) fn is_end(&self) -> bool {
        let cleared = |host: &Host| host.process != Gone || host.lease == Lease::None;
        self.copies().all(|(_, at)| matches!(at, Done | Failed | Dropped)) && self.hosts.iter().all(cleared)
    }
}
