//! Where a connection goes, as it is granted: a host and its ports. Pure.

use std::fmt;
use std::ops::RangeInclusive;

use serde::Deserialize;

use crate::sandbox::capabilities::network::Host;

/// `host:port` or `host:first-last`; the host's first label may be `*`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Address {
    host: Host,
    ports: RangeInclusive<u16>,
}

impl Address {
    /// Whether it covers connections to any port of a host.
    pub(super) fn covers_host(&self, host: &Host) -> bool {
        self.host.covers(host)
    }

    /// Whether it covers connections to a port of a host.
    pub(super) fn covers(&self, host: &Host, port: u16) -> bool {
        self.ports.contains(&port) && self.covers_host(host)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.ports.start(), self.ports.end());
        write!(f, "{}:{first}", self.host)?;
        if first != last {
            write!(f, "-{last}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |why: &str| format!("address {text:?}: {why}; expected host:port, such as \"db.internal:5432\"");
        let (host, ports) = text.rsplit_once(':').ok_or_else(|| wrong("it has no port"))?;
        let host = Host::of_grant(host).ok_or_else(|| {
            wrong("the host must be a name or an address (IPv6 in brackets), with * as its first label at most")
        })?;
        let port = |port: &str| port.parse().ok().filter(|port| *port != 0);
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self {
                host,
                ports: first..=last,
            }),
            _ => Err(wrong(
                "the port is no number from 1 to 65535, and no two of them with - between",
            )),
        }
    }
}
