//! The two streams of a connected socket.

use std::task::Poll;

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::sandbox::bindings::kiln::tcp::connections::Error;
use crate::sandbox::capabilities::tcp::connection::Connection;
use crate::sandbox::capabilities::tcp::fault::Fault;
use crate::sandbox::capabilities::tcp::waiting::{Shared, at_once, wait_for};
use crate::sandbox::capabilities::tcp::wire::CHUNK_BYTES;

/// What comes by a connection.
pub(super) struct Reader(pub(super) Shared);

/// What goes by a connection, and how many bytes the guest may hand over now.
pub(super) struct Writer {
    connection: Shared,
    permit: usize,
}

impl Writer {
    pub(super) fn new(connection: Shared) -> Self {
        Self { connection, permit: 0 }
    }
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut connection = self.0.lock();
        match at_once(&mut connection, Connection::poll_readable) {
            Poll::Pending => Ok(Bytes::new()),
            Poll::Ready(Err(fault)) => Err(failed(fault)),
            Poll::Ready(Ok(())) => match connection.take(size) {
                [] => Err(StreamError::Closed),
                bytes => Ok(Bytes::copy_from_slice(bytes)),
            },
        }
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        // What went wrong is told by the call that follows.
        let _ = wait_for(&self.0, Connection::poll_readable).await;
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > std::mem::take(&mut self.permit) {
            return Err(StreamError::trap("cannot write more bytes than `check_write` allows"));
        }
        let mut connection = self.connection.lock();
        connection.queue(bytes).map_err(failed)?;
        match at_once(&mut connection, Connection::poll_flush) {
            Poll::Ready(Err(fault)) => Err(failed(fault)),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> StreamResult<()> {
        // All is sent as soon as there is room. Until then `check_write` allows nothing.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let mut connection = self.connection.lock();
        let writable = at_once(&mut connection, Connection::poll_writable);
        self.permit = match writable {
            _ if connection.is_finished() => return Err(StreamError::Closed),
            Poll::Pending => 0,
            Poll::Ready(Err(fault)) => return Err(failed(fault)),
            Poll::Ready(Ok(())) => CHUNK_BYTES,
        };
        Ok(self.permit)
    }

    /// Waits, when the guest drops the stream, until what it has written is sent.
    async fn cancel(&mut self) {
        let _ = wait_for(&self.connection, Connection::poll_flush).await;
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        let _ = wait_for(&self.connection, Connection::poll_writable).await;
    }
}

fn failed(fault: Fault) -> StreamError {
    StreamError::LastOperationFailed(wasmtime::Error::msg(Error::from(fault).message))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    use parking_lot::Mutex;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpSocket, TcpStream};
    use tokio::time::{Instant, sleep};
    use tokio_util::either::Either;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    /// A writer whose connection takes little at once, and its other end.
    async fn narrow(idle: Duration) -> (Writer, TcpStream) {
        let listener = TcpSocket::new_v4().unwrap();
        listener.set_recv_buffer_size(4096).unwrap();
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listener.listen(1).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        let stream = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let making = AbortOnDropHandle::new(tokio::spawn(async { Ok(Either::Left(stream)) }));
        let connection = Connection::new(making, idle, Arc::new(AtomicU64::new(u64::MAX)));
        let writer = Writer::new(Arc::new(Mutex::new(connection)));
        wait_for(&writer.connection, Connection::poll_connected).await.unwrap();
        (writer, listener.accept().await.unwrap().0)
    }

    /// Writes more than goes at once; returns how many bytes.
    fn fill(writer: &mut Writer) -> usize {
        let mut written = 0;
        loop {
            match writer.check_write().unwrap() {
                0 => return written,
                room => writer.write(vec![7; room].into()).unwrap(),
            }
            written += CHUNK_BYTES;
        }
    }

    #[tokio::test]
    async fn to_write_nothing_drops_nothing_that_is_still_to_be_sent() {
        let (mut writer, mut server) = narrow(Duration::from_secs(10)).await;
        let written = fill(&mut writer);
        writer.write(Bytes::new()).unwrap();
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            server.read_to_end(&mut read).await.map(|_| read.len())
        });
        writer.cancel().await;
        drop(writer);
        assert_eq!(reading.await.unwrap().unwrap(), written);
    }

    #[tokio::test]
    async fn a_server_that_takes_bytes_slowly_but_steadily_is_not_idle() {
        let idle = Duration::from_secs(1);
        let (mut writer, mut server) = narrow(idle).await;
        fill(&mut writer);
        let begun = Instant::now();
        let slowly = tokio::spawn(async move {
            let mut taken = [0; 4096];
            while server.read(&mut taken).await? > 0 {
                sleep(idle / 10).await;
            }
            std::io::Result::Ok(())
        });
        wait_for(&writer.connection, Connection::poll_flush).await.unwrap();
        assert!(begun.elapsed() > idle, "it took too much at once to show anything");
        drop(writer);
        slowly.await.unwrap().unwrap();
    }
}
