//! What guests can call: the library's bindings, and our own in place of those that keep too much for a guest, or tell it
//! too little.

use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, ErrorCode, HostOutgoingRequest as _, IoError, Method, RequestOptions,
};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{Error, WasiHttp};

use super::attempt::HttpHost;
use super::limits::MAX_METHOD_BYTES;
use super::{client, fault, handles};

/// Bytes of a request's authority: a name of DNS has at most 253, and then there is the port.
const MAX_AUTHORITY_BYTES: usize = 512;

/// A request and its options, as a guest hands them over.
type Request = (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>);
/// What the guest gets for a request.
type Answer = (std::result::Result<Resource<HostFutureIncomingResponse>, ErrorCode>,);

/// Adds what guests are offered.
pub(in crate::sandbox::capabilities) fn link<T: HttpHost>(linker: &mut Linker<T>) -> Result<()> {
    types::add_to_linker::<_, WasiHttp>(linker, &types::LinkOptions::default(), T::http)?;
    linker
        .instance("wasi:http/outgoing-handler@0.2.12")?
        .func_wrap("handle", send::<T>)?;
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.func_wrap("[method]outgoing-request.set-method", set_method::<T>)?;
    types.func_wrap("[method]outgoing-request.set-authority", set_authority::<T>)?;
    types.func_wrap("http-error-code", error_code::<T>)?;
    handles::charge_growth(&mut types)?;
    linker.allow_shadowing(false);
    client::link(linker)
}

/// Names a request's method. The library's own binding would keep a name of any length in the host's memory.
fn set_method<T: HttpHost>(
    mut store: StoreContextMut<'_, T>,
    (request, method): (Resource<HostOutgoingRequest>, Method),
) -> Result<(std::result::Result<(), ()>,)> {
    if matches!(&method, Method::Other(name) if name.len() > MAX_METHOD_BYTES) {
        return Ok((Err(()),));
    }
    Ok((store.data_mut().http().set_method(request, method)?,))
}

/// Names the server of a request. Replaces the library's own binding for the same reason.
fn set_authority<T: HttpHost>(
    mut store: StoreContextMut<'_, T>,
    (request, authority): (Resource<HostOutgoingRequest>, Option<String>),
) -> Result<(std::result::Result<(), ()>,)> {
    if authority.as_ref().is_some_and(|name| name.len() > MAX_AUTHORITY_BYTES) {
        return Ok((Err(()),));
    }
    Ok((store.data_mut().http().set_authority(request, authority)?,))
}

/// Tells what broke a body off, in place of the library's own binding: that one does not know the errors of a body.
fn error_code<T: HttpHost>(
    mut store: StoreContextMut<'_, T>,
    (err,): (Resource<IoError>,),
) -> Result<(Option<ErrorCode>,)> {
    let err = store.data_mut().http().table.get(&err)?;
    let of_body = || err.downcast_ref::<Error>().map(fault::code);
    Ok((err.downcast_ref::<ErrorCode>().cloned().or_else(of_body),))
}

/// Sends a request. One that no grant covers ends the attempt: the guest cannot grant it, only its operator can. So
/// this replaces the library's own binding, which could only answer the guest.
fn send<T: HttpHost>(mut store: StoreContextMut<'_, T>, (request, options): Request) -> Result<Answer> {
    let host = store.data_mut();
    // No path means the root; the library would refuse it.
    let path = &mut host.http().table.get_mut(&request)?.path_with_query;
    path.get_or_insert_with(|| "/".to_owned());
    let answer = host.http().handle(request, options);
    let mut view = host.http_view();
    if let Some(denied) = view.attempt.egress.denied.take() {
        return Err(denied.into());
    }
    match answer {
        Ok(response) => {
            view.charge(view.rules.limits.exchange_bytes())?;
            Ok((Ok(response),))
        }
        Err(err) => Ok((Err(err.downcast()?),)),
    }
}
