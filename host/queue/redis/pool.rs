//! A few connections that all commands share, and one for leases. A connection that fails is dropped, and the next
//! command makes a new one.
//!
//! Nothing is sent again automatically, because only the sender knows whether that is harmless. A Cluster's client is
//! the exception: it repeats commands that got no answer. That is why the scripts that take jobs check the tags they
//! were sent.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ::redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use ::redis::{Arg, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, try_join_all};
use parking_lot::{Mutex, MutexGuard};

use tokio::runtime::Handle;

use super::dialer::{Connection, Dialer, split};
use super::fault::spoils;
use crate::queue::error::QueueError;

/// How long a connection may be unused before it is closed, unless it is one of those that stay open.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// The least speed expected of a connection, in bytes a second. A long message gets that much more time, besides the
/// read time-out. Not in a Cluster: its client has one time-out for all messages.
const SLOWEST_BYTES_PER_S: usize = 64 * 1024;

pub(super) struct Pool {
    dialer: Arc<Dialer>,
    /// The runtime that makes and drives connections, so that no guest thread has to.
    runtime: Handle,
    slots: Vec<Slot>,
    idle: usize,
    /// A connection only for the moves that keep leases: they must not wait behind a large message.
    prompt: Slot,
}

/// A connection, or an attempt to make one that everyone who wants it awaits.
type Dialling = Shared<BoxFuture<'static, RedisResult<Connection>>>;

#[derive(Default)]
struct Slot {
    dialling: Mutex<Option<Dialling>>,
    used: Mutex<Option<Instant>>,
    /// Commands under way.
    busy: AtomicUsize,
}

impl Pool {
    /// A pool with its first connections made.
    pub(super) async fn open(dialer: Arc<Dialer>) -> Result<Self, QueueError> {
        let size = dialer.settings.pool_size.max(1);
        let idle = dialer.settings.idle.min(size);
        let slots = (0..size).map(|_| Slot::default()).collect();
        let pool = Self {
            dialer,
            runtime: Handle::current(),
            slots,
            idle,
            prompt: Slot::default(),
        };
        let first = pool.slots[..idle.max(1)].iter().map(|slot| slot.connection(&pool));
        try_join_all(first).await.map_err(|err| pool.dialer.unreachable(&err))?;
        Ok(pool)
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.dialer.is_cluster()
    }

    /// A connection beside those of the pool.
    pub(super) async fn dial(&self) -> Result<Connection, QueueError> {
        let dialled = self.dialer.dial_patiently().await;
        dialled.map_err(|err| self.dialer.unreachable(&err))
    }

    /// Sends one command.
    pub(super) async fn run<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, QueueError> {
        self.run_over(self.pick(), cmd, 0).await
    }

    /// Sends one command over this connection. The time-out grows with `bytes`, the length of the command.
    async fn run_over<T: FromRedisValue>(&self, slot: &Slot, cmd: &Cmd, bytes: usize) -> Result<T, QueueError> {
        let slot = Busy::new(slot);
        let (dialling, mut connection) = self.connection(&slot).await?;
        let sending_s = bytes / SLOWEST_BYTES_PER_S;
        if sending_s > 0 {
            connection.wait_longer(self.dialer.settings.read_timeout + Duration::from_secs(sending_s as u64));
        }
        let answer = cmd.query_async(&mut connection).await;
        slot.judge(&answer, &dialling);
        Ok(answer?)
    }

    /// Sends commands together, and waits until all are carried out. If they belong to several servers, each is sent on
    /// its own.
    pub(super) async fn run_all(&self, cmds: Vec<Cmd>) -> Result<(), QueueError> {
        if self.is_cluster() {
            try_join_all(cmds.iter().map(|cmd| self.run::<()>(cmd))).await?;
            return Ok(());
        }
        let mut pipeline = Pipeline::with_capacity(cmds.len());
        for cmd in cmds {
            pipeline.add_command(cmd).ignore();
        }
        let slot = Busy::new(self.pick());
        let (dialling, mut connection) = self.connection(&slot).await?;
        let answer = pipeline.exec_async(&mut connection).await;
        slot.judge(&answer, &dialling);
        Ok(answer?)
    }

    /// The nodes that hold the store's keys: the masters of a Cluster, else the one server, which has no name.
    pub(super) async fn masters(&self) -> Result<Vec<String>, QueueError> {
        if !self.is_cluster() {
            return Ok(vec![String::new()]);
        }
        // Each range of slots has its first slot, its last, then its nodes, the master first. Each node begins with
        // host and port.
        let ranges: Vec<Vec<Value>> = self.run(cmd("CLUSTER").arg("SLOTS")).await?;
        let mut masters = BTreeSet::new();
        for range in ranges {
            if let Some(Value::Array(master)) = range.get(2)
                && let [Value::BulkString(host), Value::Int(port), ..] = master.as_slice()
            {
                masters.insert(format!("{}:{port}", String::from_utf8_lossy(host)));
            }
        }
        Ok(masters.into_iter().collect())
    }

