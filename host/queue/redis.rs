//! The store in Redis: one script for each move. No decision is made here.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use ::redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, Script, cmd, pipe,
};

use super::keys::Keys;
use super::{Claim, Counts, MAX_BATCH, MAX_BATCH_BYTES, Promotion, Push, QueueError, QueueName, StoreSettings, score};
use crate::outcome::Settlement;

/// Time to reach Redis. Explicit, as every time-out here: the library's own have stopped whole pools of workers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time a command may take. Generous: giving up on a slow Redis only adds to its load.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle host blocks before it asks anew. Short enough that a dead connection is noticed.
const BLOCK: Duration = Duration::from_secs(4);

/// How long the other end's system may be silent before the connection counts as dead.
const SILENCE: Duration = Duration::from_secs(5);

/// Longest wait between two attempts to connect again.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// Attempts to connect again before a command fails; whoever sent it tries again for as long as it matters.
const RECONNECTS: usize = 3;

/// Commands sent in one round trip of a push: bounds what a large batch holds in memory twice.
const PUSH_COMMANDS: usize = 1_000;

/// Keys looked at in one step of a scan.
const SCAN_STEP: usize = 1_000;

static FETCH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/fetch.lua")));
static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/settle.lua")));
static PROMOTE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/promote.lua")));
static PUSH_DELAYED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/push_delayed.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/renew.lua")));
static LEAVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/leave.lua")));
static ADOPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/adopt.lua")));
static COUNTS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/counts.lua")));
static PURGE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/purge.lua")));
static REVIVE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/revive.lua")));

