//! What handlers can reach beyond their own memory: each capability is one folder, and this is the list of them.
//!
//! | capability | its part of the manifest | what it offers |
//! |---|---|---|
//! | `base` | | standard streams, clocks, random numbers; sockets without anything in them |
//! | `files` | | `wasi:filesystem`: a `/tmp` in memory |
//! | `context` | | `kiln:job/context`: progress, the time left, whether the host shuts down |
//! | `log` | | `wasi:logging`, and where progress reports go |
//! | `config` | `[config]` | `wasi:config` |
//! | `env` | `[grants.env]` | the environment |
//! | `secrets` | `[grants.secrets]` | values in the environment, in headers of requests, and in their signatures |
//! | `http` | `[[grants.http]]` | `wasi:http/outgoing-handler`, `kiln:http/client` |
//! | `jobs` | `[grants.jobs]` | `kiln:flow/jobs` |
//! | `state` | `[grants.state.NAME]` | `kiln:state/values`, `wasi:keyvalue` |
//! | `tcp` | `[[grants.tcp]]` | `kiln:tcp/connections`, `wasi:sockets/tcp` |
//!
//! A folder holds all of its capability: what its grant looks like and what is wrong with one, the limits it enforces,
//! the imports that it offers, what it links, its state in an attempt, and the words of its denial. It knows neither
//! the engine's store nor the other capabilities in it: [`link`] tells it where in an attempt's data its own part is.
//! So it can be tested alone. Three know others: `context` reports through `log`; `secrets` shares its names with `env`,
//! fills in the headers of `http` and signs its requests; `tcp` waits for what `http` waits for, too. `network` is no
//! capability: those that connect do so through it.
//!
//! To add one: a folder, and here its line in [`ALL`], in [`link`], and in the two structs, as far as it keeps anything for
//! a plugin ([`Granted`]) or for an attempt ([`Capabilities`]).

mod base;
mod config;
mod context;
mod denied;
mod env;
mod error;
mod files;
mod http;
mod jobs;
mod log;
mod network;
mod offer;
mod secrets;
mod state;
mod tcp;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::WasiView;

use crate::config::{Grants, Limit, Limits, Manifest, SandboxSettings};
use crate::job::{TraceContext, trace_context};
use crate::outcome::{Asked, Report};
use crate::recording::Tape;
use crate::sandbox::bindings::exports::kiln::job::handler::Job;
use crate::sandbox::run::context::Listener;
use crate::sandbox::run::deadline::Deadline;
use crate::sandbox::run::holdings::Holdings;
pub(super) use denied::{Denied, LateDenial};
pub use error::GrantError;
pub(super) use files::View as FilesView;
pub use http::{HttpGrant, HttpGrants, Origin};
pub(super) use http::{HttpHost, View as HttpView};
pub use offer::Offer;
use offer::{Interfaces, Match};
pub use state::granted_buckets;

/// A capability, as far as it is known before any plugin is loaded.
struct Capability {
    /// Its key below `[grants]`; none: it is there without a grant.
    key: Option<&'static str>,
    /// The imports that it serves, or has a part in.
    offers: &'static [Interfaces],
    /// What a manifest grants of it, each in one line; or what is wrong there.
    granted: fn(&Grants) -> Result<Vec<String>, String>,
}

/// Every capability. Where several offer one import, the first in the list says how it is met.
const ALL: &[Capability] = &[
    always(base::OFFERS),
    always(files::OFFERS),
    always(context::OFFERS),
    always(log::OFFERS),
    always(config::OFFERS),
    by_grant(env::KEY, env::OFFERS, env::granted),
    by_grant(secrets::KEY, secrets::OFFERS, secrets::granted),
    by_grant(http::KEY, http::OFFERS, http::granted),
    by_grant(jobs::KEY, jobs::OFFERS, jobs::granted),
    by_grant(state::KEY, state::OFFERS, state::granted),
    by_grant(tcp::KEY, tcp::OFFERS, tcp::granted),
];

