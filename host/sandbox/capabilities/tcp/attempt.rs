//! The connections of an attempt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::component::{HasData, ResourceTable};

use super::connection::{CONNECTION_BYTES, Connection, Making};
use super::denied;
use super::fault::Fault;
use super::grant::Way;
use super::rules::TcpRules;
use super::stand_ins::StandIns;
use super::waiting::Shared;
use super::wire::Stream;
use crate::outcome::Report;
use crate::sandbox::capabilities::denied::LateDenial;
use crate::sandbox::capabilities::http::Exchanges;
use crate::sandbox::capabilities::network::{Host, NoConnection, Outbound, Unconnected, secure};
use crate::sandbox::run::holdings::Holdings;
use crate::sandbox::run::memory::Exceeded;

/// One attempt's connections. They take nothing until one is made.
#[derive(Default)]
pub(in crate::sandbox::capabilities) struct Tcp {
    /// None where nothing is granted.
    outbound: Option<Outbound>,
    /// Open connections by number, at most as many as the limit `tcp_connections` allows. One that failed counts until the
    /// guest closes it.
    open: BTreeMap<u32, Shared>,
    /// The number that was given out last. It stays with the instance: what the guest has left of a connection before must not
    /// name another.
    last: u32,
    made: u32,
    /// What they may still move; none: nothing has been moved.
    bytes_left: Option<Arc<AtomicU64>>,
    /// The addresses that the guest was given for names. They stay with its instance, which may keep them.
    pub(super) stand_ins: StandIns,
}

impl Tcp {
    /// `outbound` is needed only where something is granted.
    pub(in crate::sandbox::capabilities) fn new(rules: &TcpRules, outbound: Option<&Outbound>) -> Self {
        Self {
            outbound: outbound.filter(|_| rules.grant_any()).cloned(),
            ..Self::default()
        }
    }

    /// Begins another attempt in the same instance. The connections of the attempt before are closed already.
    pub(in crate::sandbox::capabilities) fn renew(&mut self, rules: &TcpRules, outbound: Option<&Outbound>) {
        *self = Self {
            stand_ins: std::mem::take(&mut self.stand_ins),
            last: self.last,
            ..Self::new(rules, outbound)
        };
    }

    /// Closes all connections, whoever still has them.
    pub(in crate::sandbox::capabilities) fn close_all(&mut self) {
        for connection in std::mem::take(&mut self.open).into_values() {
            connection.lock().close();
        }
    }

    pub(in crate::sandbox::capabilities) fn report(&self, report: &mut Report) {
        report.tcp_connections = self.made;
    }
}

/// An attempt's connections, what its plugin may do, and what else it waits for and is charged for.
pub(in crate::sandbox) struct View<'a> {
    pub(in crate::sandbox::capabilities) rules: &'a Arc<TcpRules>,
    pub(in crate::sandbox::capabilities) attempt: &'a mut Tcp,
    pub(in crate::sandbox::capabilities) exchanges: &'a mut Exchanges,
    pub(in crate::sandbox::capabilities) table: &'a mut ResourceTable,
    pub(in crate::sandbox::capabilities) holdings: &'a mut Holdings,
}

/// Makes a [`View`] of an attempt's data.
pub(super) struct OfAttempt;

impl HasData for OfAttempt {
    type Data<'a> = View<'a>;
}

