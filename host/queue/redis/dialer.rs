//! Makes connections to wherever the store is: one server, the master that Sentinels name, or a Cluster.

use std::io;
use std::time::Duration;

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, Pipeline, ProtocolVersion,
    RedisError, RedisFuture, RedisResult, TlsCertificates, Value,
};

use super::address::{Address, Topology};
use super::fault::is_outage;
use crate::queue::error::{QueueError, one_cause};
use crate::queue::settings::{ConnectionSettings, StoreSettings};

/// First wait before another attempt to connect; doubles.
const DIAL_WAIT_MIN: Duration = Duration::from_millis(50);

/// Longest wait between attempts to connect.
const DIAL_WAIT_MAX: Duration = Duration::from_secs(1);

/// Redis' own port.
const PORT: u16 = 6379;

/// Makes connections.
pub(super) struct Dialer {
    address: Address,
    pub(super) settings: ConnectionSettings,
    how: How,
}

enum How {
    Server(Client),
    /// Asks one Sentinel after the other; the client remembers which one answered.
    Sentinel(tokio::sync::Mutex<SentinelClient>),
    Cluster(ClusterClient),
}

impl Dialer {
    pub(super) fn new(settings: &StoreSettings) -> Result<Self, QueueError> {
        let address = Address::new(settings)?;
        if address.tls.is_some() {
            // A program that embeds Kiln may have installed another provider already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let settings = settings.connection.clone();
        let wrong = |err: RedisError| QueueError::Url {
            url: address.shown.clone(),
            why: one_cause(&err),
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

    /// The error to report for a failed attempt to connect.
    pub(super) fn unreachable(&self, err: &RedisError) -> QueueError {
        let nodes: Vec<_> = self.address.nodes.iter().map(|node| node.addr().to_string()).collect();
        let nodes = nodes.join(",");
        let address = match &self.address.topology {
            Topology::Sentinel { master } => format!("{nodes} (Sentinels of {master})"),
            _ => nodes,
        };
        let why = one_cause(err);
        if is_outage(err) {
            QueueError::Unreachable { address, why }
        } else {
            QueueError::Refused { address, why }
        }
    }

    /// Connects, and tries again as often as the settings say.
    pub(super) async fn dial_patiently(&self) -> RedisResult<Connection> {
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

    /// The nodes to start with: in a Cluster those that the URL names, else the one master, which has no name.
    pub(super) fn seeds(&self) -> Vec<String> {
        if self.is_cluster() {
            self.address.nodes.iter().map(|node| node.addr().to_string()).collect()
        } else {
            vec![String::new()]
        }
    }

    /// A connection of its own over which Redis can also push messages (RESP3): to a node of a Cluster, or to the
    /// master.
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
pub(super) fn split(node: &str) -> (String, u16) {
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
        .min_retry_wait(millis(DIAL_WAIT_MIN))
        .max_retry_wait(millis(DIAL_WAIT_MAX))
        .connection_timeout(settings.dial_timeout)
        .response_timeout(settings.read_timeout);
    if let Some(certificates) = &address.tls {
        builder = builder.certs(certificates.clone());
    }
    builder.build()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One connection, shared by whoever sends over it.
#[derive(Clone)]
pub(super) enum Connection {
    Server(MultiplexedConnection),
    /// Keeps a connection to each node, follows what moves and connects again by itself.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Sets how long answers may take to commands that this clone sends from now on.
    pub(super) fn wait_longer(&mut self, patience: Duration) {
        if let Self::Server(connection) = self {
            connection.set_response_timeout(patience);
        }
    }
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
