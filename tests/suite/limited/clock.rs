//! The scripts of limits against a clock of the test's own, and against a model of what limits allow: after each step nothing has
//! started too early, nothing that may start waits, and whoever waits is told the right moment.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fastrand::Rng;

use crate::support::shared_redis;

const SERVE: &str = concat!(
    include_str!("../../../host/queue/redis/scripts/caps.lua"),
    include_str!("../../../host/queue/redis/scripts/serve.lua")
);
const SETTLE: &str = concat!(
    include_str!("../../../host/queue/redis/scripts/queue_up.lua"),
    include_str!("../../../host/queue/redis/scripts/settle.lua")
);
const ADMIT: &str = concat!(
    include_str!("../../../host/queue/redis/scripts/caps.lua"),
    include_str!("../../../host/queue/redis/scripts/queue_up.lua"),
    include_str!("../../../host/queue/redis/scripts/admit.lua")
);

/// Where the clock begins, in Unix microseconds: as large as real ones are.
const BEGINNING_US: i64 = 1_764_547_200_123_457;

/// How exact the scripts are: they add up fractions of seconds, and each sum is a quarter of a microsecond off.
const GOOD_FOR_US: i64 = 50;

/// Numbers of a limit, as the scripts have them.
#[derive(Clone, Copy)]
struct Limit {
    id: &'static str,
    places: usize,
    every_us: u32,
    burst: i64,
}

/// What is known of a cap.
#[derive(Default)]
struct Cap {
    held: usize,
    /// When the next job may start by the rate alone, without a burst.
    next_us: i64,
}

/// A group of lanes in Redis, under a clock that stands until it is moved, and what should be in it.
struct World {
    keys: [String; 5],
    at: String,
    limits: Vec<Limit>,
    now_us: i64,
    tag: u64,
    caps: BTreeMap<String, Cap>,
    waiting: BTreeMap<String, VecDeque<String>>,
    /// By tag, the lane it came from.
    running: Vec<(u64, String)>,
    jobs: usize,
}

impl World {
    async fn new(limits: &[Limit]) -> anyhow::Result<Self> {
        let id = fastrand::u64(..);
        let key = |name: &str| format!("{{test-{id:016x}}}:{name}");
        let keys = ["flying", "leases", "last", "orders", "lanes"].map(key);
        let _: u64 = shared_redis().tell(&["ZADD", &keys[1], "9e15", "host"]).await?;
        Ok(Self {
            keys,
            at: key("limits:plugin:"),
            limits: limits.to_vec(),
            now_us: BEGINNING_US,
            tag: 1,
            caps: BTreeMap::new(),
            waiting: BTreeMap::new(),
            running: Vec::new(),
            jobs: 0,
        })
    }

    /// Runs a script at this time. What expires by Redis' own clock does not.
    async fn run<T: redis::FromRedisValue>(&self, script: &str, keys: &[&str], args: &[String]) -> anyhow::Result<T> {
        let (s, us) = (self.now_us / 1_000_000, self.now_us % 1_000_000);
        let clock = format!(
            "local real = redis
            local function call(name, key, value, ...)
              if name == 'TIME' then return {{'{s}', '{us}'}} end
              if name == 'SET' then return real.call(name, key, value) end
              if name == 'PEXPIRE' then return 1 end
              if not key then return real.call(name) end
              if not value then return real.call(name, key) end
              return real.call(name, key, value, ...)
            end
            local redis = {{pcall = call, call = call, sha1hex = real.sha1hex, error_reply = real.error_reply}}\n"
        );
        let (script, count) = (clock + script, keys.len().to_string());
        let words = ["EVAL", &script, &count].into_iter().chain(keys.iter().copied());
        let words: Vec<&str> = words.chain(args.iter().map(String::as_str)).collect();
        shared_redis().tell(&words).await
    }

    fn caps_of(lane: &str) -> impl Iterator<Item = &str> {
        lane.split('|')
    }

    fn limit(&self, cap: &str) -> Limit {
        let id = cap.split('=').next().unwrap_or_default();
        *self.limits.iter().find(|limit| limit.id == id).expect("a limit")
    }

    /// From when on a job of a lane may start; none: once a place is free.
    fn opens_us(&self, lane: &str) -> Option<i64> {
        let mut opens = 0;
        for name in Self::caps_of(lane) {
            let (limit, cap) = (self.limit(name), self.caps.get(name));
            let (held, next_us) = cap.map_or((0, 0), |cap| (cap.held, cap.next_us));
            if limit.places > 0 && held >= limit.places {
                return None;
            }
            if limit.every_us > 0 {
                opens = opens.max(next_us - (limit.burst - 1) * i64::from(limit.every_us));
            }
        }
        Some(opens)
    }

    fn may_start(&self, lane: &str, at_us: i64) -> bool {
        self.opens_us(lane).is_some_and(|opens| opens <= at_us)
    }

