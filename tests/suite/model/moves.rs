//! What may happen next, step by step.

use super::Mistake::{self, FetchesWithoutLease};
use super::Place::{Delayed, Done, Failed, Ready, Waiting};
use super::Process::{Gone, Leaving, Paused, Up};
use super::Stage::{Fetched, Running, Settling, Underway};
use super::unique::passes;
use super::{Entry, HOSTS, Host, Job, Lease, Place, Protocol, Stage, State, Step, TAGS};

/// Who does what.
pub(super) type Event = (u8, &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Happens sooner or later.
    Step,
    /// May happen; nothing depends on it.
    Choice,
    /// May happen a bounded number of times.
    Mishap,
}

/// Everything that may happen next.
pub(super) fn moves(protocol: &Protocol, state: &State) -> Vec<(Kind, Event, State)> {
    let mut found = Vec::with_capacity(32);
    if protocol.pauses {
        pauses(state, &mut found);
    }
    if let Some(mode) = protocol.unique {
        passes(mode, state, &mut found);
    }
    if protocol.cancels && !state.cancelled {
        let mut next = *state;
        next.cancelled = true;
        found.push((Kind::Choice, (0, "sees the first job cancelled"), next));
    }
    for (h, host) in (0..).zip(state.hosts) {
        let s = *state;
        let found = &mut found;
        Moves {
            protocol,
            s,
            h,
            host,
            found,
        }
        .all();
    }
    found
}

/// What an operator may do. Who has paused the queue resumes it some time.
fn pauses(state: &State, found: &mut Vec<(Kind, Event, State)>) {
    let mut next = *state;
    next.paused = !state.paused;
    if state.paused {
        found.push((Kind::Step, (0, "sees the queue resumed"), next));
    } else {
        found.push((Kind::Choice, (0, "sees the queue paused"), next));
    }
}

/// What one host may do, or have done to it.
pub(super) struct Moves<'a> {
    pub(super) protocol: &'a Protocol,
    pub(super) s: State,
    pub(super) h: u8,
    pub(super) host: Host,
    found: &'a mut Vec<(Kind, Event, State)>,
}

