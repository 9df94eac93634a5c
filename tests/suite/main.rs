//! Kiln's integration tests: real components, a real redis-server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test fails by panicking, and its name says what it is about"
)]

#[macro_use]
mod stores;

mod admin;
mod admission;
mod aftermath;
mod bench;
mod building;
mod bundled;
mod cancel;
mod cli;
mod clients;
mod codec;
mod compiling;
mod conformance;
mod contract;
mod crowd;
mod docs;
mod doctor;
mod egress;
mod egress_proxy;
mod events;
mod faults;
mod fetch;
mod folder;
mod goroutines;
mod guests;
mod hostcalls;
mod hostile;
mod hosts;
mod house;
mod http_client;
mod http_limits;
mod large_jobs;
mod leaks;
mod leases;
mod life;
mod loading;
mod model;
mod outage;
mod pending;
mod process;
mod project;
mod projects;
mod proxy;
mod python_clients;
mod queue;
mod redis;
mod refusals;
mod reload;
mod reuse;
mod sandbox;
mod scripts;
mod secrets;
mod servers;
mod service;
mod settings;
mod simulation;
mod skew;
mod state;
mod support;
mod topology;
mod unsettled;
mod words;
