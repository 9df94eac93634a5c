//! Outgoing HTTP requests, to where the manifest grants them.

mod attempt;
mod body;
mod client;
mod connect;
mod delivery;
mod denied;
mod egress;
mod errand;
mod exchange;
mod exchanges;
mod fault;
mod grant;
mod handles;
mod limits;
mod link;
mod origin;
mod payload;
mod proxy;
mod rules;
mod steering;
mod stream;
mod taping;
mod target;
mod told;

use super::offer::{Interfaces, Offer};
pub(in crate::sandbox) use attempt::{Http, HttpHost, View};
pub(super) use errand::{NoAnswer, ask};
pub(super) use exchanges::Exchanges;
pub use grant::{HttpGrant, HttpGrants};
pub(super) use grant::{KEY, granted};
pub(super) use link::link;
pub use origin::Origin;
pub(in crate::sandbox) use rules::HttpRules;
pub(super) use rules::{Credentials, Refusal, Renew, Sign, Signing};
pub(super) use target::target;

pub(super) const OFFERS: &[Interfaces] = &[
    Interfaces {
        package: "kiln:http",
        version: "0.1",
        names: &["client"],
        offer: Offer::ByGrant(KEY),
    },
    Interfaces {
        package: "wasi:http",
        version: "0.2",
        names: &["outgoing-handler"],
        offer: Offer::ByGrant(KEY),
    },
    Interfaces {
        package: "wasi:http",
        version: "0.2",
        names: &["types"],
        offer: Offer::Always,
    },
];
