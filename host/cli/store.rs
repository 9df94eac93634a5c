//! The flags that say which store, shared by every command that needs one.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Usage;
use crate::config::{CountRange, TimeRange, parse_duration};
use crate::queue::{ConnectionSettings, PREFIX_DEFAULT, QueueName, Store, StoreSettings, without_password};
use crate::text::is_hidden;

#[derive(Debug, Args)]
#[command(next_help_heading = "Store")]
pub(super) struct StoreArgs {
    #[arg(
        long,
        env = "KILN_STORE",
        default_value = "redis://127.0.0.1:6379",
        value_name = "URL",
        long_help = STORE_HELP,
        help = "Where the jobs are: redis://host[:port][/database], redis+sentinel://…, redis+cluster://…, or memory:"
    )]
    store: String,
    /// What every Redis key starts with
    #[arg(long, env = "KILN_PREFIX", default_value = PREFIX_DEFAULT, value_parser = prefix)]
    prefix: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

const STORE_HELP: &str = "\
Where the jobs are:
  redis://[user:password@]host[:port][/database]
  redis+sentinel://[user:password@]host:port,host:port,…/MASTER[/database]   the master of that name
  redis+cluster://[user:password@]host:port,host:port,…                      some nodes of a Cluster
  memory:                                                                    in this process alone
With rediss in place of redis: over TLS. User and password are better given by their own variables";

#[derive(Debug, Args)]
#[command(next_help_heading = "Connections to the store")]
struct ConnectionArgs {
    /// The ACL user
    #[arg(long, env = "KILN_STORE_USER", value_name = "USER", hide_short_help = true)]
    store_user: Option<String>,
    /// The password; give it by its variable, since others can read a process' arguments
    #[arg(long, env = "KILN_STORE_PASSWORD", value_name = "PASSWORD", hide_short_help = true)]
    store_password: Option<String>,
    /// The number of the database
    #[arg(long, env = "KILN_STORE_DATABASE", value_name = "N", hide_short_help = true)]
    store_database: Option<u32>,
    /// The user that the Sentinels ask for
    #[arg(long, env = "KILN_SENTINEL_USER", value_name = "USER", hide_short_help = true)]
    sentinel_user: Option<String>,
    /// The password that the Sentinels ask for
    #[arg(
        long,
        env = "KILN_SENTINEL_PASSWORD",
        value_name = "PASSWORD",
        hide_short_help = true
    )]
    sentinel_password: Option<String>,
    /// The authorities that sign the servers' certificates (PEM) [default: the system's]
    #[arg(long, env = "KILN_TLS_CA", value_name = "FILE", hide_short_help = true)]
    tls_ca: Option<PathBuf>,
    /// This client's certificate and its chain (PEM)
    #[arg(long, env = "KILN_TLS_CERT", value_name = "FILE", hide_short_help = true)]
    tls_cert: Option<PathBuf>,
    /// This client's key (PEM)
    #[arg(long, env = "KILN_TLS_KEY", value_name = "FILE", hide_short_help = true)]
    tls_key: Option<PathBuf>,
    /// Connections for commands, at most; commands share them
    #[arg(long, env = "KILN_POOL_SIZE", default_value_t = ConnectionSettings::default().pool_size, value_name = "N",
          value_parser = pool_size, hide_short_help = true)]
    pool_size: usize,
    /// Connections that stay open while there is nothing to do
    #[arg(long, env = "KILN_IDLE_CONNECTIONS", default_value_t = ConnectionSettings::default().idle, value_name = "N",
          value_parser = idle_connections, hide_short_help = true)]
    idle_connections: usize,
    /// How often an attempt to connect is repeated before a command fails
    #[arg(long, env = "KILN_STORE_RETRIES", default_value_t = ConnectionSettings::default().retries, value_name = "N",
          value_parser = retries, hide_short_help = true)]
    store_retries: u32,
    /// The time a connection may take to be made
    #[arg(long, env = "KILN_DIAL_TIMEOUT", default_value = "3s", value_parser = answer_time,
          value_name = "DURATION", hide_short_help = true)]
    dial_timeout: Duration,
    /// The time an answer may take
    #[arg(long, env = "KILN_READ_TIMEOUT", default_value = "10s", value_parser = answer_time,
          value_name = "DURATION", hide_short_help = true)]
    read_timeout: Duration,
    /// The time the other end may take to acknowledge what was sent; after it the connection counts as dead
    #[arg(long, env = "KILN_WRITE_TIMEOUT", default_value = "5s", value_parser = write_timeout,
          value_name = "DURATION", hide_short_help = true)]
    write_timeout: Duration,
}