impl Moves<'_> {
    pub(super) fn makes(&self, mistake: Mistake) -> bool {
        self.protocol.mistake == Some(mistake)
    }

    pub(super) fn step(&mut self, what: &'static str, next: State) {
        self.found.push((Kind::Step, (self.h, what), next));
    }

    pub(super) fn mishap(&mut self, what: &'static str, mut next: State) {
        if next.mishaps < self.protocol.mishaps {
            next.mishaps += 1;
            next.runs = Default::default();
            self.found.push((Kind::Mishap, (self.h, what), next));
        }
    }

    fn all(&mut self) {
        let (s, h, host) = (self.s, self.h, self.host);
        self.lives_and_dies();
        self.keeps_its_lease();
        if host.process == Up {
            self.takes();
        }
        if host.acts() {
            self.compares();
            self.takes_places_back();
            self.hears_of_cancels();
            (0..TAGS).for_each(|tag| self.delivers(tag));
            self.promotes_on();
        }
        if let Some(tag) = host.late_fetch.filter(|tag| s.in_table(h, *tag).is_none()) {
            let over = |s: State, _| s.with(h, |it| it.late_fetch = None);
            self.fetches("has a late fetch carried out", tag, over);
        }
        self.promotes();
    }

    fn lives_and_dies(&mut self) {
        let (s, h, host) = (self.s, self.h, self.host);
        let lives = |(o, host): (u8, Host)| o != h && matches!(host.process, Up | Paused);
        let others_live = (0..).zip(s.hosts).any(lives);
        if others_live && host.process != Gone {
            self.mishap("crashes", s.with(h, Host::end));
        }
        if others_live && host.process == Up {
            let leaving = s.with(h, |it| (it.process, it.suspect) = (Leaving, true));
            self.found.push((Kind::Choice, (h, "begins to leave"), leaving));
        }
        match host.process {
            Up => self.mishap("is paused", s.with(h, |it| it.process = Paused)),
            Paused => self.step("goes on", s.with(h, |it| it.process = Up)),
            Leaving => self.leaves(),
            Gone => {}
        }
    }

    fn leaves(&mut self) {
        let (s, h, host) = (self.s, self.h, self.host);
        let compared = !host.suspect || self.makes(Mistake::LeavesWithoutGivingBack);
        let promoted = host.promoting.is_none() || self.makes(Mistake::LeavesDuringAPromotion);
        if compared && promoted && host.held.iter().all(Option::is_none) {
            let empty = s.table(h).next().is_none();
            let lease = if empty { Lease::None } else { host.lease };
            self.step("leaves", s.lease(h, lease).with(h, Host::end));
        }
    }

    fn keeps_its_lease(&mut self) {
        let (s, h, host, mistake) = (self.s, self.h, self.host, self.protocol.mistake);
        if host.lease == Lease::Good && !(host.acts() && host.in_time) {
            // That a host stops is the first thing it does after a pause, so it may as well be now.
            let stops = host.process != Paused || !self.makes(Mistake::RunsOnAfterAPause);
            let out = s.lease(h, Lease::Out).with(h, |it| it.in_time = false);
            self.step(
                "has a lease that runs out",
                if stops { out.with(h, |it| it.stop(mistake)) } else { out },
            );
        }
        if host.acts() && host.in_time {
            self.mishap("reaches its deadline", s.with(h, |it| it.stop(mistake)));
        }
        if host.acts() && (host.lease, host.in_time) != (Lease::Good, true) {
            // The answer tells whether it had run out.
            let told = if host.lease == Lease::Good {
                s
            } else {
                s.with(h, |it| it.stop(mistake))
            };
            self.step(
                "renews its lease",
                told.lease(h, Lease::Good).with(h, |it| it.in_time = true),
            );
        }
    }

    /// Under a good lease, and with everything given back that it does not know.
    fn takes(&mut self) {
        let (s, h, host) = (self.s, self.h, self.host);
        if host.suspect || host.fetching() || !(host.in_time || self.makes(FetchesWithoutLease)) {
            return;
        }
        let tag = s.free_tag(h);
        let cancelled = s.cancelled;
        let underway = |s: State, job| s.hold(h, tag, Some((job, Underway { cancelled })));
        self.fetches("has a fetch carried out", tag, underway);
        if self.protocol.late_fetches && host.late_fetch.is_none() {
            let given_up = s.with(h, |it| (it.late_fetch, it.suspect) = (Some(tag), true));
            self.mishap("gives up a fetch that is on its way", given_up);
        }
        let others = (0..).zip(s.hosts).filter(|(o, _)| *o != h);
        for (dead, _) in others.filter(|(_, other)| other.lease == Lease::Out) {
            match s.table(dead).count() {
                0 => self.step("clears an empty lease away", s.lease(dead, Lease::None)),
                1 => self.adopts(tag, dead, s.lease(dead, Lease::None)),
                _ => self.adopts(tag, dead, s),
            }
        }
    }

    /// Redis looks at the lease once more. That a lane holds jobs every host hears of, sooner or later.
    fn fetches(&mut self, what: &'static str, tag: u8, then: impl Fn(State, Job) -> State) {
        let (s, h) = (self.s, self.h);
        if s.paused && !self.makes(Mistake::FetchesByWhatItHasHeard) {
            return;
        }
        if self.host.lease == Lease::Good || self.makes(FetchesWithoutLease) {
            let lanes = self.host.left_waiting || !self.makes(Mistake::TakesOnlyWhatItLeftWaiting);
            let takes = |(_, place): &Entry| *place == Ready || (*place == Waiting && lanes);
            for entry in s.copies().filter(takes) {
                let mut fetched = s.shift(entry, Place::in_flight(h, tag));
                if self.protocol.limited && entry.1 == Waiting {
                    // Of what waits it takes only what has the place, in the same step.
                    if self.is_place_taken() || !self.opens() {
                        continue;
                    }
                    fetched = fetched.place(h, tag, true);
                    fetched.key.starts();
                }
                fetched.taken_while_paused |= s.paused;
                self.step(what, then(fetched, self.stamped(entry.0)));
            }
        }
    }

    fn is_place_taken(&self) -> bool {
        let is_underway = |h: u8, tag| matches!(self.s.held(h, tag), Some((_, Underway { .. })));
        let of_host = |(h, host): (u8, &Host)| {
            let seen = |tag: &u8| !(self.makes(Mistake::TakesThePlaceAfterwards) && is_underway(h, *tag));
            (0..TAGS).filter(seen).any(|tag| host.places & (1 << tag) != 0)
        };
        (0..).zip(&self.s.hosts).any(of_host)
    }

    /// What a dead host held may have started: it is to be settled as lost.
    fn adopts(&mut self, tag: u8, dead: u8, s: State) {
        let h = self.h;
        for (_, entry) in s.table(dead) {
            let (mut job, adopted) = (entry.0, s.shift(entry, Place::in_flight(h, tag)));
            job.lost += 1;
            let to = if job.lost < self.protocol.losses {
                Delayed(None)
            } else {
                Failed
            };
            self.step("adopts", adopted.hold(h, tag, Some((job, Settling(to, Step::Begun)))));
            self.mishap("adopts without hearing of it", adopted.with(h, |it| it.suspect = true));
        }
    }

    /// Gives back what it does not know. Not during a fetch: what that brings is not known yet.
    fn compares(&mut self) {
        let (mut s, h, host) = (self.s, self.h, self.host);
        let known = |tag| {
            s.held(h, tag)
                .is_some_and(|(_, stage)| !matches!(stage, Underway { .. }))
        };
        let unknown: Vec<_> = s.table(h).filter(|(tag, _)| !known(*tag)).collect();
        let now_and_then = self.protocol.late_fetches && !self.makes(Mistake::ComparesOnlyWhenSuspect);
        let due = host.suspect || (now_and_then && !unknown.is_empty());
        let never = host.process == Up && self.makes(Mistake::NeverGivesBack);
        if due && !never && (!host.fetching() || self.makes(Mistake::ComparesDuringAFetch)) {
            for (_, entry) in unknown {
                s = s.shift(entry, Ready);
            }
            self.step("gives back what it does not know", s.with(h, |it| it.suspect = false));
        }
    }

    /// From deliveries that are in no table: of dead hosts, and of jobs that went back.
    fn takes_places_back(&mut self) {
        let mut swept = self.s;
        for h in 0..u8::try_from(HOSTS).expect("a few") {
            for tag in (0..TAGS).filter(|tag| self.s.in_table(h, *tag).is_none()) {
                swept = swept.place(h, tag, false);
            }
        }
        if swept != self.s && !self.makes(Mistake::NeverTakesPlacesBack) {
            self.step("takes places back", swept);
        }
    }

    /// The store tells it, some time.
    fn hears_of_cancels(&mut self) {
        if self.s.cancelled && !self.host.knows_of_cancel {
            self.step("hears of the cancel", self.s.with(self.h, Host::hears_of_cancel));
        }
    }

    fn delivers(&mut self, tag: u8) {
        let (s, h, host) = (self.s, self.h, self.host);
        let Some((job, stage)) = s.held(h, tag) else { return };
        let dropped = s.with(h, |it| it.drop_delivery(tag));
        match stage {
            Underway { cancelled } => {
                let in_time = host.in_time || self.makes(Mistake::CountsTheLeaseFromTheReply);
                let reads = cancelled && !self.makes(Mistake::StartsBeforeItKnowsWhatIsCancelled);
                let here = s.hold(h, tag, Some((job, Fetched { cancelled })));
                let here = if reads {
                    here.with(h, Host::hears_of_cancel)
                } else {
                    here
                };
                self.step("gets the reply", here.with(h, |it| it.in_time = in_time));
                self.mishap("does not get the reply", dropped);
                if self.makes(Mistake::FetchesUnderAUsedTag) && host.late_fetch.is_none() {
                    self.mishap("sends its fetch twice", s.with(h, |it| it.late_fetch = Some(tag)));
                }
            }
            Fetched { .. } if host.process == Leaving => self.step("drops what it does not start", dropped),
            Fetched { cancelled } => self.starts(tag, job, cancelled),
            Running => {
                self.ends("completes", tag, job, Done);
                let again = Job {
                    retries: job.retries + 1,
                    ..job
                };
                if again.retries <= self.protocol.retries {
                    self.ends("wants a retry", tag, again, Delayed(None));
                } else {
                    self.ends("has had enough retries", tag, job, Failed);
                }
                self.mishap("has an attempt cancelled", dropped);
            }
            Settling(to, step) if self.protocol.split && to != Done => self.settles_across(tag, job, to, step),
            Settling(to, _) => self.settles(tag, job, to),
        }
    }

    /// Now, or it is left waiting: that is settled, so whoever takes it then may start it.
    fn starts(&mut self, tag: u8, job: Job, cancelled: bool) {
        if self.host.knows_of_cancel && job.id == 0 {
            return self.ends("finds it cancelled", tag, job, Failed);
        }
        if self.must_contend(tag, job) {
            return self.contends(tag, job);
        }
        let may_start = !self.protocol.limited || self.s.has_place(self.h, tag);
        if self.host.in_time && (may_start || self.makes(Mistake::StartsWithoutAPlace)) {
            let mut running = self.s.hold(self.h, tag, Some((job, Running)));
            running.runs[usize::from(job.id)] += u8::from(self.s.mishaps == 0);
            running.started_when_cancelled |= cancelled && job.id == 0;
            running.key.runs(self.protocol.unique, job);
            self.step("runs", running);
        }
        if self.protocol.limited && !may_start {
            self.is_admitted(tag, job);
        }
        if !self.protocol.split && self.protocol.unique.is_none() {
            // All of this is in one slot, so one slot is where it is explored.
            self.ends("may not start it now", tag, job, Waiting);
        }
    }

    /// Takes the place where it is, in the same step in which it is found free. Without an answer it waits, and gives back what it may
    /// have got.
    fn is_admitted(&mut self, tag: u8, job: Job) {
        let (s, h) = (self.s, self.h);
        if s.in_table(h, tag).is_some() && !self.is_place_taken() {
            let admitted = s.place(h, tag, true);
            self.step("takes the place", admitted);
            let waits = Some((job, Settling(Waiting, Step::Begun)));
            self.mishap("takes the place without hearing of it", admitted.hold(h, tag, waits));
        }
    }

    pub(super) fn ends(&mut self, what: &'static str, tag: u8, job: Job, to: Place) {
        let settling = Some((job, Settling(to, Step::Begun)));
        self.step(what, self.s.hold(self.h, tag, settling));
    }

    /// Exactly if the delivery is still in the host's table.
    fn settles(&mut self, tag: u8, job: Job, to: Place) {
        let (s, h) = (self.s, self.h);
        let entry = s.in_table(h, tag);
        if entry.is_none() && !self.makes(Mistake::SettlesUnchecked) {
            return self.step("is refused", s.hold(h, tag, None));
        }
        let mut settled = s.take(entry).put(job.bytes(to), to).place(h, tag, false);
        if let Some(mode) = self.protocol.unique {
            settled
                .key
                .settles(mode, job, to, self.makes(Mistake::ForgetsWhatIsAwaited));
        }
        let runs_on = to == Waiting && self.makes(Mistake::RunsWhatItLeavesWaiting);
        if to == Waiting && self.makes(Mistake::TakesOnlyWhatItLeftWaiting) {
            settled = settled.with(h, |it| it.left_waiting = true);
        }
        let held = runs_on.then_some((job, Running));
        self.step("settles", settled.hold(h, tag, held));
        self.mishap("settles without hearing of it", settled);
    }

    /// The same in three scripts, for one delivery after the other. What is known to be written is not written again.
    fn settles_across(&mut self, tag: u8, job: Job, to: Place, step: Step) {
        let (s, h) = (self.s, self.h);
        let at = |s: State, step| s.hold(h, tag, Some((job, Settling(to, step))));
        let entry = s.in_table(h, tag);
        let busy = |(_, stage): &(Job, Stage)| matches!(stage, Settling(_, Step::Checked | Step::Moved));
        let writes = (step == Step::Checked) != self.makes(Mistake::RemovesTheSourceFirst);
        let done = if writes { s.put(job, to) } else { s.take(entry) };
        match step {
            Step::Begun if entry.is_none() => self.step("is refused", s.hold(h, tag, None)),
            Step::Begun if self.host.lease != Lease::Good || self.host.held.iter().flatten().any(busy) => {}
            Step::Begun => self.step("checks", at(s, Step::Checked)),
            Step::Checked => {
                self.step("writes the destination", at(done, Step::Moved));
                self.mishap("writes the destination without hearing of it", at(done, Step::Begun));
            }
            Step::Moved => {
                self.step("removes the source", done.hold(h, tag, None));
                self.mishap("removes the source without hearing of it", done);
            }
        }
    }

    /// In two slots only claims what is due. A claim that nobody works on lapses.
    fn promotes(&mut self) {
        let (s, h, host) = (self.s, self.h, self.host);
        let claim = Some(h).filter(|_| !self.makes(Mistake::PromotesUnclaimed));
        for entry in s.copies() {
            match entry.1 {
                Delayed(Some(by)) if by == h && (host.promoting.is_none() || !host.acts()) => {
                    self.step("has a claim that lapses", s.shift(entry, Delayed(None)));
                }
                Delayed(None) if host.process == Up && !self.protocol.split => {
                    self.step("promotes", s.shift(entry, Ready));
                }
                Delayed(None) if host.process == Up && host.promoting.is_none() => {
                    let promoting = Some((entry.0, Step::Begun));
                    let claimed = s.shift(entry, Delayed(claim));
                    self.step("claims what is due", claimed.with(h, |it| it.promoting = promoting));
                }
                _ => {}
            }
        }
    }

    /// Pushes what it has claimed, then removes it if it is claimed still.
    fn promotes_on(&mut self) {
        let (s, h) = (self.s, self.h);
        let Some((job, step)) = self.host.promoting else { return };
        let claim = Some(h).filter(|_| !self.makes(Mistake::PromotesUnclaimed));
        let next = (step == Step::Begun).then_some((job, Step::Moved));
        if (step == Step::Begun) == self.makes(Mistake::RemovesTheSourceFirst) {
            let claimed = s.copies().find(|entry| *entry == (job, Delayed(claim)));
            self.step(
                "removes what it promotes",
                s.take(claimed).with(h, |it| it.promoting = next),
            );
        } else {
            let pushed = s.put(job, Ready);
            self.step("pushes what it promotes", pushed.with(h, |it| it.promoting = next));
            let unheard = pushed.with(h, |it| it.promoting = None);
            self.mishap("pushes what it promotes without hearing of it", unheard);
        }
    }
}
