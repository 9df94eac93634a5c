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
mod ahead;
mod alerts;
mod bench;
mod building;
mod bulk;
mod bundled;
mod cancel;
mod cancelling;
mod cli;
mod clients;
mod codec;
mod compiling;
mod conformance;
mod connections;
mod contract;
mod crowd;
mod dashboard;
mod docs;
mod doctor;
mod egress;
mod egress_proxy;
mod events;
mod everyday;
mod expiry;
mod failover;
mod faults;
mod fetch;
mod flow;
mod folder;
mod goroutines;
mod guests;
mod history;
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
mod limited;
mod loading;
mod metrics;
mod model;
mod objects;
mod offline;
mod one_job;
mod outage;
mod packages;
mod packaging;
mod pausing;
mod pending;
mod probes;
mod process;
mod project;
mod projects;
mod prometheus;
mod proxy;
mod python_clients;
mod query;
mod queue;
mod receivers;
mod redis;
mod refusals;
mod reload;
mod replies;
mod reuse;
mod sandbox;
mod schedules;
mod scripts;
mod secrets;
mod servers;
mod service;
mod settings;
mod signing;
mod simulation;
mod skew;
mod starts;
mod state;
mod stats;
mod support;
mod tcp;
mod tcp_bounds;
mod topology;
mod traces;
mod unique;
mod unsettled;
mod uploads;
mod words;
