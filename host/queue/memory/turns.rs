//! The moves of groups of lanes, whose jobs wait for limits across hosts, in memory.

use std::time::Duration;

use super::MemoryStore;
use super::group::Group;
use super::state::{Queue, told};
use crate::config::Cap;
use crate::outcome::Lane;
use crate::queue::backend::SILENCE;
use crate::queue::moves::{Admitted, Claim, LanesPage, Served, Swept, Turn};
use crate::queue::queue_name::QueueName;

impl MemoryStore {
    pub(super) fn serve(&self, claim: &Claim<'_>, tag: u64, turn: Turn<'_>) -> Option<Served> {
        let mut state = self.state();
        let queue = state.queue(claim.queue);
        if !queue.lives(claim.host) {
            return None;
        }
        if queue.paused.is_some() {
            return Some(Served {
                paused: true,
                ..Served::default()
            });
        }
        let Queue { groups, in_flight, .. } = queue;
        let stem = turn.group.limited()?;
        let group = groups.entry(stem.to_owned()).or_default();
        group.limit(turn.caps);
        let served = group.serve(claim.host, tag, &turn, in_flight);
        let left = group.lanes();
        let jobs = served.iter().map(|(job, caps)| {
            let lane = Lane::of_limits(stem, caps);
            (told(job), Some(lane))
        });
        let jobs = jobs.collect();
        queue.hold(claim, tag, served.into_iter().map(|(job, _)| job).collect());
        self.lanes.notify_waiters();
        Some(Served {
            jobs,
            left,
            paused: false,
            cancels: queue.cancels.version(),
        })
    }

    pub(super) fn admit(&self, claim: &Claim<'_>, group: &Lane, caps: &[Cap], ready: &[(u64, Lane)]) -> Vec<Admitted> {
        let mut state = self.state();
        let Queue { groups, in_flight, .. } = state.queue(claim.queue);
        let Some(stem) = group.limited() else {
            return vec![Admitted::Starts; ready.len()];
        };
        let group = groups.entry(stem.to_owned()).or_default();
        group.limit(caps);
        group.forget_lost(in_flight);
        let is_due = group.opens_in(in_flight) == Some(Duration::ZERO);
        let mut table = in_flight.get_mut(claim.host);
        let admit = |(tag, lane): &(u64, Lane)| {
            let (Some(table), caps) = (table.as_mut(), lane.caps().unwrap_or_default()) else {
                return Admitted::Gone;
            };
            if !table.contains_key(tag) {
                Admitted::Gone
            } else if !is_due && group.start(caps, claim.host, *tag) {
                Admitted::Starts
            } else {
                table.remove(tag).into_iter().for_each(|job| group.add(caps, job));
                Admitted::Waits
            }
        };
        let admitted = ready.iter().map(admit).collect();
        self.lanes.notify_waiters();
        admitted
    }

    pub(super) fn sweep(&self, queue: &QueueName, group: &Lane) -> Swept {
        let mut state = self.state();
        let Queue { groups, in_flight, .. } = state.queue(queue);
        let Some(group) = group.limited().and_then(|stem| groups.get_mut(stem)) else {
            return Swept::default();
        };
        let places = group.forget_lost(in_flight);
        self.lanes.notify_waiters();
        Swept {
            places,
            jobs: group.jobs(),
            lanes: group.lanes() as u64,
        }
    }

    pub(super) fn lanes(&self, queue: &QueueName, group: &Lane) -> LanesPage {
        let state = self.state();
        let groups = state.queues.get(queue).map(|queue| &queue.groups);
        let group = groups.and_then(|groups| groups.get(group.limited()?));
        let lanes = group.map(Group::seen).unwrap_or_default();
        LanesPage { next: 0, lanes }
    }

    pub(super) async fn wait_turns(&self, groups: &[(QueueName, Lane)]) -> bool {
        let changed = self.lanes.notified();
        let mut next = SILENCE;
        for (queue, group) in groups {
            let mut state = self.state();
            let Queue { groups, in_flight, .. } = state.queue(queue);
            let group = group.limited().and_then(|stem| groups.get(stem));
            match group.and_then(|group| group.opens_in(in_flight)) {
                Some(Duration::ZERO) => return true,
                Some(wait) => next = next.min(wait),
                None => {}
            }
        }
        _ = tokio::time::timeout(next, changed).await;
        false
    }
}