/// Adds the imports of every capability to a linker.
pub(super) fn link<T: Host>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    base::link(linker)?;
    files::link(linker, T::files_view)?;
    context::link(linker, |host| {
        let Parts { granted, attempt, .. } = host.parts();
        let log = attempt.log.view(&granted.log);
        context::View {
            context: &mut attempt.context,
            log,
        }
    })?;
    log::link(linker, |host| {
        let Parts { granted, attempt, .. } = host.parts();
        attempt.log.view(&granted.log)
    })?;
    config::link(linker, |host| config::Values(&host.parts().granted.config))?;
    jobs::link(linker, |host| {
        let Parts { granted, attempt, .. } = host.parts();
        attempt.jobs.view(&granted.jobs)
    })?;
    state::link(
        linker,
        |host| {
            let Parts { granted, attempt, .. } = host.parts();
            attempt.state.view(&granted.state)
        },
        |host| {
            let Parts {
                granted,
                attempt,
                table,
                ..
            } = host.parts();
            let view = attempt.state.view(&granted.state);
            state::Opened { view, table }
        },
    )?;
    tcp::link(linker, |host| {
        let Parts {
            granted,
            attempt,
            table,
            holdings,
        } = host.parts();
        tcp::View {
            rules: &granted.tcp,
            attempt: &mut attempt.tcp,
            exchanges: &mut attempt.http.exchanges,
            table,
            holdings,
        }
    })?;
    http::link(linker)
}

/// A plugin's part of every capability: the same for all of its attempts.
pub(super) struct Granted {
    log: log::LogRules,
    config: BTreeMap<String, String>,
    /// Its environment: what `env` grants, and `secrets`.
    variables: Vec<(String, String)>,
    pub(super) http: Arc<http::HttpRules>,
    jobs: jobs::JobsRules,
    state: state::StateRules,
    tcp: Arc<tcp::TcpRules>,
}

/// Whose grants they are.
pub(super) struct Grantee<'a> {
    /// The plugin's name.
    pub(super) name: &'a str,
    /// SHA-256 of its bytes, hexadecimal.
    pub(super) digest: &'a str,
    pub(super) limits: &'a Limits,
}

impl Granted {
    /// Reads a manifest, and looks up what it names.
    pub(super) fn read(
        grantee: &Grantee<'_>,
        manifest: &Manifest,
        settings: &SandboxSettings,
    ) -> Result<Self, GrantError> {
        let (grants, limits) = (&manifest.grants, grantee.limits);
        check(grants)?;
        let offline = settings.egress.tape.as_ref().is_some_and(Tape::is_offline);
        let secrets = secrets::Secrets::find(grants, settings.secrets_dir.as_deref(), offline)?;
        let variables = env::variables(grants).map_err(GrantError::Wrong)?;
        let variables = variables
            .into_iter()
            .chain(secrets.variables().iter().cloned())
            .collect();
        let state = state::StateRules::new(grantee.name, grants, limits, settings.state.clone());
        let egress = &settings.egress;
        let network = Arc::new(network::Network::new(settings.resolver.clone(), egress.proxy.clone()));
        let http = http::HttpRules::new(grants, limits, &network, egress).map_err(GrantError::Wrong)?;
        let tcp = tcp::TcpRules::new(grants, limits, &network, egress).map_err(GrantError::Wrong)?;
        Ok(Self {
            log: log::LogRules::new(grantee.name, grantee.digest, limits),
            config: manifest.config.clone(),
            variables,
            http: Arc::new(http.with(Arc::new(secrets))),
            jobs: jobs::JobsRules::new(grants, limits).map_err(GrantError::Wrong)?,
            state: state.map_err(GrantError::Wrong)?,
            tcp: Arc::new(tcp),
        })
    }
}

impl Granted {
    /// Connections that one attempt may have open at once.
    pub(super) fn connections(&self, limits: &Limits) -> u64 {
        let kinds = [
            (self.http.grant_any(), Limit::HttpConnections),
            (self.tcp.grant_any(), Limit::TcpConnections),
        ];
        kinds
            .iter()
            .filter(|(granted, _)| *granted)
            .map(|(_, limit)| limits.get(*limit))
            .sum()
    }
}

/// An attempt's part of every capability.
pub(super) struct Capabilities {
    /// None where the plugin is granted no connection.
    outbound: Option<network::Outbound>,
    pub(super) base: base::Base,
    context: context::Context,
    log: log::Log,
    pub(super) http: http::Http,
    jobs: jobs::Jobs,
    state: state::State,
    tcp: tcp::Tcp,
    pub(super) files: files::Files,
}

