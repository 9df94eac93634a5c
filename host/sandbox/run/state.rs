//! What one attempt's store holds beside the guest.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::context::AttemptContext;
use super::cpu::CpuTime;
use super::deadline::Deadline;
use super::holdings::Holdings;
use super::memory::{Exceeded, MemoryBudget};
use super::thread_class::ThreadClass;
use crate::config::Limit;
use crate::outcome::{Asked, Report};
use crate::sandbox::bindings::exports::kiln::job::handler::Job;
use crate::sandbox::capabilities::{Beginning, Capabilities, FilesView, Host, HttpHost, HttpView, LateDenial, Parts};
use crate::sandbox::engine::ticker::Running;
use crate::sandbox::load::plugin::Plugin;
use crate::stop::StopToken;

/// What the attempts of a sandbox share.
pub(in crate::sandbox) struct Shared {
    /// Where guests' I/O is done.
    pub(in crate::sandbox) io: Handle,
    /// The memory they have between them.
    pub(in crate::sandbox) memory_budget: Arc<MemoryBudget>,
}

/// One attempt's own state. Made anew for each, dropped with its store.
pub(in crate::sandbox) struct State {
    pub(in crate::sandbox) plugin: Arc<Plugin>,
    pub(in crate::sandbox) deadline: Deadline,
    pub(in crate::sandbox) stop: Arc<StopToken>,
    /// How long it took until the guest could be called; none until then.
    pub(in crate::sandbox) instantiate: Option<Duration>,
    pub(in crate::sandbox) cpu: CpuTime,
    /// Whether the guest has called the host.
    pub(in crate::sandbox) asks: Asks,
    /// None while the instance waits for an attempt.
    pub(in crate::sandbox) running: Option<Running>,
    pub(in crate::sandbox) thread_class: ThreadClass,
    pub(in crate::sandbox) holdings: Holdings,
    capabilities: Capabilities,
    table: ResourceTable,
}

impl State {
    pub(in crate::sandbox) fn new(
        plugin: Arc<Plugin>,
        job: &Job,
        deadline: Deadline,
        context: &AttemptContext,
        thread_class: ThreadClass,
        host: &Shared,
    ) -> Self {
        let limits = &plugin.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.size(Limit::Handles));
        let capabilities = Capabilities::begin(&plugin.granted, limits, &beginning(job, deadline, context, host));
        Self {
            deadline,
            stop: Arc::clone(&context.stop),
            instantiate: None,
            cpu: CpuTime::default(),
            asks: Asks::default(),
            running: None,
            holdings: Holdings::new(limits, Arc::clone(&host.memory_budget), thread_class.clone()),
            thread_class,
            capabilities,
            table,
            plugin,
        }
    }

    /// Makes this the state of another attempt in the same instance. What the guest holds on to stays: its memory, and its
    /// handles, which were closed at the end of the attempt before.
    pub(in crate::sandbox) fn renew(&mut self, job: &Job, deadline: Deadline, context: &AttemptContext, host: &Shared) {
        let beginning = beginning(job, deadline, context, host);
        self.capabilities.renew(&self.plugin.granted, &beginning);
        self.cpu = CpuTime::default();
        self.instantiate = None;
        self.deadline = deadline;
        self.stop = Arc::clone(&context.stop);
    }

    /// The late denials of this attempt, which end it while its guest waits. None where there can be none.
    pub(in crate::sandbox) fn late_denial(&self) -> Option<LateDenial> {
        self.capabilities.late_denial()
    }

    /// Ends what handles reach outside of the instance, before it serves another attempt.
    pub(in crate::sandbox) fn close_handles(&mut self) -> Result<(), Exceeded> {
        self.capabilities.close_connections();
        self.holdings.connect(0)?;
        self.capabilities.close();
        self.http_view().close_handles()
    }

    /// What the handler has asked for when its job is acknowledged.
    pub(in crate::sandbox) fn take_asked(&mut self) -> Asked {
        self.capabilities.take_asked()
    }

    /// What became of the attempt, once it is over.
    pub(in crate::sandbox) fn report(&self) -> Report {
        let mut report = Report {
            duration: self.deadline.elapsed(),
            instantiate: self.instantiate,
            cpu: self.cpu.used(),
            peak_memory_bytes: self.holdings.peak() as u64,
            ..Report::default()
        };
        self.capabilities.report(&mut report);
        report
    }
}

/// Whether a guest has called the host. That a tick interrupts it looks like a call, but is none of its own.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Asks {
    any: bool,
    /// The call under way is the engine's, at a tick.
    pub(super) is_tick: bool,
}

impl Asks {
    /// Counts a call that is over.
    pub(super) fn count(&mut self) {
        let was_tick = std::mem::take(&mut self.is_tick);
        self.any |= !was_tick;
    }

    /// Whether there was one.
    pub(in crate::sandbox) fn any(&self) -> bool {
        self.any
    }
}

fn beginning<'a>(job: &'a Job, deadline: Deadline, context: &'a AttemptContext, host: &'a Shared) -> Beginning<'a> {
    Beginning {
        job,
        deadline,
        draining: &context.draining,
        listener: context.listener.as_ref(),
        span: context.span.as_deref(),
        io: &host.io,
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.capabilities.base.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.capabilities.http.ctx_view(&mut self.table)
    }
}

impl HttpHost for State {
    fn http_view(&mut self) -> HttpView<'_> {
        HttpView {
            rules: &self.plugin.granted.http,
            attempt: &mut self.capabilities.http,
            table: &mut self.table,
            holdings: &mut self.holdings,
        }
    }
}

impl Host for State {
    fn parts(&mut self) -> Parts<'_> {
        Parts {
            granted: &self.plugin.granted,
            attempt: &mut self.capabilities,
            table: &mut self.table,
            holdings: &mut self.holdings,
        }
    }

    fn files_view(&mut self) -> FilesView<'_> {
        FilesView {
            files: &mut self.capabilities.files,
            table: &mut self.table,
            limits: &self.plugin.limits,
            account: self.holdings.account(),
        }
    }
}
