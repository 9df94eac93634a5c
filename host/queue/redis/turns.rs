//! Groups of lanes, whose jobs wait for limits across hosts: taking what may start, and taking back what dead hosts held.

use std::time::Duration;

use ::redis::{FromRedisValue, ParsingError, Value};

use super::jobs::millis_of;
use super::pool::Call;
use super::scripts::{ADMIT, LANES_PAGE, SERVE, SWEEP};
use super::{LAST_TAG_MS, RedisStore};
use crate::config::Cap;
use crate::outcome::Lane;
use crate::queue::error::QueueError;
use crate::queue::limits::{LOOKED_AT, MAX_SWEPT, MAX_TAKEN_BYTES};
use crate::queue::moves::{Admitted, Arrived, Claim, LaneSeen, LanesPage, Served, Sweep, Swept, Turn, millis};
use crate::queue::queue_name::QueueName;

/// How long Redis remembers a place that nobody gives back: of a host that died, under a key that never comes again. Far
/// longer than any attempt may take.
pub(super) const PLACE_REMEMBERED: Duration = Duration::from_hours(31 * 24);

/// Least time between two sweeps of a group, whichever hosts ask for them.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

impl RedisStore {
    pub(super) async fn serve(
        &self,
        claim: &Claim<'_>,
        tag: u64,
        turn: Turn<'_>,
    ) -> Result<Option<Served>, QueueError> {
        let queue = claim.queue.as_str();
        let Some(stem) = turn.group.limited() else {
            return Ok(Some(Served::default()));
        };
        let mut call = SERVE.keys(&[
            self.in_flight(claim),
            self.leases(claim),
            self.last_tag(claim),
            self.keys.orders(queue),
            self.keys.lanes(queue),
        ]);
        call.arg(claim.host)
            .arg(claim.lease_ms())
            .arg(tag)
            .arg(turn.jobs)
            .arg(turn.bytes)
            .arg(LAST_TAG_MS)
            .arg(MAX_TAKEN_BYTES)
            .arg(turn.longest.unwrap_or(0))
            .arg(self.keys.group(queue, stem))
            .arg(turn.group.as_str())
            .arg(millis(PLACE_REMEMBERED));
        add_limits(&mut call, turn.caps);
        let served: Option<Answered> = self.pool.call(&call).await?;
        Ok(served.map(|served| served.of(stem)))
    }

    pub(super) async fn admit(
        &self,
        claim: &Claim<'_>,
        group: &Lane,
        caps: &[Cap],
        ready: &[(u64, Lane)],
    ) -> Result<Vec<Admitted>, QueueError> {
        let queue = claim.queue.as_str();
        let Some(stem) = group.limited() else {
            return Ok(vec![Admitted::Starts; ready.len()]);
        };
        let mut call = ADMIT.keys(&[self.in_flight(claim), self.keys.lanes(queue)]);
        call.arg(self.keys.group(queue, stem))
            .arg(group.as_str())
            .arg(millis(PLACE_REMEMBERED))
            .arg(ready.len());
        for (tag, lane) in ready {
            call.arg(tag).arg(lane.caps().unwrap_or_default());
        }
        add_limits(&mut call, caps);
        let fates: Vec<i8> = self.pool.call(&call).await?;
        let fate = |fate| match fate {
            1 => Admitted::Starts,
            0 => Admitted::Waits,
            _ => Admitted::Gone,
        };
        Ok(fates.into_iter().map(fate).collect())
    }

    pub(super) async fn sweep(
        &self,
        queue: &QueueName,
        group: &Lane,
        caps: &[Cap],
        when: Sweep<'_>,
    ) -> Result<Swept, QueueError> {
        let Some(stem) = group.limited() else {
            return Ok(Swept::default());
        };
        let mut call = SWEEP.keys(&[self.keys.lanes(queue.as_str())]);
        call.arg(self.keys.group(queue.as_str(), stem))
            .arg(group.as_str())
            .arg(millis(SWEEP_INTERVAL))
            .arg(u8::from(when != Sweep::InTurn))
            .arg(MAX_SWEPT);
        let names = if let Sweep::Of(names) = when { names } else { &[] };
        call.arg(names.len()).arg(names);
        add_limits(&mut call, caps);
        let (places, jobs, lanes) = self.pool.call(&call).await?;
        Ok(Swept { places, jobs, lanes })
    }

    pub(super) async fn lanes(&self, queue: &QueueName, group: &Lane, from: u64) -> Result<LanesPage, QueueError> {
        let Some(stem) = group.limited() else {
            return Ok(LanesPage::default());
        };
        let mut call = LANES_PAGE.keys(&[self.keys.lanes(queue.as_str())]);
        call.arg(self.keys.group(queue.as_str(), stem)).arg(from).arg(LOOKED_AT);
        let (next, lanes): (u64, Vec<Looked>) = self.pool.call(&call).await?;
        let seen = |(lane, jobs, turn, running): Looked| LaneSeen {
            lane,
            jobs,
            turn_ms: turn.parse().ok().map(millis_of),
            running,
        };
        Ok(LanesPage {
            next,
            lanes: lanes.into_iter().map(seen).collect(),
        })
    }

    pub(super) async fn wait_turns(&self, groups: &[(QueueName, Lane)]) -> Result<bool, QueueError> {
        let turns = |(queue, group): &(QueueName, Lane)| Some(self.keys.turns(queue.as_str(), group.limited()?));
        let sets: Vec<_> = groups.iter().filter_map(turns).collect();
        Ok(!self.key_watch.turns(&sets).await?.is_empty())
    }
}

/// A lane: its name, its jobs, the Unix seconds of its turn or nothing, and each cap with the places that are taken.
type Looked = (String, u64, String, Vec<(String, u64)>);

/// Adds the limits as the scripts read them, and that of the keys of unique jobs.
fn add_limits(call: &mut Call<'_>, caps: &[Cap]) {
    for cap in caps.iter().chain([&Cap::of_unique()]) {
        let places = cap.places.map_or(0, std::num::NonZeroU32::get);
        let every_s = cap.rate.map_or(0.0, |rate| rate.every.as_secs_f64());
        let burst = cap.rate.map_or(1, |rate| rate.burst.get());
        call.arg(cap.id()).arg(places).arg(every_s).arg(burst);
    }
}

/// Three to five values: the jobs, the lane of each, how many lanes are left, whether the queue is paused, the version of the
/// marks of cancelled jobs.
struct Answered {
    jobs: Vec<Arrived>,
    lanes: Vec<String>,
    left: usize,
    paused: bool,
    cancels: Option<u64>,
}

impl Answered {
    fn of(self, stem: &str) -> Served {
        let lane = |caps: String| (!caps.is_empty()).then(|| Lane::of_limits(stem, &caps));
        Served {
            jobs: self.jobs.into_iter().zip(self.lanes.into_iter().map(lane)).collect(),
            left: self.left,
            paused: self.paused,
            cancels: self.cancels,
        }
    }
}

impl FromRedisValue for Answered {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let mut parts = Vec::<Value>::from_redis_value(value)?.into_iter();
        let mut part = || parts.next().unwrap_or(Value::Nil);
        Ok(Self {
            jobs: FromRedisValue::from_redis_value(part())?,
            lanes: FromRedisValue::from_redis_value(part())?,
            left: FromRedisValue::from_redis_value(part())?,
            paused: Option::<u8>::from_redis_value(part())?.is_some(),
            cancels: FromRedisValue::from_redis_value(part())?,
        })
    }
}