/// What an attempt begins with.
pub(super) struct Beginning<'a> {
    pub(super) job: &'a Job,
    pub(super) deadline: Deadline,
    pub(super) draining: &'a Arc<CancellationToken>,
    pub(super) listener: Option<&'a Arc<dyn Listener>>,
    /// The attempt's span, if one is told of; else the job's trace is its producer's.
    pub(super) span: Option<&'a TraceContext>,
    /// Where guests' I/O is done.
    pub(super) io: &'a Handle,
}

impl Beginning<'_> {
    fn trace(&self) -> Option<TraceContext> {
        self.span.cloned().or_else(|| trace_context(&self.job.metadata))
    }

    fn outbound(&self, granted: &Granted) -> Option<network::Outbound> {
        let any = granted.http.grant_any() || granted.tcp.grant_any();
        any.then(|| network::Outbound {
            io: self.io.clone(),
            deadline: self.deadline,
            late_denial: LateDenial::default(),
            trace: granted.http.trace_any().then(|| self.trace()).flatten().map(Arc::new),
        })
    }
}

impl Capabilities {
    pub(super) fn begin(granted: &Granted, limits: &Limits, beginning: &Beginning<'_>) -> Self {
        let outbound = beginning.outbound(granted);
        Self {
            base: base::Base::new(limits, &granted.variables),
            context: context::Context::new(beginning.deadline, Arc::clone(beginning.draining)),
            log: log::Log::new(beginning.job, beginning.listener.cloned()),
            http: http::Http::new(&granted.http, outbound.as_ref()),
            jobs: jobs::Jobs::new(&granted.jobs, beginning.job),
            state: state::State::default(),
            tcp: tcp::Tcp::new(&granted.tcp, outbound.as_ref()),
            outbound,
            files: files::Files::default(),
        }
    }

    /// Prepares them for another attempt in the same instance: data that the guest may hold on to stays, counters begin
    /// anew.
    pub(super) fn renew(&mut self, granted: &Granted, beginning: &Beginning<'_>) {
        self.context = context::Context::new(beginning.deadline, Arc::clone(beginning.draining));
        self.log = log::Log::new(beginning.job, beginning.listener.cloned());
        self.outbound = beginning.outbound(granted);
        self.http.renew(&granted.http, self.outbound.as_ref());
        self.jobs = jobs::Jobs::new(&granted.jobs, beginning.job);
        self.state = state::State::default();
        self.tcp.renew(&granted.tcp, self.outbound.as_ref());
    }

    /// Closes connections, before the instance serves another attempt.
    pub(super) fn close_connections(&mut self) {
        self.tcp.close_all();
    }

    /// Lets go of what belongs to one attempt alone, before the instance waits for another.
    pub(super) fn close(&mut self) {
        self.files.clear();
    }

    /// The late denials of this attempt, which end it while its guest waits. None where there can be none.
    pub(super) fn late_denial(&self) -> Option<LateDenial> {
        self.outbound.as_ref().map(|outbound| outbound.late_denial.clone())
    }

    /// What the handler has asked for when its job is acknowledged.
    pub(super) fn take_asked(&mut self) -> Asked {
        Asked {
            writes: self.state.take_writes(),
            follow_ups: self.jobs.take(),
        }
    }

    /// Adds to a report what became of an attempt.
    pub(super) fn report(&self, report: &mut Report) {
        self.base.report(report);
        self.context.report(report);
        self.log.report(report);
        self.http.report(report);
        self.tcp.report(report);
    }
}

/// The data of an attempt's store, as far as capabilities are concerned.
pub(super) trait Host: WasiView + HttpHost {
    fn parts(&mut self) -> Parts<'_>;

    /// The attempt's files.
    fn files_view(&mut self) -> FilesView<'_>;
}

/// What capabilities share the data of.
pub(super) struct Parts<'a> {
    /// The plugin's part of them.
    pub(super) granted: &'a Granted,
    /// The attempt's part of them.
    pub(super) attempt: &'a mut Capabilities,
    /// The attempt's handles.
    pub(super) table: &'a mut ResourceTable,
    /// What the attempt is charged for.
    pub(super) holdings: &'a mut Holdings,
}

