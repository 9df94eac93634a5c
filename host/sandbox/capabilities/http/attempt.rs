//! The state of an attempt's requests, and where it is found in the data of a store.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::egress::Egress;
use super::exchanges::Exchanges;
use super::rules::HttpRules;
use crate::outcome::Report;
use crate::sandbox::capabilities::network::Outbound;
use crate::sandbox::run::holdings::Holdings;

/// One attempt's HTTP requests.
pub(in crate::sandbox) struct Http {
    pub(super) ctx: WasiHttpCtx,
    pub(super) egress: Egress,
    /// The open exchanges of `kiln:http/client`.
    pub(in crate::sandbox::capabilities) exchanges: Exchanges,
}

impl Http {
    /// `outbound` is needed only where something is granted.
    pub(in crate::sandbox::capabilities) fn new(rules: &Arc<HttpRules>, outbound: Option<&Outbound>) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(rules.limits.header_bytes);
        Self {
            ctx,
            egress: Egress::new(rules, outbound),
            exchanges: Exchanges::default(),
        }
    }

    /// Begins another attempt in the same instance. The handles of the attempt before are closed already.
    pub(in crate::sandbox::capabilities) fn renew(&mut self, rules: &Arc<HttpRules>, outbound: Option<&Outbound>) {
        self.egress = Egress::new(rules, outbound);
    }

    pub(in crate::sandbox::capabilities) fn report(&self, report: &mut Report) {
        report.http_requests = self.egress.sent();
    }

    /// The same for the library's bindings, with the table that holds the attempt's handles.
    pub(in crate::sandbox) fn ctx_view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView {
            ctx: &mut self.ctx,
            table,
            hooks: &mut self.egress,
        }
    }
}

/// The data of a store whose guest can send HTTP requests.
pub(in crate::sandbox) trait HttpHost: WasiHttpView + 'static {
    /// The part of the data that belongs to this capability.
    fn http_view(&mut self) -> View<'_>;
}

/// An attempt's requests and its handles, and what it is charged for them.
pub(in crate::sandbox) struct View<'a> {
    pub(in crate::sandbox) rules: &'a HttpRules,
    pub(in crate::sandbox) attempt: &'a mut Http,
    pub(in crate::sandbox) table: &'a mut ResourceTable,
    pub(in crate::sandbox) holdings: &'a mut Holdings,
}
