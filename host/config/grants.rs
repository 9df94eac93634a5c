//! What a plugin may do beyond the default: nothing, unless its manifest grants it.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

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
        let (name, wild) = host.strip_prefix("*.").map_or((host, false), |name| (name, true));
        if !is_name_or_address(name) || wild && name.starts_with('[') {
            return Err(wrong(
                "the host must be a name or an address, with * as its first label at most",
            ));
        }
        Ok(Self::new(https, host, port))
    }
}

/// Whether requests can go to a host of that name. One that no request names would grant nothing, and not say so.
fn is_name_or_address(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_graphic() && !"/\\*@?#:[]\"<>^`{|}%".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Result<Origin, String> {
        text.to_owned().try_into()
    }

    #[test]
    fn an_origin_is_written_as_it_is_read() {
        for text in [
            "https://example.com",
            "http://*.example.com:8080",
            "http://127.0.0.1:81",
            "https://[::1]:8443",
        ] {
            assert_eq!(origin(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn an_origin_no_request_can_have_is_refused() {
        for text in [
            "http://a:80:90",
            "http://::1",
            "http://[::1",
            "http://*.[::1]",
            "http://a\nb",
            "http://a\\b",
            "http://a\u{1b}[31m",
            "http://*.",
            "http://a.*.b",
        ] {
            let why = origin(text).unwrap_err();
            assert!(why.contains("the host must be a name or an address"), "{why}");
        }
    }
}
