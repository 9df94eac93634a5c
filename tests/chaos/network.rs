//! The network between the workers and Redis, and its bad weather.
//!
//! What is sent is never lost while its connection lives, as in TCP: after a black-out it arrives late, even if whoever
//! sent it has given up and gone.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::proxy::Proxy;

pub(crate) struct Network {
    proxy: Proxy,
    /// Held while the weather is bad: one kind at a time.
    turn: Mutex<()>,
    fair: AtomicBool,
}

impl Network {
    pub(crate) fn start(server: u16) -> anyhow::Result<Self> {
        Ok(Self {
            proxy: Proxy::start(server)?,
            turn: Mutex::default(),
            fair: AtomicBool::new(true),
        })
    }

    pub(crate) fn url(&self) -> String {
        self.proxy.url()
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        self.proxy.cut();
    }

    /// Closes every connection within its next reply, after so many bytes of it.
    pub(crate) fn tear(&self, bytes: usize) {
        self.proxy.cut_mid_reply(bytes);
    }

    /// Each way takes this much longer.
    pub(crate) async fn slow(&self, by: Duration, lasting: Duration) {
        let _turn = self.turn.lock().await;
        self.fair.store(false, SeqCst);
        self.proxy.delay(by);
        sleep(lasting).await;
        self.proxy.delay(Duration::ZERO);
        self.fair.store(true, SeqCst);
    }

    /// Nothing arrives.
    pub(crate) async fn dark(&self, lasting: Duration) {
        let _turn = self.turn.lock().await;
        self.fair.store(false, SeqCst);
        self.proxy.hold();
        sleep(lasting).await;
        self.proxy.resume();
        self.fair.store(true, SeqCst);
    }

    pub(crate) fn is_fair(&self) -> bool {
        self.fair.load(SeqCst)
    }
}
