//! Notices when a queue may have a ready or a due job, or when its lanes or what operators ordered change, without polling.
//!
//! Other producers push a job and tell nobody, so Redis has to tell. It tells a connection once about a change of each
//! key that the connection has read, if it tracks what it reads (`CLIENT TRACKING`). One such connection serves any
//! number of queues; a Cluster takes one for each node that holds some. Nothing is ever popped here: a job popped by a
//! host that dies would be lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{MultiplexedConnection, SendError};
use ::redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, PushInfo, PushKind, RedisError, RedisResult,
    ServerErrorKind, Value, cmd,
};
use futures::future::join_all;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;

use super::dialer::Dialer;
use super::fault::{is_outage, spoils};
use crate::outcome::Lane;
use crate::queue::backend::SILENCE;
use crate::queue::error::QueueError;

/// Time between two looks at a store that cannot push such messages: one that is no real Redis, or is moving a slot
/// away.
const POLL: Duration = Duration::from_millis(50);

/// How long a look may take. A node that hangs must not delay the others for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Redirections that a look follows in a Cluster before it is given up for now.
const MAX_REDIRECTS: usize = 3;

const DUE: &str = include_str!("scripts/due.lua");

pub(super) struct KeyWatch {
    dialer: Arc<Dialer>,
    line: Mutex<Line>,
    rung: Arc<Rung>,
}

/// Wakes those who wait for a change of a ready list, a delayed set, a set of lanes, the turns of lanes or what operators
/// ordered.
#[derive(Default)]
struct Rung {
    ready: Notify,
    delayed: Notify,
    lanes: Notify,
    turns: Notify,
    orders: Notify,
}

/// The connections by the node's address, and the node where each key was last found. Outside a Cluster there is one
/// node, "".
#[derive(Default)]
struct Line {
    nodes: HashMap<String, MultiplexedConnection>,
    homes: HashMap<String, String>,
    /// This store cannot push messages, and that was logged.
    mute: bool,
}

/// A hash.
pub(super) type Fields = BTreeMap<String, String>;

/// What a look found at each key, and how long to wait for messages before the next look.
struct Look<T> {
    found: Vec<Option<T>>,
    patience: Duration,
}

impl KeyWatch {
    pub(super) fn new(dialer: Arc<Dialer>) -> Self {
        Self {
            dialer,
            line: Mutex::default(),
            rung: Arc::default(),
        }
    }

    /// Returns once one of the lists may hold a job, at the latest after a few seconds.
    pub(super) async fn ready(&self, lists: &[String]) -> Result<(), QueueError> {
        // Registers before it looks, so that a push between the two is not missed.
        let rung = self.rung.ready.notified();
        let look = self.look::<i64>(lists, |list| cmd("LLEN").arg(list).take()).await?;
        if look.found.iter().flatten().all(|length| *length == 0) {
            // A time-out is no fault: the caller looks again.
            let _ = timeout(look.patience, rung).await;
        }
        Ok(())
    }

    /// Returns once one of the keys may exist, at the latest after a few seconds.
    pub(super) async fn any(&self, keys: &[String]) -> Result<(), QueueError> {
        let rung = self.rung.ready.notified();
        let look = self.look::<i64>(keys, |key| cmd("EXISTS").arg(key).take()).await?;
        if look.found.iter().flatten().all(|exists| *exists == 0) {
            let _ = timeout(look.patience, rung).await;
        }
        Ok(())
    }

    /// Which of the delayed sets hold a due job. Returns once one may, at the latest after a few seconds.
    pub(super) async fn due(&self, sets: &[String]) -> Result<Vec<usize>, QueueError> {
        self.first(sets, &self.rung.delayed).await
    }

    /// In which of these groups a lane's turn has come. Returns once one may have, at the latest after a few seconds.
    pub(super) async fn turns(&self, sets: &[String]) -> Result<Vec<usize>, QueueError> {
        self.first(sets, &self.rung.turns).await
    }

