//! What one attempt's store holds beside the guest: its output, its limits, its way out.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::attempt::{Cancel, Report};
use super::deadline::{Deadline, Interrupt};
use super::egress::Egress;
use super::limits::Limits;
use super::output::Tail;
use super::plugin::Plugin;
use super::voice::Voice;
use crate::config::{MAX_HANDLES, MAX_HOSTCALL_BYTES, MAX_RANDOM_BYTES};
use crate::job::Job;

/// One attempt's own state. Made anew for each, dropped with its store.
pub(super) struct State {
    pub(super) plugin: Arc<Plugin>,
    pub(super) voice: Voice,
    pub(super) deadline: Deadline,
    pub(super) cancel: Cancel,
    pub(super) egress: Egress,
    /// How long it took until the guest could be called; none until then.
    pub(super) instantiate: Option<Duration>,
    limits: Limits,
    stdout: Tail,
    stderr: Tail,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
}

impl State {
    pub(super) fn new(plugin: Arc<Plugin>, job: &Job, deadline: Deadline, cancel: Cancel, control: Handle) -> Self {
        let (stdout, stderr) = (Tail::default(), Tail::default());
        let wasi = WasiCtx::builder()
            .stdout(stdout.clone())
            .stderr(stderr.clone())
            .envs(&plugin.env)
            .max_random_size(MAX_RANDOM_BYTES)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(plugin.egress.header_bytes);
        Self {
            voice: Voice::new(job.id.clone(), job.name.clone(), Arc::clone(&plugin)),
            deadline,
            cancel,
            egress: Egress::new(Arc::clone(&plugin), control, deadline),
            instantiate: None,
            limits: Limits::new(plugin.max_memory),
            stdout,
            stderr,
            wasi,
            http,
            table,
            plugin,
        }
    }

    /// Puts this into a store of its own, every bound in force.
    pub(super) fn into_store(self, engine: &Engine) -> Store<Self> {
        let mut store = Store::new(engine, self);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(MAX_HOSTCALL_BYTES);
        store.set_max_component_handles(MAX_HANDLES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(interrupt_or_yield);
        store
    }

    /// What became of the attempt, once it is over.
    pub(super) fn report(&self) -> Report {
        Report {
            duration: self.deadline.elapsed(),
            instantiate: self.instantiate,
            peak_memory_bytes: self.limits.peak() as u64,
            stdout: self.stdout.take(),
            stderr: self.stderr.take(),
            log_lines: self.voice.log_lines,
            progress_reports: self.voice.reports,
            progress_percent: self.voice.percent,
            http_requests: self.egress.sent(),
        }
    }
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
