//! Addresses that stand for names. Pure.

use std::net::{IpAddr, Ipv4Addr};

use crate::sandbox::capabilities::network::Host;

/// What comes before the first of them: of a block that is for benchmarks, so that no server is there.
const BEFORE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// Names that one instance can look up. Grants have few, but some cover all names below a domain.
const MAX_NAMES: usize = 254;

/// The names that a guest has looked up, in the order of their addresses.
#[derive(Default)]
pub(super) struct StandIns(Vec<Host>);

impl StandIns {
    /// The address that stands for a name. None: there are too many names.
    pub(super) fn address(&mut self, host: &Host) -> Option<Ipv4Addr> {
        let known = self.0.iter().position(|known| known == host);
        let place = known.unwrap_or(self.0.len());
        if place == MAX_NAMES {
            return None;
        }
        if known.is_none() {
            self.0.push(host.clone());
        }
        let offset = u32::try_from(place).ok()? + 1;
        Some(Ipv4Addr::from_bits(BEFORE.to_bits() + offset))
    }

    /// The host that a guest connects to at an address: the name that it stands for, or the address itself.
    pub(super) fn host(&self, address: IpAddr) -> Host {
        self.named(address).cloned().unwrap_or_else(|| Host::from(address))
    }

    fn named(&self, address: IpAddr) -> Option<&Host> {
        let IpAddr::V4(address) = address else {
            return None;
        };
        let offset = address.to_bits().checked_sub(BEFORE.to_bits())?;
        self.0.get(usize::try_from(offset).ok()?.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_the_name_it_was_given_for_and_every_other_for_itself() {
        let mut stand_ins = StandIns::default();
        let host = |name: &str| Host::new(name);
        let first = stand_ins.address(&host("a.example")).unwrap();
        assert_eq!(
            stand_ins.address(&host("b.example")),
            Some(Ipv4Addr::new(198, 18, 0, 2))
        );
        assert_eq!(stand_ins.address(&host("A.example.")), Some(first));
        assert_eq!(stand_ins.host(first.into()), host("a.example"));
        for other in ["198.18.0.0", "198.18.0.3", "127.0.0.1", "::1", "::ffff:198.18.0.1"] {
            let other: IpAddr = other.parse().unwrap();
            assert_eq!(stand_ins.host(other), Host::from(other));
        }
        for number in 2..MAX_NAMES {
            assert!(stand_ins.address(&host(&format!("{number}.example"))).is_some());
        }
        assert_eq!(stand_ins.address(&host("one.more.example")), None);
    }
}
