//! The dashboard: pages and an API for operators, over one store.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::{Router, middleware};
use tokio_util::sync::CancellationToken;

use super::guard::{Guard, Proxies, Tokens, guard};
use super::listener::{Bounds, Listener};
use super::live::{Local, Sampler};
use super::redaction::Redaction;
use super::room::Room;
use super::trials::{TrialSettings, Trials};
use super::{api, events, pages};
use crate::admin::bulk::Bulks;
use crate::admin::index::FailedIndex;
use crate::queue::Store;

/// Who may see and do what.
#[derive(Debug, Default)]
pub struct DashboardSettings {
    /// The tokens that let somebody in; none: whoever reaches the address is let in.
    pub tokens: Option<Tokens>,
    /// The proxies that say who asks.
    pub proxies: Option<Proxies>,
    /// Names under which it may be asked, beside addresses and localhost.
    pub hosts: Vec<String>,
    /// Whether nothing can be changed.
    pub read_only: bool,
    /// Paths in a job whose values are not shown, like `payload.card.number`.
    pub redact: Vec<String>,
    /// Where a trace can be looked at: [`check_trace_link`](super::check_trace_link) takes it.
    pub trace_link: Option<String>,
    /// What failed jobs are tried in on request. None: they are not.
    pub trials: Option<TrialSettings>,
    /// The store's address as it may be shown.
    pub store_name: String,
    /// What whoever needs no token is called.
    pub local_name: String,
}

/// A dashboard that is not served yet.
pub struct Dashboard {
    room: Arc<Room>,
    guard: Arc<Guard>,
}

impl Dashboard {
    /// A dashboard over a store; `local` is the worker in this process, if there is one.
    #[must_use]
    pub fn new(settings: DashboardSettings, store: Store, local: Option<Local>) -> Self {
        let guard = Arc::new(Guard {
            tokens: settings.tokens,
            proxies: settings.proxies,
            hosts: settings.hosts,
            read_only: settings.read_only,
            local: settings.local_name,
            ..Guard::default()
        });
        let room = Arc::new(Room {
            index: Arc::new(FailedIndex::new(store.clone())),
            store,
            store_name: settings.store_name,
            sampler: Arc::new(Sampler::default()),
            bulks: Arc::new(Bulks::default()),
            trials: Trials::new(settings.trials),
            guard: Arc::clone(&guard),
            redaction: Redaction::new(&settings.redact),
            trace_link: settings.trace_link,
            local,
        });
        Self { room, guard }
    }

    /// Whether it may be served there with its settings.
    ///
    /// # Errors
    /// When others than this machine could ask without a token.
    pub fn may_listen(&self, address: SocketAddr) -> Result<(), String> {
        self.guard.may_listen(address)
    }

    /// Serves until `end`. The store is asked only while somebody looks.
    pub async fn serve(self, listener: Listener, end: CancellationToken) {
        let Self { room, guard: guards } = self;
        let sampling = Arc::clone(&room.sampler).run(room.store.clone(), room.local.clone(), end.clone());
        let following = Arc::clone(&room.sampler).follow(Arc::clone(&room.index), Arc::clone(&room.bulks), end.clone());
        let sampler = Arc::clone(&room.sampler);
        let router = Router::new()
            .merge(pages::router())
            .nest("/api/v1", api::router())
            .merge(events::router(end.clone()))
            .fallback(pages::nothing)
            .with_state(room)
            .layer(middleware::from_fn_with_state(Arc::clone(&sampler), wake))
            .layer(middleware::from_fn(pages::as_page))
            .layer(middleware::from_fn_with_state(guards, guard));
        tokio::join!(
            sampling,
            following,
            listener.serve_within(Bounds::DASHBOARD, router, end)
        );
    }
}

/// Has the store looked at before anything else is asked of it, after nobody has looked for a while: connections that broke
/// meanwhile are found out by that look, and not by whoever asks.
async fn wake(State(sampler): State<Arc<Sampler>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if !path.starts_with("/assets/") && path != "/login" && sampler.rests() {
        sampler.latest().await;
    }
    next.run(request).await
}
