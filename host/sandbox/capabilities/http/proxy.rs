//! Plain HTTP through a proxy: requests that name their server.

use http::header::PROXY_AUTHORIZATION;
use http::{HeaderValue, Request, Uri};
use wasmtime_wasi_http::{Error, WasiBody};

use super::origin::Origin;
use super::target::target;
use crate::config::Proxy;

/// A request to a server of plain HTTP as a proxy takes it: with the server in its URL.
pub(super) fn named(mut request: Request<WasiBody>, proxy: &Proxy, to: &Origin) -> Result<Request<WasiBody>, Error> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(to.authority())
        .path_and_query(target(request.uri()));
    *request.uri_mut() = uri.build().map_err(|_| Error::HttpRequestUriInvalid)?;
    let authorization = proxy.authorization().map(HeaderValue::try_from).transpose();
    match authorization.map_err(|_| Error::ConfigurationError)? {
        Some(value) => request.headers_mut().insert(PROXY_AUTHORIZATION, value),
        // A guest's own credentials for a proxy are never sent.
        None => request.headers_mut().remove(PROXY_AUTHORIZATION),
    };
    Ok(request)
}