/// Refuses grants that are wrong.
pub(super) fn check(grants: &Grants) -> Result<(), GrantError> {
    granted_lines(grants).map(|_| ()).map_err(GrantError::Wrong)
}

/// What a manifest grants, by capability: the key below `[grants]`, and a line for each thing.
///
/// # Errors
/// Where the grants are wrong, what is, and what was expected: one line.
pub fn granted_lines(grants: &Grants) -> Result<Vec<(&'static str, Vec<String>)>, String> {
    let keys: Vec<_> = ALL.iter().filter_map(|capability| capability.key).collect();
    grants.allow_only(&keys)?;
    let of = |capability: &Capability| Some((capability.key?, (capability.granted)(grants)));
    let all = ALL.iter().filter_map(of);
    all.map(|(key, lines)| Ok((key, lines?))).collect()
}

/// How an import is met.
pub(super) fn offer(import: &str) -> Offer {
    let mut near = Offer::Never;
    for interfaces in ALL.iter().flat_map(|capability| capability.offers) {
        match interfaces.serve(import) {
            Match::Served => return interfaces.offer,
            Match::OtherVersion => near = Offer::OtherVersion(interfaces.version),
            Match::No => {}
        }
    }
    near
}

/// What a manifest grants of an import, each in one line. Nothing where its grants are wrong.
pub(super) fn granted_of(import: &str, grants: &Grants) -> Vec<String> {
    let serves = |interfaces: &Interfaces| {
        matches!(interfaces.offer, Offer::ByGrant(_)) && interfaces.serve(import) == Match::Served
    };
    let serving = ALL.iter().filter(|capability| capability.offers.iter().any(serves));
    serving
        .flat_map(|capability| (capability.granted)(grants).unwrap_or_default())
        .collect()
}

const fn always(offers: &'static [Interfaces]) -> Capability {
    Capability {
        key: None,
        offers,
        granted: |_| Ok(Vec::new()),
    }
}

const fn by_grant(
    key: &'static str,
    offers: &'static [Interfaces],
    granted: fn(&Grants) -> Result<Vec<String>, String>,
) -> Capability {
    Capability {
        key: Some(key),
        offers,
        granted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_version_is_offered_and_a_draft_is_not() {
        assert_eq!(offer("wasi:io/poll@0.2.6"), Offer::Always);
        assert_eq!(offer("wasi:http/outgoing-handler@0.2.0"), Offer::ByGrant("http"));
        assert_eq!(offer("wasi:cli/environment@0.2.0"), Offer::ByGrant("env"));
        assert_eq!(offer("wasi:sockets/tcp@0.2.3"), Offer::ByGrant("tcp"));
        assert_eq!(offer("wasi:sockets/udp@0.2.3"), Offer::Empty);
        for other in ["wasi:io/poll@0.3.0", "wasi:io/poll@0.2.0-rc", "wasi:io/poll"] {
            assert_eq!(offer(other), Offer::OtherVersion("0.2"), "{other}");
        }
        assert_eq!(offer("wasi:keyvalue/store@0.2.0"), Offer::OtherVersion("0.2.0-draft2"));
        for other in ["wasi:io/pool@0.2.0", "f"] {
            assert_eq!(offer(other), Offer::Never, "{other}");
        }
    }

    #[test]
    fn a_grant_that_no_capability_has_is_named() {
        let grants = Grants::of("[grants]\nhttps = []");
        let why = "line 2, column 1: unknown grant `https`, expected `env`, `secrets`, `http`, `jobs`, `state`, `tcp`";
        assert_eq!(check(&grants), Err(GrantError::Wrong(why.to_owned())));
    }

    #[test]
    fn an_import_shows_what_every_capability_with_a_part_in_it_is_granted() {
        let grants = Grants::of("[grants]\nenv.A = \"1\"\nsecrets.B.expose = \"value\"\nhttp = []");
        let shown = granted_of("wasi:cli/environment@0.2.0", &grants);
        assert_eq!(shown, ["A", "B (secret, its value)"]);
        assert!(granted_of("wasi:http/outgoing-handler@0.2.0", &grants).is_empty());
    }
}
