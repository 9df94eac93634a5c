//! Proxies that say who asks: they have let that person in themselves, and pass the name on.
//!
//! Their word is taken by the address they connect from. Whoever else sends such headers is not believed.

use std::net::IpAddr;
use std::str::FromStr;

use axum::http::HeaderMap;

use super::tokens::Role;
use crate::text::{MAX_NAME_BYTES, is_hidden};

/// The header that names whoever asks.
const USER: &str = "x-forwarded-user";

/// The header that says how the proxy was asked.
const PROTOCOL: &str = "x-forwarded-proto";

/// Proxies whose word is taken.
#[derive(Debug, Clone)]
pub struct Proxies {
    networks: Vec<Network>,
    /// The role of those whose names have none in the file of tokens.
    pub(super) role: Role,
}

/// Addresses with the same first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Proxies {
    /// Proxies at these addresses. Whoever they name has this role, unless the file of tokens gives them another. None: there
    /// is no proxy.
    #[must_use]
    pub fn new(networks: Vec<Network>, role: Role) -> Option<Self> {
        (!networks.is_empty()).then_some(Self { networks, role })
    }

    /// Whether the word of whoever connects from there is taken.
    pub(super) fn are_at(&self, peer: IpAddr) -> bool {
        self.networks.iter().any(|network| network.has(peer))
    }
}

/// Who asks, as a proxy says; none if it does not, or not clearly.
pub(super) fn user(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(USER).iter();
    let name = values.next()?.to_str().ok()?.trim();
    let is_clear = values.next().is_none() && !name.is_empty() && name.len() <= MAX_NAME_BYTES;
    (is_clear && !name.contains(is_hidden)).then_some(name)
}

/// Whether a proxy was asked over TLS, as it says.
pub(super) fn is_secure(headers: &HeaderMap) -> bool {
    let said = headers.get(PROTOCOL).and_then(|said| said.to_str().ok());
    said.is_some_and(|said| said.trim().eq_ignore_ascii_case("https"))
}

impl Network {
    fn has(self, address: IpAddr) -> bool {
        let prefix = |address: IpAddr, bits: u32| match address.to_canonical() {
            IpAddr::V4(address) => (4, u128::from(address.to_bits().unbounded_shr(32 - bits.min(32)))),
            IpAddr::V6(address) => (6, address.to_bits().unbounded_shr(128 - bits.min(128))),
        };
        prefix(self.address, self.bits) == prefix(address, self.bits)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address, and no network like 10.0.0.0/8");
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits == 0 || bits > all {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_its_address_or_network() {
        let has = |network: &str, address: &str| network.parse::<Network>().unwrap().has(address.parse().unwrap());
        assert!(has("10.1.0.0/16", "10.1.255.3") && !has("10.1.0.0/16", "10.2.0.1"));
        assert!(has("127.0.0.1", "127.0.0.1") && !has("127.0.0.1", "127.0.0.2"));
        assert!(
            has("127.0.0.1", "::ffff:127.0.0.1"),
            "as a socket of both families sees it"
        );
        assert!(has("fd00::/8", "fd12::1") && !has("fd00::/8", "fe80::1") && !has("::/1", "10.0.0.1"));
        for wrong in ["", "10.0.0.0/0", "10.0.0.0/33", "example.com", "10.0.0.0/x"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_asks_has_to_be_said_once_and_clearly() {
        let said = |names: &[&str]| {
            let mut headers = HeaderMap::new();
            for name in names {
                headers.append(USER, name.parse().unwrap());
            }
            user(&headers).map(str::to_owned)
        };
        assert_eq!(said(&[" ana@example.com "]).as_deref(), Some("ana@example.com"));
        for names in [&[][..], &[""], &["ana", "root"], &[&"x".repeat(129)]] {
            assert_eq!(said(names), None, "{names:?}");
        }
    }
}
