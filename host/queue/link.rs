//! Connections to wherever the store is: one server, the master that Sentinels name, or a Cluster.
//!
//! Commands share a few connections. One that fails is forgotten, and whoever comes next makes a new one; nothing is
//! sent twice by itself, because only the sender knows whether that is harmless.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    Arg, AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, Pipeline,
    ProtocolVersion, RedisError, RedisFuture, RedisResult, ServerErrorKind, TlsCertificates, Value, cmd,
};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, try_join_all};

use super::address::{Address, ConnectionSettings, Topology};
use super::{QueueError, StoreSettings, one_cause};

/// First wait before another attempt to connect; doubles.
const DIAL_WAIT_MIN: Duration = Duration::from_millis(50);

/// Longest wait between attempts to connect.
const DIAL_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long a connection beyond those that stay open may be unused.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// Redis' own port.
const PORT: u16 = 6379;

/// Makes connections.
pub(super) struct Dialer {
    address: Address,
    settings: ConnectionSettings,
    how: How,
}

enum How {
    Server(Client),
    /// Asks one Sentinel after the other; it remembers which it reached.
    Sentinel(tokio::sync::Mutex<SentinelClient>),
    Cluster(ClusterClient),
}

impl Dialer {
    pub(super) fn new(settings: &StoreSettings) -> Result<Self, QueueError> {
        let address = Address::new(settings)?;
        let settings = settings.connection.clone();
        let wrong = |err: RedisError| QueueError::Url {
            url: address.shown.clone(),
            why: one_cause(&err).to_owned(),
        };
        let how = match &address.topology {
            Topology::Server => How::Server(client(address.nodes[0].clone(), address.tls.as_ref()).map_err(wrong)?),
            Topology::Sentinel { master } => {
                let sentinel = sentinel(&address, &settings, master).map_err(wrong)?;
                How::Sentinel(tokio::sync::Mutex::new(sentinel))
            }
            Topology::Cluster => How::Cluster(cluster(&address, &settings).map_err(wrong)?),
        };
        Ok(Self { address, settings, how })
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.address.topology == Topology::Cluster
    }

    /// What to say of a failed attempt to connect.
    pub(super) fn unreachable(&self, err: &RedisError) -> QueueError {
        let nodes: Vec<_> = self.address.nodes.iter().map(|node| node.addr().to_string()).collect();
        let nodes = nodes.join(",");
        let address = match &self.address.topology {
            Topology::Sentinel { master } => format!("{nodes} (Sentinels of {master})"),
            _ => nodes,
        };
        let why = one_cause(err).to_owned();
        if is_outage(err) {
            QueueError::Unreachable { address, why }
        } else {
            QueueError::Refused { address, why }
        }
    }

    /// Connects, and tries again as often as the settings say.
    async fn dial_patiently(&self) -> RedisResult<Connection> {
        let mut wait = DIAL_WAIT_MIN;
        for _ in 0..self.settings.retries {
            match self.dial().await {
                Err(err) if is_outage(&err) => {}
                dialled => return dialled,
            }
            tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
            wait = (wait * 2).min(DIAL_WAIT_MAX);
        }
        self.dial().await
    }

    async fn dial(&self) -> RedisResult<Connection> {
        // Sentinels and Cluster nodes are asked one after the other, each for its time.
        let servers = u32::try_from(self.address.nodes.len() + 1).unwrap_or(u32::MAX);
        let dialling = async {
            match &self.how {
                How::Cluster(client) => Ok(Connection::Cluster(client.get_async_connection().await?)),
                _ => Ok(Connection::Server(self.master(&self.config()).await?)),
            }
        };
        let dialled = tokio::time::timeout(self.settings.dial_timeout * servers, dialling).await;
        dialled.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }

    async fn master(&self, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        match &self.how {
            How::Server(client) => client.get_multiplexed_async_connection_with_config(config).await,
            How::Sentinel(sentinel) => {
                let client = sentinel.lock().await.async_get_client().await?;
                client.get_multiplexed_async_connection_with_config(config).await
            }
            How::Cluster(_) => Err((ErrorKind::InvalidClientConfig, "a Cluster has no one master").into()),
        }
    }

    /// The nodes one may begin with: some of a Cluster's; else one without a name, the master.
    pub(super) fn seeds(&self) -> Vec<String> {
        if self.is_cluster() {
            self.address.nodes.iter().map(|node| node.addr().to_string()).collect()
        } else {
            vec![String::new()]
        }
    }

    /// A connection of its own over which Redis can also speak unasked: to a node of a Cluster, or to the master.
    pub(super) async fn dial_resp3(
        &self,
        node: &str,
        config: AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let config = config
            .set_connection_timeout(Some(self.settings.dial_timeout))
            .set_response_timeout(Some(self.settings.read_timeout));
        let info = match (&self.how, node) {
            (How::Cluster(_), node) => {
                let address = tcp(split(node), self.address.tls.is_some());
                self.address.nodes[0].clone().set_addr(address)
            }
            (How::Sentinel(sentinel), _) => sentinel
                .lock()
                .await
                .async_get_client()
                .await?
                .get_connection_info()
                .clone(),
            _ => self.address.nodes[0].clone(),
        };
        let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = client(info.set_redis_settings(redis), self.address.tls.as_ref())?;
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.dial_timeout))
            .set_response_timeout(Some(self.settings.read_timeout))
    }
}

