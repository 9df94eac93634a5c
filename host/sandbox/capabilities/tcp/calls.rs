//! The calls of `kiln:tcp/connections`.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;
use wasmtime::Result;
use wasmtime::component::Linker;

use super::attempt::{OfAttempt, View};
use super::connection::{Connection, NOT_OPEN};
use super::fault::Fault;
use super::waiting::{Shared, Waiting, wait_for};
use crate::sandbox::bindings::kiln::tcp::connections::{self, Error, Ready};
use crate::sandbox::capabilities::network::Host;

/// Connections, or exchanges, of one `wait` that are looked at.
const MAX_WAITED: usize = 1024;

/// What a function of the interface answers.
type Answer<T> = std::result::Result<T, Error>;

pub(super) fn link<T: Send>(linker: &mut Linker<T>, view: fn(&mut T) -> View<'_>) -> Result<()> {
    connections::add_to_linker::<_, OfAttempt>(linker, view)
}

impl connections::Host for View<'_> {
    async fn connect(&mut self, host: String, port: u16) -> Result<Answer<u32>> {
        let asked = named(&host).filter(|_| port != 0);
        let Some(host) = asked else {
            return Ok(Err(Fault::Wrong("no name or address, or no port, that can be").into()));
        };
        Ok(View::connect(self, &host, port)?.map_err(Error::from))
    }

    async fn connected(&mut self, connection: u32) -> Result<Answer<()>> {
        let connected = async {
            let connection = self.find(connection)?;
            wait_for(&connection, Connection::poll_connected).await
        };
        Ok(connected.await.map_err(Error::from))
    }

    async fn start_tls(&mut self, connection: u32, server_name: String) -> Result<Answer<()>> {
        let secured = async {
            let connection = self.find(connection)?;
            wait_for(&connection, Connection::poll_connected).await?;
            self.secure(&connection, &server_name)?;
            wait_for(&connection, Connection::poll_connected).await
        };
        Ok(secured.await.map_err(Error::from))
    }

    async fn write(&mut self, connection: u32, bytes: Vec<u8>) -> Result<Answer<u32>> {
        let written = async {
            let connection = self.find(connection)?;
            if bytes.is_empty() {
                return Err(Fault::Wrong("there is nothing to write"));
            }
            let written = wait_for(&connection, |connection, cx| connection.poll_write(cx, &bytes)).await?;
            // What TLS keeps back would be lost if the guest closed the connection now.
            wait_for(&connection, Connection::poll_flush).await?;
            Ok(u32::try_from(written).unwrap_or(u32::MAX))
        };
        Ok(written.await.map_err(Error::from))
    }

    async fn read(&mut self, connection: u32, max_bytes: u32) -> Result<Answer<Vec<u8>>> {
        let read = async {
            let connection = self.find(connection)?;
            if max_bytes == 0 {
                return Err(Fault::Wrong("no bytes are asked for"));
            }
            wait_for(&connection, Connection::poll_readable).await?;
            let taken = connection.lock().take(max_bytes as usize).to_vec();
            Ok(taken)
        };
        Ok(read.await.map_err(Error::from))
    }

    async fn finish(&mut self, connection: u32) -> Result<Answer<()>> {
        let finished = async {
            let connection = self.find(connection)?;
            wait_for(&connection, Connection::poll_flush).await?;
            connection.lock().finish();
            wait_for(&connection, Connection::poll_flush).await
        };
        Ok(finished.await.map_err(Error::from))
    }

    async fn close(&mut self, connection: u32) -> Result<()> {
        Ok(View::close(self, connection)?)
    }

    async fn wait(
        &mut self,
        readable: Vec<u32>,
        writable: Vec<u32>,
        exchanges: Vec<u32>,
        timeout_ms: Option<u64>,
    ) -> Result<Option<Ready>> {
        let [readable, writable, exchanges] = [readable, writable, exchanges].map(distinct);
        let is_none = readable.is_empty() && writable.is_empty() && exchanges.is_empty();
        let connections = readable.union(&writable).filter_map(|number| self.open(*number));
        let _waiting: Vec<_> = connections.map(Waiting::begin).collect();
        let first = poll_fn(|cx| {
            let ready = self.first_of(&readable, |connection| connection.lock().poll_readable(cx).is_ready());
            let ready = ready.map(Ready::ConnectionReadable).or_else(|| {
                let ready = self.first_of(&writable, |connection| connection.lock().poll_writable(cx).is_ready());
                ready.map(Ready::ConnectionWritable)
            });
            ready
                .or_else(|| self.first_exchange(&exchanges, cx))
                .map_or(Poll::Pending, Poll::Ready)
        });
        match timeout_ms {
            Some(ms) => Ok(timeout(Duration::from_millis(ms), first).await.ok()),
            None if is_none => Ok(None),
            None => Ok(Some(first.await)),
        }
    }
}

impl View<'_> {
    fn find(&mut self, number: u32) -> std::result::Result<Shared, Fault> {
        self.open(number).map(Arc::clone).ok_or(NOT_OPEN)
    }

    /// The first of these connections that is ready. A number that is not open counts as ready: the next call with it fails
    /// at once.
    fn first_of(&self, numbers: &BTreeSet<u32>, mut is_ready: impl FnMut(&Shared) -> bool) -> Option<u32> {
        let ready = |number: &&u32| self.open(**number).is_none_or(&mut is_ready);
        numbers.iter().find(ready).copied()
    }

    fn first_exchange(&mut self, numbers: &BTreeSet<u32>, cx: &mut Context<'_>) -> Option<Ready> {
        let ready = |number: &&u32| self.exchanges.poll_ready(**number, cx).is_ready();
        numbers.iter().find(ready).map(|number| Ready::Exchange(*number))
    }
}

/// A host as guests write it: an IPv6 address stands with or without brackets.
fn named(host: &str) -> Option<Host> {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => Host::of_guest(&format!("[{address}]")),
        Err(_) => Host::of_guest(host),
    }
}

fn distinct(numbers: Vec<u32>) -> BTreeSet<u32> {
    numbers.into_iter().take(MAX_WAITED).collect()
}