    /// Sends one command to the node of that name.
    pub(super) async fn run_at<T: FromRedisValue>(&self, node: &str, cmd: Cmd) -> Result<T, QueueError> {
        let slot = Busy::new(self.pick());
        let (dialling, connection) = self.connection(&slot).await?;
        let answer = match connection {
            Connection::Server(mut connection) => cmd.query_async(&mut connection).await,
            Connection::Cluster(mut connection) => {
                let (host, port) = split(node);
                let at = RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress { host, port });
                let value = connection.route_command(cmd, at).await;
                value.and_then(|value| Ok(T::from_redis_value(value)?))
            }
        };
        slot.judge(&answer, &dialling);
        Ok(answer?)
    }

    /// Calls a script by its digest, and sends its text if Redis does not know it.
    pub(super) async fn call<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, QueueError> {
        self.call_over(self.pick(), call, 0).await
    }

    /// Calls a script over the connection for leases.
    pub(super) async fn call_promptly<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, QueueError> {
        self.call_over(&self.prompt, call, 0).await
    }

    /// Calls a script with `bytes` of arguments; the time-out grows with them.
    pub(super) async fn call_with<T: FromRedisValue>(&self, call: &Call<'_>, bytes: usize) -> Result<T, QueueError> {
        self.call_over(self.pick(), call, bytes).await
    }

    async fn call_over<T: FromRedisValue>(&self, slot: &Slot, call: &Call<'_>, bytes: usize) -> Result<T, QueueError> {
        match self.run_over(slot, &call.cmd, bytes).await {
            Err(QueueError::Redis(err)) if is_unknown_script(&err) => self.run_over(slot, &call.in_full(), bytes).await,
            answer => answer,
        }
    }

    /// Closes connections that were unused for long, except those that are to stay open.
    pub(super) fn trim(&self) {
        for slot in self.slots.iter().skip(self.idle) {
            if lock(&slot.used).is_some_and(|used| used.elapsed() > IDLE_MAX) && slot.is_idle() {
                *lock(&slot.dialling) = None;
            }
        }
    }

    /// The first idle connection, else an unused slot for a new one, else the least busy connection.
    fn pick(&self) -> &Slot {
        let open = |slot: &&Slot| lock(&slot.dialling).is_some();
        self.slots
            .iter()
            .find(|slot| slot.is_idle() && open(slot))
            .or_else(|| self.slots.iter().find(|slot| !open(slot)))
            .or_else(|| self.slots.iter().min_by_key(|slot| slot.busy.load(Ordering::Relaxed)))
            .unwrap_or(&self.slots[0])
    }

    async fn connection(&self, slot: &Slot) -> Result<(Dialling, Connection), QueueError> {
        let dialled = slot.connection(self).await;
        dialled.map_err(|err| self.dialer.unreachable(&err))
    }
}

impl Slot {
    async fn connection(&self, pool: &Pool) -> RedisResult<(Dialling, Connection)> {
        *lock(&self.used) = Some(Instant::now());
        let dialling = lock(&self.dialling)
            .get_or_insert_with(|| {
                let dialer = Arc::clone(&pool.dialer);
                let dialled = pool.runtime.spawn(async move { dialer.dial_patiently().await });
                let ended = |err| RedisError::from(io::Error::other(err));
                async move { dialled.await.map_err(ended).flatten() }.boxed().shared()
            })
            .clone();
        match dialling.clone().await {
            Ok(connection) => Ok((dialling, connection)),
            Err(err) => {
                self.forget(&dialling);
                Err(err)
            }
        }
    }

    /// Forgets a connection, unless another is already in its place.
    fn forget(&self, dialling: &Dialling) {
        let mut current = lock(&self.dialling);
        if current.as_ref().is_some_and(|current| current.ptr_eq(dialling)) {
            *current = None;
        }
    }

    /// Forgets the connection if this answer shows that it must be replaced.
    fn judge<T>(&self, answer: &RedisResult<T>, dialling: &Dialling) {
        if answer.as_ref().is_err_and(spoils) {
            self.forget(dialling);
        }
    }

    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }
}

/// Counts a command as under way until this is dropped.
struct Busy<'a>(&'a Slot);

impl<'a> Busy<'a> {
    fn new(slot: &'a Slot) -> Self {
        slot.busy.fetch_add(1, Ordering::Relaxed);
        Self(slot)
    }
}

impl std::ops::Deref for Busy<'_> {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        self.0
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A script, known to Redis by its digest.
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    pub(super) fn new(code: &'static str) -> Self {
        let hash = ::redis::Script::new(code).get_hash().to_owned();
        Self { code, hash }
    }

    pub(super) fn keys(&self, keys: &[String]) -> Call<'_> {
        let mut cmd = cmd("EVALSHA");
        cmd.arg(&self.hash).arg(keys.len()).arg(keys);
        Call { script: self, cmd }
    }
}

/// One call of a script.
pub(super) struct Call<'a> {
    script: &'a Script,
    cmd: Cmd,
}

impl Call<'_> {
    pub(super) fn arg(&mut self, arg: impl ::redis::ToRedisArgs) -> &mut Self {
        self.cmd.arg(arg);
        self
    }

    /// The same call with the script's text, for a Redis that does not know it.
    fn in_full(&self) -> Cmd {
        let mut call = cmd("EVAL");
        call.arg(self.script.code);
        for arg in self.cmd.args_iter().skip(2) {
            if let Arg::Simple(arg) = arg {
                call.arg(arg);
            }
        }
        call
    }
}

fn is_unknown_script(err: &RedisError) -> bool {
    err.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
