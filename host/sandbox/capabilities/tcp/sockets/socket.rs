//! Sockets, each of which makes one connection.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Network, Pollable, subscribe};

use super::address;
use super::bindings::wasi::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use super::bindings::wasi::sockets::{tcp, tcp_create_socket};
use super::streams::{Reader, Writer};
use crate::sandbox::capabilities::network::Unconnected;
use crate::sandbox::capabilities::tcp::attempt::View;
use crate::sandbox::capabilities::tcp::connection::Connection;
use crate::sandbox::capabilities::tcp::fault::Fault;
use crate::sandbox::capabilities::tcp::waiting::{Shared, at_once, wait_for};
use crate::sandbox::capabilities::tcp::wire::CHUNK_BYTES;

/// What is said of options that the host decides on.
const KEEP_ALIVE_NS: u64 = 60_000_000_000;
const KEEP_ALIVE_COUNT: u32 = 3;
const HOP_LIMIT: u8 = 64;

#[expect(unreachable_pub, reason = "the generated bindings hand it on")]
pub struct Socket {
    family: IpAddressFamily,
    stage: Stage,
}

enum Stage {
    Unused,
    Connecting(Peer),
    Connected(Peer),
    Failed,
}

/// What a socket is connected to.
#[derive(Clone)]
struct Peer {
    number: u32,
    connection: Shared,
    /// As the guest has it.
    address: SocketAddr,
}

/// Options are the host's: each is told as it is, and what sets one changes nothing. Programs must not fail for it.
macro_rules! options {
    ($($get:ident, $set:ident: $type:ty = $value:expr;)*) => {
        $(
            fn $get(&mut self, _: Resource<Socket>) -> Result<Answer<$type>> {
                Ok(Ok($value))
            }

            fn $set(&mut self, _: Resource<Socket>, _: $type) -> Result<Answer<()>> {
                Ok(Ok(()))
            }
        )*
    };
}

/// What a function of the interfaces answers.
type Answer<T> = std::result::Result<T, ErrorCode>;

type Connected = (Resource<DynInputStream>, Resource<DynOutputStream>);

impl Socket {
    pub(super) fn new(family: IpAddressFamily) -> Self {
        Self {
            family,
            stage: Stage::Unused,
        }
    }

    fn peer(&self) -> Option<&Peer> {
        match &self.stage {
            Stage::Connecting(peer) | Stage::Connected(peer) => Some(peer),
            Stage::Unused | Stage::Failed => None,
        }
    }

    fn connected(&self) -> Answer<&Peer> {
        match &self.stage {
            Stage::Connected(peer) => Ok(peer),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    fn can_connect_to(&self, address: SocketAddr) -> Answer<()> {
        match self.stage {
            Stage::Unused => {}
            Stage::Connecting(_) => return Err(ErrorCode::ConcurrencyConflict),
            Stage::Connected(_) | Stage::Failed => return Err(ErrorCode::InvalidState),
        }
        let same_family = address.is_ipv6() == matches!(self.family, IpAddressFamily::Ipv6);
        if same_family && address.port() != 0 && !address.ip().is_unspecified() {
            Ok(())
        } else {
            Err(ErrorCode::InvalidArgument)
        }
    }
}

#[async_trait]
impl Pollable for Socket {
    async fn ready(&mut self) {
        if let Stage::Connecting(peer) = &self.stage {
            let _ = wait_for(&peer.connection, Connection::poll_connected).await;
        }
    }
}

impl tcp_create_socket::Host for View<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> Result<Answer<Resource<Socket>>> {
        Ok(Ok(self.table.push(Socket::new(family))?))
    }
}

impl tcp::Host for View<'_> {}

impl tcp::HostTcpSocket for View<'_> {
    fn start_connect(
        &mut self,
        socket: Resource<Socket>,
        network: Resource<Network>,
        address: IpSocketAddress,
    ) -> Result<Answer<()>> {
        self.table.get(&network)?;
        let address = address::to_socket(address);
        if let Err(code) = self.table.get(&socket)?.can_connect_to(address) {
            return Ok(Err(code));
        }
        let host = self.attempt.stand_ins.host(address.ip());
        let number = match View::connect(self, &host, address.port())? {
            Ok(number) => number,
            Err(fault) => return Ok(Err(code(fault))),
        };
        if let Some(connection) = self.open(number).map(Arc::clone) {
            self.table.get_mut(&socket)?.stage = Stage::Connecting(Peer {
                number,
                connection,
                address,
            });
        }
        Ok(Ok(()))
    }

