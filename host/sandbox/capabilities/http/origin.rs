//! Where a request goes, as it was granted or as it was made.

use std::fmt;

use serde::Deserialize;

use crate::sandbox::capabilities::network::Host;

/// Scheme, host and port of an HTTP server, or of all servers below a domain. Normalised: one server, one spelling of its
/// name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin {
    https: bool,
    host: Host,
    port: u16,
}

impl Origin {
    /// The origin of a request. An IPv6 address stands in brackets.
    #[must_use]
    pub fn new(https: bool, host: &str, port: Option<u16>) -> Self {
        Self::at(https, Host::new(host), port)
    }

    fn at(https: bool, host: Host, port: Option<u16>) -> Self {
        Self {
            https,
            host,
            port: port.unwrap_or(if https { 443 } else { 80 }),
        }
    }

    /// The origin of a guest's request. None where its host is no name or address that a grant could hold.
    #[must_use]
    pub fn of_request(https: bool, host: &str, port: Option<u16>) -> Option<Self> {
        Host::of_guest(host).map(|host| Self::at(https, host, port))
    }

    /// Whether a request to `origin` is covered by this grant. `*.example.com` covers every name below `example.com`,
    /// but not `example.com`.
    #[must_use]
    pub fn covers(&self, origin: &Self) -> bool {
        self.host.covers(&origin.host) && self.https == origin.https && self.port == origin.port
    }

    /// Whether its connections use TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The port, named or the scheme's own.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they stand in a request's `host` header: the port only where it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == if self.https { 443 } else { 80 } {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The name or address, in lower case and without a final dot or brackets.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.name()
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |why: &str| format!("origin {text:?}: {why}; expected scheme://host or scheme://host:port");
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("the scheme must be http or https")),
        };
        if rest.contains(['/', '?', '#']) {
            return Err(wrong("it has no path, and no slash at its end"));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (
                host,
                Some(port.parse().map_err(|_| wrong("the port is no number below 65536"))?),
            ),
            _ => (rest, None),
        };
        let host = Host::of_grant(host)
            .ok_or_else(|| wrong("the host must be a name or an address, with * as its first label at most"))?;
        Ok(Self::at(https, host, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_grant_covers_every_spelling_of_its_origin_and_no_other_origin() {
        let grant = origin("https://API.example.com");
        for (host, port) in [
            ("api.example.com", None),
            ("api.EXAMPLE.com.", None),
            ("api.example.com", Some(443)),
        ] {
            assert!(grant.covers(&Origin::new(true, host, port)), "{host}");
        }
        for (https, host, port) in [
            (false, "api.example.com", Some(443)),
            (true, "api.example.com", Some(8443)),
            (true, "api.example.com..", None),
            (true, "x.api.example.com", None),
            (true, "api.example.com.evil.example", None),
        ] {
            assert!(!grant.covers(&Origin::new(https, host, port)), "{host}");
        }
        assert!(origin("http://[::1]").covers(&Origin::new(false, "[::1]", Some(80))));
        assert!(origin("http://[0:0:0:0:0:0:0:1]:8080").covers(&Origin::new(false, "[::1]", Some(8080))));
    }

    #[test]
    fn a_wildcard_covers_whole_labels_below_its_domain() {
        let grant = origin("http://*.example.com:8080");
        for (host, covered) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            (".example.com", false),
            ("aexample.com", false),
            ("evil-example.com", false),
            ("a.example.com.evil", false),
        ] {
            assert_eq!(grant.covers(&Origin::new(false, host, Some(8080))), covered, "{host}");
        }
        assert!(grant.covers(&origin("http://*.api.example.com:8080")));
        assert!(!origin("http://a.example.com:8080").covers(&grant));
    }

    #[test]
    fn the_host_of_a_request_is_a_name_or_an_address_and_goes_out_in_one_spelling() {
        for (https, host, port, authority) in [
            (true, "API.example.com.", Some(443), "api.example.com"),
            (true, "a.example", Some(80), "a.example:80"),
            (false, "[0:0::1]", Some(80), "[::1]"),
            (false, "2130706433", Some(8080), "2130706433:8080"),
        ] {
            let origin = Origin::of_request(https, host, port);
            assert_eq!(
                origin.map(|origin| origin.authority()).as_deref(),
                Some(authority),
                "{host}"
            );
        }
        for host in [
            "",
            "*.example.com",
            "evil.test%2f.example.com",
            "evil.test;.example.com",
            "a..example.com",
            ".example.com",
            "[::1",
            "[v1.a]",
        ] {
            assert_eq!(Origin::of_request(true, host, None), None, "{host}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "example.com",
            "ftp://example.com",
            "http://",
            "http://*",
            "http://a.*.b",
            "http://u@h",
            "http://h/p",
            "http://h:99999",
            "http://::1",
            "http://a..b",
            "http://a..",
            "http://.a",
            "http://[::g]",
            "http://bücher.example",
        ] {
            assert!(Origin::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
