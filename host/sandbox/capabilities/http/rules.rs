//! What holds for the requests of all attempts of a plugin.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::HeaderMap;
use http::request::Parts;
use rustls::ClientConfig;
use wasmtime_wasi_http::Error;

use super::grant::HttpGrants;
use super::limits::HttpLimits;
use super::origin::Origin;
use crate::config::{Egress, Grants, Limits};
use crate::recording::Tape;
use crate::sandbox::capabilities::denied::Denied;
use crate::sandbox::capabilities::network::{Network, tls};

/// Where a plugin's requests may go, what they may take, and what the host adds to them.
pub(in crate::sandbox) struct HttpRules {
    pub(super) grants: HttpGrants,
    pub(super) limits: HttpLimits,
    pub(super) network: Arc<Network>,
    /// The TLS configuration, made only where something is granted. None: requests cannot use TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) credentials: Option<Arc<dyn Credentials>>,
    pub(super) tape: Option<Tape>,
}

impl HttpRules {
    pub(in crate::sandbox::capabilities) fn new(
        grants: &Grants,
        limits: &Limits,
        network: &Arc<Network>,
        egress: &Egress,
    ) -> Result<Self, String> {
        let grants = HttpGrants::read(grants)?;
        let tls = if grants.is_empty() {
            None
        } else {
            tls(&egress.authorities, &[b"http/1.1"]).ok()
        };
        Ok(Self {
            grants,
            limits: HttpLimits::from(limits),
            network: Arc::clone(network),
            tls,
            credentials: None,
            tape: egress.tape.clone(),
        })
    }

    /// Has requests filled in and signed before they are sent.
    pub(in crate::sandbox::capabilities) fn with(mut self, credentials: Arc<dyn Credentials>) -> Self {
        self.limits.hold_bodies = credentials.hold_bodies();
        self.credentials = Some(credentials);
        self
    }

    /// Text of an exchange without what the host filled in, or could have.
    pub(super) fn concealed(&self, text: Vec<u8>) -> Vec<u8> {
        match &self.credentials {
            Some(credentials) => credentials.concealed(text),
            None => text,
        }
    }

    /// Whether any request carries its job's trace.
    pub(in crate::sandbox) fn trace_any(&self) -> bool {
        self.grants.trace_any()
    }

    /// Whether any request is granted.
    pub(in crate::sandbox) fn grant_any(&self) -> bool {
        !self.grants.is_empty()
    }
}

/// What the host adds to requests that their guest does not know.
pub(in crate::sandbox::capabilities) trait Credentials: Send + Sync {
    /// Fills in the headers of a request to `to`, which is granted.
    fn fill(&self, headers: &mut HeaderMap, to: &Origin) -> Result<(), Refusal>;

    /// Puts names in place of what is secret, wherever it stands in a text.
    fn concealed(&self, text: Vec<u8>) -> Vec<u8>;

    /// What signs requests to `to`; none: they go as they are.
    fn signer(&self, to: &Origin) -> Option<Arc<dyn Sign>>;

    /// Whether the host may hold bodies whole, to sign them or to send them again.
    fn hold_bodies(&self) -> bool;
}

/// Signs requests with a secret that their guest does not know.
pub(in crate::sandbox::capabilities) trait Sign: Send + Sync {
    /// Whether it may need the body of some request whole.
    fn may_need_body(&self) -> bool;

    /// Whether a request with this head, and a body of this length if that is known, needs its body whole before it can
    /// be signed.
    fn needs_body(&self, head: &Parts, length: Option<u64>) -> bool;

    /// Signs a request, whatever its guest has put where the signature goes.
    fn sign<'a>(&'a self, signing: Signing<'a>) -> BoxFuture<'a, Result<(), Refusal>>;

    /// What can make another signature where a server does not take one. None: all are alike.
    fn renewal(&self) -> Option<&dyn Renew> {
        None
    }
}

/// Replaces what a server does not take.
pub(in crate::sandbox::capabilities) trait Renew: Send + Sync {
    /// Hears that a server did not take what these headers prove. Returns whether the next signature may do better.
    fn refused(&self, headers: &HeaderMap) -> bool;
}

/// A request to sign.
pub(in crate::sandbox::capabilities) struct Signing<'a> {
    pub(in crate::sandbox::capabilities) head: &'a mut Parts,
    /// Its body, where it was needed.
    pub(in crate::sandbox::capabilities) body: &'a [u8],
    /// By which the host asks for what it needs.
    pub(in crate::sandbox::capabilities) rules: &'a Arc<HttpRules>,
}

/// Why a request is not sent.
#[derive(Debug)]
pub(in crate::sandbox::capabilities) enum Refusal {
    /// No grant covers it: the attempt ends.
    Denied(Denied),
    /// It fails for another reason, which the guest is told.
    Told(Error),
}

impl From<Error> for Refusal {
    fn from(err: Error) -> Self {
        Self::Told(err)
    }
}
