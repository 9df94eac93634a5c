//! TCP connections, to where the manifest grants them.
//!
//! Two interfaces lead to them: `kiln:tcp` for languages whose toolchains cannot carry resources, and `wasi:sockets` for programs
//! that bring a standard library of their own.

mod address;
mod attempt;
mod calls;
mod connection;
mod denied;
mod fault;
mod grant;
mod rules;
mod sockets;
mod stand_ins;
mod waiting;
mod wire;

use wasmtime::Result;
use wasmtime::component::Linker;

use super::offer::{Interfaces, Offer};
pub(super) use attempt::Tcp;
pub(in crate::sandbox) use attempt::View;
pub(super) use grant::{KEY, granted};
pub(super) use rules::TcpRules;

pub(super) const OFFERS: &[Interfaces] = &[
    Interfaces {
        package: "kiln:tcp",
        version: "0.1",
        names: &["connections"],
        offer: Offer::ByGrant(KEY),
    },
    Interfaces {
        package: "wasi:sockets",
        version: "0.2",
        names: &["ip-name-lookup", "tcp", "tcp-create-socket"],
        offer: Offer::ByGrant(KEY),
    },
];

pub(super) fn link<T: Send>(linker: &mut Linker<T>, view: fn(&mut T) -> View<'_>) -> Result<()> {
    calls::link(linker, view)?;
    sockets::link(linker, view)
}
