//! Ten hosts with clocks of their own, which crash, come back and lose answers, and a store whose clock is ours: the real
//! agenda of each host, and the real script.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kiln::job::Job;
use kiln::plugins::Scheduled;
use kiln::queue::{Fired, Firing};
use kiln::schedule::Agenda;

use super::one;
use crate::support::shared_redis;

const FIRE: &str = include_str!("../../../host/queue/redis/scripts/fire.lua");

const HOSTS: usize = 10;

/// When the simulation begins, by the store's clock.
const BEGIN_MS: i64 = 1_780_000_000_000;

/// How far the clock goes in one step.
const STEP_MS: i64 = 250;

struct Host {
    agenda: Agenda,
    /// By how much its clock is wrong.
    ahead_ms: i64,
}

struct World {
    ready: String,
    schedules: String,
    scheduled: Vec<Scheduled>,
    hosts: Vec<Option<Host>>,
    now_ms: i64,
    luck: fastrand::Rng,
}

impl World {
    fn new(seed: u64, lines_of: &[(&str, &str)]) -> Self {
        let id = fastrand::u64(..);
        let scheduled = lines_of.iter().map(|(name, lines)| Scheduled {
            name: (*name).into(),
            job: "hello".into(),
            schedule: Arc::new(one(lines)),
        });
        Self {
            ready: format!("{{sim-{id:016x}}}:ready"),
            schedules: format!("{{sim-{id:016x}}}:schedules"),
            scheduled: scheduled.collect(),
            hosts: (0..HOSTS).map(|_| None).collect(),
            now_ms: BEGIN_MS,
            luck: fastrand::Rng::with_seed(seed),
        }
    }

    fn start(&mut self, host: usize) {
        let mut agenda = Agenda::default();
        assert!(agenda.plan(self.scheduled.clone()).is_empty());
        let ahead_ms = self.luck.i64(-3_000..3_000);
        self.hosts[host] = Some(Host { agenda, ahead_ms });
    }

    fn kill(&mut self, host: usize) {
        self.hosts[host] = None;
    }

    /// Lets a host do what it has to, if it runs. It may die of it, or not hear the answer.
    async fn let_run(&mut self, number: usize, mishaps: bool) -> anyhow::Result<()> {
        let Some(host) = &self.hosts[number] else { return Ok(()) };
        let now = Timestamp::from_millisecond(self.now_ms + host.ahead_ms)?;
        if host.agenda.next().is_none_or(|next| next > now) {
            return Ok(());
        }
        for firings in host.agenda.due(now).into_values() {
            let fired = fire(&self.ready, &self.schedules, &firings, self.now_ms).await?;
            match self.luck.u32(..20) {
                0 if mishaps => {
                    self.kill(number);
                    return Ok(());
                }
                // Its answer is lost.
                1 if mishaps => {}
                _ => {
                    let Some(host) = &mut self.hosts[number] else {
                        return Ok(());
                    };
                    let at = Timestamp::from_millisecond(self.now_ms)?;
                    for (firing, fired) in firings.iter().zip(fired) {
                        host.agenda.heard(firing, fired, at, now);
                    }
                }
            }
        }
        Ok(())
    }

    async fn step(&mut self, mishaps: bool) -> anyhow::Result<()> {
        let mut order: Vec<_> = (0..HOSTS).collect();
        self.luck.shuffle(&mut order);
        for host in order {
            if mishaps && self.luck.u32(..100) == 0 {
                self.kill(host);
            } else if mishaps && self.hosts[host].is_none() && self.luck.u32(..10) == 0 {
                self.start(host);
            }
            self.let_run(host, mishaps).await?;
        }
        self.now_ms += STEP_MS;
        Ok(())
    }

    /// The ids of the jobs that were pushed for a schedule, in their order.
    async fn pushed(&self, schedule: &str) -> anyhow::Result<Vec<String>> {
        let jobs: Vec<String> = shared_redis().tell(&["LRANGE", &self.ready, "0", "-1"]).await?;
        let ids = jobs.iter().map(|job| Job::decode(job.as_bytes()).expect("a job").id);
        Ok(ids.filter(|id| id.starts_with(&format!("cron:{schedule}:"))).collect())
    }
}

