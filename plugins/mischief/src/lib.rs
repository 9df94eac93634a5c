//! Misbehaves on demand, to try out retries, limits and the failed list: `{"do": "panic"}`.
//!
//! [`Act`] lists what it can do. No model of a good handler, it is written without the kit, against the WIT alone.

use std::hint::black_box;
use std::time::Duration;

use kiln::job::context;
use kiln::job::types::{Failure, Job};
use serde::Deserialize;
use serde_json::value::RawValue;
use wasi::logging::logging::{self, Level};

wit_bindgen::generate!({ path: "../../wit", world: "job-handler", generate_all });

struct Mischief;
export!(Mischief);

impl exports::kiln::job::handler::Guest for Mischief {
    fn handle(job: Job) -> Result<Option<String>, Failure> {
        let payload: Payload = serde_json::from_str(&job.payload)
            .map_err(|err| Failure::Permanent(format!(r#"payload is not {{"do": "panic"}} or the like: {err}"#)))?;
        let message = || payload.message.clone().unwrap_or_else(|| "as asked".to_owned());
        match payload.act {
            Act::Succeed => {}
            Act::FailOnce if job.attempt > 1 => {}
            Act::FailOnce | Act::Fail => return Err(Failure::Retry(message())),
            Act::RetryAfter => return Err(Failure::RetryAfter((message(), payload.ms))),
            Act::Reject => return Err(Failure::Permanent(message())),
            Act::Panic => panic!("{}", message()),
            Act::Spin => spin(),
            Act::Allocate => allocate(),
            Act::Recurse => drop(black_box(recurse(black_box(0)))),
            Act::Sleep => std::thread::sleep(Duration::from_millis(payload.ms)),
            Act::Print => print(payload.times, &message()),
            Act::Log => log(payload.times, &message()),
            Act::Progress => progress(),
        }
        Ok(payload.result.map(|result| result.get().to_owned()))
    }
}

/// What to do, and the particulars some acts take. After an act that comes to an end the job succeeds.
#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "do")]
    act: Act,
    /// How long to sleep, or when to retry.
    #[serde(default = "default_ms")]
    ms: u64,
    /// How many lines to print, or messages of each level to log.
    #[serde(default = "default_times")]
    times: u32,
    /// What to say.
    message: Option<String>,
    /// The result of success, as it stands.
    result: Option<Box<RawValue>>,
}

fn default_ms() -> u64 {
    1000
}

fn default_times() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Act {
    Succeed,
    /// Fails the first attempt with `retry`.
    FailOnce,
    /// Fails every attempt with `retry`.
    Fail,
    /// Fails with `retry-after` `ms`.
    RetryAfter,
    /// Fails with `permanent`.
    Reject,
    /// Traps.
    Panic,
    /// Loops without end.
    Spin,
    /// Takes memory without end.
    Allocate,
    /// Calls itself without end.
    Recurse,
    /// Sleeps for `ms`.
    Sleep,
    /// Prints `times` lines each to standard output and standard error.
    Print,
    /// Logs `times` messages of each level.
    Log,
    /// Reports progress from 0 to 100.
    Progress,
}

fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Writes to what it takes, so that the memory is used and not merely reserved.
fn allocate() {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Overflows the stack. What is done to the callee's result keeps the compiler from turning the recursion into a loop;
/// nothing here needs an address, so it is the engine's stack that overflows and not the one in linear memory.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX {
        return depth;
    }
    recurse(depth + 1).rotate_left(7) ^ depth
}

fn print(times: u32, message: &str) {
    for _ in 0..times {
        println!("{message}");
        eprintln!("{message}");
    }
}

fn log(times: u32, message: &str) {
    for _ in 0..times {
        for level in [
            Level::Trace,
            Level::Debug,
            Level::Info,
            Level::Warn,
            Level::Error,
            Level::Critical,
        ] {
            logging::log(level, "mischief", message);
        }
    }
}

fn progress() {
    for percent in [0, 25, 50, 75, 100] {
        context::progress(percent, Some(&format!("{} ms left", context::remaining_ms())));
    }
}
