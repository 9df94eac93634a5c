//! Jobs that are unique by a key, in each of the four modes: what the store knows of the key, and how it decides.
//!
//! Times are what may pass, not how long: a throttle ends some time, a debounced job opens some time. Assumed is that what was
//! fetched is asked about within the minute for which the newest one is remembered, and that a further attempt comes within ten
//! minutes after it fell due.

use super::Place::{Delayed, Done, Dropped, Failed, InFlight, Ready, Waiting};
use super::Stage::{Fetched, Settling};
use super::moves::{Event, Kind, Moves};
use super::promises::Property;
use super::{HOSTS, Job, LIMITED, Mistake, Place, Protocol, State, Step, TAGS, holds};

/// Which jobs of the key run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One that comes while another has the place, waits in its lane, or waits for its next attempt is dropped.
    Drop,
    /// One runs at a time, and the newest waits in place of those before it.
    Latest,
    /// The same, but it starts only once its time has come.
    Debounce,
    /// After one was let go on, others are dropped until that is over.
    Throttle,
}

/// What the store knows of the key, and what is noted to judge it by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Key {
    /// The job that waits for its next attempt, where others are dropped meanwhile.
    awaited: Option<u8>,
    /// Where only the newest runs: the stamp of the newest when a job began to wait for its next attempt, or since; or 0.
    awaited_at: u8,
    /// The stamp of the newest that was admitted, or 0.
    at: u8,
    /// The time of the job that waits has come; it has waited for as long as it may since the first of those it replaced came.
    opens: bool,
    capped: bool,
    /// The job that was let go on, until that is over.
    window: Option<u8>,
    /// To judge by: as `capped`, but never forgotten while a job waits.
    overdue: bool,
    /// How many were let go on at a time, and which ever were, a bit for each.
    let_on_at_once: u8,
    let_on: u8,
    /// The latest stamp of those that have started.
    started: u8,
    dropped_for_older: bool,
    started_after_newer: bool,
    started_unasked: bool,
}

impl Mode {
    /// Whether a newer job takes the place of one that waits.
    fn yields(self) -> bool {
        matches!(self, Self::Latest | Self::Debounce)
    }
}

impl Key {
    /// The job that waited is taken.
    pub(super) fn starts(&mut self) {
        (self.opens, self.capped, self.overdue) = (false, false, false);
    }

    /// A job runs.
    pub(super) fn runs(&mut self, mode: Option<Mode>, job: Job) {
        self.started_after_newer |= job.stamp < self.started;
        self.started = self.started.max(job.stamp);
        self.started_unasked |= mode == Some(Mode::Throttle) && self.let_on & (1 << job.id) == 0;
    }

    /// What becomes of an admitted job.
    pub(super) fn settles(&mut self, mode: Mode, job: Job, to: Place, forgets: bool) {
        match mode {
            _ if !job.admitted => {}
            Mode::Drop if to == Delayed(None) => self.awaited = Some(job.id),
            Mode::Drop if to == Failed && self.awaited == Some(job.id) => self.awaited = None,
            Mode::Latest | Mode::Debounce if to == Delayed(None) && !forgets => {
                let newest = if self.at == 0 { self.awaited_at } else { self.at };
                self.awaited_at = if newest == 0 { job.stamp } else { newest };
            }
            _ => {}
        }
    }

    /// The first promise about the key that is broken.
    pub(super) fn breaks(&self, waits: bool) -> Option<Property> {
        if self.dropped_for_older || self.started_after_newer {
            return Some(Property::NewestRunsLast);
        }
        if self.let_on_at_once > 1 || self.started_unasked {
            return Some(Property::NeverTooOften);
        }
        (waits && self.overdue && !self.opens).then_some(Property::OpensInTime)
    }
}

impl Job {
    /// As it stands in the store once it is there.
    pub(super) fn bytes(self, place: Place) -> Self {
        let is_over = matches!(place, Done | Failed | Dropped);
        if is_over || !(self.admitted || self.asked) {
            return Self {
                stamp: 0,
                asked: false,
                ..self
            };
        }
        self
    }
}

impl State {
    /// Numbers the stamps anew, in their order: only that matters.
    pub(super) fn rank_stamps(&mut self) {
        let mut known = 0_u64;
        self.each_stamp(|stamp| known |= 1 << *stamp);
        if known > 1 {
            // That there is none is 0, before and after.
            known &= !1;
            self.each_stamp(|stamp| {
                let up_to = known & ((2 << *stamp) - 1);
                *stamp = u8::try_from(up_to.count_ones()).expect("a few");
            });
        }
    }

    fn each_stamp(&mut self, mut then: impl FnMut(&mut u8)) {
        let held = self.hosts.iter_mut().flat_map(|host| host.held.iter_mut().flatten());
        held.for_each(|(job, _)| then(&mut job.stamp));
        let entries = self.entries.iter_mut().flatten();
        entries.for_each(|(job, _)| then(&mut job.stamp));
        let key = &mut self.key;
        [&mut key.awaited_at, &mut key.at, &mut key.started]
            .into_iter()
            .for_each(then);
    }

