//! How names become addresses.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;

/// The addresses of a host, at a port.
type Addresses = BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

/// How the names in guests' requests become addresses: the system's way by default. A program that embeds Kiln may bring
/// its own DNS. It is asked once for each request, and every address it gives is checked.
#[derive(Clone, Default)]
pub struct Resolver(Option<Arc<dyn Fn(String, u16) -> Addresses + Send + Sync>>);

impl Resolver {
    /// One that calls `lookup` with host (an address without brackets) and port.
    pub fn new(lookup: impl Fn(String, u16) -> Addresses + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(lookup)))
    }

    /// Asks it; none if it is the system's.
    pub(crate) fn ask(&self, host: &str, port: u16) -> Option<Addresses> {
        Some(self.0.as_ref()?(host.to_owned(), port))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Resolver(own)"
        } else {
            "Resolver(system)"
        })
    }
}