pub(super) struct RedisStore {
    client: Client,
    /// Shared by every command but the blocking ones; connects again by itself.
    connection: ConnectionManager,
    /// A connection for each queue that is waited on, while nobody waits on it.
    blocking: Mutex<HashMap<QueueName, MultiplexedConnection>>,
    keys: Keys,
    result_ttl: Duration,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl RedisStore {
    pub(super) async fn connect(settings: &StoreSettings) -> Result<Self, QueueError> {
        let info = parse_url(&settings.url)?;
        let address = info.addr().to_string();
        let client = Client::open(info)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_max_delay(RECONNECT_MAX)
            .set_number_of_retries(RECONNECTS);
        // The manager would try again and again; who starts a worker or pushes a job wants to know at once.
        let unreachable = |err: RedisError| {
            let (address, why) = (address.clone(), one_cause(&err));
            if err.is_io_error() || err.is_timeout() || err.is_connection_dropped() {
                QueueError::Unreachable { address, why }
            } else {
                QueueError::Refused { address, why }
            }
        };
        client
            .get_multiplexed_async_connection_with_config(&blocking_config())
            .await
            .map_err(unreachable)?;
        let connection = client.get_connection_manager_lazy(config)?;
        let keys = Keys::new(&settings.prefix);
        Ok(Self {
            client,
            connection,
            blocking: Mutex::default(),
            keys,
            result_ttl: settings.result_ttl,
        })
    }

    pub(super) async fn push(&self, jobs: &[Push]) -> Result<(), QueueError> {
        for jobs in jobs.chunks(PUSH_COMMANDS) {
            let mut ready = pipe();
            for push in jobs.iter().filter(|push| push.due_ms.is_none()) {
                ready.rpush(self.keys.ready(push.queue.as_str()), &push.job).ignore();
            }
            if !ready.is_empty() {
                ready.exec_async(&mut self.connection()).await?;
            }
            for push in jobs {
                let Some(due_ms) = push.due_ms else { continue };
                let key = self.keys.delayed(push.queue.as_str());
                let mut call = PUSH_DELAYED.key(key);
                call.arg(&push.job)
                    .arg(score(due_ms))
                    .invoke_async::<()>(&mut self.connection())
                    .await?;
            }
        }
        Ok(())
    }

    pub(super) async fn fetch(&self, claim: &Claim<'_>, tag: u64, count: usize) -> Result<Vec<Vec<u8>>, QueueError> {
        let mut call = FETCH.key(self.keys.ready(claim.queue.as_str()));
        call.key(self.in_flight(claim)).key(self.leases_key(claim));
        call.arg(claim.host)
            .arg(claim.lease_ms())
            .arg(tag)
            .arg(count)
            .arg(MAX_BATCH_BYTES);
        Ok(call.invoke_async(&mut self.connection()).await?)
    }

    /// Blocks on the ready list without taking anything from it: moving its head onto itself is no move at all, but
    /// Redis wakes whoever asked for it as soon as there is a head. A job popped by a host that dies would be lost.
    pub(super) async fn wait(&self, queue: &QueueName) -> Result<(), QueueError> {
        let idle = self.blocking().remove(queue);
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                self.client
                    .get_multiplexed_async_connection_with_config(&blocking_config())
                    .await?
            }
        };
        let ready = self.keys.ready(queue.as_str());
        let mut block = cmd("BLMOVE");
        block
            .arg(&ready)
            .arg(&ready)
            .arg("LEFT")
            .arg("LEFT")
            .arg(BLOCK.as_secs());
        // Only the answer's arrival counts. A connection that failed, or whose answer nobody waited for, is dropped.
        block.query_async::<::redis::Value>(&mut connection).await?;
        self.blocking().insert(queue.clone(), connection);
        Ok(())
    }

    pub(super) async fn settle(&self, claim: &Claim<'_>, batch: &[(u64, &Settlement)]) -> Result<usize, QueueError> {
        self.keep_results(batch).await?;
        let queue = claim.queue.as_str();
        let mut call = SETTLE.key(self.in_flight(claim));
        call.key(self.keys.ready(queue))
            .key(self.keys.delayed(queue))
            .key(self.keys.failed());
        let acks: Vec<u64> = batch
            .iter()
            .filter(|(_, settlement)| matches!(settlement, Settlement::Ack { .. }))
            .map(|(tag, _)| *tag)
            .collect();
        call.arg(acks.len()).arg(acks);
        for (tag, settlement) in batch {
            match settlement {
                Settlement::Ack { .. } => continue,
                Settlement::Retry { job, due_ms } => call.arg(tag).arg("retry").arg(job).arg(score(*due_ms)),
                Settlement::Fail { entry } => call.arg(tag).arg("fail").arg(entry).arg(0),
                Settlement::Requeue => call.arg(tag).arg("requeue").arg("").arg(0),
            };
        }
        Ok(call.invoke_async(&mut self.connection()).await?)
    }

    /// Keeps the batch's results, before their jobs are acknowledged: an acknowledged job has its result.
    async fn keep_results(&self, batch: &[(u64, &Settlement)]) -> Result<(), QueueError> {
        let mut results = pipe();
        let ttl_ms = u64::try_from(self.result_ttl.as_millis()).unwrap_or(u64::MAX);
        for (_, settlement) in batch {
            if let Settlement::Ack {
                result: Some((id, json)),
            } = settlement
            {
                results.pset_ex(self.keys.result(id), json, ttl_ms).ignore();
            }
        }
        if ttl_ms == 0 || results.is_empty() {
            return Ok(());
        }
        match results.exec_async(&mut self.connection()).await {
            // A Redis out of memory takes no results, but it does take acknowledgements, and those make room.
            Err(err) if matches!(err.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                tracing::warn!(%err, "results were not kept");
                Ok(())
            }
            kept => Ok(kept?),
        }
    }

    pub(super) async fn result(&self, id: &str) -> Result<Option<String>, QueueError> {
        Ok(cmd("GET")
            .arg(self.keys.result(id))
            .query_async(&mut self.connection())
            .await?)
    }

    pub(super) async fn promote(&self, queue: &QueueName) -> Result<Promotion, QueueError> {
        let mut call = PROMOTE.key(self.keys.delayed(queue.as_str()));
        call.key(self.keys.ready(queue.as_str())).arg(MAX_BATCH);
        let (moved, next_ms): (usize, i64) = call.invoke_async(&mut self.connection()).await?;
        Ok(Promotion {
            moved,
            next_due: u64::try_from(next_ms).ok().map(Duration::from_millis),
        })
    }

    pub(super) async fn renew(&self, claim: &Claim<'_>) -> Result<bool, QueueError> {
        let mut call = RENEW.key(self.leases_key(claim));
        Ok(call
            .arg(claim.host)
            .arg(claim.lease_ms())
            .invoke_async(&mut self.connection())
            .await?)
    }

    pub(super) async fn leave(&self, claim: &Claim<'_>) -> Result<(), QueueError> {
        let mut call = LEAVE.key(self.leases_key(claim));
        Ok(call
            .key(self.in_flight(claim))
            .arg(claim.host)
            .invoke_async(&mut self.connection())
            .await?)
    }

    pub(super) async fn adopt(
        &self,
        claim: &Claim<'_>,
        dead: &str,
        tag: u64,
        count: usize,
    ) -> Result<Vec<Vec<u8>>, QueueError> {
        let mut call = ADOPT.key(self.leases_key(claim));
        call.key(self.keys.in_flight(claim.queue.as_str(), dead))
            .key(self.in_flight(claim));
        call.arg(dead)
            .arg(claim.host)
            .arg(claim.lease_ms())
            .arg(tag)
            .arg(count)
            .arg(MAX_BATCH_BYTES);
        Ok(call.invoke_async(&mut self.connection()).await?)
    }

    pub(super) async fn held(&self, claim: &Claim<'_>) -> Result<Vec<u64>, QueueError> {
        Ok(cmd("HKEYS")
            .arg(self.in_flight(claim))
            .query_async(&mut self.connection())
            .await?)
    }

    pub(super) async fn counts(&self, queue: &QueueName) -> Result<Counts, QueueError> {
        let queue = queue.as_str();
        let mut call = COUNTS.key(self.keys.ready(queue));
        call.key(self.keys.delayed(queue))
            .key(self.keys.leases(queue))
            .arg(self.keys.in_flight(queue, ""));
        let (ready, delayed, in_flight, hosts): (u64, u64, u64, Vec<(String, i64)>) =
            call.invoke_async(&mut self.connection()).await?;
        Ok(Counts {
            ready,
            delayed,
            in_flight,
            hosts: hosts.into_iter().collect(),
        })
    }

    pub(super) async fn queues(&self) -> Result<Vec<QueueName>, QueueError> {
        let mut found = BTreeSet::new();
        let mut cursor = 0_u64;
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(self.keys.all_queues())
                .arg("COUNT")
                .arg(SCAN_STEP);
            let (next, keys): (u64, Vec<String>) = scan.query_async(&mut self.connection()).await?;
            let queues = keys.iter().filter_map(|key| self.keys.queue_of(key));
            found.extend(queues.filter_map(|queue| QueueName::new(queue).ok()));
            if next == 0 {
                return Ok(found.into_iter().collect());
            }
            cursor = next;
        }
    }

    pub(super) async fn failed_len(&self) -> Result<u64, QueueError> {
        Ok(cmd("LLEN")
            .arg(self.keys.failed())
            .query_async(&mut self.connection())
            .await?)
    }

    pub(super) async fn failed(&self, start: u64, count: u64) -> Result<Vec<Vec<u8>>, QueueError> {
        let mut range = cmd("LRANGE");
        range
            .arg(self.keys.failed())
            .arg(start)
            .arg(start.saturating_add(count).saturating_sub(1));
        Ok(range.query_async(&mut self.connection()).await?)
    }

    pub(super) async fn delete_failed(&self, entry: &[u8]) -> Result<bool, QueueError> {
        Ok(cmd("LREM")
            .arg(self.keys.failed())
            .arg(1)
            .arg(entry)
            .query_async(&mut self.connection())
            .await?)
    }

    pub(super) async fn purge_failed(&self, count: u64) -> Result<u64, QueueError> {
        let mut call = PURGE.key(self.keys.failed());
        Ok(call.arg(count).invoke_async(&mut self.connection()).await?)
    }

    pub(super) async fn revive(&self, queue: &QueueName, entry: &[u8], job: Vec<u8>) -> Result<bool, QueueError> {
        let mut call = REVIVE.key(self.keys.failed());
        call.key(self.keys.ready(queue.as_str())).arg(entry).arg(job);
        Ok(call.invoke_async(&mut self.connection()).await?)
    }

    fn connection(&self) -> ConnectionManager {
        self.connection.clone()
    }

    fn blocking(&self) -> std::sync::MutexGuard<'_, HashMap<QueueName, MultiplexedConnection>> {
        self.blocking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_flight(&self, claim: &Claim<'_>) -> String {
        self.keys.in_flight(claim.queue.as_str(), claim.host)
    }

    fn leases_key(&self, claim: &Claim<'_>) -> String {
        self.keys.leases(claim.queue.as_str())
    }
}

