//! Which addresses are public: all but those of the IANA registries of special-purpose addresses, and the one public address
//! at which a cloud (Azure) serves its machines' credentials. Other clouds use special-purpose addresses for that. Pure.
//!
//! A granted name can resolve to any address, even to one in the host's own network. An address that is not public is
//! refused, and the refusal names its class, so that the operator sees why.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Blocks of IPv4 that are not public: first address, length of the prefix, what they are.
const V4: &[(Ipv4Addr, u32, &str)] = &[
    (Ipv4Addr::UNSPECIFIED, 8, "an address of this host"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private address"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "a shared (CGNAT) address"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "a loopback address"),
    (
        Ipv4Addr::new(169, 254, 0, 0),
        16,
        "a link-local address (cloud metadata lives there)",
    ),
    (
        Ipv4Addr::new(168, 63, 129, 16),
        32,
        "an address of Azure's own (its metadata lives there)",
    ),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private address"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "an address for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "an address for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a 6to4 relay's address"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private address"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "an address for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "an address for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "an address for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "a multicast address"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "a reserved address"),
];

/// Blocks of IPv6 that are not public; the first match counts. Nothing outside of `2000::/3` is public either.
const V6: &[(Ipv6Addr, u32, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "an address of this host"),
    (Ipv6Addr::LOCALHOST, 128, "a loopback address"),
    (Ipv6Addr::UNSPECIFIED, 96, "an IPv4-compatible address"),
    (
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0),
        48,
        "an address of a local NAT64",
    ),
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        "an address for protocols (Teredo, ORCHID)",
    ),
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        "an address for documentation",
    ),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "a 6to4 address"),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        "an address for documentation",
    ),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "a private address"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "a link-local address"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "a multicast address"),
];

/// The class of an address that is not public. None: it is public.
pub(super) fn refusal(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => refusal_v4(ip),
        IpAddr::V6(ip) => refusal_v6(ip),
    }
}

fn refusal_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let within = |start: Ipv4Addr, bits: u32| (ip.to_bits() ^ start.to_bits()) >> (32 - bits) == 0;
    V4.iter()
        .find(|(start, bits, _)| within(*start, *bits))
        .map(|(.., class)| *class)
}

fn refusal_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if let Some(inside) = inside(ip) {
        return refusal_v4(inside);
    }
    let within = |start: Ipv6Addr, bits: u32| (ip.to_bits() ^ start.to_bits()) >> (128 - bits) == 0;
    let block = V6.iter().find(|(start, bits, _)| within(*start, *bits));
    let global = within(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    match block {
        Some((.., class)) => Some(class),
        None if global => None,
        None => Some("a reserved address"),
    }
}

/// The IPv4 address that an IPv6 address stands for: one that is v4-mapped, or has the well-known NAT64 prefix, through
/// which hosts without IPv4 reach every IPv4 address.
fn inside(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let [.., a, b, c, d] = ip.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First and last address of each block that is refused, and what is said of both.
    const REFUSED: &[(&str, &str, &str)] = &[
        ("0.0.0.0", "0.255.255.255", "this host"),
        ("10.0.0.0", "10.255.255.255", "private"),
        ("100.64.0.0", "100.127.255.255", "CGNAT"),
        ("100.100.100.200", "100.100.100.200", "CGNAT"),
        ("127.0.0.0", "127.255.255.255", "loopback"),
        ("169.254.0.0", "169.254.255.255", "metadata"),
        ("169.254.169.254", "169.254.169.254", "metadata"),
        ("168.63.129.16", "168.63.129.16", "metadata"),
        ("::ffff:168.63.129.16", "64:ff9b::168.63.129.16", "metadata"),
        ("172.16.0.0", "172.31.255.255", "private"),
        ("192.0.0.0", "192.0.0.255", "protocols"),
        ("192.0.0.192", "192.0.0.192", "protocols"),
        ("192.0.2.0", "192.0.2.255", "documentation"),
        ("192.88.99.0", "192.88.99.255", "6to4"),
        ("192.168.0.0", "192.168.255.255", "private"),
        ("198.18.0.0", "198.19.255.255", "benchmarks"),
        ("198.51.100.0", "198.51.100.255", "documentation"),
        ("203.0.113.0", "203.0.113.255", "documentation"),
        ("224.0.0.0", "239.255.255.255", "multicast"),
        ("240.0.0.0", "255.255.255.255", "reserved"),
        ("::", "::", "this host"),
        ("::1", "::1", "loopback"),
        ("::2", "::ffff:ffff", "compatible"),
        ("::1:0:0", "::fffe:ffff:ffff", "reserved"),
        ("::ffff:127.0.0.0", "::ffff:127.255.255.255", "loopback"),
        ("::ffff:a9fe:a9fe", "::ffff:169.254.169.254", "metadata"),
        ("64:ff9b::10.0.0.0", "64:ff9b::10.255.255.255", "private"),
        ("64:ff9b:0:0:0:1::", "64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "reserved"),
        ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "NAT64"),
        ("100::", "100::ffff:ffff:ffff:ffff", "reserved"),
        ("1fff:ffff::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
        ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo"),
        ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
        ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4"),
        ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"),
        ("4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
        ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"),
        ("fd00:ec2::254", "fd20:ce::254", "private"),
        ("fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
        ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"),
        ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"),
    ];

    /// The public neighbours of those blocks.
    const PUBLIC: &[&str] = &[
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.1.255",
        "192.0.3.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2000::",
        "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:200::",
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db9::",
        "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2003::",
        "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff:1000::",
        "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ];

    #[test]
    fn every_special_block_is_refused_to_its_ends_and_by_its_name() {
        for (first, last, class) in REFUSED {
            for ip in [first, last] {
                let said = refusal(ip.parse().unwrap()).unwrap_or_default();
                assert!(said.contains(class), "{ip}: {said:?}");
            }
        }
    }

    #[test]
    fn what_lies_beside_a_special_block_is_public() {
        for ip in PUBLIC {
            assert_eq!(refusal(ip.parse().unwrap()), None, "{ip}");
        }
    }
}
