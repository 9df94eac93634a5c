//! The move that fires a schedule, explored to its end: every order in which hosts, a clock, crashes and lost answers can
//! act on a few instants. Each instant after the first word of a schedule must be fired once, and each of the mistakes must
//! break that: so we know that the model would notice.

use std::collections::HashSet;

/// Instants of the schedule. The clock shows how many have come.
const INSTANTS: u8 = 4;

const HOSTS: usize = 3;

/// The move with one thing done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    /// The host compares with the last instant, and not the store in the same step.
    DecidesByWhatItKnows,
    /// Pushes in one step and remembers in another.
    RemembersLater,
    /// A host asks for the newest instant alone.
    AsksForTheNewest,
    /// An instant that has not come by the store's clock is fired for a host whose clock is ahead.
    BelievesTheHost,
    /// A host that starts takes the schedule for new.
    ForgetsAtTheStart,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Host {
    up: bool,
    /// The last instant, as it heard.
    known: Option<u8>,
    /// What it has pushed and not yet had remembered: only one that makes that mistake.
    pushed: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    clock: u8,
    /// The last instant, as the store has it; none: the schedule is new.
    last: Option<u8>,
    /// When it was new.
    since: u8,
    fired: [u8; INSTANTS as usize],
    early: bool,
    hosts: [Host; HOSTS],
    mishaps: u8,
}

impl State {
    fn new() -> Self {
        let host = Host {
            up: true,
            known: None,
            pushed: None,
        };
        Self {
            clock: 0,
            last: None,
            since: 0,
            fired: [0; INSTANTS as usize],
            early: false,
            hosts: [host; HOSTS],
            mishaps: 0,
        }
    }

    /// Every state that one step leads to.
    fn steps(self, mistake: Option<Mistake>) -> Vec<Self> {
        let mut next = Vec::new();
        if self.clock < INSTANTS {
            next.push(Self {
                clock: self.clock + 1,
                ..self
            });
        }
        for number in 0..HOSTS {
            let host = self.hosts[number];
            if !host.up {
                next.push(self.with(number, |host| host.up = true));
                continue;
            }
            if let Some(pushed) = host.pushed {
                let mut after = self.with(number, |host| (host.pushed, host.known) = (None, Some(pushed)));
                after.last = after.last.max(Some(pushed));
                next.push(after);
            } else {
                let (asked, last) = self.asks(number, mistake);
                next.push(asked.with(number, |host| host.known = last));
                // The answer is lost.
                next.extend(asked.mishap());
            }
            let died = |host: &mut Host| {
                (host.up, host.known, host.pushed) = (false, None, None);
            };
            next.extend(self.with(number, died).mishap());
        }
        next
    }

    /// The store carries out what a host asks. Returns its answer, too: the last instant.
    fn asks(self, number: usize, mistake: Option<Mistake>) -> (Self, Option<u8>) {
        let (mut after, host) = (self, self.hosts[number]);
        let is_new = self.last.is_none() || mistake == Some(Mistake::ForgetsAtTheStart) && host.known.is_none();
        if is_new {
            (after.last, after.since) = (Some(self.clock), self.clock.max(self.since));
            return (after, after.last);
        }
        // A host that does not know the last instant only asks for it.
        let Some(known) = host.known else {
            return (after, self.last);
        };
        // Its clock may be ahead, so it asks for one more than has come.
        let up_to = (self.clock + 1).min(INSTANTS);
        let from = match mistake {
            Some(Mistake::AsksForTheNewest) => up_to.max(known + 1),
            _ => known + 1,
        };
        for instant in from..=up_to {
            if instant > self.clock && mistake != Some(Mistake::BelievesTheHost) {
                break;
            }
            let last = match mistake {
                Some(Mistake::DecidesByWhatItKnows) => Some(known),
                _ => after.last,
            };
            if Some(instant) > last {
                after.fired[usize::from(instant) - 1] += 1;
                after.early |= instant > self.clock;
                if mistake == Some(Mistake::RemembersLater) {
                    after.hosts[number].pushed = Some(instant);
                    return (after, Some(known));
                }
                after.last = after.last.max(Some(instant));
            }
        }
        (after, after.last)
    }

    fn with(mut self, host: usize, change: impl FnOnce(&mut Host)) -> Self {
        change(&mut self.hosts[host]);
        self
    }

    /// The same, as one of a few mishaps.
    fn mishap(self) -> Option<Self> {
        (self.mishaps < 4).then_some(Self {
            mishaps: self.mishaps + 1,
            ..self
        })
    }

    /// What is wrong here.
    fn broken(&self, mistake: Option<Mistake>) -> Option<&'static str> {
        if self.fired.iter().any(|fired| *fired > 1) {
            return Some("an instant was fired twice");
        }
        if self.early {
            return Some("an instant was fired before it had come");
        }
        // Nothing more can happen: all instants have come, and every host has heard of the last one.
        let rests = |host: &Host| host.up && host.known == Some(INSTANTS) && host.pushed.is_none();
        let is_over = self.clock == INSTANTS && self.hosts.iter().all(rests);
        let since = if mistake == Some(Mistake::ForgetsAtTheStart) {
            0
        } else {
            self.since
        };
        let mut after = self.fired[usize::from(since)..].iter();
        (is_over && after.any(|fired| *fired == 0)).then_some("an instant was never fired")
    }
}

/// How many states there are, or what is wrong in one of them.
fn explore(mistake: Option<Mistake>) -> Result<usize, &'static str> {
    let (mut seen, mut open) = (HashSet::from([State::new()]), vec![State::new()]);
    while let Some(state) = open.pop() {
        if let Some(broken) = state.broken(mistake) {
            return Err(broken);
        }
        open.extend(state.steps(mistake).into_iter().filter(|next| seen.insert(*next)));
    }
    Ok(seen.len())
}

#[test]
fn each_instant_is_fired_once_in_every_order_of_steps_crashes_and_lost_answers() {
    let states = explore(None).expect("it keeps its promise");
    assert!(states > 10_000, "only {states} states: it explores too little");
}

#[test]
fn the_model_notices_each_mistake_that_the_move_could_be_made_with() {
    for (mistake, broken) in [
        (Mistake::DecidesByWhatItKnows, "an instant was fired twice"),
        (Mistake::RemembersLater, "an instant was fired twice"),
        (Mistake::AsksForTheNewest, "an instant was never fired"),
        (Mistake::BelievesTheHost, "an instant was fired before it had come"),
        (Mistake::ForgetsAtTheStart, "an instant was never fired"),
    ] {
        assert_eq!(explore(Some(mistake)), Err(broken), "{mistake:?}");
    }
}
