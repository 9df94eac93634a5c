//! `kiln:state`: values that outlast an attempt, in buckets that the manifest grants.

mod calls;
mod grant;
mod keyvalue;
mod staged;

use wasmtime::Result;
use wasmtime::component::{HasData, Linker};

use super::offer::{Interfaces, Offer};
use crate::sandbox::bindings::kiln::state::values;
pub(in crate::sandbox) use calls::State;
pub(super) use calls::{StateRules, View};
pub(super) use grant::granted;
pub use grant::granted_buckets;
pub(super) use keyvalue::Opened;

/// This capability's key below `[grants]`.
pub(super) const KEY: &str = grant::KEY;

pub(super) const OFFERS: &[Interfaces] = &[
    Interfaces {
        package: "kiln:state",
        version: "0.1",
        names: &["values"],
        offer: Offer::ByGrant(KEY),
    },
    Interfaces {
        package: "wasi:keyvalue",
        version: "0.2.0-draft2",
        names: &["store", "atomics", "batch"],
        offer: Offer::ByGrant(KEY),
    },
];

/// Makes a [`View`] of an attempt's data.
struct OfAttempt;

impl HasData for OfAttempt {
    type Data<'a> = View<'a>;
}

pub(super) fn link<T: Send>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
    opened: fn(&mut T) -> Opened<'_>,
) -> Result<()> {
    values::add_to_linker::<_, OfAttempt>(linker, view)?;
    keyvalue::link(linker, opened)
}
