//! Kiln runs background jobs as sandboxed WebAssembly components.
//!
//! One job is one straight line, and [`worker`] reads that way. It tells, too, where the time goes:
//!
//! ```text
//! consumer.fetch(n)            ready → in flight, one script, as many as there are free permits
//! delivery.decode()            bytes → job
//! gate.admit(job)              job name → handler, held across reloads by whoever runs it; or where it waits and until when
//! handler.attempt(job)         a fresh sandbox: memory cap, deadline, grants → outcome
//! retry::settle(job, outcome)  outcome → settlement; pure
//! consumer.settle(delivery)    takes the delivery: it cannot be settled twice
//! ```
//!
//! Dependencies run downwards only, each of these on none but those before it: [`text`], `file`, `aside`, `page_faults`,
//! [`stop`], [`recording`], [`outcome`], [`job`], [`events`], [`config`], [`retry`], then [`queue`] and [`sandbox`], which
//! know nothing of each other, [`plugins`], [`schedule`], [`observe`], [`worker`], [`service`], `bench`. [`admin`], for
//! operators, uses the queue, the plugins, and a sandbox to try jobs in; [`web`] what observes, and `admin`; [`project`],
//! for the authors of handlers, `snapshot` alone. `cli` knows all.
//!
//! [`queue`] alone owns the redis crate, [`sandbox`] wasmtime, which `snapshot` uses besides to run an author's own code as
//! it is built, [`observe`] alone ureq, [`web`] alone axum and maud, [`project`] alone wit-bindgen and wit-component, `cli`
//! alone clap.
//! `tests/suite/house.rs` holds all of this.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")
)]

pub mod admin;
mod aside;
mod bench;
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod events;
mod file;
pub mod job;
pub mod observe;
pub mod outcome;
mod page_faults;
pub mod plugins;
pub mod project;
pub mod queue;
pub mod recording;
pub mod retry;
pub mod sandbox;
pub mod schedule;
pub mod service;
mod snapshot;
pub mod state;
pub mod stop;
pub mod text;
pub mod web;
pub mod worker;