fn blocking_config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(BLOCK + RESPONSE_TIMEOUT))
}

fn parse_url(url: &str) -> Result<ConnectionInfo, QueueError> {
    let wrong = |why: String| QueueError::Url {
        url: without_password(url),
        why,
    };
    match url.split_once(':') {
        Some(("redis" | "redis+unix" | "unix", _)) => {}
        Some((scheme @ ("rediss" | "redis+sentinel" | "redis+cluster"), _)) => {
            return Err(wrong(format!(
                "{scheme} is not supported yet; use redis://host:port/database"
            )));
        }
        _ => {
            return Err(wrong(
                "expected redis://[user:password@]host[:port][/database], or memory:".to_owned(),
            ));
        }
    }
    let info = url.into_connection_info().map_err(|err| wrong(one_cause(&err)))?;
    // A peer that vanished without a word must not look like a slow one for a quarter of an hour.
    let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE);
    Ok(info.set_tcp_settings(
        TcpSettings::default()
            .set_nodelay(true)
            .set_keepalive(keepalive)
            .set_user_timeout(SILENCE),
    ))
}

/// The URL as it may be shown.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://…@{place}"),
        _ => url.to_owned(),
    }
}

/// What redis-rs says of a failure, less its own name for the kind of it.
fn one_cause(err: &RedisError) -> String {
    err.detail().map_or_else(|| err.to_string(), ToOwned::to_owned)
}
