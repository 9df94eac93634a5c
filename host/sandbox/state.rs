//! What one attempt's store holds beside the guest: its output, its limits, its way out.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::attempt::{Cancel, Report};
use super::bindings::exports::kiln::job::handler::Job;
use super::cpu::CpuTime;
use super::deadline::{Deadline, Interrupt};
use super::egress::Egress;
use super::holdings::{Commons, Holdings};
use super::output::Tail;
use super::place::Place;
use super::plugin::Plugin;
use super::voice::Voice;
use crate::config::Limit;

/// Processor time from which on an attempt runs among the heavy ones, a few ticks. What answers at once, or mostly waits,
/// never gets there, and never has to wait for the turns of those that do.
const LIGHT_CPU: Duration = Duration::from_millis(10);

/// What the attempts of a sandbox share.
pub(super) struct Shared {
    /// Where guests' I/O is done.
    pub(super) io: Handle,
    /// The memory they have between them.
    pub(super) commons: Arc<Commons>,
}

/// One attempt's own state. Made anew for each, dropped with its store.
pub(super) struct State {
    pub(super) plugin: Arc<Plugin>,
    pub(super) voice: Voice,
    pub(super) deadline: Deadline,
    pub(super) cancel: Cancel,
    pub(super) egress: Egress,
    /// How long it took until the guest could be called; none until then.
    pub(super) instantiate: Option<Duration>,
    pub(super) cpu: CpuTime,
    pub(super) place: Place,
    pub(super) holdings: Holdings,
    stdout: Tail,
    stderr: Tail,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
}

impl State {
    pub(super) fn new(
        plugin: Arc<Plugin>,
        job: &Job,
        deadline: Deadline,
        cancel: Cancel,
        place: Place,
        host: &Shared,
    ) -> Self {
        let limits = &plugin.limits;
        let output_bytes = limits.size(Limit::OutputBytes);
        let (stdout, stderr) = (Tail::new(output_bytes), Tail::new(output_bytes));
        let wasi = WasiCtx::builder()
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .envs(&plugin.env)
            .max_random_size(limits.get(Limit::RandomBytes))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.size(Limit::Handles));
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(plugin.egress.header_bytes);
        Self {
            voice: Voice::new(job.id.clone(), job.name.clone(), Arc::clone(&plugin)),
            deadline,
            cancel,
            egress: Egress::new(Arc::clone(&plugin), host.io.clone(), deadline),
            instantiate: None,
            cpu: CpuTime::default(),
            holdings: Holdings::new(limits, Arc::clone(&host.commons), place.clone()),
            place,
            stdout,
            stderr,
            wasi,
            http,
            table,
            plugin,
        }
    }

    /// Makes this the state of another attempt in the same instance. What the guest holds on to stays: its memory, its
    /// handles, its streams.
    pub(super) fn renew(&mut self, job: &Job, deadline: Deadline, cancel: Cancel, host: &Shared) {
        let plugin = &self.plugin;
        self.voice = Voice::new(job.id.clone(), job.name.clone(), Arc::clone(plugin));
        self.egress = Egress::new(Arc::clone(plugin), host.io.clone(), deadline);
        self.cpu = CpuTime::default();
        self.instantiate = None;
        self.deadline = deadline;
        self.cancel = cancel;
    }

    /// Puts this into a store of its own, every bound in force.
    pub(super) fn into_store(self, engine: &Engine) -> Store<Self> {
        let handles = self.plugin.limits.size(Limit::Handles);
        let mut store = Store::new(engine, self);
        store.limiter_async(|state| &mut state.holdings);
        store.set_max_component_handles(handles);
        store.epoch_deadline_callback(interrupt_or_yield);
        rearm(&mut store);
        store
    }

    /// What became of the attempt, once it is over.
    pub(super) fn report(&self) -> Report {
        Report {
            duration: self.deadline.elapsed(),
            instantiate: self.instantiate,
            cpu: self.cpu.used(),
            peak_memory_bytes: self.holdings.peak() as u64,
            stdout: self.stdout.take(),
            stderr: self.stderr.take(),
            log_lines: self.voice.log_lines,
            progress_reports: self.voice.reports,
            progress_percent: self.voice.percent,
            http_requests: self.egress.sent(),
        }
    }
}

/// Puts the bounds in force that an attempt uses up.
pub(super) fn rearm(store: &mut Store<State>) {
    let hostcall_bytes = store.data().plugin.limits.size(Limit::HostcallBytes);
    store.set_hostcall_fuel(hostcall_bytes);
    store.set_epoch_deadline(1);
}

/// Called once a tick while the guest runs: ends it, or lets the others on its thread run.
#[expect(clippy::needless_pass_by_value, reason = "the engine's signature")]
fn interrupt_or_yield(store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    let state = store.data();
    if state.cancel.stop.is_cancelled() {
        return Err(Interrupt::Stopped.into());
    }
    if state.deadline.is_over() {
        return Err(Interrupt::TimedOut.into());
    }
    let used = state.cpu.used_now();
    if used > state.plugin.limits.time(Limit::CpuTime) {
        return Err(Interrupt::OutOfCpu.into());
    }
    if used > LIGHT_CPU {
        state.place.leave();
    }
    Ok(UpdateDeadline::Yield(1))
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.egress,
        }
    }
}
