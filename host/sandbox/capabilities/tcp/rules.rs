//! What holds for the connections of all attempts of a plugin.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::denied;
use super::grant::{TcpGrants, Way};
use crate::config::{Egress, Grants, Limit, Limits};
use crate::recording::Tape;
use crate::sandbox::capabilities::denied::Denied;
use crate::sandbox::capabilities::network::{Host, Network, tls};

/// Where a plugin may connect to, and what that may take.
pub(in crate::sandbox::capabilities) struct TcpRules {
    grants: TcpGrants,
    pub(super) limits: TcpLimits,
    pub(super) network: Arc<Network>,
    /// The TLS configuration, made only where something is granted. None: no connection can use TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Whether no server is reached. There are no recordings of TCP.
    offline: bool,
}

/// What one attempt's connections may take.
#[derive(Debug, Clone)]
pub(super) struct TcpLimits {
    /// Connections at once.
    pub(super) open: usize,
    /// Connections in all.
    pub(super) made: u32,
    /// Bytes over all of them, in both directions.
    pub(super) bytes: u64,
    /// Time to resolve the name, to connect, and for the TLS handshake, together.
    pub(super) connect_timeout: Duration,
    /// Time in which some byte has to move while the guest waits for it, in either direction.
    pub(super) idle_timeout: Duration,
}

impl TcpRules {
    pub(in crate::sandbox::capabilities) fn new(
        grants: &Grants,
        limits: &Limits,
        network: &Arc<Network>,
        egress: &Egress,
    ) -> Result<Self, String> {
        let grants = TcpGrants::read(grants)?;
        let tls = if grants.is_empty() {
            None
        } else {
            tls(&egress.authorities, &[]).ok()
        };
        Ok(Self {
            grants,
            limits: TcpLimits::from(limits),
            network: Arc::clone(network),
            tls,
            offline: egress.tape.as_ref().is_some_and(Tape::is_offline),
        })
    }

    /// Whether any connection is granted.
    pub(in crate::sandbox::capabilities) fn grant_any(&self) -> bool {
        !self.grants.is_empty()
    }

    /// How a granted connection is made.
    pub(super) fn cover(&self, host: &Host, port: u16) -> Result<Way, Denied> {
        let way = self.grants.cover(host, port);
        let way = way.ok_or_else(|| denied::ungranted(host, port))?;
        if self.offline {
            return Err(denied::offline(host, port));
        }
        Ok(way)
    }

    /// Checks that some connection to a host is granted.
    pub(super) fn check(&self, host: &Host) -> Result<(), Denied> {
        if self.grants.include(host) {
            Ok(())
        } else {
            Err(denied::unknown(host))
        }
    }
}

impl From<&Limits> for TcpLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            open: limits.size(Limit::TcpConnections),
            made: limits.count(Limit::TcpConnects),
            bytes: limits.get(Limit::TcpBytes),
            connect_timeout: limits.time(Limit::TcpConnectTimeout),
            idle_timeout: limits.time(Limit::TcpIdleTimeout),
        }
    }
}
