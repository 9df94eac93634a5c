//! Sums over time, in memory.

use jiff::Timestamp;

use super::MemoryStore;
use crate::queue::sums::{MAX_SUMS, Of, Span, Sum, Sums};

impl MemoryStore {
    pub(super) fn add_up(&self, at: Timestamp, more: &Sums) {
        let mut state = self.state();
        for span in Span::ALL {
            let sums = state.sums.entry((span, span.number(at))).or_default();
            for (sum, more) in more {
                let is_wait = sum.of == Of::Wait;
                let has_place = sums.contains_key(sum);
                let of_its_kind = || sums.keys().filter(|known| (known.of == Of::Wait) == is_wait).count();
                let is_full = !has_place && of_its_kind() >= MAX_SUMS;
                let sum = if is_full { sum.other() } else { sum.clone() };
                *sums.entry(sum).or_default() += more;
            }
        }
        // Redis lets them expire instead.
        for span in Span::ALL {
            let kept = usize::try_from(span.kept().as_secs() / span.length().as_secs()).unwrap_or(usize::MAX);
            while state.sums.range((span, i64::MIN)..=(span, i64::MAX)).count() > kept + 1
                && let Some((oldest, _)) = state.sums.range((span, i64::MIN)..).next()
            {
                let oldest = *oldest;
                state.sums.remove(&oldest);
            }
        }
    }

    pub(super) fn sums(&self, span: Span, first: i64, count: usize, wanted: fn(&Sum) -> bool) -> Vec<Sums> {
        let state = self.state();
        let numbers = (0..count).zip(first..).map(|(_, number)| number);
        let of_span = |number| {
            let sums = state.sums.get(&(span, number)).into_iter().flatten();
            let wanted = sums.filter(|(sum, _)| wanted(sum));
            wanted.map(|(sum, more)| (sum.clone(), *more)).collect()
        };
        numbers.map(of_span).collect()
    }
}
