//! Tells somebody that something is wrong: the failed list grows, a queue's next job is old, a plugin is set aside, a schedule
//! has had no success for too long. And pings a URL while all is well, for whoever notices that nobody is left to tell.
//!
//! Each worker looks for itself. Who tells is decided in the store: the first to claim an alert tells of it, and nobody else
//! does until its cool-down is over. So a fleet tells once, whichever of its workers live. A claim is short until the alert is
//! told: if whoever holds it dies, another tells.

mod look;
mod send;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Vitals;
use crate::queue::{QueueError, Store};
use look::{Growth, look};
use send::Target;

/// Time between two looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Time between two pings of the heartbeat's URL.
pub const PING_EVERY: Duration = Duration::from_mins(1);

/// How long a claim lasts while it is being told: longer than a request and a command may take.
const TELLING_TIME: Duration = Duration::from_secs(45);

/// Time that a look may take.
const LOOK_TIME: Duration = Duration::from_secs(5);

/// What is told, and to whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertSettings {
    /// Where alerts are posted to.
    pub webhook: Option<String>,
    /// The program that is run for each alert.
    pub command: Option<String>,
    /// By how many entries the failed list may grow within which time; none: nobody looks.
    pub failed: Option<(u64, Duration)>,
    /// How long the next job of a queue may have been due; none: nobody looks.
    pub oldest: Option<Duration>,
    /// For how long an alert is not told again.
    pub cooldown: Duration,
    /// The URL that is asked for while all is well.
    pub heartbeat: Option<String>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// What, in a form that stays the same as long as it is wrong: `failed`, `oldest:QUEUE`, `aside:PLUGIN`,
    /// `schedule:PLUGIN/ID`.
    pub alert: String,
    /// The same in a sentence for people, one line.
    pub text: String,
    /// The worker that tells.
    pub host: String,
    /// When it looked, RFC 3339.
    pub at: String,
}

/// Looks, and tells.
#[derive(Debug)]
pub struct Alerts {
    settings: AlertSettings,
    target: Arc<Target>,
    every: Duration,
}

impl Alerts {
    /// Tells as these settings say; none: there is nothing to tell, or nobody to tell it to.
    ///
    /// # Errors
    /// When a URL is none.
    pub fn new(settings: AlertSettings) -> Result<Option<Self>, String> {
        let target = Target::new(&settings)?;
        if target.is_nobody() {
            return Ok(None);
        }
        Ok(Some(Self {
            settings,
            target: Arc::new(target),
            every: LOOK_EVERY,
        }))
    }

    /// Looks as often as this.
    #[must_use]
    pub fn looking_every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// Looks and tells until it is stopped. No job depends on it: a store that fails is asked again at the next look.
    pub async fn watch(self, store: Store, vitals: Arc<Vitals>, stop: CancellationToken) {
        let watching = async {
            vitals.joined().await;
            let mut growth = Growth::default();
            loop {
                match self.look_once(&store, &vitals, &mut growth).await {
                    Ok(true) if vitals.is_alive() => self.ping(&store).await,
                    Ok(_) => {}
                    Err(err) => tracing::debug!(%err, "the store does not tell what is wrong for now"),
                }
                sleep(self.every).await;
            }
        };
        stop.run_until_cancelled(watching).await;
    }

    /// Looks once, and tells what is wrong and not told of yet. Returns whether all is well.
    async fn look_once(&self, store: &Store, vitals: &Vitals, growth: &mut Growth) -> Result<bool, QueueError> {
        let Some(serving) = vitals.serving() else {
            return Ok(false);
        };
        let Ok(found) = timeout(LOOK_TIME, look(&self.settings, store, serving, growth)).await else {
            return Ok(false);
        };
        let found = found?;
        let host = serving.consumer.host();
        for (alert, text) in &found {
            if !self.target.takes_alerts() || !store.claim_alert(alert, TELLING_TIME).await? {
                continue;
            }
            tracing::warn!(alert, text, "alert");
            let told = Alert {
                alert: alert.clone(),
                text: text.clone(),
                host: host.to_owned(),
                at: Timestamp::now().to_string(),
            };
            let target = Arc::clone(&self.target);
            let sent = tokio::task::spawn_blocking(move || target.tell(&told)).await;
            let sent = sent.unwrap_or_else(|err| Err(err.to_string()));
            if let Err(why) = &sent {
                tracing::error!(alert, why, "the alert could not be told; trying again");
            }
            // Where it was not told, whoever looks next tells of it; where its teller died, soon after.
            let quiet = if sent.is_ok() {
                self.settings.cooldown
            } else {
                Duration::ZERO
            };
            store.hold_alert(alert, quiet).await?;
        }
        Ok(found.is_empty())
    }

    async fn ping(&self, store: &Store) {
        // A little less than the time between two pings: else every second look would come too early.
        let lasts = PING_EVERY.min(self.every * 6).mul_f64(0.9);
        if !self.target.pings() || !matches!(store.claim_alert("heartbeat", lasts).await, Ok(true)) {
            return;
        }
        let target = Arc::clone(&self.target);
        let pinged = tokio::task::spawn_blocking(move || target.ping()).await;
        if let Err(why) = pinged.unwrap_or_else(|err| Err(err.to_string())) {
            tracing::warn!(why, "the heartbeat's URL does not answer");
        }
    }
}

/// What is wrong, by the alert's name: what it says.
type Wrong = BTreeMap<String, String>;