    /// Puts a job into the host's table, under a tag that no job from a lane will have.
    async fn comes(&mut self) -> anyhow::Result<(String, u64)> {
        let (job, tag) = (format!("job {}", self.jobs), 9_000_000_000_000_000 + self.jobs as u64);
        self.jobs += 1;
        let _: u64 = shared_redis()
            .tell(&["HSET", &self.keys[0], &tag.to_string(), &job])
            .await?;
        Ok((job, tag))
    }

    /// Sends a job into a lane.
    async fn arrives(&mut self, lane: &str) -> anyhow::Result<()> {
        let (job, tag) = self.comes().await?;
        let (tag, [flying, _, _, _, lanes]) = (tag.to_string(), &self.keys);
        let group = format!("13 limits:plugin{}", self.at);
        let args = ["0", "0", "9000", &tag, "limit", lane, &group].map(str::to_owned);
        let keys = [flying, flying, flying, flying, lanes].map(String::as_str);
        let (refused, _, _): (Vec<String>, u64, String) = self.run(SETTLE, &keys, &args).await?;
        assert!(refused.is_empty());
        self.waiting.entry(lane.to_owned()).or_default().push_back(job);
        Ok(())
    }

    /// The limits as scripts have them.
    fn limits(&self) -> impl Iterator<Item = String> {
        self.limits.iter().flat_map(|limit| {
            let every_s = f64::from(limit.every_us) / 1e6;
            let numbers = [limit.places.to_string(), every_s.to_string(), limit.burst.to_string()];
            [limit.id.to_owned()].into_iter().chain(numbers)
        })
    }

    /// Has some jobs start at once or wait, and holds that to the model. Returns how many start.
    async fn admits(&mut self, of_lanes: &[&str]) -> anyhow::Result<usize> {
        let mut args = [&self.at, "limits:plugin", "9000000"].map(str::to_owned).to_vec();
        args.push(of_lanes.len().to_string());
        let mut came = Vec::new();
        for lane in of_lanes {
            let (job, tag) = self.comes().await?;
            args.extend([tag.to_string(), (*lane).to_owned()]);
            came.push((job, tag, (*lane).to_owned()));
        }
        args.extend(self.limits());
        let is_due = self
            .told_us()
            .await?
            .is_some_and(|told| told < self.now_us - GOOD_FOR_US);
        let keys = [&self.keys[0], &self.keys[4]].map(String::as_str);
        let fates: Vec<i64> = self.run(ADMIT, &keys, &args).await?;
        let mut started = 0;
        for ((job, tag, lane), fate) in came.into_iter().zip(fates) {
            let overtakes = is_due || self.waiting.contains_key(&lane);
            if fate == 1 {
                assert!(!overtakes, "{job} of {lane} overtakes {:?}", self.waiting);
                assert!(self.may_start(&lane, self.now_us + GOOD_FOR_US), "{job} of {lane}");
                self.starts(tag, &lane, self.now_us);
                started += 1;
            } else {
                assert_eq!(fate, 0);
                self.waiting.entry(lane).or_default().push_back(job);
            }
        }
        Ok(started)
    }

    /// Notes that a job of a lane has started.
    fn starts(&mut self, tag: u64, lane: &str, at_us: i64) {
        for name in Self::caps_of(lane) {
            let every_us = self.limit(name).every_us;
            let cap = self.caps.entry(name.to_owned()).or_default();
            cap.held += 1;
            cap.next_us = cap.next_us.max(at_us) + i64::from(every_us);
        }
        self.running.push((tag, lane.to_owned()));
    }

    /// Serves, and holds what comes to the model.
    async fn serves(&mut self) -> anyhow::Result<usize> {
        let head = [
            "host",
            "60000",
            &self.tag.to_string(),
            "200",
            "1000000",
            "9000",
            "1000000",
            "0",
            &self.at,
        ];
        let mut args = head.map(str::to_owned).to_vec();
        args.extend(["limits:plugin", "9000000"].map(str::to_owned));
        args.extend(self.limits());
        let keys = self.keys.each_ref().map(String::as_str);
        let answer: (Vec<String>, Vec<String>, u64, Option<u64>, Option<u64>) = self.run(SERVE, &keys, &args).await?;
        let (jobs, lanes, left, ..) = answer;
        for (n, (job, lane)) in (0_u32..).zip(jobs.iter().zip(&lanes)) {
            let at_us = self.now_us + i64::from(n);
            let opens = self.opens_us(lane);
            assert!(
                self.may_start(lane, at_us + GOOD_FOR_US),
                "{job} of {lane} started at {at_us}, as the {n}th, and may from {opens:?} on"
            );
            let waiting = self.waiting.get_mut(lane).expect("a lane");
            assert_eq!(
                waiting.pop_front().as_ref(),
                Some(job),
                "in the order in which they came"
            );
            self.starts(self.tag + u64::from(n), lane, at_us);
        }
        self.tag += 200;
        self.waiting.retain(|_, jobs| !jobs.is_empty());
        assert_eq!(left, self.waiting.len() as u64);
        for lane in self.waiting.keys() {
            let (now, opens) = (self.now_us, self.opens_us(lane));
            assert!(
                !self.may_start(lane, now - GOOD_FOR_US),
                "a job of {lane} may start from {opens:?} on, and waits at {now}; just started: {lanes:?}; told: {:?}",
                self.told_us().await?
            );
        }
        Ok(jobs.len())
    }

