//! What holds for the requests of all attempts of a plugin.

use std::sync::Arc;

use http::HeaderMap;
use rustls::ClientConfig;
use tokio::sync::Semaphore;

use super::grant::HttpGrants;
use super::limits::{HttpLimits, MAX_LOOKUPS_OF_PLUGIN};
use super::origin::Origin;
use super::tls::tls;
use crate::config::{Egress, Grants, Limits, Proxy, Resolver};
use crate::sandbox::capabilities::denied::Denied;

/// Where a plugin's requests may go, what they may take, and what the host adds to them.
pub(in crate::sandbox) struct HttpRules {
    pub(super) grants: HttpGrants,
    pub(super) limits: HttpLimits,
    pub(super) resolver: Resolver,
    pub(super) proxy: Option<Proxy>,
    /// The TLS configuration, made only where something is granted. None: requests cannot use TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Permits for its look-ups of names.
    pub(super) lookups: Arc<Semaphore>,
    pub(super) fill: Option<Arc<dyn FillHeaders>>,
}

impl HttpRules {
    pub(in crate::sandbox::capabilities) fn new(
        grants: &Grants,
        limits: &Limits,
        resolver: Resolver,
        egress: &Egress,
    ) -> Result<Self, String> {
        let grants = HttpGrants::read(grants)?;
        let tls = if grants.is_empty() {
            None
        } else {
            tls(&egress.authorities).ok()
        };
        Ok(Self {
            grants,
            limits: HttpLimits::from(limits),
            resolver,
            proxy: egress.proxy.clone(),
            tls,
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS_OF_PLUGIN)),
            fill: None,
        })
    }

    /// Has the headers of requests filled in before they are sent.
    pub(in crate::sandbox::capabilities) fn filling(self, fill: Arc<dyn FillHeaders>) -> Self {
        let fill = Some(fill);
        Self { fill, ..self }
    }

    /// Whether any request is granted.
    pub(in crate::sandbox) fn grant_any(&self) -> bool {
        !self.grants.is_empty()
    }
}

/// Puts into the headers of a request what its guest does not know.
pub(in crate::sandbox::capabilities) trait FillHeaders: Send + Sync {
    /// Changes the headers of a request to `to`, which is granted.
    fn fill(&self, headers: &mut HeaderMap, to: &Origin) -> Result<(), Unfilled>;
}

/// Why headers were not filled in.
#[derive(Debug)]
pub(in crate::sandbox::capabilities) enum Unfilled {
    /// The headers hold a value that must not go to this origin.
    Denied(Denied),
    /// The headers ask for more values than one request may hold.
    TooMany,
}
