//! Where a store is, how to log in, and how long results are kept.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where a store is, and how long results are kept.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// In one of the [`URL_FORMS`].
    pub url: String,
    /// What every key starts with.
    pub prefix: String,
    /// How long a completed job's result is kept; zero: not at all.
    pub result_ttl: Duration,
    /// How long it is kept what attempts came to; zero: not at all.
    pub history_ttl: Duration,
    /// How to log in, and the time-outs.
    pub connection: ConnectionSettings,
}

/// The prefix dg-queue uses where it is told none.
pub const PREFIX_DEFAULT: &str = "queue";

/// How long results are kept by default: long enough to be fetched, short enough not to fill Redis.
pub const RESULT_TTL_DEFAULT: Duration = Duration::from_hours(1);

/// How long attempts are kept by default: a week's failures can be looked into after the weekend.
pub const HISTORY_TTL_DEFAULT: Duration = Duration::from_hours(7 * 24);

impl StoreSettings {
    /// The defaults for a store at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            prefix: PREFIX_DEFAULT.to_owned(),
            result_ttl: RESULT_TTL_DEFAULT,
            history_ttl: HISTORY_TTL_DEFAULT,
            connection: ConnectionSettings::default(),
        }
    }
}

/// How to log in, and the time-outs. They apply to every server of the store, except that a Sentinel always has one
/// second to accept a connection and half a second to answer.
#[derive(Clone)]
pub struct ConnectionSettings {
    /// The ACL user; overrides the URL's.
    pub user: Option<String>,
    /// The password; overrides the URL's.
    pub password: Option<String>,
    /// The number of the database; overrides the URL's.
    pub database: Option<u32>,
    /// The user and password of the Sentinels, where they ask for one.
    pub sentinel_user: Option<String>,
    /// The Sentinels' password, where they ask for one.
    pub sentinel_password: Option<String>,
    /// A PEM file with the authorities that the servers' certificates are checked against; none: the system's.
    pub tls_ca: Option<PathBuf>,
    /// A PEM file with this client's certificate and its chain.
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with this client's key.
    pub tls_key: Option<PathBuf>,
    /// Connections for commands, at most; commands share them, so a few serve any number of attempts.
    pub pool_size: usize,
    /// Connections that stay open while there is nothing to do.
    pub idle: usize,
    /// How often an attempt to connect is repeated before a command fails. Vital moves are tried again anyway. In a
    /// Cluster, also how often a command is repeated that was redirected or got no answer.
    pub retries: u32,
    /// The time a connection may take to be made.
    pub dial_timeout: Duration,
    /// The time an answer may take.
    pub read_timeout: Duration,
    /// The time the peer's system may take to acknowledge what was sent. After that the connection counts as dead.
    pub write_timeout: Duration,
}

/// Connections for commands by default: one is enough for throughput, the others keep a heartbeat from having to wait
/// behind a large batch.
const POOL_SIZE_DEFAULT: usize = 4;

/// Connections kept open by default.
const IDLE_DEFAULT: usize = 1;

/// Repeated attempts to connect by default, as in go-redis.
const RETRIES_DEFAULT: u32 = 3;

/// Time to connect by default.
const DIAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);

/// Time for an answer by default. Generous: giving up on a slow Redis only adds to its load.
const READ_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Time for an acknowledgement by default: a peer that vanished without a word must not look like a slow one.
const WRITE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

impl fmt::Debug for ConnectionSettings {
    /// Leaves the passwords out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSettings")
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            user: None,
            password: None,
            database: None,
            sentinel_user: None,
            sentinel_password: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            pool_size: POOL_SIZE_DEFAULT,
            idle: IDLE_DEFAULT,
            retries: RETRIES_DEFAULT,
            dial_timeout: DIAL_TIMEOUT_DEFAULT,
            read_timeout: READ_TIMEOUT_DEFAULT,
            write_timeout: WRITE_TIMEOUT_DEFAULT,
        }
    }
}

/// The forms a URL may have, for messages and help.
pub const URL_FORMS: &str = "redis://[user:password@]host[:port][/database], redis+sentinel://host:port,…/MASTER[/database], \
                             redis+cluster://host:port,…, rediss… for TLS, or memory:";

/// The URL as it may be shown: without a user, a password or parameters, however it is spelled.
pub(crate) fn without_password(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    match url.rsplit_once('@') {
        Some((before, place)) => format!("{}://…@{place}", before.split(':').next().unwrap_or_default()),
        None => url.to_owned(),
    }
}