    /// Which of the sets, sorted by time, have a head whose time has come. `bell` tells of changes of one.
    async fn first(&self, sets: &[String], bell: &Notify) -> Result<Vec<usize>, QueueError> {
        loop {
            let rung = bell.notified();
            let look = self
                .look(sets, |set| cmd("EVAL").arg(DUE).arg(1).arg(set).take())
                .await?;
            let left = |left: &Option<i64>| left.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
            let due: Vec<_> = (0..sets.len())
                .filter(|at| left(&look.found[*at]) == Some(Duration::ZERO))
                .collect();
            if !due.is_empty() {
                return Ok(due);
            }
            let head = look.found.iter().filter_map(left).min();
            let wait = head.unwrap_or(SILENCE).min(look.patience);
            let rung = timeout(wait, rung).await.is_ok();
            // The first job is due now. Another look finds out in which set.
            let come = !rung && head == Some(wait);
            if !come {
                return Ok(due);
            }
        }
    }

    /// Which lanes the sets name. Returns once they differ from `known`, at the latest after a few seconds.
    pub(super) async fn lanes(
        &self,
        sets: &[String],
        known: &[BTreeSet<Lane>],
    ) -> Result<Vec<BTreeSet<Lane>>, QueueError> {
        let rung = self.rung.lanes.notified();
        let (found, patience) = self.look_at_lanes(sets).await?;
        if found != known {
            return Ok(found);
        }
        let _ = timeout(patience, rung).await;
        Ok(self.look_at_lanes(sets).await?.0)
    }

    async fn look_at_lanes(&self, sets: &[String]) -> Result<(Vec<BTreeSet<Lane>>, Duration), QueueError> {
        let look = self.look(sets, |set| cmd("SMEMBERS").arg(set).take()).await?;
        let named = |names: Option<Vec<String>>| names.unwrap_or_default().into_iter().map(Lane::from).collect();
        Ok((look.found.into_iter().map(named).collect(), look.patience))
    }

    /// What stands in hashes of orders, by their fields; none for one that cannot be read. Returns once that is not what
    /// is `known`, at the latest after a few seconds.
    pub(super) async fn orders(
        &self,
        hashes: &[String],
        is_known: impl Fn(&[Option<Fields>]) -> bool,
    ) -> Result<Vec<Option<Fields>>, QueueError> {
        let rung = self.rung.orders.notified();
        let look = self.look_at_orders(hashes).await?;
        if !is_known(&look.found) {
            return Ok(look.found);
        }
        let _ = timeout(look.patience, rung).await;
        Ok(self.look_at_orders(hashes).await?.found)
    }

    async fn look_at_orders(&self, hashes: &[String]) -> Result<Look<Fields>, QueueError> {
        self.look(hashes, |hash| cmd("HGETALL").arg(hash).take()).await
    }

    async fn look<T: FromRedisValue>(&self, keys: &[String], ask: impl Fn(&str) -> Cmd) -> Result<Look<T>, QueueError> {
        let asked = keys.iter().map(async |key| {
            let answer = timeout(PATIENCE, self.ask(key, ask(key))).await;
            answer.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        });
        let mut found = Vec::with_capacity(keys.len());
        let mut complete = true;
        for answer in join_all(asked).await {
            match answer {
                Ok(value) => found.push(Some(value)),
                // Redis sends a message once this key is replaced by one of the right type.
                Err(err) if err.code() == Some("WRONGTYPE") => found.push(None),
                // A Cluster node that is gone, or a key that may not be read, must not delay other queues.
                Err(err) if self.dialer.is_cluster() || !is_outage(&err) => {
                    complete = false;
                    found.push(None);
                }
                Err(err) => return Err(err.into()),
            }
        }
        let tells = complete && !self.line.lock().await.mute;
        let patience = if tells { SILENCE } else { POLL };
        Ok(Look { found, patience })
    }

