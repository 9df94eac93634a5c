//! Requests that are not granted, and what to tell the operator about them.

use std::net::IpAddr;

use super::grant::{Gap, KEY};
use super::origin::Origin;
use super::steering::Steering;
use crate::sandbox::capabilities::denied::Denied;
use crate::text;

/// The denial of a request, in terms of the part of it that no grant covers: origin, path, method, or a header that
/// stands for one.
pub(super) fn gap(gap: Gap, origin: &Origin, path: &str, method: &str, steering: Steering<'_>) -> Denied {
    let header = |name: Option<&str>| text::name(name.unwrap_or_default()).into_owned();
    request(&match gap {
        Gap::Origin => format!("to {origin}: not granted; add [[grants.http]] origin = \"{origin}\" to"),
        Gap::Path => format!(
            "to {origin}{path}: its path is not granted; add [[grants.http]] origin = \"{origin}\", path = {path:?} to"
        ),
        Gap::AmbiguousPath => format!(
            "to {origin}{path}: its path is not plain ASCII, or holds .., %2e, %2f, %25 or the like, which no path \
             covers; only a [[grants.http]] without path would, in"
        ),
        Gap::PathHeader => format!(
            "to {origin}{path}: some servers take another path from its header {}; only a [[grants.http]] without path \
             covers that, in",
            header(steering.path)
        ),
        Gap::MethodHeader => format!(
            "to {origin}{path}: some servers take another method from its header {}; only a [[grants.http]] without \
             methods covers that, in",
            header(steering.method)
        ),
        Gap::Method => format!(
            "to {origin}{path}: its method is not granted; add \"{method}\" to methods of that [[grants.http]] in"
        ),
    })
}

/// The denial of a second request where nothing is granted.
pub(super) fn ungranted() -> Denied {
    request("to anywhere: not granted; add [[grants.http]] with its origin to")
}

/// The denial of an origin that resolves to an address which is not public.
pub(super) fn address(origin: &Origin, ip: IpAddr, class: &str) -> Denied {
    request(&format!(
        "to {origin}: it resolves to {ip}, {class}; add private = true to that [[grants.http]] in"
    ))
}

fn request(what: &str) -> Denied {
    Denied::new(KEY, format!("http request {what}"))
}
