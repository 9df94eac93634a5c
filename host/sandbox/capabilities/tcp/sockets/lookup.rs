//! Look-ups of names: each comes to the address that stands for the name.

use std::net::IpAddr;

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynPollable, Network, Pollable, subscribe};

use super::address;
use super::bindings::wasi::sockets::ip_name_lookup;
use super::bindings::wasi::sockets::network::{ErrorCode, IpAddress};
use crate::sandbox::capabilities::network::Host;
use crate::sandbox::capabilities::tcp::attempt::View;

/// What a function of the interface answers.
type Answer<T> = std::result::Result<T, ErrorCode>;

/// What a look-up came to: one address, until it is taken.
#[expect(unreachable_pub, reason = "the generated bindings hand it on")]
pub struct Addresses(Option<IpAddr>);

#[async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {}
}

impl ip_name_lookup::Host for View<'_> {
    fn resolve_addresses(&mut self, network: Resource<Network>, name: String) -> Result<Answer<Resource<Addresses>>> {
        self.table.get(&network)?;
        let address = if let Ok(address) = name.parse() {
            address
        } else {
            let Some(host) = Host::of_guest(&name) else {
                return Ok(Err(ErrorCode::InvalidArgument));
            };
            self.rules.check(&host)?;
            match self.attempt.stand_ins.address(&host) {
                Some(address) => IpAddr::V4(address),
                None => return Ok(Err(ErrorCode::TemporaryResolverFailure)),
            }
        };
        Ok(Ok(self.table.push(Addresses(Some(address)))?))
    }
}

impl ip_name_lookup::HostResolveAddressStream for View<'_> {
    fn resolve_next_address(&mut self, addresses: Resource<Addresses>) -> Result<Answer<Option<IpAddress>>> {
        Ok(Ok(self.table.get_mut(&addresses)?.0.take().map(address::of_ip)))
    }

    fn subscribe(&mut self, addresses: Resource<Addresses>) -> Result<Resource<DynPollable>> {
        subscribe(self.table, addresses)
    }

    fn drop(&mut self, addresses: Resource<Addresses>) -> Result<()> {
        self.table.delete(addresses)?;
        Ok(())
    }
}
