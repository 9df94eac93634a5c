//! Turns at compiling, for plugins that take longer than their first turn. The shortest turn goes first. A turn ends
//! early only where a plugin waits for another one that would be no longer.
//!
//! A plugin whose turn ended early starts over, in a turn of at least twice the length. So a plugin that compiles alone
//! loses nothing. One that compiles beside others waits for each of them at most four times as long as it takes itself.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Hands out one turn at a time.
#[derive(Debug, Default)]
pub(super) struct Turns {
    line: Mutex<Line>,
    changed: Notify,
}

/// Those that wait for a turn.
#[derive(Debug, Default)]
struct Line {
    taken: bool,
    waiting: BTreeSet<Key>,
    came: u64,
}

/// A waiting plugin's place in the line. Among turns of one length, that of the smallest file is first: most likely it
/// ends soonest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    length: Duration,
    bytes: u64,
    came: u64,
}

impl Line {
    fn join(&mut self, length: Duration, bytes: u64) -> Key {
        self.came += 1;
        let came = self.came;
        let key = Key { length, bytes, came };
        self.waiting.insert(key);
        key
    }

    /// Takes the turn, if this plugin is the next.
    fn take(&mut self, key: Key) -> bool {
        let due = !self.taken && self.waiting.first() == Some(&key);
        if due {
            self.waiting.remove(&key);
            self.taken = true;
        }
        due
    }

    /// How long the turn under way may last; none: as long as it likes.
    fn limit(&self) -> Option<Duration> {
        self.waiting.first().map(|first| first.length)
    }
}

/// The length of the turn after one of `length` that ended after `lasted`.
pub(super) fn longer(length: Duration, lasted: Duration) -> Duration {
    let mut next = length;
    while next <= lasted {
        next *= 2;
    }
    next
}

/// A turn, as long as it lives.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    since: Instant,
}

/// A place in the line, as long as it lives.
struct Place<'a> {
    turns: &'a Turns,
    key: Key,
}

impl Turns {
    /// Waits for a turn of that length to compile a file of so many bytes.
    pub(super) async fn take(&self, length: Duration, bytes: u64) -> Turn<'_> {
        let place = Place {
            turns: self,
            key: self.line.lock().join(length, bytes),
        };
        self.changed.notify_waiters();
        loop {
            let changed = self.changed.notified();
            if self.line.lock().take(place.key) {
                return Turn {
                    turns: self,
                    since: Instant::now(),
                };
            }
            changed.await;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.line.lock().waiting.remove(&self.key);
        self.turns.changed.notify_waiters();
    }
}

impl Turn<'_> {
    /// Resolves once this turn has lasted as long as the shortest one that another plugin waits for.
    pub(super) async fn over(&self) {
        loop {
            let changed = self.turns.changed.notified();
            let limit = self.turns.line.lock().limit();
            match limit.map(|limit| self.since + limit) {
                Some(end) if end <= Instant::now() => return,
                Some(end) => {
                    tokio::select! {
                        () = sleep_until(end) => {}
                        () = changed => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// How long it has lasted.
    pub(super) fn lasted(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.line.lock().taken = false;
        self.turns.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt as _;
    use futures::poll;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When each of these plugins is compiled, by a clock of the test's own: each comes at one second and takes so many.
    fn compiled(plugins: &[(u32, u32)]) -> Vec<u32> {
        let (mut line, mut done) = (Line::default(), vec![0; plugins.len()]);
        let mut lengths = vec![10 * SECOND; plugins.len()];
        let (mut waiting, mut running) = (Vec::new(), None::<(usize, u32)>);
        for now in 0.. {
            for (plugin, (comes, _)) in plugins.iter().enumerate() {
                if *comes == now {
                    waiting.push((line.join(lengths[plugin], 0), plugin));
                }
            }
            if let Some((plugin, since)) = running {
                let lasted = (now - since) * SECOND;
                let over = line.limit().is_some_and(|limit| limit <= lasted);
                if now - since == plugins[plugin].1 {
                    done[plugin] = now;
                    (running, line.taken) = (None, false);
                } else if over {
                    lengths[plugin] = longer(lengths[plugin], lasted);
                    waiting.push((line.join(lengths[plugin], 0), plugin));
                    (running, line.taken) = (None, false);
                }
            }
            if let Some(next) = waiting.iter().position(|(key, _)| line.take(*key)) {
                running = Some((waiting.remove(next).1, now));
            }
            if !done.contains(&0) {
                break;
            }
        }
        done
    }

    #[test]
    fn a_plugin_that_is_alone_keeps_its_turn_for_as_long_as_it_takes() {
        assert_eq!(compiled(&[(0, 1_000)]), [1_000]);
    }

    #[test]
    fn a_plugin_waits_for_each_other_at_most_four_times_as_long_as_it_takes_itself() {
        let beside_six = |place, takes| {
            let mut plugins = vec![(0, 1_000); 6];
            plugins.insert(place, (0, takes));
            compiled(&plugins)[place]
        };
        assert_eq!((beside_six(0, 8), beside_six(6, 8)), (8, 6 * 10 + 8));
        // Ten seconds in vain, five turns of ten and one of twenty, and its own.
        assert_eq!(beside_six(0, 15), 10 + 5 * 10 + 20 + 15);
        for place in 0..=6 {
            for takes in 1..100 {
                let (through, most) = (beside_six(place, takes), (4 * takes).max(10));
                assert!(through <= 6 * most + 3 * takes, "{place}, {takes}: {through}");
            }
        }
    }

    #[test]
    fn a_plugin_that_has_been_compiling_for_long_gives_way_at_once_and_starts_over() {
        assert_eq!(compiled(&[(0, 500), (100, 8)]), [608, 108]);
    }

    #[test]
    fn of_turns_as_long_as_each_other_that_of_the_smallest_file_is_first() {
        let mut line = Line::default();
        let keys = [(2, 1), (1, 3), (1, 2), (1, 2)].map(|(length, bytes)| line.join(length * SECOND, bytes));
        for next in [2, 3, 1, 0] {
            let takes: Vec<_> = keys.iter().filter(|key| line.take(**key)).collect();
            assert_eq!(takes, [&keys[next]]);
            line.taken = false;
        }
    }

    #[tokio::test]
    async fn a_turn_is_over_only_once_another_is_waited_for() {
        let turns = Turns::default();
        let turn = turns.take(SECOND, 0).await;
        {
            let mut over = pin!(turn.over());
            assert!(poll!(over.as_mut()).is_pending());
            let mut next = pin!(turns.take(Duration::ZERO, 0));
            assert!(poll!(next.as_mut()).is_pending());
            over.await;
        }
        // It waits no longer.
        assert!(turn.over().now_or_never().is_none());
        let mut next = pin!(turns.take(Duration::ZERO, 0));
        assert!(poll!(next.as_mut()).is_pending());
        drop(turn);
        next.await;
    }
}