/// The host and the port of a node's name.
fn split(node: &str) -> (String, u16) {
    let (host, port) = node.rsplit_once(':').unwrap_or((node, ""));
    (host.to_owned(), port.parse().unwrap_or(PORT))
}

fn tcp((host, port): (String, u16), secure: bool) -> ConnectionAddr {
    if secure {
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn client(info: ConnectionInfo, tls: Option<&TlsCertificates>) -> RedisResult<Client> {
    match tls {
        Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        None => Client::open(info),
    }
}

fn sentinel(address: &Address, settings: &ConnectionSettings, master: &str) -> RedisResult<SentinelClient> {
    let sentinels: Vec<_> = address.nodes.iter().map(|node| node.addr().clone()).collect();
    let redis = address.redis_settings();
    let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?
        .set_client_to_redis_db(redis.db())
        .set_client_to_redis_tcp_settings(address.tcp_settings().clone())
        .set_client_to_sentinel_tcp_settings(address.tcp_settings().clone());
    if let Some(user) = redis.username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = redis.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(user) = &settings.sentinel_user {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = &settings.sentinel_password {
        builder = builder.set_client_to_sentinel_password(password);
    }
    if let (Some(mode), Some(certificates)) = (address.tls_mode(), &address.tls) {
        builder = builder
            .set_client_to_redis_tls_mode(mode)
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_tls_mode(mode)
            .set_client_to_sentinel_certificates(certificates.clone());
    }
    builder.build()
}

fn cluster(address: &Address, settings: &ConnectionSettings) -> RedisResult<ClusterClient> {
    let mut builder = ClusterClient::builder(address.nodes.clone())
        .tcp_settings(address.tcp_settings().clone())
        .retries(settings.retries)
        .connection_timeout(settings.dial_timeout)
        .response_timeout(settings.read_timeout);
    if let Some(certificates) = &address.tls {
        builder = builder.certs(certificates.clone());
    }
    builder.build()
}

/// One connection, shared by whoever sends over it.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    /// Keeps a connection to each node, follows what moves and connects again by itself.
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// A few connections that commands share.
pub(super) struct Pool {
    dialer: Arc<Dialer>,
    slots: Vec<Slot>,
    idle: usize,
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
        let pool = Self { dialer, slots, idle };
        let first = pool.slots[..idle.max(1)]
            .iter()
            .map(|slot| slot.connection(&pool.dialer));
        try_join_all(first).await.map_err(|err| pool.dialer.unreachable(&err))?;
        Ok(pool)
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.dialer.is_cluster()
    }

    /// Sends one command.
    pub(super) async fn run<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, QueueError> {
        let slot = Busy::new(self.pick());
        let (dialling, mut connection) = self.connection(&slot).await?;
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
        match self.run(&call.cmd).await {
            Err(QueueError::Redis(err)) if err.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.run(&call.in_full()).await
            }
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
        let dialled = slot.connection(&self.dialer).await;
        dialled.map_err(|err| self.dialer.unreachable(&err))
    }
}

impl Slot {
    async fn connection(&self, dialer: &Arc<Dialer>) -> RedisResult<(Dialling, Connection)> {
        *lock(&self.used) = Some(Instant::now());
        let dialling = lock(&self.dialling)
            .get_or_insert_with(|| {
                let dialer = Arc::clone(dialer);
                async move { dialer.dial_patiently().await }.boxed().shared()
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

/// Counts a command under way, even if nobody waits for its end.
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

    pub(super) fn keys<const N: usize>(&self, keys: [String; N]) -> Call<'_> {
        let mut cmd = cmd("EVALSHA");
        cmd.arg(&self.hash).arg(N).arg(&keys);
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

/// Whether an error means that the store, as opposed to this one command, cannot be used for now.
pub(super) fn is_outage(err: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain};
    let server = |kind| matches!(kind, BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain);
    match err.kind() {
        ErrorKind::Io
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::NoValidReplicasFoundBySentinel => true,
        ErrorKind::Server(kind) if server(kind) => true,
        _ => {
            let code = err.code().unwrap_or_default();
            matches!(code, "OOM" | "BUSY" | "MISCONF" | "NOREPLICAS")
                || err.detail().is_some_and(|why| why.contains("max number of clients"))
        }
    }
}

/// Whether a connection that brought this error is of no more use: it is broken, or leads to what is no master.
fn spoils(err: &RedisError) -> bool {
    err.is_unrecoverable_error()
        || err.is_io_error()
        || err.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || err.kind() == ErrorKind::Server(ServerErrorKind::MasterDown)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
