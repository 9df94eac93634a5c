//! What a plugin may do beyond the default: nothing, unless its manifest grants it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Capabilities beyond the default. None by default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Where it may send HTTP requests.
    pub http: Vec<HttpGrant>,
    /// The environment it sees.
    pub env: BTreeMap<String, String>,
}

/// One place HTTP requests may go to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// `scheme://host` or `scheme://host:port`; the host's first label may be `*`.
    pub origin: Origin,
}

/// Scheme, host and port of an HTTP server, or of all servers below a domain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of a request.
    #[must_use]
    pub fn new(https: bool, host: &str, port: Option<u16>) -> Self {
        Self {
            https,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(if https { 443 } else { 80 }),
        }
    }

    /// Whether a request to `origin` is covered by this grant. `*.example.com` covers every name below `example.com`,
    /// but not `example.com`.
    #[must_use]
    pub fn covers(&self, origin: &Self) -> bool {
        let host = match self.host.strip_prefix('*') {
            Some(domain) => origin.host.len() > domain.len() && origin.host.ends_with(domain),
            None => origin.host == self.host,
        };
        host && self.https == origin.https && self.port == origin.port
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheme, default) = if self.https { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == default {
            Ok(())
        } else {
            write!(f, ":{}", self.port)
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |why: &str| format!("origin {text:?}: {why}; expected scheme://host or scheme://host:port");
        let (https, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(wrong("the scheme must be http or https")),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                Some(port.parse().map_err(|_| wrong("the port is no number below 65536"))?),
            ),
            _ => (rest, None),
        };
        let name = host.strip_prefix("*.").unwrap_or(host);
        if name.is_empty() || name.contains(['/', '*', '@', '?', '#', ' ']) {
            return Err(wrong(
                "the host must be a name or an address, with * as its first label at most",
            ));
        }
        Ok(Self::new(https, host, port))
    }
}