    fn finish_connect(&mut self, socket: Resource<Socket>) -> Result<Answer<Connected>> {
        let this = self.table.get_mut(&socket)?;
        let Stage::Connecting(peer) = &this.stage else {
            return Ok(Err(ErrorCode::NotInProgress));
        };
        let peer = peer.clone();
        let connected = at_once(&mut peer.connection.lock(), Connection::poll_connected);
        match connected {
            Poll::Pending => Ok(Err(ErrorCode::WouldBlock)),
            Poll::Ready(Err(fault)) => {
                this.stage = Stage::Failed;
                View::close(self, peer.number)?;
                Ok(Err(code(fault)))
            }
            Poll::Ready(Ok(())) => {
                let reader: DynInputStream = Box::new(Reader(Arc::clone(&peer.connection)));
                let writer: DynOutputStream = Box::new(Writer::new(Arc::clone(&peer.connection)));
                this.stage = Stage::Connected(peer);
                let reader = self.table.push_child(reader, &socket)?;
                let writer = self.table.push_child(writer, &socket)?;
                Ok(Ok((reader, writer)))
            }
        }
    }

    fn shutdown(&mut self, socket: Resource<Socket>, how: tcp::ShutdownType) -> Result<Answer<()>> {
        let peer = match self.table.get(&socket)?.connected() {
            Ok(peer) => peer,
            Err(code) => return Ok(Err(code)),
        };
        if !matches!(how, tcp::ShutdownType::Receive) {
            let mut connection = peer.connection.lock();
            connection.finish();
            // What cannot be sent at once is sent when the guest reads, or drops the stream.
            let _ = at_once(&mut connection, Connection::poll_flush);
        }
        Ok(Ok(()))
    }

    fn subscribe(&mut self, socket: Resource<Socket>) -> Result<Resource<DynPollable>> {
        subscribe(self.table, socket)
    }

    fn drop(&mut self, socket: Resource<Socket>) -> Result<()> {
        if let Some(peer) = self.table.delete(socket)?.peer() {
            View::close(self, peer.number)?;
        }
        Ok(())
    }

    fn remote_address(&mut self, socket: Resource<Socket>) -> Result<Answer<IpSocketAddress>> {
        let connected = self.table.get(&socket)?.connected();
        Ok(connected.map(|peer| address::of_socket(peer.address)))
    }

    /// Which address the host has is not for guests to know.
    fn local_address(&mut self, socket: Resource<Socket>) -> Result<Answer<IpSocketAddress>> {
        let socket = self.table.get(&socket)?;
        let unspecified = match socket.family {
            IpAddressFamily::Ipv4 => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            IpAddressFamily::Ipv6 => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        Ok(socket.connected().map(|_| address::of_socket(unspecified)))
    }

    fn address_family(&mut self, socket: Resource<Socket>) -> Result<IpAddressFamily> {
        Ok(self.table.get(&socket)?.family)
    }

    // Nothing listens, and no port is bound.

    fn start_bind(&mut self, _: Resource<Socket>, _: Resource<Network>, _: IpSocketAddress) -> Result<Answer<()>> {
        Ok(Err(ErrorCode::AccessDenied))
    }

    fn finish_bind(&mut self, _: Resource<Socket>) -> Result<Answer<()>> {
        Ok(Err(ErrorCode::NotInProgress))
    }

    fn start_listen(&mut self, _: Resource<Socket>) -> Result<Answer<()>> {
        Ok(Err(ErrorCode::AccessDenied))
    }

    fn finish_listen(&mut self, _: Resource<Socket>) -> Result<Answer<()>> {
        Ok(Err(ErrorCode::NotInProgress))
    }

    fn accept(
        &mut self,
        _: Resource<Socket>,
    ) -> Result<Answer<(Resource<Socket>, Resource<DynInputStream>, Resource<DynOutputStream>)>> {
        Ok(Err(ErrorCode::InvalidState))
    }

    fn is_listening(&mut self, _: Resource<Socket>) -> Result<bool> {
        Ok(false)
    }

    fn set_listen_backlog_size(&mut self, _: Resource<Socket>, _: u64) -> Result<Answer<()>> {
        Ok(Err(ErrorCode::NotSupported))
    }

    options! {
        keep_alive_enabled, set_keep_alive_enabled: bool = false;
        keep_alive_idle_time, set_keep_alive_idle_time: u64 = KEEP_ALIVE_NS;
        keep_alive_interval, set_keep_alive_interval: u64 = KEEP_ALIVE_NS;
        keep_alive_count, set_keep_alive_count: u32 = KEEP_ALIVE_COUNT;
        hop_limit, set_hop_limit: u8 = HOP_LIMIT;
        receive_buffer_size, set_receive_buffer_size: u64 = CHUNK_BYTES as u64;
        send_buffer_size, set_send_buffer_size: u64 = CHUNK_BYTES as u64;
    }
}

/// What a guest is told of a connection that there is not.
fn code(fault: Fault) -> ErrorCode {
    match fault {
        Fault::Unconnected(Unconnected::Refused) => ErrorCode::ConnectionRefused,
        Fault::Unconnected(Unconnected::Timeout | Unconnected::LookupTimeout) => ErrorCode::Timeout,
        Fault::Unconnected(Unconnected::Unresolved | Unconnected::Unroutable | Unconnected::Unavailable) => {
            ErrorCode::RemoteUnreachable
        }
        Fault::TooManyOpen | Fault::TooManyMade | Fault::TooManyBytes => ErrorCode::NewSocketLimit,
        _ => ErrorCode::ConnectionAborted,
    }
}
