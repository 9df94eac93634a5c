//! What is left in the host after all hostile guests, many times over: nothing.

use std::num::NonZeroU32;

use anyhow::Context;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use kiln::config::{Limit, Manifest, SandboxSettings, Source};
use kiln::job::null;
use kiln::sandbox::{AttemptContext, Handler, Sandbox};

use crate::guests::hostile_component;
use crate::hostile::{corpus, load};
use crate::sandbox::{assert_completes, failed, job_of};

/// Attempts at once, and as many slots more.
const CONCURRENCY: u32 = 4;
const SPARE_SLOTS: u32 = 4;

/// Memory that all attempts share. Half of it is common; each slot's share is an eighth of the other half.
const GUEST_MEMORY_MIB: u64 = 512;
const COMMON_PAGES: u64 = GUEST_MEMORY_MIB * 16 / 2;
const SHARE_PAGES: u64 = COMMON_PAGES / 8;

/// How often the corpus runs between two looks.
const ROUNDS: usize = 20;

/// By how much the process may grow in all that time: what a leak of a few kilobytes for each attempt would come to.
const GROWTH_KIB: u64 = 16 * 1024;

#[derive(Debug)]
struct Process {
    files: usize,
    threads: usize,
    resident_kib: u64,
}

impl Process {
    fn look() -> anyhow::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(Self {
            files: std::fs::read_dir("/proc/self/fd")?.count(),
            threads: std::fs::read_dir("/proc/self/task")?.count(),
            resident_kib: resident.context("a resident size")?.parse()?,
        })
    }
}

/// Runs itself again, alone in a process.
#[test]
fn nothing_is_left_after_all_hostile_guests() -> anyhow::Result<()> {
    const INSIDE: &str = "KILN_TEST_AFTERMATH";
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        return runtime.block_on(nothing_is_left());
    }
    let run = std::process::Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            "aftermath::nothing_is_left_after_all_hostile_guests",
            "--nocapture",
        ])
        .env(INSIDE, "1")
        // Has the allocator give back what is large. By itself it keeps up to 64 MiB for each thread, which is no leak.
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .output()?;
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    assert!(said.contains("1 passed"), "it did not find itself");
    Ok(())
}

async fn nothing_is_left() -> anyhow::Result<()> {
    let sandbox = Sandbox::new(&settings())?;
    let handlers = corpus()
        .map(|name| Ok(sandbox.load(name, &load(name)?, &Manifest::default())?))
        .collect::<anyhow::Result<Vec<_>>>()?;
    // Once, for what the first time takes; and for the memory of slots that have been used.
    run_all(&handlers).await;
    let before = Process::look()?;
    for _ in 0..ROUNDS {
        run_all(&handlers).await;
    }
    let after = Process::look()?;
    println!("{before:?} {after:?}");
    assert_eq!(after.files, before.files);
    // A thread that took over while another checked a long result stays for some seconds.
    assert!(
        after.threads <= before.threads + CONCURRENCY as usize,
        "{before:?} {after:?}"
    );
    assert!(
        after.resident_kib <= before.resident_kib + GROWTH_KIB,
        "{before:?} {after:?}"
    );
    every_slot_is_free(&sandbox).await?;
    all_shared_memory_is_given_back(&sandbox).await
}

fn settings() -> SandboxSettings {
    let mut settings = SandboxSettings::new(NonZeroU32::new(CONCURRENCY).unwrap());
    settings.spare_slots = SPARE_SLOTS;
    settings.limits.set(Limit::Timeout, 10_000, 10_000, Source::Host);
    let memory = GUEST_MEMORY_MIB * 1024 * 1024;
    settings.limits.set(Limit::GuestMemory, memory, memory, Source::Host);
    let own = settings.limits.get(Limit::MaxMemory);
    settings.limits.set(Limit::MaxMemory, own, memory, Source::Host);
    settings
}

/// One attempt of each, as many at once as may be, each of which has little time.
async fn run_all(handlers: &[Handler]) {
    let attempts = handlers.iter().map(|handler| async move {
        let mut job = job_of(handler.name(), null());
        job.timeout_ns = 15_000_000;
        handler.run(&job, "default", &AttemptContext::default()).await
    });
    stream::iter(attempts)
        .buffer_unordered(CONCURRENCY as usize)
        .collect::<Vec<_>>()
        .await;
}

const HANDLE: &str = r#"(func (export "kiln:job/handler@0.1.0#handle") (type $handle)"#;

/// One attempt takes five slots while each of three others holds one.
async fn every_slot_is_free(sandbox: &Sandbox) -> anyhow::Result<()> {
    let memories = "(memory 1)".repeat(SPARE_SLOTS as usize);
    let text = format!("{memories}{HANDLE} i32.const 0)");
    let wide = sandbox.load("wide", &hostile_component(&text)?, &Manifest::default())?;
    let sleep = sandbox.load("sleep", &load("sleep")?, &Manifest::default())?;
    let (job, context) = (job_of("any", null()), AttemptContext::default());
    let others = join_all((1..CONCURRENCY).map(|_| sleep.run(&job, "default", &context)));
    tokio::select! {
        biased;
        _ = others => anyhow::bail!("a slot is missing"),
        attempt = wide.run(&job, "default", &context) => assert_completes(&attempt),
    }
    Ok(())
}

async fn all_shared_memory_is_given_back(sandbox: &Sandbox) -> anyhow::Result<()> {
    let take = async |pages: u64| {
        let text = format!(
            r#"(memory (export "memory") 2)
            {HANDLE} (if (i32.eq (memory.grow (i32.const {})) (i32.const -1)) (then unreachable)) i32.const 0)"#,
            pages - 2
        );
        let manifest = toml::from_str(r#"max_memory = "512 MiB""#)?;
        let handler = sandbox.load("take", &hostile_component(&text)?, &manifest)?;
        anyhow::Ok(
            handler
                .run(&job_of("take", null()), "default", &AttemptContext::default())
                .await,
        )
    };
    assert_completes(&take(SHARE_PAGES + COMMON_PAGES).await?);
    let (failure, _) = failed(take(SHARE_PAGES + COMMON_PAGES + 1).await?)?;
    assert_eq!(
        failure.message,
        "wanted 288.1 MiB of memory; of the limit guest_memory, which is 512.0 MiB, one attempt has 288.0 MiB at most"
    );
    Ok(())
}
