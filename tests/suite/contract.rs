//! The contract is frozen: what was built for it goes on loading.

use std::num::NonZeroU32;

use kiln::config::{Manifest, SandboxSettings};
use kiln::sandbox::Sandbox;

use crate::guests::frozen;

/// `tests/data/wit-0.1` is the contract as handlers out there were built for it; it is never edited. A component that
/// imports and exports all of it has to load, whatever has been added to `wit` since.
#[tokio::test]
async fn a_handler_built_for_the_frozen_contract_loads() -> anyhow::Result<()> {
    let sandbox = Sandbox::new(&SandboxSettings::new(NonZeroU32::MIN))?;
    sandbox.load("frozen", &frozen(&[])?, &Manifest::default())?;

    // Each of these is what somebody might think a harmless change. Here the guest has it and the host has not, which is
    // what the host's having it would look like to the guests of before.
    for (from, to) in [
        ("metadata: string,", "metadata: string, tenant: string,"),
        ("permanent(string),", "permanent(string), later(string),"),
        ("retry-after(tuple<string, u64>)", "retry-after(tuple<string, u32>)"),
        ("attempt: u32,", "attempt: u64,"),
        ("remaining-ms: func() -> u64;", "remaining-ms: func() -> option<u64>;"),
        ("is-cancelled: func() -> bool;", "cancelled: func() -> bool;"),
        ("handle: func(job: job)", "run: func(job: job)"),
    ] {
        let refused = sandbox.load("changed", &frozen(&[(from, to)])?, &Manifest::default());
        assert!(refused.is_err(), "{to} makes no difference");
    }
    Ok(())
}
