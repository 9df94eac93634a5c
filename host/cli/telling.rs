//! What tells of a worker while it runs: it answers probes and Prometheus over HTTP, and sends to receivers of OTLP.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::receivers::{MetricArgs, TraceArgs};
use crate::events::Events;
use crate::observe::{Metrics, Receiver, Reporter, Vitals};
use crate::queue::QueueName;
use crate::web::{self, Listener};

/// Whoever is told of a worker.
pub(super) struct Telling {
    /// Whether it is counted what happens.
    pub(super) counts: bool,
    web: Option<Web>,
    receivers: Receivers,
}

impl Telling {
    /// Takes the port, and begins to count and to send, each where it is wanted.
    pub(super) async fn start(
        listen: Option<SocketAddr>,
        (traces, metrics): (&TraceArgs, &MetricArgs),
        queues: &[(QueueName, NonZeroU32)],
        vitals: &Arc<Vitals>,
        events: &Events,
    ) -> anyhow::Result<Self> {
        let counted = (listen.is_some() || metrics.are_sent()).then(|| {
            let queues = queues.iter().map(|(queue, _)| queue);
            let counted = Arc::new(Metrics::new(queues, Arc::clone(vitals)));
            events.subscribe(&counted);
            counted
        });
        let receivers = Receivers {
            traces: traces.start(events, counted.clone())?,
            metrics: metrics.start(counted.as_ref())?,
        };
        let web = match (listen, &counted) {
            (Some(address), Some(counted)) => Some(Web::start(address, vitals, counted).await?),
            _ => None,
        };
        Ok(Self {
            counts: counted.is_some(),
            web,
            receivers,
        })
    }

    /// Answers nobody any more, and sends what is left to tell.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        if let Some(web) = self.web {
            web.end().await;
        }
        Ok(tokio::task::spawn_blocking(move || self.receivers.end()).await?)
    }
}

/// What answers over HTTP.
struct Web {
    end: CancellationToken,
    serving: JoinHandle<()>,
}

impl Web {
    async fn start(address: SocketAddr, vitals: &Arc<Vitals>, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let listener = Listener::bind(address).await;
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        tracing::info!(address = %listener.address()?, "listening");
        let end = CancellationToken::new();
        let router = web::worker(Arc::clone(vitals), Arc::clone(metrics));
        let serving = tokio::spawn(listener.serve(router, end.clone()));
        Ok(Self { end, serving })
    }

    async fn end(self) {
        self.end.cancel();
        if let Err(err) = self.serving.await {
            tracing::error!(%err, "the listener ended early");
        }
    }
}

/// The receivers of OTLP.
struct Receivers {
    traces: Option<Arc<Receiver>>,
    metrics: Option<Reporter>,
}

impl Receivers {
    /// Tells both the last of it, for two seconds at most.
    fn end(&self) {
        thread::scope(|scope| {
            if let Some(metrics) = &self.metrics {
                scope.spawn(|| metrics.end());
            }
            if let Some(traces) = &self.traces {
                traces.end();
            }
        });
    }
}