impl View<'_> {
    /// Begins a connection, and returns its number.
    ///
    /// # Errors
    /// The outer one ends the attempt: no grant covers the connection, or the attempt has no memory for it. The guest is told
    /// the inner one.
    pub(super) fn connect(&mut self, host: &Host, port: u16) -> wasmtime::Result<Result<u32, Fault>> {
        let Way { tls, private } = self.rules.cover(host, port)?;
        let limits = &self.rules.limits;
        // Nothing is covered where nothing is granted.
        let Some(outbound) = &self.attempt.outbound else {
            return Ok(Err(Fault::Broken));
        };
        if self.attempt.open.len() >= limits.open {
            return Ok(Err(Fault::TooManyOpen));
        }
        if self.attempt.made >= limits.made {
            return Ok(Err(Fault::TooManyMade));
        }
        let dial = Dial {
            host: host.clone(),
            port,
            private,
            tls,
            limit: limits.connect_timeout.min(outbound.deadline.remaining()),
            rules: Arc::clone(self.rules),
            late_denial: outbound.late_denial.clone(),
        };
        let making = AbortOnDropHandle::new(outbound.io.spawn(dial.connect()));
        let bytes_left = self
            .attempt
            .bytes_left
            .get_or_insert_with(|| Arc::new(AtomicU64::new(limits.bytes)));
        let connection = Connection::new(making, limits.idle_timeout, Arc::clone(bytes_left));
        self.attempt.made += 1;
        // After four thousand million connections the first numbers are free again.
        self.attempt.last = self.attempt.last.wrapping_add(1);
        let number = self.attempt.last;
        self.attempt.open.insert(number, Arc::new(Mutex::new(connection)));
        self.charge()?;
        Ok(Ok(number))
    }

    /// Has TLS begin on a plain connection, with a server that has to prove its name.
    pub(super) fn secure(&self, connection: &Shared, name: &str) -> Result<(), Fault> {
        let rules = Arc::clone(self.rules);
        let Some(outbound) = &self.attempt.outbound else {
            return Err(Fault::Broken);
        };
        let limit = rules.limits.connect_timeout.min(outbound.deadline.remaining());
        let name = name.to_owned();
        let making = |stream: TcpStream| -> Making {
            let handshake = async move {
                let secured = timeout(limit, shake_hands(&rules, &name, stream)).await;
                Ok(secured.unwrap_or(Err(Unconnected::Timeout))?)
            };
            AbortOnDropHandle::new(outbound.io.spawn(handshake))
        };
        connection.lock().start_tls(making)
    }

    pub(super) fn open(&self, number: u32) -> Option<&Shared> {
        self.attempt.open.get(&number)
    }

    pub(super) fn close(&mut self, number: u32) -> Result<(), Exceeded> {
        let closed = self.attempt.open.remove(&number);
        if let Some(connection) = closed {
            connection.lock().close();
        }
        self.charge()
    }

    fn charge(&mut self) -> Result<(), Exceeded> {
        let bytes = self.attempt.open.len().saturating_mul(CONNECTION_BYTES);
        self.holdings.connect(bytes)
    }
}

/// A connection to be made.
struct Dial {
    host: Host,
    port: u16,
    private: bool,
    tls: bool,
    limit: Duration,
    rules: Arc<TcpRules>,
    late_denial: LateDenial,
}

impl Dial {
    /// Runs on an I/O thread.
    async fn connect(self) -> Result<Stream, Fault> {
        let connecting = async {
            let (network, ends) = (&self.rules.network, Instant::now() + self.limit);
            let stream = network.connect(&self.host, self.port, self.private, ends).await?;
            if self.tls {
                return Ok(shake_hands(&self.rules, self.host.name(), stream).await?);
            }
            Ok(Either::Left(stream))
        };
        match timeout(self.limit, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(NoConnection::Failed(why))) => Err(why.into()),
            Ok(Err(NoConnection::NotPublic(ip, class))) => {
                let denied = denied::address(&self.host, self.port, ip, class);
                self.late_denial.tell(denied);
                // Never answer: the guest must not act on an answer before the denial ends it.
                std::future::pending().await
            }
            Err(_) => Err(Unconnected::Timeout.into()),
        }
    }
}

async fn shake_hands(rules: &TcpRules, name: &str, stream: TcpStream) -> Result<Stream, Unconnected> {
    let config = rules.tls.clone().ok_or(Unconnected::Tls)?;
    let stream = secure(config, name, stream).await?;
    Ok(Either::Right(Box::new(stream)))
}
