//! A request of the host's own, on the way of a plugin's: by the same resolver, proxy and authorities, in bounded time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, WasiBody};

use super::connect::{Connected, connect};
use super::exchange::{exchange, on_the_wire};
use super::limits::HttpLimits;
use super::origin::Origin;
use super::proxy::named;
use super::rules::HttpRules;
use crate::sandbox::capabilities::network::NoConnection;

/// Bytes of an answer's body: a token with what is said about it has a few thousand.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Time for all of it.
const MAX_TIME: Duration = Duration::from_secs(30);

/// Why there is no answer.
pub(in crate::sandbox::capabilities) enum NoAnswer {
    /// The origin has an address that is not public: which, and what it is.
    NotPublic(IpAddr, &'static str),
    Failed(Error),
}

impl From<Error> for NoAnswer {
    fn from(err: Error) -> Self {
        Self::Failed(err)
    }
}

impl From<NoConnection> for NoAnswer {
    fn from(none: NoConnection) -> Self {
        match none {
            NoConnection::NotPublic(ip, class) => Self::NotPublic(ip, class),
            NoConnection::Failed(why) => Self::Failed(why.into()),
        }
    }
}

/// Sends a request whose target is a path, and reads the answer. Redirects are not followed.
///
/// # Errors
/// When there is no whole answer in time, or the origin has an address that is not public and `private` does not allow it.
pub(in crate::sandbox::capabilities) async fn ask(
    rules: &HttpRules,
    origin: &Origin,
    private: bool,
    request: Request<Bytes>,
) -> Result<(StatusCode, Bytes), NoAnswer> {
    let asking = async {
        let limits = HttpLimits {
            body_bytes: MAX_ANSWER_BYTES,
            ..rules.limits.clone()
        };
        let mut request = request.map(|body| WasiBody::new(Full::new(body).map_err(|never| match never {})));
        let host = HeaderValue::try_from(origin.authority()).map_err(|_| Error::HttpRequestUriInvalid)?;
        request.headers_mut().insert(HOST, host);
        let Connected { stream, proxy } = connect(origin, private, rules, limits.connect_timeout).await?;
        let request = match proxy {
            Some(proxy) => named(request, &proxy, origin)?,
            None => on_the_wire(request)?,
        };
        let only = Arc::new(Semaphore::new(1)).acquire_owned().await;
        let only = Arc::new(only.map_err(|_| Error::ConnectionLimitReached)?);
        let (response, connection) = exchange(stream, request, &limits, only, &Handle::current()).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        drop(connection);
        Ok((status, body))
    };
    timeout(MAX_TIME, asking)
        .await
        .map_err(|_| Error::HttpResponseTimeout)?
}
