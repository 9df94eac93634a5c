//! Reads a store's URL and settings into what a connection is made from.

use std::path::Path;

use ::redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use ::redis::{ClientTlsConfig, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates, TlsMode};

use crate::queue::error::{QueueError, one_cause};
use crate::queue::settings::{ConnectionSettings, StoreSettings, URL_FORMS, without_password};

/// A store's URL, taken apart.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) topology: Topology,
    /// The server, the Sentinels or some nodes of the Cluster. At least one.
    pub(super) nodes: Vec<ConnectionInfo>,
    pub(super) tls: Option<TlsCertificates>,
    /// The URL as it may be shown.
    pub(super) shown: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Topology {
    Server,
    Sentinel { master: String },
    Cluster,
}

impl Address {
    pub(super) fn new(settings: &StoreSettings) -> Result<Self, QueueError> {
        let (url, connection) = (&settings.url, &settings.connection);
        let wrong = |why: String| QueueError::Url {
            url: without_password(url),
            why,
        };
        let (scheme, rest) = url
            .split_once("://")
            .or_else(|| url.split_once(':'))
            .ok_or_else(|| wrong(format!("expected {URL_FORMS}")))?;
        let (secure, scheme) = match scheme.strip_prefix("rediss") {
            Some(kind) => (true, format!("redis{kind}")),
            None => (false, scheme.to_owned()),
        };
        let (topology, urls) = match scheme.as_str() {
            "redis" | "redis+unix" | "unix" => (Topology::Server, vec![url.clone()]),
            "redis+cluster" => (
                Topology::Cluster,
                each_host(rest, secure, no_database).map_err(wrong)?.1,
            ),
            "redis+sentinel" => {
                let (path, urls) = each_host(rest, secure, after_master).map_err(wrong)?;
                let master = path.split('/').next().unwrap_or_default().to_owned();
                (Topology::Sentinel { master }, urls)
            }
            _ => return Err(wrong(format!("expected {URL_FORMS}"))),
        };
        let nodes = urls.iter().map(|url| {
            let info = url.as_str().into_connection_info();
            let info = info.map_err(|err| wrong(one_cause(&err)))?;
            Ok(let_in(info, connection))
        });
        let nodes: Vec<_> = nodes.collect::<Result<_, QueueError>>()?;
        if topology == Topology::Cluster && settings.prefix.contains('}') && !is_one_tag(&settings.prefix) {
            let prefix = &settings.prefix;
            return Err(wrong(format!(
                "prefix {prefix:?}: braces are for one hash tag, as in {{jobs}}"
            )));
        }
        if topology == Topology::Cluster && nodes[0].redis_settings().db() != 0 {
            return Err(wrong(ONE_DATABASE.to_owned()));
        }
        Ok(Self {
            topology,
            nodes,
            tls: certificates(secure, connection).map_err(wrong)?,
            shown: without_password(url),
        })
    }

    pub(super) fn tls_mode(&self) -> Option<TlsMode> {
        self.tls.is_some().then_some(TlsMode::Secure)
    }

    /// What to send to a node once connected: user, password and database.
    pub(super) fn redis_settings(&self) -> &RedisConnectionInfo {
        self.nodes[0].redis_settings()
    }

    pub(super) fn tcp_settings(&self) -> &TcpSettings {
        self.nodes[0].tcp_settings()
    }
}

/// Whether the prefix has no braces but those of one hash tag that is not empty.
fn is_one_tag(prefix: &str) -> bool {
    let tag = prefix
        .split_once('{')
        .and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    tag.is_some_and(|(before, (tag, after))| !tag.is_empty() && ![before, tag, after].concat().contains(['{', '}']))
}

/// A URL's path after its hosts, and a URL for each of the hosts.
fn each_host(
    rest: &str,
    secure: bool,
    database: fn(&str) -> Result<Option<&str>, String>,
) -> Result<(String, Vec<String>), String> {
    let (user, place) = rest
        .rsplit_once('@')
        .map_or((String::new(), rest), |(user, place)| (format!("{user}@"), place));
    let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
    let scheme = if secure { "rediss" } else { "redis" };
    let database = database(path)?.map_or_else(String::new, |database| format!("/{database}"));
    let urls = hosts.split(',').map(|host| {
        if host.is_empty() {
            return Err("a host is empty".to_owned());
        }
        Ok(format!("{scheme}://{user}{host}{database}"))
    });
    Ok((path.to_owned(), urls.collect::<Result<_, _>>()?))
}

const ONE_DATABASE: &str = "a Cluster has one database, 0";

/// What a Cluster URL's path may say.
fn no_database(path: &str) -> Result<Option<&str>, String> {
    match path {
        "" | "0" => Ok(None),
        _ => Err(ONE_DATABASE.to_owned()),
    }
}

/// The database in a Sentinel URL's path: `MASTER` or `MASTER/DATABASE`.
fn after_master(path: &str) -> Result<Option<&str>, String> {
    let (master, database) = path.split_once('/').map_or((path, None), |(m, d)| (m, Some(d)));
    if master.is_empty() {
        return Err("the name of the master is missing: redis+sentinel://host:port,…/MASTER".to_owned());
    }
    Ok(database)
}

/// Adds what the settings say beyond the URL.
fn let_in(info: ConnectionInfo, settings: &ConnectionSettings) -> ConnectionInfo {
    let mut redis = info.redis_settings().clone();
    if let Some(user) = &settings.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = &settings.password {
        redis = redis.set_password(password);
    }
    if let Some(database) = settings.database {
        redis = redis.set_db(database.into());
    }
    let silence = settings.write_timeout;
    let keepalive = TcpKeepalive::new().with_time(silence).with_interval(silence);
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(silence);
    info.set_redis_settings(redis).set_tcp_settings(tcp)
}

fn certificates(secure: bool, settings: &ConnectionSettings) -> Result<Option<TlsCertificates>, String> {
    let ConnectionSettings {
        tls_ca,
        tls_cert,
        tls_key,
        ..
    } = settings;
    if !secure {
        return if tls_ca.is_some() || tls_cert.is_some() || tls_key.is_some() {
            Err("certificates are given, but the URL asks for no TLS; write rediss://".to_owned())
        } else {
            Ok(None)
        };
    }
    let read = |path: &Path| std::fs::read(path).map_err(|err| format!("{}: {err}", path.display()));
    let client_tls = match (tls_cert, tls_key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig {
            client_cert: read(cert)?,
            client_key: read(key)?,
        }),
        (None, None) => None,
        _ => return Err("a client's certificate needs its key, and the other way round".to_owned()),
    };
    Ok(Some(TlsCertificates {
        client_tls,
        root_cert: tls_ca.as_deref().map(read).transpose()?,
    }))
}