    fn next_stamp(&self) -> u8 {
        let (mut state, mut last) = (*self, 0);
        state.each_stamp(|stamp| last = last.max(*stamp));
        last + 1
    }

    pub(super) fn waits(&self) -> Option<Job> {
        self.copies().find(|(_, at)| *at == Waiting).map(|(job, _)| job)
    }
}

/// What passes by itself.
pub(super) fn passes(mode: Mode, state: &State, found: &mut Vec<(Kind, Event, State)>) {
    let mut pass = |kind, what, change: &dyn Fn(&mut Key)| {
        let mut next = *state;
        change(&mut next.key);
        if next.key != state.key {
            found.push((kind, (0, what), next));
        }
    };
    match mode {
        Mode::Drop => pass(Kind::Choice, "sees a further attempt waited for no longer", &|key| {
            key.awaited = None;
        }),
        Mode::Throttle => pass(Kind::Choice, "sees the throttle end", &|key| {
            (key.window, key.let_on_at_once) = (None, 0);
        }),
        Mode::Latest | Mode::Debounce => {
            let is_at_hand = |(job, at): (Job, Place)| match at {
                InFlight { .. } | Waiting => true,
                Ready => job.admitted || job.asked,
                Delayed(_) => job.asked,
                Done | Failed | Dropped => false,
            };
            if !state.copies().any(is_at_hand) {
                pass(Kind::Choice, "sees the newest forgotten", &|key| key.at = 0);
            }
            let goes_on = |(job, at): (Job, Place)| job.admitted && !matches!(at, Done | Failed | Dropped);
            if !state.copies().any(goes_on) {
                pass(Kind::Choice, "sees a further attempt waited for no longer", &|key| {
                    key.awaited_at = 0;
                });
            }
        }
    }
    if mode == Mode::Debounce && state.waits().is_some() {
        pass(Kind::Step, "sees the time come of what waits", &|key| key.opens = true);
        pass(Kind::Choice, "sees it wait for as long as it may", &|key| {
            (key.opens, key.capped, key.overdue) = (true, true, true);
        });
    }
}

impl Moves<'_> {
    /// What waits may start.
    pub(super) fn opens(&self) -> bool {
        self.protocol.unique != Some(Mode::Debounce) || self.s.key.opens
    }

    /// A job as the host gets it: if it has no stamp, with one.
    pub(super) fn stamped(&self, job: Job) -> Job {
        let is_ordered = self.protocol.unique.is_some_and(Mode::yields);
        if is_ordered && job.stamp == 0 {
            let stamp = self.s.next_stamp();
            return Job { stamp, ..job };
        }
        job
    }

    pub(super) fn must_contend(&self, tag: u8, job: Job) -> bool {
        match self.protocol.unique {
            None => false,
            Some(Mode::Throttle) => !job.admitted,
            Some(_) => !self.s.has_place(self.h, tag),
        }
    }

    /// Whether it runs is decided in one step.
    pub(super) fn contends(&mut self, tag: u8, job: Job) {
        let (s, h) = (self.s, self.h);
        if s.in_table(h, tag).is_none() {
            return self.step("finds it gone", s.hold(h, tag, None));
        }
        match self.protocol.unique {
            Some(Mode::Throttle) => self.throttles(tag, job),
            Some(Mode::Drop) => self.drops(tag, job),
            Some(_) => self.keeps_the_newest(tag, job),
            None => {}
        }
    }

    /// The place of whoever is in no table any more is free. The state with these places freed, and whether one is taken.
    fn frees_places(&self) -> (State, bool) {
        let (mut freed, mut runs) = (self.s, false);
        for o in 0..u8::try_from(HOSTS).expect("a few") {
            for t in (0..TAGS).filter(|t| self.s.has_place(o, *t)) {
                if self.s.in_table(o, t).is_some() || self.makes(Mistake::BelievesEveryPlace) {
                    runs = true;
                } else {
                    freed = freed.place(o, t, false);
                }
            }
        }
        (freed, runs)
    }

    fn is_one_too_many(&mut self, tag: u8, job: Job, change: impl FnOnce(&mut Key)) {
        let mut dropped = self.s.hold(self.h, tag, Some((job, Settling(Dropped, Step::Begun))));
        change(&mut dropped.key);
        self.step("finds it one too many", dropped);
    }

    fn drops(&mut self, tag: u8, job: Job) {
        let (freed, runs) = self.frees_places();
        let (s, key) = (self.s, self.s.key);
        let is_other = |id| id != job.id || self.makes(Mistake::DropsItsOwnFurtherAttempt);
        if runs || s.waits().is_some() || key.awaited.is_some_and(is_other) {
            let forgets = key.awaited == Some(job.id) && !self.makes(Mistake::KeepsWaitingForWhatItDrops);
            return self.is_one_too_many(tag, job, |key| key.awaited = key.awaited.filter(|_| !forgets));
        }
        let mut admitted = freed;
        admitted.key.awaited = None;
        self.admits(tag, job, admitted);
    }

    fn keeps_the_newest(&mut self, tag: u8, job: Job) {
        let (mut next, _) = self.frees_places();
        let (waits, key) = (self.s.waits(), self.s.key);
        let newest = if key.at == 0 { key.awaited_at } else { key.at };
        let is_late = if job.admitted {
            waits.is_some() || (newest != 0 && newest != job.stamp)
        } else {
            job.stamp < newest && !self.makes(Mistake::OrdersByWhenItIsAsked)
        };
        if is_late {
            let for_older = waits.map_or(newest, |waits| waits.stamp) < job.stamp;
            return self.is_one_too_many(tag, job, |key| key.dropped_for_older |= for_older);
        }
        if let Some(before) = waits {
            next.key.dropped_for_older |= job.stamp < before.stamp;
            next = next.take(Some((before, Waiting))).put(before.bytes(Dropped), Dropped);
        } else {
            next.key.starts();
        }
        if self.makes(Mistake::ForgetsWhenTheFirstCame) {
            next.key.capped = false;
        }
        next.key.opens = job.admitted || next.key.capped;
        next.key.at = job.stamp;
        if key.awaited_at != 0 && !job.admitted {
            next.key.awaited_at = job.stamp;
        }
        self.admits(tag, job, next);
        self.cannot_ask(tag, job);
    }

    /// From then on it waits in its lane.
    fn admits(&mut self, tag: u8, job: Job, next: State) {
        let h = self.h;
        let admitted = Job {
            admitted: true,
            asked: false,
            ..job
        };
        let next = next.take(self.s.in_table(h, tag)).put(admitted, Waiting);
        self.step("admits it", next.hold(h, tag, None));
        self.mishap(
            "admits it without hearing of it",
            next.with(h, |it| it.drop_delivery(tag)),
        );
    }

    /// Whether it was admitted is not known: it is delayed, and asked about again.
    fn cannot_ask(&mut self, tag: u8, job: Job) {
        if !job.admitted {
            self.mishap("cannot ask", self.delays(self.s, tag, job));
        }
    }

    fn delays(&self, s: State, tag: u8, job: Job) -> State {
        let asked = Job {
            asked: !self.makes(Mistake::ForgetsThatItAsked),
            admitted: self.makes(Mistake::PassesOffWhatItAskedFor),
            ..job
        };
        s.hold(self.h, tag, Some((asked, Settling(Delayed(None), Step::Begun))))
    }

    fn throttles(&mut self, tag: u8, job: Job) {
        let (mut next, h, key) = (self.s, self.h, self.s.key);
        let is_known = job.asked && key.window == Some(job.id);
        if key.window.is_some() && !is_known {
            return self.is_one_too_many(tag, job, |_| {});
        }
        if !is_known {
            next.key.window = Some(job.id);
            next.key.let_on_at_once += 1;
            next.key.let_on |= 1 << job.id;
        }
        let goes = Job {
            admitted: true,
            asked: false,
            ..job
        };
        let next = next.shift_bytes(h, tag, goes);
        let told = next.hold(h, tag, Some((goes, Fetched { cancelled: false })));
        self.step("lets it go on", told);
        self.mishap("lets it go on without hearing of it", self.delays(next, tag, job));
        self.cannot_ask(tag, job);
    }
}

