//! The flags of the dashboard, which `kiln serve` and `kiln worker` share.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap::builder::BoolishValueParser;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::pause::whoami;
use super::{Usage, shown};
use crate::file;
use crate::queue::Store;
use crate::web::{
    Dashboard, DashboardSettings, Listener, Local, Network, Proxies, Role, Tokens, TrialSettings, check_trace_link,
};

/// Bytes of a file of tokens: some thousand people.
const MAX_TOKENS_BYTES: u64 = 256 * 1024;

#[derive(Debug, Args)]
#[command(next_help_heading = "Dashboard")]
pub(super) struct UiArgs {
    /// Let only those in who have a token of this file. Each line: viewer, operator or admin; a name; the token, or - for none.
    /// This or a trusted proxy is needed to listen on an address that other machines reach
    #[arg(long, env = "KILN_TOKENS", value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Believe the proxy at this address, or those of this network, who asks: it sets X-Forwarded-User, and X-Forwarded-Proto;
    /// repeat for more
    #[arg(
        long = "trusted-proxy",
        env = "KILN_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "ADDRESS[/BITS]"
    )]
    trusted_proxies: Vec<Network>,
    /// What those may whom a proxy names and the file of tokens does not: viewer, operator or admin
    #[arg(long, env = "KILN_PROXY_ROLE", default_value = "viewer", value_name = "ROLE")]
    proxy_role: Role,
    /// A name under which browsers ask for the dashboard, beside localhost and addresses; repeat for more
    #[arg(
        long = "allow-host",
        env = "KILN_ALLOW_HOSTS",
        value_delimiter = ',',
        value_parser = host_name,
        value_name = "NAME"
    )]
    allow_hosts: Vec<String>,
    /// Let nobody change anything
    #[arg(long, env = "KILN_READ_ONLY", value_parser = BoolishValueParser::new())]
    read_only: bool,
    /// Do not show the values at this path of a job, as in payload.card.number; repeat for more
    #[arg(long, env = "KILN_REDACT", value_parser = path, value_delimiter = ',', value_name = "PATH")]
    redact: Vec<String>,
    /// Where a trace can be looked at, such as `https://jaeger.example.com/trace/{trace_id}`: the page of a job that names its trace
    /// leads there [default: none]
    #[arg(long = "trace-link", env = "KILN_TRACE_LINK", value_parser = trace_link, value_name = "URL")]
    trace_link: Option<String>,
}

impl Default for UiArgs {
    fn default() -> Self {
        Self {
            tokens: None,
            trusted_proxies: Vec::new(),
            proxy_role: Role::Viewer,
            allow_hosts: Vec::new(),
            read_only: false,
            redact: Vec::new(),
            trace_link: None,
        }
    }
}

/// A dashboard that is served.
pub(super) struct Ui {
    end: CancellationToken,
    serving: JoinHandle<()>,
}

impl UiArgs {
    /// Serves over the store of a worker, if there is an address.
    pub(super) async fn beside_worker(
        self,
        address: Option<SocketAddr>,
        store: &Store,
        store_name: String,
        worker: Local,
        trials: TrialSettings,
    ) -> anyhow::Result<Option<Ui>> {
        let Some(address) = address else {
            if let Some(given) = self.given() {
                tracing::warn!(given, "settings of the dashboard do nothing without --ui");
            }
            return Ok(None);
        };
        let (store, worker) = (store.clone(), Some(worker));
        Ok(Some(self.start(address, store, store_name, worker, trials).await?))
    }

    /// The settings that were given, by their flags.
    fn given(&self) -> Option<String> {
        let flags = [
            ("--tokens", self.tokens.is_some()),
            ("--trusted-proxy", !self.trusted_proxies.is_empty()),
            ("--allow-host", !self.allow_hosts.is_empty()),
            ("--read-only", self.read_only),
            ("--redact", !self.redact.is_empty()),
            ("--trace-link", self.trace_link.is_some()),
        ];
        let given: Vec<_> = flags
            .iter()
            .filter(|(_, given)| *given)
            .map(|(flag, _)| *flag)
            .collect();
        (!given.is_empty()).then(|| given.join(", "))
    }

    /// Takes the port and serves, until [`Ui::end`].
    pub(super) async fn start(
        self,
        address: SocketAddr,
        store: Store,
        store_name: String,
        local: Option<Local>,
        trials: TrialSettings,
    ) -> anyhow::Result<Ui> {
        let settings = DashboardSettings {
            tokens: self.tokens.as_deref().map(tokens).transpose()?,
            proxies: Proxies::new(self.trusted_proxies, self.proxy_role),
            hosts: self.allow_hosts,
            read_only: self.read_only,
            redact: self.redact,
            trace_link: self.trace_link,
            trials: Some(trials),
            store_name,
            local_name: whoami(),
        };
        let dashboard = Dashboard::new(settings, store, local);
        dashboard.may_listen(address).map_err(Usage)?;
        let listener = Listener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        let (address, end) = (listener.address()?, CancellationToken::new());
        tracing::info!(%address, "the dashboard is at http://{address}/");
        let serving = tokio::spawn(dashboard.serve(listener, end.clone()));
        Ok(Ui { end, serving })
    }
}

impl Ui {
    pub(super) async fn end(self) {
        self.end.cancel();
        if let Err(err) = self.serving.await {
            tracing::error!(%err, "the dashboard ended early");
        }
    }
}

/// A name as browsers ask for it.
fn host_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || !text.chars().all(fits) {
        return Err("expected a name alone, such as kiln.example.com: no scheme, port or path".to_owned());
    }
    Ok(text.to_owned())
}

fn tokens(path: &Path) -> Result<Tokens, Usage> {
    let wrong = |why: String| Usage(format!("{}: {why}", shown(path)));
    let bytes = file::read(path, MAX_TOKENS_BYTES).map_err(|err| wrong(err.to_string()))?;
    let others_may_read = std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o004 != 0);
    if others_may_read {
        return Err(wrong(
            "everybody on this machine may read these tokens: chmod o-r".to_owned(),
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text".to_owned()))?;
    Tokens::parse(&text).map_err(wrong)
}

fn trace_link(text: &str) -> Result<String, &'static str> {
    check_trace_link(text).map(|()| text.to_owned())
}

fn path(text: &str) -> Result<String, String> {
    let (first, _) = text.split_once('.').unwrap_or((text, ""));
    if !["payload", "metadata", "result"].contains(&first) || text.split('.').any(str::is_empty) {
        return Err("a path begins with payload, metadata or result, as payload.card.number does".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_allowed_is_a_name_alone() {
        assert_eq!(host_name("kiln.example.com").as_deref(), Ok("kiln.example.com"));
        for wrong in ["", "http://x/", "x/", "x:8080", "*.x", "a b"] {
            assert!(host_name(wrong).is_err(), "{wrong}");
        }
    }
}
