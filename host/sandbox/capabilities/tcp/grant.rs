//! `[[grants.tcp]]`: which connections a plugin may make. Pure.

use std::fmt;

use serde::Deserialize;

use super::address::Address;
use crate::config::Grants;
use crate::sandbox::capabilities::network::Host;

/// This capability's key below `[grants]`.
pub(in crate::sandbox::capabilities) const KEY: &str = "tcp";

/// Where a plugin may connect to: nowhere, unless its manifest says so.
#[derive(Debug, Clone, Default)]
pub(super) struct TcpGrants(Vec<TcpGrant>);

/// The connections that it may make to one server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TcpGrant {
    address: Address,
    /// Whether the host speaks TLS from the first byte on.
    #[serde(default)]
    tls: bool,
    /// Whether the host may resolve to an address that is not public: loopback, private, link-local, …
    #[serde(default)]
    private: bool,
}

/// How a granted connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) tls: bool,
    pub(super) private: bool,
}

/// What a manifest grants, for people.
pub(in crate::sandbox::capabilities) fn granted(grants: &Grants) -> Result<Vec<String>, String> {
    Ok(TcpGrants::read(grants)?.0.iter().map(ToString::to_string).collect())
}

impl TcpGrants {
    /// Reads the grants of a manifest.
    ///
    /// # Errors
    /// One line: where they are wrong, what is wrong, and what was expected.
    pub(super) fn read(grants: &Grants) -> Result<Self, String> {
        grants.read(KEY).map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How connections to a port of a host are made, by all the grants that cover them. None: no grant does.
    pub(super) fn cover(&self, host: &Host, port: u16) -> Option<Way> {
        let covering = self.0.iter().filter(|grant| grant.address.covers(host, port));
        let ways = covering.map(|grant| Way {
            tls: grant.tls,
            private: grant.private,
        });
        ways.reduce(|one, other| Way {
            tls: one.tls || other.tls,
            private: one.private || other.private,
        })
    }

    /// Whether any port of a host is granted.
    pub(super) fn include(&self, host: &Host) -> bool {
        self.0.iter().any(|grant| grant.address.covers_host(host))
    }
}

impl fmt::Display for TcpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match (self.tls, self.private) {
            (true, true) => f.write_str(" (TLS, private addresses too)"),
            (true, false) => f.write_str(" (TLS)"),
            (false, true) => f.write_str(" (private addresses too)"),
            (false, false) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &str) -> Grants {
        Grants::of(&format!("[grants]\ntcp = [{entries}]"))
    }

    fn host(text: &str) -> Host {
        Host::of_guest(text).unwrap()
    }

    #[test]
    fn a_grant_covers_its_host_in_every_spelling_and_its_ports() {
        let grants = of(
            r#"{ address = "db.internal:5432" }, { address = "*.cache.internal:7000-7005", private = true },
            { address = "[0::1]:25", tls = true }, { address = "10.0.0.7:6379", tls = true, private = true }"#,
        );
        let shown = [
            "db.internal:5432",
            "*.cache.internal:7000-7005 (private addresses too)",
            "[::1]:25 (TLS)",
            "10.0.0.7:6379 (TLS, private addresses too)",
        ];
        assert_eq!(granted(&grants).unwrap(), shown);
        let grants = TcpGrants::read(&grants).unwrap();
        for (name, port) in [
            ("DB.internal.", 5432),
            ("a.cache.internal", 7000),
            ("a.b.cache.internal", 7005),
            ("[::1]", 25),
            ("10.0.0.7", 6379),
        ] {
            assert!(grants.cover(&host(name), port).is_some(), "{name}:{port}");
        }
        for (name, port) in [
            ("db.internal", 5433),
            ("x.db.internal", 5432),
            ("db.internal.evil.example", 5432),
            ("cache.internal", 7000),
            ("a.cache.internal", 7006),
            ("[::ffff:10.0.0.7]", 6379),
            ("10.7", 6379),
            ("167772167", 6379),
            ("0xa.0.0.7", 6379),
            ("010.0.0.7", 6379),
        ] {
            assert!(grants.cover(&host(name), port).is_none(), "{name}:{port}");
        }
        let twice = of(r#"{ address = "a.example:1", tls = true }, { address = "*.example:1", private = true }"#);
        let way = TcpGrants::read(&twice).unwrap().cover(&host("a.example"), 1);
        let (tls, private) = (true, true);
        assert_eq!(way, Some(Way { tls, private }), "what its grants say adds up");
        assert!(grants.include(&host("db.internal")) && !grants.include(&host("internal")));
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_place() {
        for (entry, why) in [
            (r#"{ address = "db.internal" }"#, "it has no port"),
            (r#"{ address = "db.internal:0" }"#, "no number from 1 to 65535"),
            (r#"{ address = "db.internal:9-8" }"#, "no number from 1 to 65535"),
            (r#"{ address = "db.internal:65536" }"#, "no number from 1 to 65535"),
            (r#"{ address = "tcp://db.internal:1" }"#, "the host must be a name"),
            (r#"{ address = "::1:25" }"#, "the host must be a name"),
            (r#"{ address = "*:25" }"#, "the host must be a name"),
            (r#"{ address = "a.example:1", udp = true }"#, "unknown field `udp`"),
            ("{ tls = true }", "missing field `address`"),
        ] {
            let found = granted(&of(entry)).unwrap_err();
            assert!(found.starts_with("line 2") && found.contains(why), "{entry}: {found}");
        }
    }
}