    /// When the first lane has its turn that is told to those who wait.
    async fn told_us(&self) -> anyhow::Result<Option<i64>> {
        let turns = format!("{}turns", self.at);
        let first: Vec<(String, f64)> = shared_redis().tell(&["ZRANGE", &turns, "0", "0", "WITHSCORES"]).await?;
        let Some((_, at_s)) = first.first() else {
            return Ok(None);
        };
        let at = Duration::try_from_secs_f64(at_s + 5e-7)?;
        Ok(Some(i64::try_from(at.as_micros())?))
    }

    /// Acknowledges one that runs.
    async fn ends(&mut self, which: usize) -> anyhow::Result<()> {
        let (tag, lane) = self.running.swap_remove(which);
        let [flying, _, _, _, lanes] = &self.keys;
        let tag = tag.to_string();
        let args = ["0", "0", "9000", &tag, "ack", "", "0", &tag, "free", &lane, &self.at].map(str::to_owned);
        let keys = [flying, flying, flying, flying, lanes].map(String::as_str);
        let (refused, _, _): (Vec<String>, u64, String) = self.run(SETTLE, &keys, &args).await?;
        assert!(refused.is_empty());
        for name in Self::caps_of(&lane) {
            self.caps.get_mut(name).expect("a cap").held -= 1;
        }
        Ok(())
    }
}

/// Jobs of three keys come, start and end at random under these limits, for so many steps, and in the end all have run.
async fn play(seed: u64, limits: &[Limit], lanes: &[&str], steps: usize) -> anyhow::Result<()> {
    let (mut rng, mut world) = (Rng::with_seed(seed), World::new(limits).await?);
    let mut started = 0;
    for step in 0.. {
        let is_over = step >= steps;
        if is_over && world.waiting.is_empty() {
            break;
        }
        assert!(step < steps + 10_000, "{:?} never start", world.waiting);
        for _ in 0..rng.usize(..if is_over { 1 } else { 4 }) {
            world.arrives(lanes[rng.usize(..lanes.len())]).await?;
        }
        let come = rng.usize(..if is_over { 1 } else { 4 });
        let come: Vec<_> = (0..come).map(|_| lanes[rng.usize(..lanes.len())]).collect();
        started += world.admits(&come).await?;
        while !world.running.is_empty() && rng.u8(..3) > 0 {
            world.ends(rng.usize(..world.running.len())).await?;
        }
        started += world.serves().await?;
        let opens = world.waiting.keys().filter_map(|lane| world.opens_us(lane)).min();
        let told = world.told_us().await?;
        if let Some(opens) = opens {
            // Never too late. Too early by what the scripts are good for; or by more, where another limit closes by then.
            assert!(
                told.is_some_and(|told| told <= opens + GOOD_FOR_US),
                "seed {seed}, step {step}: {told:?} for {opens}"
            );
        }
        // On to the very moment that is told, or anywhere.
        world.now_us = match told {
            Some(told) if told > world.now_us && rng.bool() => told,
            _ => world.now_us + rng.i64(1..150_000),
        };
    }
    assert_eq!(started, world.jobs);
    Ok(())
}

const fn limit(id: &'static str, places: usize, every_us: u32, burst: i64) -> Limit {
    Limit {
        id,
        places,
        every_us,
        burst,
    }
}

#[tokio::test]
async fn a_rate_by_key_starts_each_job_at_the_first_moment_at_which_it_may() -> anyhow::Result<()> {
    for seed in 0..4 {
        play(seed, &[limit("/k", 0, 100_000, 3)], &["/k=a", "/k=b", "/k=c"], 150).await?;
        play(seed, &[limit("/k", 0, 33_333, 1)], &["/k=a", "/k=b"], 150).await?;
    }
    Ok(())
}

#[tokio::test]
async fn rates_and_places_by_key_and_in_all_hold_together_and_keep_nothing_waiting_that_may_start() -> anyhow::Result<()>
{
    let lanes = ["/k=a|*", "/k=b|*", "/k=c|*"];
    for seed in 0..6 {
        play(seed, &[limit("/k", 2, 0, 1), limit("*", 3, 0, 1)], &lanes, 150).await?;
        play(
            seed,
            &[limit("/k", 0, 90_000, 2), limit("*", 0, 40_000, 4)],
            &lanes,
            150,
        )
        .await?;
        play(
            seed,
            &[limit("/k", 2, 70_000, 2), limit("*", 4, 30_000, 3)],
            &lanes,
            150,
        )
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_burst_starts_in_one_step_at_whatever_moment() -> anyhow::Result<()> {
    for offset_us in 0..20 {
        let mut world = World::new(&[limit("*", 0, 1_000_000, 40)]).await?;
        world.now_us += offset_us * 7_919;
        for _ in 0..50 {
            world.arrives("*").await?;
        }
        assert_eq!(world.serves().await?, 40, "at {}", world.now_us);
    }
    Ok(())
}