    /// Sends a command to the node that holds the key, following redirections.
    async fn ask<T: FromRedisValue>(&self, key: &str, ask: Cmd) -> RedisResult<T> {
        let mut home = self.line.lock().await.homes.get(key).cloned();
        for _ in 0..MAX_REDIRECTS {
            let (node, mut connection) = self.node(home.take()).await?;
            match ask.query_async(&mut connection).await {
                Err(err) if err.kind() == ErrorKind::Server(ServerErrorKind::Moved) => {
                    home = err.redirect_node().map(|(node, _)| node.to_owned());
                    if let Some(home) = &home {
                        self.line.lock().await.homes.insert(key.to_owned(), home.clone());
                    }
                }
                Err(err) if spoils(&err) => {
                    let mut line = self.line.lock().await;
                    line.nodes.remove(&node);
                    line.homes.clear();
                    return Err(err);
                }
                answer => return answer,
            }
        }
        Err(RedisError::from((
            ErrorKind::ClusterConnectionNotFound,
            "the key keeps moving",
        )))
    }

    /// The connection to a node, or to any. The lock is not held while one is made, so two may be made: the first is
    /// kept.
    async fn node(&self, node: Option<String>) -> RedisResult<(String, MultiplexedConnection)> {
        let node = {
            let line = self.line.lock().await;
            let node = node.or_else(|| line.nodes.keys().next().cloned());
            if let Some((node, connection)) = node.as_ref().and_then(|node| line.nodes.get_key_value(node)) {
                return Ok((node.clone(), connection.clone()));
            }
            node
        };
        let nodes = node.map_or_else(|| self.dialer.seeds(), |node| vec![node]);
        let mut failed = RedisError::from((ErrorKind::ClusterConnectionNotFound, "no node was named"));
        for node in nodes {
            match self.connect(&node).await {
                Ok(connection) => {
                    let mut line = self.line.lock().await;
                    let connection = line.nodes.entry(node.clone()).or_insert(connection).clone();
                    return Ok((node, connection));
                }
                Err(err) => failed = err,
            }
        }
        self.line.lock().await.homes.clear();
        Err(failed)
    }

    async fn connect(&self, node: &str) -> RedisResult<MultiplexedConnection> {
        let rung = Arc::clone(&self.rung);
        let listen = move |push: PushInfo| -> Result<(), SendError> {
            rung.take(&push);
            Ok(())
        };
        let config = AsyncConnectionConfig::new().set_push_sender(listen);
        let mut connection = self.dialer.dial_resp3(node, config).await?;
        let tracking = cmd("CLIENT")
            .arg("TRACKING")
            .arg("ON")
            .exec_async(&mut connection)
            .await;
        let mut line = self.line.lock().await;
        match tracking {
            Ok(()) => line.mute = false,
            Err(err) if is_outage(&err) => return Err(err),
            Err(err) => {
                if !line.mute {
                    let every_ms = POLL.as_millis();
                    tracing::warn!(%err, every_ms, "this store does not announce new jobs; polling it for them");
                }
                line.mute = true;
            }
        }
        drop(line);
        // Those who waited on a lost connection have to look again over this one.
        self.rung.all();
        Ok(connection)
    }
}

impl Rung {
    /// Wakes those who wait for the keys that Redis names. If it names none, any key may have changed.
    fn take(&self, push: &PushInfo) {
        let keys = match (&push.kind, push.data.first()) {
            (PushKind::Invalidate, Some(Value::Array(keys))) => keys.as_slice(),
            (PushKind::Invalidate | PushKind::Disconnection, _) => &[],
            _ => return,
        };
        if keys.is_empty() {
            self.all();
        }
        for key in keys {
            let Value::BulkString(key) = key else { continue };
            let colon = key.iter().rposition(|byte| *byte == b':').unwrap_or(0);
            let (of, last) = key.split_at(colon);
            // What looks like another key may be the ready list of a queue with such a name.
            let is_list = of.ends_with(b":queues");
            let rung = match last {
                b":delayed" if !is_list => &self.delayed,
                b":lanes" if !is_list => &self.lanes,
                b":orders" | b":paused-jobs" if !is_list => &self.orders,
                b":turns" if !is_list => &self.turns,
                _ => &self.ready,
            };
            rung.notify_waiters();
        }
    }

    fn all(&self) {
        for rung in [&self.ready, &self.delayed, &self.lanes, &self.turns, &self.orders] {
            rung.notify_waiters();
        }
    }
}