/// Runs the script at a time of ours.
async fn fire(ready: &str, schedules: &str, firings: &[Firing], now_ms: i64) -> anyhow::Result<Vec<Fired>> {
    let clock = "
        local real = redis
        local at = tonumber(table.remove(ARGV))
        local redis = {pcall = real.pcall, call = function(name, ...)
          return name == 'TIME' and {math.floor(at / 1000), (at % 1000) * 1000} or real.call(name, ...)
        end}
    ";
    let script = format!("{clock}{FIRE}");
    let mut words = ["EVAL", &*script, "2", ready, schedules, "10000", "3600000", "86400000"]
        .map(str::to_owned)
        .to_vec();
    for firing in firings {
        let shift_ms = firing.shift.as_millis();
        words.extend([
            firing.schedule.clone(),
            shift_ms.to_string(),
            u8::from(firing.skips).to_string(),
            firing.instants.len().to_string(),
        ]);
        for instant in &firing.instants {
            let job = instant.job.clone().unwrap_or_default();
            words.extend([instant.at.as_millisecond().to_string(), instant.label.clone(), job]);
        }
    }
    words.push(now_ms.to_string());
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let answer: Vec<String> = shared_redis().tell(&words).await?;
    let fired = answer[1..].chunks(3).map(|fired| Fired {
        last: fired[0]
            .parse()
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        jobs: fired[1].parse().expect("a number"),
        skipped: fired[2].parse().expect("a number"),
    });
    Ok(fired.collect())
}

/// The ids of the jobs of every instant in a range of milliseconds.
fn ids(schedule: &str, period_ms: i64, after_ms: i64, up_to_ms: i64) -> Vec<String> {
    let first = after_ms.div_euclid(period_ms) + 1;
    let instants = (first..=up_to_ms.div_euclid(period_ms)).map(|n| n * period_ms);
    instants
        .map(|ms| format!("cron:{schedule}:{}", Timestamp::from_millisecond(ms).expect("a time")))
        .collect()
}

