//! Addresses as `wasi:sockets` writes them. Pure.

use std::net::{IpAddr, SocketAddr};

use super::bindings::wasi::sockets::network::{IpAddress, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress};

pub(super) fn of_ip(address: IpAddr) -> IpAddress {
    match address {
        IpAddr::V4(address) => IpAddress::Ipv4(address.octets().into()),
        IpAddr::V6(address) => IpAddress::Ipv6(address.segments().into()),
    }
}

pub(super) fn of_socket(address: SocketAddr) -> IpSocketAddress {
    match address {
        SocketAddr::V4(address) => IpSocketAddress::Ipv4(Ipv4SocketAddress {
            port: address.port(),
            address: address.ip().octets().into(),
        }),
        SocketAddr::V6(address) => IpSocketAddress::Ipv6(Ipv6SocketAddress {
            port: address.port(),
            flow_info: address.flowinfo(),
            address: address.ip().segments().into(),
            scope_id: address.scope_id(),
        }),
    }
}

/// An address that a guest names. Flows and scopes of IPv6 are the host's.
pub(super) fn to_socket(address: IpSocketAddress) -> SocketAddr {
    match address {
        IpSocketAddress::Ipv4(v4) => SocketAddr::from((<[u8; 4]>::from(v4.address), v4.port)),
        IpSocketAddress::Ipv6(v6) => SocketAddr::from((<[u16; 8]>::from(v6.address), v6.port)),
    }
}
