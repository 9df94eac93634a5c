//! Kiln's integration tests: real components, a real redis-server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test fails by panicking, and its name says what it is about"
)]

#[macro_use]
mod stores;

mod aftermath;
mod bundled;
mod cli;
mod codec;
mod crowd;
mod guests;
mod hostile;
mod hosts;
mod leaks;
mod leases;
mod loading;
mod model;
mod outage;
mod proxy;
mod queue;
mod readme;
mod redis;
mod reload;
mod sandbox;
mod servers;
mod service;
mod support;
mod topology;