#[tokio::test]
async fn ten_hosts_with_wrong_clocks_that_die_and_come_back_fire_five_hundred_instants_once_each() -> anyhow::Result<()>
{
    for seed in 0..2 {
        let mut world = World::new(
            seed,
            &[
                ("p/second", "id = \"second\"\nevery = \"1s\"\ncatch_up = \"all\""),
                (
                    "p/shifted",
                    "id = \"shifted\"\nevery = \"7s\"\ncatch_up = \"all\"\njitter = \"5s\"",
                ),
            ],
        );
        world.start(0);
        world.let_run(0, false).await?;
        for _ in 0..500_000 / STEP_MS {
            world.step(true).await?;
        }
        // Whoever is left makes up for the rest.
        world.start(0);
        for _ in 0..40 {
            world.step(false).await?;
        }
        let seconds = world.pushed("p/second").await?;
        assert_eq!(
            seconds,
            ids("p/second", 1_000, BEGIN_MS, world.now_ms - STEP_MS),
            "seed {seed}"
        );
        let shift_ms = i64::try_from(world.scheduled[1].schedule.shift("p/shifted").as_millis())?;
        let (from, to) = (BEGIN_MS - shift_ms, world.now_ms - STEP_MS - shift_ms);
        assert_eq!(
            world.pushed("p/shifted").await?,
            ids("p/shifted", 7_000, from, to),
            "seed {seed}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn after_an_outage_a_schedule_makes_up_for_as_much_as_it_says() -> anyhow::Result<()> {
    let every = |id: &str, more: &str| format!("id = \"{id}\"\nevery = \"1m\"\n{more}");
    let schedules = [
        ("p/last", every("last", "")),
        ("p/none", every("none", "catch_up = \"none\"")),
        ("p/all", every("all", "catch_up = \"all\"\ncatch_up_within = \"5m\"")),
    ];
    let schedules = schedules.each_ref().map(|(name, lines)| (*name, lines.as_str()));
    let mut world = World::new(1, &schedules);
    // 20 s past a full minute.
    world.now_ms -= world.now_ms % 60_000 - 20_000;
    world.start(0);
    world.let_run(0, false).await?;
    world.kill(0);
    let begin_ms = world.now_ms;
    world.now_ms += 30 * 60_000;
    for host in 0..3 {
        world.start(host);
    }
    for _ in 0..40 {
        world.step(false).await?;
    }
    let id = |schedule: &str, minutes: i64| {
        let ms = begin_ms - 20_000 + minutes * 60_000;
        format!("cron:{schedule}:{}", Timestamp::from_millisecond(ms).expect("a time"))
    };
    assert_eq!(world.pushed("p/last").await?, [id("p/last", 30)]);
    assert_eq!(world.pushed("p/none").await?, [""; 0]);
    let all: Vec<_> = (26..=30).map(|minute| id("p/all", minute)).collect();
    assert_eq!(world.pushed("p/all").await?, all);
    // From here on each is on time.
    world.now_ms = begin_ms + 31 * 60_000 - 20_000;
    for _ in 0..40 {
        world.step(false).await?;
    }
    for name in ["p/last", "p/none", "p/all"] {
        assert_eq!(world.pushed(name).await?.last(), Some(&id(name, 31)));
    }
    Ok(())
}

#[tokio::test]
async fn a_clock_of_the_store_that_is_set_back_repeats_nothing_unless_it_was_far_ahead() -> anyhow::Result<()> {
    let mut world = World::new(
        2,
        &[("p/minute", "id = \"minute\"\nevery = \"1m\"\ncatch_up = \"all\"")],
    );
    world.start(0);
    let run = async |world: &mut World, ms: i64| {
        // Hosts follow the store's clock.
        for _ in 0..ms / STEP_MS {
            world.let_run(0, false).await?;
            world.now_ms += STEP_MS;
        }
        anyhow::Ok(())
    };
    world.hosts[0].as_mut().expect("runs").ahead_ms = 0;
    run(&mut world, 10 * 60_000).await?;
    let before = world.pushed("p/minute").await?;
    assert_eq!(before.len(), 10);
    // Half an hour back, as with a new master whose clock is behind: nothing until it has caught up.
    world.now_ms -= 30 * 60_000;
    world.start(0);
    world.hosts[0].as_mut().expect("runs").ahead_ms = 0;
    run(&mut world, 29 * 60_000).await?;
    assert_eq!(world.pushed("p/minute").await?, before);
    run(&mut world, 3 * 60_000).await?;
    let caught_up = world.pushed("p/minute").await?;
    assert_eq!((caught_up.len(), &caught_up[..10]), (12, &before[..]));
    // Two hours back: the clock had been wrong, and the schedule starts anew.
    world.now_ms -= 2 * 3_600_000;
    world.start(0);
    world.hosts[0].as_mut().expect("runs").ahead_ms = 0;
    run(&mut world, 5 * 60_000).await?;
    assert_eq!(world.pushed("p/minute").await?.len(), 12 + 5);
    Ok(())
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_makes_up_for_what_may_be_and_one_that_jumps_back_again_starts_anew()
-> anyhow::Result<()> {
    let mut world = World::new(
        3,
        &[
            ("p/last", "id = \"last\"\nevery = \"1m\""),
            (
                "p/all",
                "id = \"all\"\nevery = \"1m\"\ncatch_up = \"all\"\ncatch_up_within = \"30m\"",
            ),
        ],
    );
    world.now_ms -= world.now_ms % 60_000 - 30_000;
    world.start(0);
    let run = async |world: &mut World, minutes: i64| {
        world.hosts[0].as_mut().expect("runs").ahead_ms = 0;
        for _ in 0..minutes * 60_000 / STEP_MS {
            world.let_run(0, false).await?;
            world.now_ms += STEP_MS;
        }
        let (last, all) = (world.pushed("p/last").await?.len(), world.pushed("p/all").await?.len());
        anyhow::Ok((last, all))
    };
    assert_eq!(run(&mut world, 3).await?, (3, 3));
    // Three days ahead, as when a machine wakes up: the last of them, and half an hour of them; then each is on time.
    world.now_ms += 3 * 86_400_000;
    assert_eq!(run(&mut world, 2).await?, (3 + 1 + 2, 3 + 30 + 2));
    // It had been wrong: back by as much. Nothing is repeated, and each new instant comes once.
    world.now_ms -= 3 * 86_400_000;
    world.start(0);
    assert_eq!(run(&mut world, 4).await?, (6 + 4, 35 + 4));
    Ok(())
}

#[test]
fn an_agenda_takes_a_thousand_schedules_and_names_the_others() {
    let schedule = Arc::new(one("id = \"a\"\nevery = \"1h\""));
    let scheduled = |n: usize| Scheduled {
        name: format!("p/{n:04}").into(),
        job: "hello".into(),
        schedule: Arc::clone(&schedule),
    };
    let mut agenda = Agenda::default();
    let left_out = agenda.plan((0..1_002).map(scheduled).collect());
    assert_eq!(
        left_out.iter().map(|name| &**name).collect::<Vec<_>>(),
        ["p/1000", "p/1001"]
    );
    let now = Timestamp::from_millisecond(BEGIN_MS).expect("a time");
    let due = agenda.due(now).into_values().map(|firings| firings.len());
    assert_eq!(due.sum::<usize>(), 1_000);
    assert!(agenda.plan(Vec::new()).is_empty() && agenda.is_empty() && agenda.next().is_none());
    assert_eq!(SignedDuration::ZERO, schedule.shift("p/0000"));
}
