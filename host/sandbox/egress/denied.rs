//! A request that is not granted, and what to tell the operator about it.

use std::net::IpAddr;

use crate::config::{Gap, Origin};

/// A request that no grant covers. It ends the attempt, kind `denied`: the guest can do nothing about it, its operator
/// can. The message names the grant.
#[derive(Debug, Clone, thiserror::Error)]
#[error("http request {0}.toml")]
pub(in crate::sandbox) struct Denied(String);

impl Denied {
    /// Neither origin, nor path, nor method may be missing.
    pub(super) fn gap(gap: Gap, origin: &Origin, path: &str, method: &str, plugin: &str) -> Self {
        Self(match gap {
            Gap::Origin => format!("to {origin}: not granted; add [[grants.http]] origin = \"{origin}\" to {plugin}"),
            Gap::Path => format!(
                "to {origin}{path}: its path is not granted; add [[grants.http]] origin = \"{origin}\", path = \
                 {path:?} to {plugin}"
            ),
            Gap::AmbiguousPath => format!(
                "to {origin}{path}: its path is not plain ASCII, or holds .., %2e, %2f, %25 or the like, which no path \
                 covers; only a [[grants.http]] without path would, in {plugin}"
            ),
            Gap::Method => format!(
                "to {origin}{path}: its method is not granted; add \"{method}\" to methods of that [[grants.http]] in \
                 {plugin}"
            ),
        })
    }

    /// More than one request was made, to whatever place, where none is granted.
    pub(super) fn ungranted(plugin: &str) -> Self {
        Self(format!(
            "to anywhere: not granted; add [[grants.http]] with its origin to {plugin}"
        ))
    }

    /// One of the addresses is not public.
    pub(super) fn address(origin: &Origin, ip: IpAddr, class: &str, plugin: &str) -> Self {
        Self(format!(
            "to {origin}: it resolves to {ip}, {class}; add private = true to that [[grants.http]] in {plugin}"
        ))
    }

    /// The placeholder of a secret was about to go where that secret does not belong.
    pub(super) fn secret(origin: &Origin, name: &str, granted: &Origin, plugin: &str) -> Self {
        Self(format!(
            "to {origin}: its headers hold the secret {name}, which is for {granted} only; see \
             [grants.secrets.{name}] in {plugin}"
        ))
    }
}
