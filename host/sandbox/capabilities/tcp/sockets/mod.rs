//! `wasi:sockets` over the same connections, for programs that bring a standard library of their own (`std::net`, wasi-libc).
//!
//! A guest that looks up a name gets an address that stands for it, and a connection to that address is one to the name. So
//! the name is resolved where it is connected to, TLS and the proxy work as in `kiln:tcp`, and an address that was not
//! given for a name needs a grant of its own. Nothing listens, and datagrams are not to be had.

mod address;
mod bindings;
mod lookup;
mod socket;
mod streams;

use wasmtime::Result;
use wasmtime::component::Linker;

use super::attempt::{OfAttempt, View};
use bindings::wasi::sockets::{ip_name_lookup, tcp, tcp_create_socket};

/// Puts the bindings for TCP in place of the library's.
pub(super) fn link<T: Send>(linker: &mut Linker<T>, view: fn(&mut T) -> View<'_>) -> Result<()> {
    linker.allow_shadowing(true);
    ip_name_lookup::add_to_linker::<_, OfAttempt>(linker, view)?;
    tcp::add_to_linker::<_, OfAttempt>(linker, view)?;
    tcp_create_socket::add_to_linker::<_, OfAttempt>(linker, view)?;
    linker.allow_shadowing(false);
    Ok(())
}
