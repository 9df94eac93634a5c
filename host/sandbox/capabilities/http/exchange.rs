//! One request and its answer, over a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::client::conn::http1;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, WasiBody};

use super::body::{RequestBody, ResponseBody};
use super::fault::fault;
use super::limits::HttpLimits;
use super::stream::Stream;
use super::target::target;

/// The least that the library takes for its buffer.
const MIN_BUFFER_BYTES: usize = 8 * 1024;

/// The driver of a connection: runs until the answer's body is read.
pub(super) type Connection = Box<dyn Future<Output = Result<(), Error>> + Send>;
/// The head and body of an answer with the connection that delivers them.
pub(super) type Answered = (Response<WasiBody>, Connection);
/// An answer, or why there is none.
pub(super) type Answer = Result<Answered, Error>;

/// Sends a request in the form that the other end (server or proxy) takes, and waits for the head of its answer. The
/// connection is driven on `io` until the answer is dropped. It counts as open until the answer's body is dropped.
pub(super) async fn exchange(
    stream: Stream,
    request: Request<WasiBody>,
    limits: &HttpLimits,
    count: Arc<OwnedSemaphorePermit>,
    io: &Handle,
) -> Answer {
    let request = request.map(|body| RequestBody::new(body, limits.body_bytes));
    let buffer = limits.header_bytes.max(MIN_BUFFER_BYTES);
    // The first bytes of the body may be read along with the head.
    let (stream, whole) = stream
        .stalling_at_most(limits.between_bytes_timeout)
        .with_head_of(buffer.saturating_mul(2));
    let stream = TokioIo::new(stream);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(buffer)
        .max_header_size(limits.header_bytes)
        .handshake(stream)
        .await
        .map_err(|err| fault(&err))?;
    let driver = AbortOnDropHandle::new(io.spawn(connection));
    let response = head(&mut sender, request, limits.first_byte_timeout).await?;
    whole.is_whole();
    let (parts, body) = response.into_parts();
    let body = ResponseBody::new(body, limits.body_bytes, limits.between_bytes_timeout, count)?;
    // The connection's error is not lost: reading the body returns it.
    let connection: Connection = Box::new(async {
        let _ = driver.await;
        Ok(())
    });
    Ok((Response::from_parts(parts, WasiBody::new(body)), connection))
}

async fn head(
    sender: &mut http1::SendRequest<RequestBody>,
    request: Request<RequestBody>,
    limit: Duration,
) -> Result<Response<hyper::body::Incoming>, Error> {
    let response = timeout(limit, sender.send_request(request)).await;
    response
        .map_err(|_| Error::ConnectionReadTimeout)?
        .map_err(|err| fault(&err))
}

/// A request as a server takes it: its target is the path alone, and the host stands in its header.
pub(super) fn on_the_wire(mut request: Request<WasiBody>) -> Result<Request<WasiBody>, Error> {
    let uri = Uri::builder().path_and_query(target(request.uri())).build();
    *request.uri_mut() = uri.map_err(|_| Error::HttpRequestUriInvalid)?;
    Ok(request)
}
