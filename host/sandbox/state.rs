//! What one attempt's store holds beside the guest: its output, its limits, its way out.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::bindings::exports::kiln::job::handler::Job;
use super::context::AttemptContext;
use super::cpu::CpuTime;
use super::deadline::Deadline;
use super::egress::Egress;
use super::guest_log::GuestLog;
use super::holdings::{Holdings, MemoryBudget};
use super::interrupt;
use super::output::Tail;
use super::plugin::Plugin;
use super::thread_class::ThreadClass;
use super::ticker::Running;
use crate::config::Limit;
use crate::outcome::Report;

/// What the attempts of a sandbox share.
pub(super) struct Shared {
    /// Where guests' I/O is done.
    pub(super) io: Handle,
    /// The memory they have between them.
    pub(super) memory_budget: Arc<MemoryBudget>,
}

/// One attempt's own state. Made anew for each, dropped with its store.
pub(super) struct State {
    pub(super) plugin: Arc<Plugin>,
    pub(super) guest_log: GuestLog,
    pub(super) deadline: Deadline,
    pub(super) context: AttemptContext,
    pub(super) egress: Egress,
    /// How long it took until the guest could be called; none until then.
    pub(super) instantiate: Option<Duration>,
    pub(super) cpu: CpuTime,
    /// None while the instance waits for another attempt.
    pub(super) running: Option<Running>,
    pub(super) thread_class: ThreadClass,
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
        context: AttemptContext,
        thread_class: ThreadClass,
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
            guest_log: GuestLog::new(job, Arc::clone(&plugin), context.listener.clone()),
            deadline,
            context,
            egress: Egress::new(Arc::clone(&plugin), host.io.clone(), deadline),
            instantiate: None,
            cpu: CpuTime::default(),
            running: None,
            holdings: Holdings::new(limits, Arc::clone(&host.memory_budget), thread_class.clone()),
            thread_class,
            stdout,
            stderr,
            wasi,
            http,
            table,
            plugin,
        }
    }

    /// Makes this the state of another attempt in the same instance. What the guest holds on to stays: its memory, and its
    /// handles, which were closed at the end of the attempt before.
    pub(super) fn renew(&mut self, job: &Job, deadline: Deadline, context: AttemptContext, host: &Shared) {
        let plugin = &self.plugin;
        self.guest_log = GuestLog::new(job, Arc::clone(plugin), context.listener.clone());
        self.egress = Egress::new(Arc::clone(plugin), host.io.clone(), deadline);
        self.cpu = CpuTime::default();
        self.instantiate = None;
        self.deadline = deadline;
        self.context = context;
    }

    /// Puts this into a store of its own, every bound in force.
    pub(super) fn into_store(self, engine: &Engine) -> Store<Self> {
        let handles = self.plugin.limits.size(Limit::Handles);
        let mut store = Store::new(engine, self);
        store.limiter_async(|state| &mut state.holdings);
        store.set_max_component_handles(handles);
        interrupt::watch(&mut store);
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
            log_lines: self.guest_log.log_lines,
            progress_reports: self.guest_log.reports,
            progress_percent: self.guest_log.percent,
            caused_by_job: false,
            http_requests: self.egress.sent(),
            heard_of_drain: self.guest_log.heard_of_drain,
        }
    }
}

/// Puts the bounds in force that an attempt uses up.
pub(super) fn rearm(store: &mut Store<State>) {
    let hostcall_bytes = store.data().plugin.limits.size(Limit::HostcallBytes);
    store.set_hostcall_fuel(hostcall_bytes);
    store.set_epoch_deadline(1);
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
