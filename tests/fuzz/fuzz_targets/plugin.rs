//! A plugin is refused in one line, or its attempt comes to something; the host goes on either way.

#![no_main]

#[path = "../../suite/guests.rs"]
#[expect(dead_code, reason = "the suite needs more of it")]
mod guests;
mod line;

use std::io;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use kiln::config::{Grants, Manifest, Resolver, SandboxSettings};
use kiln::job::Job;
use kiln::outcome::Outcome;
use kiln::sandbox::{AttemptContext, Handler, Inspection, Sandbox};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use serde_json::value::RawValue;
use tokio::runtime::{Builder, Runtime};

/// Time an attempt may take: some ticks.
const TIMEOUT: Duration = Duration::from_millis(20);

/// Bytes of a component before its first section.
const HEADER: usize = 8;

/// Of a number's byte, the bit that says that more follow.
const CONTINUES: u8 = 0x80;

/// Where a plugin may connect to, which is nowhere in the end: see [`nothing_is_found`].
const GRANTS: &str = "[[grants.tcp]]\naddress = \"a.example:7\"\n[[grants.http]]\norigin = \"http://a.example:7\"\n";

/// To the guest `tcp.wat`: connect there, wait, and use the connection.
const PAYLOAD: &str = "\"a.example 7 cpnwtsrfex\"";

static HOST: LazyLock<Host> = LazyLock::new(|| Host::start().expect("a host"));

fuzz_target!(|bytes: &[u8]| {
    let host = &*HOST;
    match host.sandbox.inspect(bytes, &host.manifest) {
        Err(err) => line::assert_one(&err.to_string()),
        Ok(found) => host.inspected(bytes, found),
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = fastrand::Rng::with_seed(seed.into());
    if size <= HEADER || random.u8(..4) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    // What moves bytes breaks the lengths of all that is around them and gets no further than the parser; these stay.
    let at = random.usize(HEADER..size);
    data[at] = (data[at] & CONTINUES) | (random.u8(..) & !CONTINUES);
    size
});

/// One for all inputs: what one leaves behind, the next has to live with.
struct Host {
    runtime: Runtime,
    sandbox: Sandbox,
    /// A handler that has to work whatever others did.
    neighbour: Handler,
    manifest: Manifest,
}

impl Host {
    fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let sandbox = Sandbox::new(&SandboxSettings {
            resolver: nothing_is_found(),
            ..SandboxSettings::new(NonZeroU32::MIN)
        })?;
        let neighbour = sandbox.load("ok", &guests::guest("ok")?, &Manifest::default())?;
        let manifest = Manifest {
            timeout: Some(TIMEOUT),
            grants: Grants::of(GRANTS),
            ..Manifest::default()
        };
        Ok(Self {
            runtime,
            sandbox,
            neighbour,
            manifest,
        })
    }

    fn inspected(&self, bytes: &[u8], found: Inspection) {
        let imports = found.imports.iter().map(|import| &import.name);
        found
            .exports
            .iter()
            .chain(imports)
            .for_each(|name| line::assert_one(name));
        match found.problem {
            Some(err) => line::assert_one(&err.to_string()),
            None => self.attempt(bytes),
        }
    }

    fn attempt(&self, bytes: &[u8]) {
        let handler = self.sandbox.load("plugin", bytes, &self.manifest);
        match self.run(&handler.expect("inspection found nothing wrong")) {
            Outcome::Completed { .. } => {}
            Outcome::Failed { failure, .. } => line::assert_one(&failure.message),
            Outcome::Stopped => panic!("nobody cancelled it"),
        }
        let outcome = self.run(&self.neighbour);
        assert!(
            matches!(outcome, Outcome::Completed { .. }),
            "the neighbour: {outcome:?}"
        );
    }

    fn run(&self, handler: &Handler) -> Outcome {
        let payload = RawValue::from_string(PAYLOAD.to_owned()).expect("JSON");
        let (job, context) = (Job::new("plugin", "default", payload), AttemptContext::default());
        let attempt = handler.run(&job, "default", &context);
        self.runtime.block_on(attempt).outcome
    }
}

/// No input is to reach a server. So no name has an address.
fn nothing_is_found() -> Resolver {
    Resolver::new(|_, _| Box::pin(async { Err(io::Error::other("no such name")) }))
}
