//! Connections under tokio's traits, and what runs the clients that are built on those.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Stream, Way};
use crate::raw::kiln::tcp::connections;

thread_local! {
    /// The connections that futures wait for, to read and to write, and what has those polled again. There is one thread.
    static AWAITED: RefCell<[BTreeMap<u32, Waker>; 2]> = RefCell::default();
}

/// Runs a future to its end. Beside what is awake already, it waits for [`Stream`]s, and for nothing else: what it is made of
/// must not need a runtime, such as tokio's timers do.
///
/// # Panics
/// When the future waits for something else: that would be for ever.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    // What an earlier one has left.
    AWAITED.take();
    let mut future = pin!(future);
    let awake = Arc::new(Awake::default());
    let waker = Waker::from(Arc::clone(&awake));
    loop {
        awake.0.store(false, Ordering::Relaxed);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        if awake.0.load(Ordering::Relaxed) {
            continue;
        }
        let awaited = AWAITED.take();
        let [readable, writable] = awaited
            .each_ref()
            .map(|awaited| Vec::from_iter(awaited.keys().copied()));
        assert!(
            !readable.is_empty() || !writable.is_empty(),
            "a future waits, and for no connection"
        );
        connections::wait(&readable, &writable, &[], None);
        // All of them: what is not ready waits again. Futures within others are polled only if their own waker says so.
        awaited
            .into_iter()
            .flat_map(BTreeMap::into_values)
            .for_each(Waker::wake);
    }
}

/// Whether the future is to be polled again.
#[derive(Default)]
struct Awake(AtomicBool);

impl Wake for Awake {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stream {
    /// Whether it is ready; if not, [`block_on`] waits for it.
    fn poll_ready(&self, to: Way, context: &Context<'_>) -> Poll<()> {
        if self.is_ready(to, Duration::ZERO) {
            return Poll::Ready(());
        }
        AWAITED.with_borrow_mut(|awaited| awaited[to as usize].insert(self.number, context.waker().clone()));
        Poll::Pending
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        std::task::ready!(self.poll_ready(Way::Read, context));
        let size = self.read_some(into.initialize_unfilled())?;
        into.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        std::task::ready!(self.poll_ready(Way::Write, context));
        Poll::Ready(self.write_some(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish())
    }
}
