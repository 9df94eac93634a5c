//! The flags of `kiln worker` about alerts; in a file of settings, the keys of `[alert]`.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::Usage;
use super::store::positive_duration;
use crate::observe::{AlertSettings, Alerts, Vitals};
use crate::queue::Store;

/// What is told when something is wrong, and to whom.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Alerts (in a file of settings, the keys of [alert])")]
pub(super) struct AlertArgs {
    /// Post each alert to this URL, as JSON with its `text` [default: none]
    #[arg(
        id = "alert_webhook",
        long = "alert-webhook",
        env = "KILN_ALERT_WEBHOOK",
        value_name = "URL"
    )]
    webhook: Option<String>,
    /// Run this program for each alert, with `KILN_ALERT` and `KILN_ALERT_TEXT` in its environment and the JSON on its standard
    /// input [default: none]
    #[arg(long = "alert-command", env = "KILN_ALERT_COMMAND", value_name = "PROGRAM")]
    command: Option<String>,
    /// Tell when the failed list grows by so many entries within so long
    #[arg(long = "alert-failed", env = "KILN_ALERT_FAILED", default_value = "100/10m", value_parser = growth, value_name = "N/DURATION")]
    failed: (u64, Duration),
    /// Tell when the next job of a queue has been due for so long
    #[arg(long = "alert-oldest", env = "KILN_ALERT_OLDEST", default_value = "10m", value_parser = positive_duration, value_name = "DURATION")]
    oldest: Duration,
    /// For how long an alert is not told again, by whichever worker
    #[arg(long = "alert-cooldown", env = "KILN_ALERT_COOLDOWN", default_value = "1h", value_parser = positive_duration, value_name = "DURATION")]
    cooldown: Duration,
    /// Ask for this URL once a minute while all is well: the service behind it notices when nobody does [default: none]
    #[arg(
        id = "alert_heartbeat",
        long = "alert-heartbeat",
        env = "KILN_ALERT_HEARTBEAT",
        value_name = "URL"
    )]
    heartbeat: Option<String>,
}

impl AlertArgs {
    /// Begins to look, if there is anybody to tell.
    pub(super) fn start(self, store: &Store, vitals: &Arc<Vitals>, stop: &CancellationToken) -> Result<(), Usage> {
        let settings = AlertSettings {
            webhook: self.webhook,
            command: self.command,
            failed: Some(self.failed),
            oldest: Some(self.oldest),
            cooldown: self.cooldown,
            heartbeat: self.heartbeat,
        };
        let alerts = Alerts::new(settings).map_err(|why| Usage(format!("--alert-{why}")))?;
        if let Some(alerts) = alerts {
            let watching = alerts.watch(store.clone(), Arc::clone(vitals), stop.clone());
            tokio::spawn(vitals.watch("alerts", watching));
        }
        Ok(())
    }
}

/// `100/10m`: by a hundred within ten minutes.
fn growth(text: &str) -> Result<(u64, Duration), String> {
    let wrong = || format!("{text:?}: write it like 100/10m");
    let (count, within) = text.split_once('/').ok_or_else(wrong)?;
    let count: u64 = count.parse().map_err(|_| wrong())?;
    if count == 0 {
        return Err("it must be 1 or more".to_owned());
    }
    Ok((count, positive_duration(within)?))
}