impl StoreArgs {
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn set_prefix(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    /// The store's address without a password, and the prefix where that is not the default.
    pub(super) fn shown(&self) -> String {
        let url = without_password(&self.store);
        if self.prefix == PREFIX_DEFAULT {
            url
        } else {
            format!("{url}, prefix {}", self.prefix)
        }
    }

    /// The store, which has to be one that outlives this command.
    pub(super) async fn open(&self) -> anyhow::Result<Store> {
        if self.store == "memory:" {
            let why = "a store in memory would end with this command; only kiln worker can use one, with --jobs";
            return Err(Usage(why.to_owned()).into());
        }
        Ok(Store::open(&self.settings()).await?)
    }

    pub(super) fn settings(&self) -> StoreSettings {
        StoreSettings {
            prefix: self.prefix.clone(),
            connection: self.connection.settings(),
            ..StoreSettings::new(&self.store)
        }
    }
}

impl ConnectionArgs {
    fn settings(&self) -> ConnectionSettings {
        ConnectionSettings {
            user: set(self.store_user.as_ref()),
            password: set(self.store_password.as_ref()),
            database: self.store_database,
            sentinel_user: set(self.sentinel_user.as_ref()),
            sentinel_password: set(self.sentinel_password.as_ref()),
            tls_ca: self.tls_ca.clone(),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            pool_size: self.pool_size,
            idle: self.idle_connections,
            retries: self.store_retries,
            dial_timeout: self.dial_timeout,
            read_timeout: self.read_timeout,
            write_timeout: self.write_timeout,
        }
    }
}

/// An empty variable stands for none.
fn set(value: Option<&String>) -> Option<String> {
    value.filter(|value| !value.is_empty()).cloned()
}

const ANSWER: TimeRange = TimeRange {
    least: Duration::from_millis(1),
    most: Duration::from_hours(1),
    why: "no answer comes sooner; a command that waits for longer is as good as lost",
};

const WRITE_TIMEOUT: TimeRange = TimeRange {
    least: Duration::from_secs(1),
    most: Duration::from_hours(1),
    why: "what systems let a connection be told",
};

fn answer_time(text: &str) -> Result<Duration, String> {
    ANSWER.parse(text)
}

fn write_timeout(text: &str) -> Result<Duration, String> {
    WRITE_TIMEOUT.parse(text)
}

fn prefix(text: &str) -> Result<String, String> {
    if text.contains(|c: char| is_hidden(c) || c.is_whitespace()) {
        Err("must not contain spaces or hidden characters".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

const POOL_SIZE: CountRange = CountRange {
    what: "connections",
    least: 1,
    most: 64,
    why: "commands share them, so more of them help nobody",
};

const IDLE_CONNECTIONS: CountRange = CountRange {
    least: 0,
    why: "no more than there can be",
    ..POOL_SIZE
};

const RETRIES: CountRange = CountRange {
    what: "repetitions",
    least: 0,
    most: 1000,
    why: "a command that tries for longer never says that there is no store",
};

fn pool_size(text: &str) -> Result<usize, String> {
    POOL_SIZE.parse(text).map(|size| size as usize)
}

fn idle_connections(text: &str) -> Result<usize, String> {
    IDLE_CONNECTIONS.parse(text).map(|size| size as usize)
}

fn retries(text: &str) -> Result<u32, String> {
    RETRIES.parse(text)
}

/// A `value_parser` for durations.
pub(super) fn duration(text: &str) -> Result<std::time::Duration, String> {
    parse_duration(text)
}

/// A `value_parser` for durations that must not be zero.
pub(super) fn positive_duration(text: &str) -> Result<std::time::Duration, String> {
    let value = duration(text)?;
    if value.is_zero() {
        Err("must be more than 0".to_owned())
    } else {
        Ok(value)
    }
}

/// A `value_parser` for queue names.
pub(super) fn queue_name(text: &str) -> Result<QueueName, String> {
    QueueName::new(text)
}
