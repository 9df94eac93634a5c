//! Threads that send: however slow a receiver is, no job waits for it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Time at the end for what still waits to be sent.
const END_TIME: Duration = Duration::from_secs(2);

/// A thread that sends. It is told in some other way when to end.
#[derive(Debug, Default)]
pub(in crate::observe) struct Sending {
    has_ended: Mutex<bool>,
    end: Condvar,
}

impl Sending {
    /// Starts the thread that sends `what`.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub(in crate::observe) fn start(what: &str, send_all: impl FnOnce() + Send + 'static) -> Result<Arc<Self>, String> {
        let sending = Arc::<Self>::default();
        let ending = Arc::clone(&sending);
        let started = thread::Builder::new().name(format!("kiln-{what}")).spawn(move || {
            send_all();
            *ending.has_ended.lock() = true;
            ending.end.notify_all();
        });
        started.map_err(|err| format!("cannot start a thread for {what}: {err}"))?;
        Ok(sending)
    }

    /// Waits for the thread to end, for two seconds at most. What is not sent by then is lost with the process.
    pub(in crate::observe) fn wait(&self) {
        let mut has_ended = self.has_ended.lock();
        self.end.wait_while_for(&mut has_ended, |ended| !*ended, END_TIME);
    }
}
