//! Connections that are not granted, and what to tell the operator about them.

use std::net::IpAddr;

use super::grant::KEY;
use crate::sandbox::capabilities::denied::Denied;
use crate::sandbox::capabilities::network::Host;

/// The denial of a connection that no grant covers.
pub(super) fn ungranted(host: &Host, port: u16) -> Denied {
    connection(&format!(
        "to {host}:{port}: not granted; add [[grants.tcp]] address = \"{host}:{port}\" to"
    ))
}

/// The denial of a look-up of a name, none of whose ports is granted.
pub(super) fn unknown(host: &Host) -> Denied {
    connection(&format!(
        "to {host}: not granted; add [[grants.tcp]] address = \"{host}:\" and its port to"
    ))
}

/// The denial of a host that resolves to an address which is not public.
pub(super) fn address(host: &Host, port: u16, ip: IpAddr, class: &str) -> Denied {
    connection(&format!(
        "to {host}:{port}: it resolves to {ip}, {class}; add private = true to that [[grants.tcp]] in"
    ))
}

/// The denial of a granted connection where no server is reached.
pub(super) fn offline(host: &Host, port: u16) -> Denied {
    connection(&format!(
        "to {host}:{port}: this run reaches no server, and TCP is not recorded; see that [[grants.tcp]] in"
    ))
}

fn connection(what: &str) -> Denied {
    Denied::new(KEY, format!("tcp connection {what}"))
}
