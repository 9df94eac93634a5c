//! The producers: they push and push, and note what Redis has acknowledged.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisResult};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::handler::Handler;
use crate::keys::{Keys, QUEUES};
use crate::ledger::{Ledger, id, next_id, now};
use crate::server::connect;

/// Time between two batches.
const BATCH_INTERVAL: Duration = Duration::from_millis(50);

/// Jobs in a batch: two producers push 160 to 400 in a second.
const BATCH: std::ops::RangeInclusive<usize> = 4..=10;

/// Batches in a row that are of a size.
const STEADY: usize = 60;

/// Batches on their way at once.
const UNANSWERED: usize = 100;

/// One producer, on one way to Redis.
pub(crate) struct Producer {
    pub(crate) client: Client,
    pub(crate) keys: Keys,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rng: Rng,
}

/// A job on its way, and where to.
struct Push {
    number: usize,
    json: String,
    key: String,
    /// The Unix second it is due at, if it is delayed.
    due: Option<f64>,
}

impl Producer {
    /// Pushes until it is told to stop, and waits for the last answers.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(BATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = None;
        let mut sending = JoinSet::new();
        let mut sizes = Vec::new();
        while !stop.is_cancelled() {
            ticks.tick().await;
            while let Some(sent) = sending.try_join_next() {
                // Whether its batch arrived nobody knows. A new connection, as a producer without Kiln would do.
                if !matches!(sent, Ok(Ok(()))) {
                    connection = None;
                }
            }
            if sending.len() >= UNANSWERED {
                continue;
            }
            if connection.is_none() {
                connection = connect(&self.client).await.ok();
            }
            let Some(connection) = &connection else { continue };
            let size = sizes.pop().unwrap_or_else(|| {
                sizes = vec![self.rng.usize(BATCH); STEADY];
                sizes[0]
            });
            let batch = (0..size).map(|_| self.job()).collect();
            sending.spawn(send(connection.clone(), batch, Arc::clone(&self.ledger)));
        }
        sending.join_all().await;
    }

    /// A new job: one in seven delayed, half of them in dg-queue's full form.
    fn job(&mut self) -> Push {
        let handler = Handler::draw(&mut self.rng);
        let queue = QUEUES[self.rng.usize(..QUEUES.len())].0;
        let is_delayed = self.rng.u8(..100) < 15;
        let is_full = self.rng.bool();
        let due = is_delayed.then(|| now() + self.rng.f64() * 5.0);
        let number = self.ledger.open(handler);
        Push {
            number,
            json: if is_full {
                full(number, handler, queue)
            } else {
                minimal(number, handler)
            },
            key: if is_delayed {
                self.keys.delayed(queue)
            } else {
                self.keys.ready(queue)
            },
            due,
        }
    }
}

/// Pushes jobs of one handler at once.
pub(crate) async fn push_many(
    client: &Client,
    keys: &Keys,
    ledger: &Arc<Ledger>,
    handler: Handler,
    count: usize,
) -> RedisResult<()> {
    let job = |n: usize| {
        let number = ledger.open(handler);
        Push {
            number,
            json: minimal(number, handler),
            key: keys.ready(QUEUES[n % QUEUES.len()].0),
            due: None,
        }
    };
    send(
        connect(client).await?,
        (0..count).map(job).collect(),
        Arc::clone(ledger),
    )
    .await
}

async fn send(mut connection: MultiplexedConnection, batch: Vec<Push>, ledger: Arc<Ledger>) -> RedisResult<()> {
    let mut commands = redis::pipe();
    for push in &batch {
        match push.due {
            Some(due) => commands.zadd(&push.key, &push.json, due),
            None => commands.rpush(&push.key, &push.json),
        }
        .ignore();
    }
    commands.exec_async(&mut connection).await?;
    let numbers: Vec<usize> = batch.iter().map(|push| push.number).collect();
    ledger.pushed(&numbers);
    Ok(())
}

fn minimal(number: usize, handler: Handler) -> String {
    let (id, name, payload) = (id(number), handler.name(), handler.payload(number));
    format!(
        r#"{{"id":"{id}","name":"{name}","payload":{payload}{}}}"#,
        chain(number, handler)
    )
}

/// What says that another job comes after this one.
fn chain(number: usize, handler: Handler) -> String {
    if !handler.is_chained() {
        return String::new();
    }
    let (name, next) = (handler.name(), next_id(number));
    format!(r#","metadata":{{"kiln":{{"then":[{{"name":"{name}","id":"{next}"}}]}}}}"#)
}

fn full(number: usize, handler: Handler, queue: &str) -> String {
    let (id, name, payload) = (id(number), handler.name(), handler.payload(number));
    let now = jiff::Timestamp::now();
    format!(
        r#"{{"id":"{id}","name":"{name}","queue":"{queue}","payload":{payload},"attempts":0,"max_attempts":2,"timeout":30000000000,"delay":0,"available_at":"{now}","created_at":"{now}","updated_at":"{now}"{}}}"#,
        chain(number, handler)
    )
}
