//! apalis: `apalis-peer push N` pushes N jobs that do nothing, `apalis-peer work CONCURRENCY` runs them.
//!
//! Fair, because jobs are pushed in bulk, fetched in batches as large as the number of jobs at once, and nothing is
//! published about them. Results are kept, because without them no job is settled. The entries of completed jobs stay,
//! because the only command that removes them goes through all of them. Jobs are not locked: a lock searches the whole
//! backlog for its job, and a job whose worker dies is run again without one too. A task of tokio's for each job
//! (`parallelize`) took more processor time and was no faster.

use std::{env, error::Error, process, time::Duration};

use apalis::prelude::*;
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use redis::Script;
use serde::{Deserialize, Serialize};

/// Jobs of one push.
const PUSH_JOBS: usize = 1_000;

/// How often an idle worker asks for jobs, and settles the last ones.
const POLL: Duration = Duration::from_millis(10);

/// Moves jobs from the scheduled ones, where every push puts them, to those that are fetched. A fetch does the same
/// with all jobs that are due, in one command, and fails with more than some 8,000.
const PROMOTE: &str = r"
    local jobs = redis.call('zrange', KEYS[1], 0, -1)
    redis.call('rpush', KEYS[2], unpack(jobs))
    redis.call('zrem', KEYS[1], unpack(jobs))
";

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

#[derive(Serialize, Deserialize)]
struct Payload {
    to: String,
}

async fn nothing(_payload: Payload) {}

#[tokio::main]
async fn main() -> Outcome {
    let words: Vec<String> = env::args().collect();
    let [_, what, count] = words.as_slice() else {
        return Err("usage: apalis-peer push N | work CONCURRENCY".into());
    };
    let redis = apalis_redis::connect(env::var("REDIS_URL")?).await?;
    let config = Config::default().queue("bench").emit_events(false).lock_tasks(false);
    match what.as_str() {
        "push" => push(redis, config, count.parse()?).await,
        _ => work(redis, config, count.parse()?).await,
    }
}

async fn push(mut redis: ConnectionManager, config: Config, count: usize) -> Outcome {
    let mut storage = RedisStorage::new(redis.clone()).with_config(config.clone());
    for first in (0..count).step_by(PUSH_JOBS) {
        let payload = |_| Payload { to: "x".repeat(391) }; // 400 bytes of JSON
        let jobs = (first..count.min(first + PUSH_JOBS)).map(payload);
        storage.push_bulk(jobs.collect()).await?;

        let script = Script::new(PROMOTE);
        let mut promote = script.key(config.scheduled_jobs_set());
        promote.key(config.active_jobs_list());
        promote.invoke_async::<()>(&mut redis).await?;
    }
    Ok(())
}

async fn work(redis: ConnectionManager, config: Config, concurrency: usize) -> Outcome {
    let storage = RedisStorage::new(redis).with_config(config.batch_size(concurrency));
    WorkerBuilder::new(process::id().to_string())
        .backend(storage.poll_with_interval(POLL))
        .concurrency(concurrency)
        .build(nothing)
        .run()
        .await?;
    Ok(())
}
