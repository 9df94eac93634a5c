//! A model of outboxes and batches, explored whole: two jobs of one batch are acknowledged, each by its own host, and each has
//! left an entry with a follow-up and with the batch's callback. Whatever order the hosts take their steps in, whoever dies
//! and whichever lease runs out, each follow-up and the callback are pushed: once in one slot, and across slots once
//! where nothing befalls anybody.

use std::collections::{HashSet, VecDeque};

/// What is left of an entry's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Entry {
    callback: bool,
    child: bool,
}

const WHOLE: Entry = Entry {
    callback: true,
    child: true,
};

/// How far a host has come with an entry that it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Marks,
    /// Pushes the callback, and takes it out of the entry.
    CallsBack,
    /// Across slots: it has pushed, and has yet to take out of the entry.
    TrimsCallback,
    PushesChild,
    TrimsChild,
    Drops,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Host {
    lives: bool,
    /// Its lease is good. One without goes on with what it has begun: nothing of this asks for a lease.
    leased: bool,
    /// The entry it works on, its text as this host knows it, and how far it has come.
    works: Option<(usize, Entry, Step)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    entries: [Option<Entry>; 2],
    hosts: [Host; 2],
    /// Which jobs the batch knows to have ended, and which entry calls back.
    ended: [bool; 2],
    claim: Option<usize>,
    children: [u8; 2],
    callbacks: u8,
    mishaps: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    /// Whoever sees that all have ended calls back.
    ClaimsNothing,
    /// Whether the entry is still as it was read is not looked at.
    HandsOnUnchecked,
    /// Across slots: takes out of the entry first, and pushes then.
    TrimsFirst,
    /// Takes the entries of hosts that live, too.
    TakesWhatOthersDo,
    /// Pushes follow-ups and drops the entry before the batch is told.
    TellsNobody,
}

#[derive(Debug, Clone, Copy)]
struct Protocol {
    split: bool,
    mishaps: u8,
    mistake: Option<Mistake>,
}

impl State {
    fn start() -> Self {
        let host = Host {
            lives: true,
            leased: true,
            works: None,
        };
        Self {
            entries: [Some(WHOLE); 2],
            hosts: [host; 2],
            ended: [false; 2],
            claim: None,
            children: [0; 2],
            callbacks: 0,
            mishaps: 0,
        }
    }

    fn next(&self, protocol: Protocol) -> Vec<Self> {
        let mut found = Vec::new();
        for h in 0..2 {
            if self.mishaps < protocol.mishaps {
                self.mishaps_of(h, &mut found);
            }
            if self.hosts[h].lives {
                self.steps(h, protocol, &mut found);
            }
        }
        found
    }

    fn mishaps_of(&self, h: usize, found: &mut Vec<Self>) {
        let mut next = *self;
        next.mishaps += 1;
        if self.hosts[h].leased {
            next.hosts[h].leased = false;
            found.push(next);
        }
        // Its lease runs out by and by: here with its death. Some host is left.
        next.hosts[h] = Host {
            lives: false,
            leased: false,
            works: None,
        };
        if self.hosts[h].lives && self.hosts[1 - h].lives {
            found.push(next);
        }
    }

