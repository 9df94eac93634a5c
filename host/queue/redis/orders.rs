//! What operators have ordered: in a hash beside each queue, and one for all queues.

use std::collections::BTreeMap;

use ::redis::cmd;

use super::RedisStore;
use super::key_watch::Fields;
use crate::queue::error::QueueError;
use crate::queue::orders::{MAX_PAUSED_JOBS, Orders, Pausable, Pause};
use crate::queue::queue_name::QueueName;

/// The field of a queue's orders that says that it is paused, and who paused it.
const PAUSED: &str = "paused";

/// The field with the version of the marks of cancelled jobs; the scripts write it.
const CANCELS: &str = "cancels";

/// A field that is always there, so that the hash is.
const MADE: &str = "made";

impl RedisStore {
    pub(super) async fn prepare(&self, queue: &QueueName) -> Result<(), QueueError> {
        let orders = self.keys.orders(queue.as_str());
        self.run(cmd("HSETNX").arg(orders).arg(MADE).arg(1)).await
    }

    pub(super) async fn pause(&self, what: &Pausable, pause: Option<&Pause>) -> Result<Option<Pause>, QueueError> {
        let (hash, field) = match what {
            Pausable::Queue(queue) => (self.keys.orders(queue.as_str()), PAUSED),
            Pausable::Job(name) => (self.keys.paused_jobs(), name.as_str()),
        };
        let before: Option<String> = self.run(cmd("HGET").arg(&hash).arg(field)).await?;
        match pause {
            Some(pause) => {
                if before.is_none() && matches!(what, Pausable::Job(_)) {
                    self.has_room(&hash).await?;
                }
                self.run::<()>(cmd("HSET").arg(hash).arg(field).arg(pause.write()))
                    .await?;
            }
            None => self.run::<()>(cmd("HDEL").arg(hash).arg(field)).await?,
        }
        Ok(before.map(|text| Pause::read(&text)))
    }

    async fn has_room(&self, hash: &str) -> Result<(), QueueError> {
        let paused: usize = self.run(cmd("HLEN").arg(hash)).await?;
        if paused < MAX_PAUSED_JOBS {
            return Ok(());
        }
        Err(QueueError::Full {
            most: MAX_PAUSED_JOBS,
            what: "paused job names",
        })
    }

    pub(super) async fn paused_jobs(&self) -> Result<BTreeMap<String, Pause>, QueueError> {
        let fields: Fields = self.run(cmd("HGETALL").arg(self.keys.paused_jobs())).await?;
        Ok(pauses(fields))
    }

    pub(super) async fn wait_orders(&self, queues: &[QueueName], known: Option<&Orders>) -> Result<Orders, QueueError> {
        let mut hashes: Vec<_> = queues.iter().map(|queue| self.keys.orders(queue.as_str())).collect();
        hashes.push(self.keys.paused_jobs());
        let Some(known) = known else {
            // A host that knows nothing yet must not take job names that it could not read for names that are not paused.
            // A queue's own pause is checked by each fetch, too.
            let (queues, jobs) = (Vec::new(), self.paused_jobs().await?);
            let found = self.key_watch.orders(&hashes, |_| false).await?;
            let known = Orders {
                queues,
                jobs,
                cancels: Vec::new(),
            };
            return Ok(orders(found, &known));
        };
        let is_known = |found: &[Option<Fields>]| orders(found.to_vec(), known) == *known;
        let found = self.key_watch.orders(&hashes, is_known).await?;
        Ok(orders(found, known))
    }
}

/// What was found: of each queue, and last of all queues. What could not be read is as it is known.
fn orders(mut found: Vec<Option<Fields>>, known: &Orders) -> Orders {
    let jobs = found.pop().flatten();
    let cancels = found.iter().enumerate().map(|(place, fields)| match fields {
        Some(fields) => fields.get(CANCELS).and_then(|text| text.parse().ok()).unwrap_or(0),
        None => known.cancels.get(place).copied().unwrap_or(0),
    });
    let cancels = cancels.collect();
    let queues = found.into_iter().enumerate();
    let queues = queues.map(|(place, fields)| match fields {
        Some(fields) => fields.get(PAUSED).map(|text| Pause::read(text)),
        None => known.queues.get(place).cloned().flatten(),
    });
    Orders {
        queues: queues.collect(),
        jobs: jobs.map_or_else(|| known.jobs.clone(), pauses),
        cancels,
    }
}

fn pauses(fields: Fields) -> BTreeMap<String, Pause> {
    let fields = fields.into_iter().take(MAX_PAUSED_JOBS);
    fields.map(|(name, text)| (name, Pause::read(&text))).collect()
}
