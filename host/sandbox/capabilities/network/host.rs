//! A server's name or address, as it was granted or as a guest asks for it. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Bytes of a name, and of a label between its dots, as DNS has them. No longer one can be resolved.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// A server's name or address, or all names below a domain. Normalised: one server, one spelling of its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sandbox::capabilities) struct Host(String);

impl Host {
    /// The one spelling of a host. An IPv6 address stands in brackets.
    pub(in crate::sandbox::capabilities) fn new(host: &str) -> Self {
        let host = host.strip_suffix('.').unwrap_or(host);
        Self(match unbracketed(host).map(str::parse::<Ipv6Addr>) {
            Some(Ok(address)) => format!("[{address}]"),
            _ => host.to_ascii_lowercase(),
        })
    }

    /// The host of a grant. None: it is no name or address; its first label may be `*`.
    pub(in crate::sandbox::capabilities) fn of_grant(host: &str) -> Option<Self> {
        is_host(host).then(|| Self::new(host))
    }

    /// The host that a guest asks for. None where it is no name or address that a grant could hold: servers and resolvers
    /// read other text in more than one way.
    pub(in crate::sandbox::capabilities) fn of_guest(host: &str) -> Option<Self> {
        (is_host(host) && !host.starts_with('*')).then(|| Self::new(host))
    }

    /// Whether a grant for this host covers `other`. `*.example.com` covers every name below `example.com`, but not
    /// `example.com`.
    pub(in crate::sandbox::capabilities) fn covers(&self, other: &Self) -> bool {
        match self.0.strip_prefix('*') {
            Some(domain) => other.0.len() > domain.len() && other.0.ends_with(domain),
            None => self == other,
        }
    }

    /// The name or address, in lower case and without a final dot or brackets.
    pub(in crate::sandbox::capabilities) fn name(&self) -> &str {
        unbracketed(&self.0).unwrap_or(&self.0)
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        })
    }
}

/// As it stands before a port: an IPv6 address in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether it can be the host of a connection. Names beyond ASCII are written in their `xn--` form there.
fn is_host(host: &str) -> bool {
    if let Some(address) = unbracketed(host) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    // One dot at the end is another spelling; two would be no name.
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn unbracketed(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_longer_than_dns_allows() {
        let label = "a".repeat(MAX_LABEL_BYTES);
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        assert_eq!(longest.len(), MAX_NAME_BYTES);
        for name in [&*label, &*longest, &format!("{longest}.")] {
            assert!(
                Host::of_guest(name).is_some() && Host::of_grant(name).is_some(),
                "{name}"
            );
        }
        for name in [
            format!("{label}a"),
            format!("a.{label}a.b"),
            format!("{longest}b"),
            "a.".repeat(1 << 20),
        ] {
            assert!(
                Host::of_guest(&name).is_none() && Host::of_grant(&name).is_none(),
                "{name}"
            );
        }
    }
}
