//! Tells the service manager how the worker is, where one asks for it (`NOTIFY_SOCKET`).

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::spawn_blocking;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::observe::Vitals;

/// How many pings fit into the time after which the service manager takes the worker for dead.
const PINGS: u32 = 3;

/// Says `READY=1` once the worker has joined and `STOPPING=1` once it stops. Meanwhile and until dropped, it pings the
/// watchdog as long as the worker's loops go round.
pub(super) async fn tell(vitals: Arc<Vitals>, stop: CancellationToken) {
    if !is_asked() {
        return;
    }
    let (mut ready, mut stopping) = (false, false);
    let mut pings = sd_notify::watchdog_enabled().map(|patience| pings(patience / PINGS));
    loop {
        let state = tokio::select! {
            () = vitals.joined(), if !ready => {
                ready = true;
                NotifyState::Ready
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                NotifyState::Stopping
            }
            () = next(&mut pings) => {
                if !vitals.is_alive() {
                    continue;
                }
                NotifyState::Watchdog
            }
        };
        say(vec![state]).await;
    }
}

/// Says that a reload begins.
pub(super) async fn reloading() {
    // The service manager tells by its own clock which of two reloads was answered.
    if let Some(now) = is_asked().then(NotifyState::monotonic_usec_now).and_then(Result::ok) {
        say(vec![NotifyState::Reloading, now]).await;
    }
}

/// Says that the worker is ready, again, after a reload.
pub(super) async fn reloaded() {
    if is_asked() {
        say(vec![NotifyState::Ready]).await;
    }
}

fn is_asked() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

fn pings(every: Duration) -> Interval {
    // An interval of zero would panic.
    let mut pings = interval(every.max(Duration::from_millis(1)));
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

async fn next(pings: &mut Option<Interval>) {
    match pings {
        Some(pings) => _ = pings.tick().await,
        None => std::future::pending().await,
    }
}

/// Sends a message. Off the threads that serve the queue, since a manager that does not read makes it wait.
async fn say(state: Vec<NotifyState<'static>>) {
    let said = spawn_blocking(move || sd_notify::notify(&state)).await;
    if let Ok(Err(err)) = said {
        tracing::warn!(%err, "cannot tell the service manager");
    }
}
