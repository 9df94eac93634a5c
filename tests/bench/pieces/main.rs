//! What the steps of a job's line cost, each by itself: `cargo bench --bench pieces`, or with a part of a name behind it.
//!
//! `cargo xtask plugins` has to have built the handlers, and redis-server has to be installed. All of it together, and in
//! processes as in production, is what `kiln bench` measures; what wall time is too coarse to show, `line` counts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a benchmark fails by panicking, and its name says what it is about"
)]

mod codec;
#[path = "../../suite/guests.rs"]
#[allow(dead_code, reason = "shared with the suite, which needs more of it")]
mod guests;
mod metrics;
mod orders;
mod queue;
mod reload;
mod sandbox;
#[path = "../../suite/servers/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the suite, which needs more of it")]
mod servers;
#[path = "../../suite/support.rs"]
#[allow(dead_code, reason = "shared with the suite, which needs more of it")]
mod support;

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

criterion_group! {
    name = pieces;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = codec::codec, metrics::metrics, orders::orders, sandbox::sandbox, queue::queue, reload::reload
}
criterion_main!(pieces);

/// Has something done so often, one after the other, and returns how long that took.
fn timed(runtime: &Runtime, times: u64, mut act: impl AsyncFnMut()) -> Duration {
    runtime.block_on(async {
        let began = Instant::now();
        for _ in 0..times {
            act().await;
        }
        began.elapsed()
    })
}
