//! A few connections that commands share, and one for leases. One that fails is forgotten, and whoever comes next makes a
//! new one.
//!
//! Nothing is sent twice by itself, because only the sender knows whether that is harmless. The exception is a Cluster,
//! whose client sends again what got no answer; that is why the scripts that take jobs know the tags they were asked for.

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

/// How long a connection beyond those that stay open may be unused.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// What a connection carries at least, in bytes a second: what is sent has as long on its way, beside the time an answer may
/// take. Outside a Cluster; there the client has one time for all.
const SLOWEST_BYTES_PER_S: usize = 64 * 1024;

pub(super) struct Pool {
    dialer: Arc<Dialer>,
    /// Where connections are made and driven, whoever asks for one: not on a guest thread.
    runtime: Handle,
    slots: Vec<Slot>,
    idle: usize,
    /// A connection of their own for the few moves that must not wait behind anything large: those that keep leases.
    prompt: Slot,
}

/// A connection, an attempt to make one that all who want it wait for, or neither.
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

    /// The same over this connection, for a command that carries so many bytes: its answer has the longer.
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

    /// Sends commands together, and waits until all are carried out. Where they belong to several servers, each goes
    /// its own way.
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

    /// The nodes whose keys make up the store: a Cluster's masters; else one without a name.
    pub(super) async fn masters(&self) -> Result<Vec<String>, QueueError> {
        if !self.is_cluster() {
            return Ok(vec![String::new()]);
        }
        // Each range of slots: its first, its last, then its nodes, the master first; of each its host and port.
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

    /// Calls a script. Redis that does not know it is told it.
    pub(super) async fn call<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, QueueError> {
        self.call_over(self.pick(), call, 0).await
    }

    /// The same over the connection that nothing large uses.
    pub(super) async fn call_promptly<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T, QueueError> {
        self.call_over(&self.prompt, call, 0).await
    }

    /// The same for a call that carries so many bytes: its answer has the longer.
    pub(super) async fn call_with<T: FromRedisValue>(&self, call: &Call<'_>, bytes: usize) -> Result<T, QueueError> {
        self.call_over(self.pick(), call, bytes).await
    }

    async fn call_over<T: FromRedisValue>(&self, slot: &Slot, call: &Call<'_>, bytes: usize) -> Result<T, QueueError> {
        match self.run_over(slot, &call.cmd, bytes).await {
            Err(QueueError::Redis(err)) if is_unknown_script(&err) => self.run_over(slot, &call.in_full(), bytes).await,
            answer => answer,
        }
    }

    /// Closes what has not been used for long, beyond the connections that are to stay.
    pub(super) fn trim(&self) {
        for slot in self.slots.iter().skip(self.idle) {
            if lock(&slot.used).is_some_and(|used| used.elapsed() > IDLE_MAX) && slot.is_idle() {
                *lock(&slot.dialling) = None;
            }
        }
    }

    /// The first connection that has nothing to do, or one to be made, or the least busy.
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

    /// Forgets the connection if this answer shows that it is of no more use.
    fn judge<T>(&self, answer: &RedisResult<T>, dialling: &Dialling) {
        if answer.as_ref().is_err_and(spoils) {
            self.forget(dialling);
        }
    }

    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }
}

/// Counts a command under way, for as long as somebody waits for its end.
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