impl State {
    /// Has other bytes in a host's table.
    fn shift_bytes(self, h: u8, tag: u8, job: Job) -> Self {
        let entry = self.in_table(h, tag);
        self.take(entry).put(job, Place::in_flight(h, tag))
    }
}

pub(super) const UNIQUE: Protocol = Protocol {
    unique: Some(Mode::Drop),
    retries: 1,
    losses: 2,
    ..LIMITED
};
pub(super) const UNIQUE_WITHOUT_RETRIES: Protocol = Protocol { retries: 0, ..UNIQUE };
pub(super) const NEWEST: Protocol = Protocol {
    unique: Some(Mode::Latest),
    losses: 1,
    ..UNIQUE
};
pub(super) const DEBOUNCED: Protocol = Protocol {
    unique: Some(Mode::Debounce),
    losses: 1,
    ..UNIQUE
};
pub(super) const THROTTLED: Protocol = Protocol {
    unique: Some(Mode::Throttle),
    limited: false,
    losses: 1,
    ..UNIQUE
};

/// By default as much of it as an unoptimised build explores in seconds. All of it: `KILN_MODEL=whole`.
#[test]
fn no_order_of_steps_breaks_a_promise_about_unique_jobs() {
    let calm = |protocol, jobs, retries| Protocol {
        jobs,
        retries,
        mishaps: 0,
        ..protocol
    };
    for protocol in [UNIQUE, UNIQUE_WITHOUT_RETRIES] {
        holds(Protocol { losses: 1, ..protocol });
    }
    for protocol in [NEWEST, DEBOUNCED, THROTTLED] {
        holds(calm(protocol, 2, 1));
        holds(Protocol { retries: 0, ..protocol });
    }
    holds(calm(NEWEST, 3, 0));
    if std::env::var_os("KILN_MODEL").is_some_and(|which| which == "whole") {
        for protocol in [UNIQUE, NEWEST, DEBOUNCED, THROTTLED] {
            holds(Protocol { losses: 2, ..protocol });
            holds(calm(protocol, 3, 0));
        }
    }
}
