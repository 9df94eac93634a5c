//! Walks through all states that can be reached, breadth first: what goes wrong is told by the shortest way to it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use super::moves::{Event, Kind, moves};
use super::promises::Property;
use super::{Protocol, State};

/// A property that does not hold, and the shortest way to where it does not.
pub(super) struct Violation {
    pub(super) property: Property,
    trace: Vec<Event>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?} does not hold after {} steps:", self.property, self.trace.len())?;
        let mut steps = self.trace.iter();
        steps.try_for_each(|(host, what)| writeln!(f, "  host {host} {what}"))
    }
}

/// The number of reachable states, if the properties hold in all of them.
pub(super) fn explore(protocol: &Protocol) -> Result<usize, Violation> {
    let start = State::start(protocol);
    let mut seen: HashMap<State, usize, BuildHasherDefault<Mix>> = HashMap::default();
    seen.insert(start.canonical(), 0);
    let mut queue = VecDeque::from([start]);
    let mut origins: Vec<(usize, Event)> = vec![(0, (0, ""))];
    let (mut can_end, mut edges) = (vec![start.is_end()], Vec::new());
    let mut at = 0;
    while let Some(state) = queue.pop_front() {
        if let Some(property) = state.breaks(protocol) {
            let trace = trace(&origins, at);
            return Err(Violation { property, trace });
        }
        let far = state.copies().count() > protocol.copies;
        can_end[at] |= far;
        let moves = if far { Vec::new() } else { moves(protocol, &state) };
        for (kind, event, next) in moves {
            let to = *seen.entry(next.canonical()).or_insert_with(|| {
                origins.push((at, event));
                can_end.push(next.is_end());
                queue.push_back(next);
                origins.len() - 1
            });
            if kind == Kind::Step {
                edges.push((at, to));
            }
        }
        at += 1;
    }
    spread(&mut can_end, &edges);
    match can_end.iter().position(|can| !can) {
        None => Ok(at),
        Some(stuck) => {
            let (property, trace) = (Property::NeverStuck, trace(&origins, stuck));
            Err(Violation { property, trace })
        }
    }
}

/// Marks whatever leads to what is marked. Most edges lead to later states, so a few rounds do.
fn spread(marked: &mut [bool], edges: &[(usize, usize)]) {
    let mut spreads = true;
    while spreads {
        spreads = false;
        for (from, to) in edges.iter().rev() {
            spreads |= marked[*to] && !marked[*from];
            marked[*from] |= marked[*to];
        }
    }
}

fn trace(origins: &[(usize, Event)], mut at: usize) -> Vec<Event> {
    let mut trace = Vec::new();
    while at != 0 {
        trace.push(origins[at].1);
        at = origins[at].0;
    }
    trace.reverse();
    trace
}

/// Mixes the few bytes at a time that states are made of, in half the time of the standard hasher.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        let word = bytes.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
