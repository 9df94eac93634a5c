//! What every handler has: standard streams, clocks and random numbers; and, because language runtimes import them, sockets
//! that reach nothing.

mod output;

use wasmtime::component::Linker;
use wasmtime_wasi::{WasiCtx, WasiView};

use super::offer::{Interfaces, Offer};
use crate::config::{Limit, Limits};
use crate::outcome::Report;
use output::Tail;

pub(super) const OFFERS: &[Interfaces] = &[
    always("wasi:cli", CLI),
    always("wasi:clocks", &["monotonic-clock", "wall-clock"]),
    always("wasi:io", &["error", "poll", "streams"]),
    always("wasi:random", &["insecure", "insecure-seed", "random"]),
    Interfaces {
        offer: Offer::Empty,
        ..always("wasi:sockets", SOCKETS)
    },
];

const CLI: &[&str] = &[
    "exit",
    "stderr",
    "stdin",
    "stdout",
    "terminal-input",
    "terminal-output",
    "terminal-stderr",
    "terminal-stdin",
    "terminal-stdout",
];

/// Those for TCP are another capability's.
const SOCKETS: &[&str] = &["instance-network", "network", "udp", "udp-create-socket"];

const fn always(package: &'static str, names: &'static [&'static str]) -> Interfaces {
    Interfaces {
        package,
        version: "0.2",
        names,
        offer: Offer::Always,
    }
}

/// One attempt's standard streams, clocks and random numbers.
pub(in crate::sandbox) struct Base {
    pub(in crate::sandbox) wasi: WasiCtx,
    stdout: Tail,
    stderr: Tail,
}

impl Base {
    /// Begins an attempt whose environment holds these variables.
    pub(super) fn new(limits: &Limits, variables: &[(String, String)]) -> Self {
        let output_bytes = limits.size(Limit::OutputBytes);
        let (stdout, stderr) = (Tail::new(output_bytes), Tail::new(output_bytes));
        let wasi = WasiCtx::builder()
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .envs(variables)
            .max_random_size(limits.get(Limit::RandomBytes))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self { wasi, stdout, stderr }
    }

    /// Moves what the guest printed into the report.
    pub(super) fn report(&self, report: &mut Report) {
        report.stdout = self.stdout.take();
        report.stderr = self.stderr.take();
    }
}

pub(super) fn link<T: WasiView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)
}
