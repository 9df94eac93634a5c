//! Waiting for connections. Their clocks run only while their guest waits: a guest that computes is not timed.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::connection::Connection;

/// A connection. The streams of `wasi:sockets` have it, too.
pub(super) type Shared = Arc<Mutex<Connection>>;

/// Stops the clocks of a connection when it is dropped, which it is when the guest waits no more.
pub(super) struct Waiting(Shared);

impl Waiting {
    pub(super) fn begin(connection: &Shared) -> Self {
        Self(Arc::clone(connection))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.lock().pause();
    }
}

/// Waits for what is polled.
pub(super) async fn wait_for<T>(
    connection: &Shared,
    mut poll: impl FnMut(&mut Connection, &mut Context<'_>) -> Poll<T>,
) -> T {
    let _waiting = Waiting::begin(connection);
    poll_fn(|cx| poll(&mut connection.lock(), cx)).await
}

/// Polls what the guest will wait for by other means.
pub(super) fn at_once<T>(
    connection: &mut Connection,
    poll: impl FnOnce(&mut Connection, &mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    let polled = poll(connection, &mut Context::from_waker(Waker::noop()));
    connection.pause();
    polled
}