    fn steps(&self, h: usize, protocol: Protocol, found: &mut Vec<Self>) {
        let makes = |mistake| protocol.mistake == Some(mistake);
        let mut next = *self;
        let Some((e, known, step)) = self.hosts[h].works else {
            for e in 0..2 {
                let is_left = e == h || !self.hosts[e].leased || makes(Mistake::TakesWhatOthersDo);
                if let (Some(text), true) = (self.entries[e], is_left) {
                    let first = if makes(Mistake::TellsNobody) {
                        Step::PushesChild
                    } else {
                        Step::Marks
                    };
                    next.hosts[h].works = Some((e, text, first));
                    found.push(next);
                }
            }
            return;
        };
        let is_as_known = self.entries[e] == Some(known) || makes(Mistake::HandsOnUnchecked);
        let works = match step {
            Step::Marks => {
                next.ended[e] = true;
                let all = next.ended == [true; 2];
                next.claim = self.claim.or(all.then_some(e));
                let calls = all && (next.claim == Some(e) || makes(Mistake::ClaimsNothing)) && known.callback;
                Some(if calls { Step::CallsBack } else { Step::PushesChild })
            }
            Step::CallsBack if protocol.split => {
                if makes(Mistake::TrimsFirst) {
                    next.entries[e] = Some(Entry {
                        callback: false,
                        ..known
                    });
                } else {
                    next.callbacks += 1;
                }
                Some(Step::TrimsCallback)
            }
            Step::TrimsCallback if makes(Mistake::TrimsFirst) => {
                next.callbacks += 1;
                Some(Step::PushesChild)
            }
            Step::CallsBack | Step::TrimsCallback if is_as_known => {
                next.callbacks += u8::from(!protocol.split);
                next.entries[e] = Some(Entry {
                    callback: false,
                    ..known
                });
                Some(Step::PushesChild)
            }
            Step::PushesChild if !known.child => Some(Step::Drops),
            Step::PushesChild if protocol.split => {
                next.children[e] += 1;
                Some(Step::TrimsChild)
            }
            Step::PushesChild | Step::TrimsChild if is_as_known => {
                next.children[e] += u8::from(!protocol.split);
                next.entries[e] = Some(Entry {
                    callback: false,
                    child: false,
                });
                Some(Step::Drops)
            }
            Step::Drops => {
                next.entries[e] = None;
                None
            }
            // Another host is at it.
            Step::CallsBack | Step::TrimsCallback | Step::PushesChild | Step::TrimsChild => None,
        };
        let text = next.entries[e].unwrap_or(known);
        let known =
            if matches!(step, Step::Marks) || protocol.split && matches!(step, Step::CallsBack | Step::PushesChild) {
                known
            } else {
                text
            };
        next.hosts[h].works = works.map(|step| (e, known, step));
        found.push(next);
    }

    /// Nothing is left to do.
    fn is_end(&self) -> bool {
        self.entries == [None; 2] && self.hosts.iter().all(|host| host.works.is_none())
    }

    fn is_right(&self, protocol: Protocol) -> bool {
        let pushed = [self.callbacks, self.children[0], self.children[1]];
        let most = if protocol.split { 1 + 2 * self.mishaps } else { 1 };
        let not_too_often = pushed.iter().all(|times| *times <= most);
        not_too_often && (!self.is_end() || !pushed.contains(&0))
    }
}

/// How many states there are; or one that is wrong, or from which no end is reached.
fn explore(protocol: Protocol) -> Result<usize, State> {
    let mut seen = HashSet::from([State::start()]);
    let mut queue = VecDeque::from([State::start()]);
    while let Some(state) = queue.pop_front() {
        if !state.is_right(protocol) {
            return Err(state);
        }
        let next = state.next(protocol);
        if next.is_empty() && !state.is_end() {
            return Err(state);
        }
        queue.extend(next.into_iter().filter(|next| seen.insert(*next)));
    }
    Ok(seen.len())
}

#[test]
fn whatever_befalls_hosts_each_follow_up_and_callback_is_pushed() {
    for split in [false, true] {
        for mishaps in 0..=2 {
            let protocol = Protocol {
                split,
                mishaps,
                mistake: None,
            };
            let explored = explore(protocol);
            assert!(explored.is_ok_and(|states| states > 20), "{protocol:?}: {explored:?}");
        }
    }
}

#[test]
fn each_mistake_would_be_noticed() {
    for (split, mishaps, mistake) in [
        (false, 1, Mistake::ClaimsNothing),
        (false, 1, Mistake::HandsOnUnchecked),
        (true, 1, Mistake::TrimsFirst),
        (true, 0, Mistake::TakesWhatOthersDo),
        (false, 0, Mistake::TellsNobody),
    ] {
        let protocol = Protocol {
            split,
            mishaps,
            mistake: Some(mistake),
        };
        assert!(explore(protocol).is_err(), "{mistake:?} goes unnoticed");
    }
}
