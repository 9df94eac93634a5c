//! Floors to compare the figures with: the same work with as little around it as possible, in the same run on the same
//! machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::jobs::{Template, at_rate};
use super::report::{Percentiles, PushFigures, per_s, ratio};
use super::times::unix_ns;
use crate::queue::{Bare, QueueError, Store};
use crate::sandbox::{AttemptContext, Handler};

/// How long each floor is measured. That of the sandbox is measured twice: before and after the figure that it is
/// compared with.
const FLOOR_TIME: Duration = Duration::from_secs(1);

/// How long jobs are pushed one by one for bare commands to take.
const PICK_UP_TIME: Duration = Duration::from_secs(3);

/// Jobs taken by one bare command: as many as one fetch takes at most.
const POP_JOBS: usize = crate::queue::MAX_BATCH;

/// Commands of one kind in a row, before as many of the other kind. So a disturbance slows both.
const BLOCK: u64 = 50;

/// How often a second the handler runs in fresh instances without a queue, `concurrency` at once.
pub(super) async fn sandbox(handler: &Arc<Handler>, template: &Template, concurrency: u32) -> f64 {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..concurrency {
        let (handler, job, queue) = (Arc::clone(handler), template.job(0), template.queue.clone());
        let guests = handler.guests().clone();
        let repeat = async move {
            let (cancel, mut runs) = (AttemptContext::default(), 0_u64);
            while began.elapsed() < FLOOR_TIME
                && let Some(permit) = handler.permit().await
            {
                handler.attempt(permit, &job, queue.as_str(), &cancel).await;
                runs += 1;
            }
            runs
        };
        running.spawn_on(repeat, &guests);
    }
    let runs: u64 = running.join_all().await.into_iter().sum();
    per_s(runs, began.elapsed())
}

/// Figures for pushes of so many jobs in so much time, with those of bare commands beside them.
pub(super) async fn push(
    store: &Store,
    template: &Template,
    (jobs, time): (u64, Duration),
) -> Result<Option<PushFigures>, QueueError> {
    let Some(mut bare) = store.bare().await? else {
        return Ok(None);
    };
    let batch: Vec<_> = (0..template.batch_jobs()).map(|_| template.job(0).encode()).collect();
    let (bare_batch, bare_pop) = batches(&mut bare, &batch).await?;
    let batch_jobs_per_s = per_s(jobs, time);
    Ok(Some(PushFigures {
        jobs,
        job_bytes: batch[0].len(),
        batch_jobs_per_s,
        bare_batch_jobs_per_s: bare_batch,
        batch_ratio: ratio(batch_jobs_per_s, bare_batch),
        bare_pop_jobs_per_s: bare_pop,
        single_jobs_per_s: None,
        bare_single_jobs_per_s: None,
        single_ratio: None,
    }))
}

/// The same with single pushes, each after the one before it.
pub(super) async fn push_singly(
    store: &Store,
    template: &Template,
    pushed: (u64, Duration),
) -> Result<Option<PushFigures>, QueueError> {
    let (figures, bare) = (push(store, template, pushed).await?, store.bare().await?);
    let (Some(mut figures), Some(mut bare)) = (figures, bare) else {
        return Ok(None);
    };
    let (mut ours, mut theirs, mut count) = (Duration::ZERO, Duration::ZERO, 0);
    while ours + theirs < 2 * FLOOR_TIME {
        let began = Instant::now();
        for number in 0..BLOCK {
            template.push_one(store, number).await?;
        }
        let between = Instant::now();
        let job = [template.job(0).encode()];
        for _ in 0..BLOCK {
            bare.push(&job).await?;
        }
        ours += between - began;
        theirs += between.elapsed();
        count += BLOCK;
    }
    figures.single_jobs_per_s = Some(per_s(count, ours));
    figures.bare_single_jobs_per_s = Some(per_s(count, theirs));
    figures.single_ratio = Some(ratio(theirs.as_secs_f64(), ours.as_secs_f64()));
    Ok(Some(figures))
}

/// How long jobs that come one by one take, from when each is due until a waiting bare command has taken it.
pub(super) async fn pick_up(store: &Store, template: &Template, per_s: u32) -> Result<Option<Percentiles>, QueueError> {
    let (Some(pusher), Some(mut waiter)) = (store.bare().await?, store.bare().await?) else {
        return Ok(None);
    };
    let (jobs, job) = (u64::from(per_s) * PICK_UP_TIME.as_secs(), template.job(0).encode());
    let taking = async {
        let mut taken_ns = Vec::new();
        while (taken_ns.len() as u64) < jobs {
            if waiter.wait().await? {
                taken_ns.push(unix_ns());
            }
        }
        Ok(taken_ns)
    };
    let pushing = at_rate(jobs, per_s, move |numbers| {
        let (mut pusher, jobs) = (pusher.clone(), numbers.map(|_| job.clone()).collect::<Vec<_>>());
        async move { pusher.push(&jobs).await }
    });
    let (due, taken) = tokio::try_join!(pushing, taking)?;
    let waits = due.iter().zip(&taken).map(|(due, taken)| taken.saturating_sub(*due));
    Ok(Some(Percentiles::of(waits.collect())))
}

/// How many jobs a second bare commands push, and how many they take. Pushes and takes alternate, so that the list
/// stays short.
async fn batches(bare: &mut Bare, batch: &[String]) -> Result<(f64, f64), QueueError> {
    let (mut pushing, mut popping, mut count) = (Duration::ZERO, Duration::ZERO, 0);
    while pushing + popping < FLOOR_TIME {
        let began = Instant::now();
        bare.push(batch).await?;
        let between = Instant::now();
        let mut left = batch.len();
        while left > 0 {
            left = left.saturating_sub(bare.pop(POP_JOBS).await?.max(1));
        }
        pushing += between - began;
        popping += between.elapsed();
        count += batch.len() as u64;
    }
    Ok((per_s(count, pushing), per_s(count, popping)))
}
