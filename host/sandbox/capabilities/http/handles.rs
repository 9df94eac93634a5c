//! What the host keeps for the handles of an attempt: charged to the attempt's memory, and let go of at its end.
//!
//! A handle's own record takes some hundred bytes, and the limit `handles` bounds their number. What a guest puts
//! behind a handle can be large: header fields, paths, bodies, a request under way. The bindings here replace those of
//! the library, and charge for these as they grow. Charges only grow. Once their sum has doubled, the host weighs all
//! handles anew.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame};
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::DynInputStream;
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode, HeaderError};
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody, HostOutgoingBody};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse,
};
use wasmtime_wasi_http::{Error, FieldMap, WasiBody};

use super::attempt::{HttpHost, View};
use super::limits::MAX_CHUNK_BYTES;
use crate::sandbox::run::memory::Exceeded;

/// Bytes of an empty list of header fields.
const FIELDS_BYTES: usize = 256;

/// Bytes of one slot of a field list, used or not: about a hundred for the field itself, and its part of an index.
const PLACE_BYTES: usize = 128;

/// Bytes that a field takes beside its text: the allocations of name and value, and a place among the further values of its
/// name.
const FIELD_BYTES: usize = 256;

/// Bytes of a request without its path and its fields: method, scheme and authority are bounded.
const REQUEST_BYTES: usize = 1024;

/// Bytes of the fields that may follow a request's body. Those in use are checksums and signatures.
const MAX_TRAILERS_BYTES: usize = 16 * 1024;

/// Bytes that wait in a request's body to be sent: two chunks, what follows them, and the channel they stand in.
const BODY_BYTES: usize = 2 * MAX_CHUNK_BYTES + MAX_TRAILERS_BYTES + 4096;

/// Handles that keep fewer bytes than this together are not weighed anew.
const LEAST_WEIGHED_BYTES: usize = 256 * 1024;

type Fields = Resource<FieldMap>;
type Draft = Resource<HostOutgoingRequest>;
type Reply = Resource<HostOutgoingResponse>;
type Response = Resource<HostIncomingResponse>;
/// What WIT calls `result<T>`.
type Done<T> = (std::result::Result<T, ()>,);
/// What the functions that change fields return.
type Changed<T> = (std::result::Result<T, HeaderError>,);

impl View<'_> {
    /// Charges for `bytes` that the host has come to keep for a handle.
    pub(super) fn charge(&mut self, bytes: usize) -> std::result::Result<(), Exceeded> {
        if self.holdings.keep_more(bytes) {
            return Ok(());
        }
        self.weigh()
    }

    /// Charges for what the host really keeps for all handles.
    fn weigh(&mut self) -> std::result::Result<(), Exceeded> {
        let exchange_bytes = self.rules.limits.exchange_bytes();
        let under_way = self.attempt.egress.open().saturating_mul(exchange_bytes);
        let entries = self.table.iter_mut();
        let sending = self.attempt.exchanges.body_bytes();
        let kept = under_way + sending + entries.map(|entry| weight(entry)).sum::<usize>();
        self.holdings.keep(kept, (2 * kept).max(LEAST_WEIGHED_BYTES))
    }

    /// What the host keeps for one handle.
    fn weight(&mut self, handle: u32) -> usize {
        self.table.get_any_mut(handle).map_or(0, |entry| weight(entry))
    }

    /// Closes what handles reach outside of the instance: connections, and the data that waits in them. The handles
    /// stay, since language runtimes hold on to those of standard output. The others report that their stream is
    /// closed, or their answer taken. Pure data, such as header fields, stays as the instance's memory does.
    pub(in crate::sandbox) fn close_handles(&mut self) -> std::result::Result<(), Exceeded> {
        self.table.iter_mut().for_each(|entry| close(entry));
        self.attempt.exchanges.close_all();
        self.weigh()
    }
}

/// Bytes that the host keeps for a handle, at most.
fn weight(entry: &dyn Any) -> usize {
    if let Some(fields) = entry.downcast_ref::<FieldMap>() {
        fields_bytes(fields)
    } else if let Some(request) = entry.downcast_ref::<HostOutgoingRequest>() {
        let path = request.path_with_query.as_ref().map_or(0, String::len);
        REQUEST_BYTES + path + fields_bytes(&request.headers) + body_bytes(request.body.as_ref())
    } else if let Some(reply) = entry.downcast_ref::<HostOutgoingResponse>() {
        fields_bytes(&reply.headers) + body_bytes(reply.body.as_ref())
    } else if let Some(response) = entry.downcast_ref::<HostIncomingResponse>() {
        fields_bytes(&response.headers)
    } else if let Some(HostFutureIncomingResponse::Ready(Ok((response, _)))) = entry.downcast_ref() {
        fields_bytes(response.headers())
    } else if let Some(HostFutureTrailers::Done(Ok(Some(trailers)))) = entry.downcast_ref() {
        fields_bytes(trailers)
    } else {
        0
    }
}

fn fields_bytes(fields: &HeaderMap) -> usize {
    let text = fields.iter().map(|(name, value)| name.as_str().len() + value.len());
    FIELDS_BYTES + fields.capacity() * PLACE_BYTES + fields.len() * FIELD_BYTES + text.sum::<usize>()
}

fn body_bytes(body: Option<&WasiBody>) -> usize {
    if body.is_some() { BODY_BYTES } else { 0 }
}

/// Lets go of what a handle keeps open. The stream into a request's body is closed with that body.
fn close(entry: &mut dyn Any) {
    if let Some(stream) = entry.downcast_mut::<DynInputStream>() {
        *stream = Box::new(ClosedInputStream);
    } else if let Some(future) = entry.downcast_mut::<HostFutureIncomingResponse>() {
        *future = HostFutureIncomingResponse::Consumed;
    } else if let Some(response) = entry.downcast_mut::<HostIncomingResponse>() {
        response.body = None;
    } else if let Some(body) = entry.downcast_mut::<HostIncomingBody>() {
        *body = HostIncomingBody::new(WasiBody::new(Nothing));
    } else if let Some(trailers) = entry.downcast_mut::<HostFutureTrailers>() {
        *trailers = HostFutureTrailers::Consumed;
    } else if let Some(request) = entry.downcast_mut::<HostOutgoingRequest>() {
        // Its body is gone, so it must not be sent: without its server's name it cannot be.
        (request.authority, request.body) = (None, None);
    } else if let Some(reply) = entry.downcast_mut::<HostOutgoingResponse>() {
        reply.body = None;
    }
}

/// A body without bytes.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<std::result::Result<Frame<Bytes>, Error>>> {
        Poll::Ready(None)
    }
}

/// Puts the bindings that charge in place of the library's.
pub(super) fn charge_growth<T: HttpHost>(types: &mut LinkerInstance<'_, T>) -> Result<()> {
    types.func_wrap("[constructor]fields", new_fields::<T>)?;
    types.func_wrap("[static]fields.from-list", fields_from_list::<T>)?;
    types.func_wrap("[method]fields.clone", clone_fields::<T>)?;
    types.func_wrap("[method]fields.set", set_field::<T>)?;
    types.func_wrap("[method]fields.append", append_field::<T>)?;
    types.func_wrap("[constructor]outgoing-request", new_request::<T>)?;
    types.func_wrap("[method]outgoing-request.set-path-with-query", set_path::<T>)?;
    types.func_wrap("[method]outgoing-request.headers", request_headers::<T>)?;
    types.func_wrap("[method]outgoing-request.body", request_body::<T>)?;
    types.func_wrap("[static]outgoing-body.finish", finish_body::<T>)?;
    types.func_wrap("[constructor]outgoing-response", new_reply::<T>)?;
    types.func_wrap("[method]outgoing-response.headers", reply_headers::<T>)?;
    types.func_wrap("[method]outgoing-response.body", reply_body::<T>)?;
    types.func_wrap("[method]incoming-response.headers", response_headers::<T>)
}

/// Makes a handle and charges for it.
fn made<T: HttpHost, R: 'static>(
    mut store: StoreContextMut<'_, T>,
    make: impl FnOnce(&mut T) -> Result<Resource<R>>,
) -> Result<(Resource<R>,)> {
    let host = store.data_mut();
    let handle = make(host)?;
    let mut view = host.http_view();
    let bytes = view.weight(handle.rep());
    view.charge(bytes)?;
    Ok((handle,))
}

/// Calls a function that may make a handle grow, and charges for the growth.
fn grown<T: HttpHost, R>(
    mut store: StoreContextMut<'_, T>,
    handle: u32,
    grow: impl FnOnce(&mut T) -> R,
) -> std::result::Result<R, Exceeded> {
    let host = store.data_mut();
    let before = host.http_view().weight(handle);
    let told = grow(host);
    let mut view = host.http_view();
    let after = view.weight(handle);
    view.charge(after.saturating_sub(before))?;
    Ok(told)
}

fn new_fields<T: HttpHost>(store: StoreContextMut<'_, T>, (): ()) -> Result<(Fields,)> {
    made(store, |host| types::HostFields::new(&mut host.http()))
}

fn clone_fields<T: HttpHost>(store: StoreContextMut<'_, T>, (fields,): (Fields,)) -> Result<(Fields,)> {
    made(store, |host| types::HostFields::clone(&mut host.http(), fields))
}

fn fields_from_list<T: HttpHost>(
    mut store: StoreContextMut<'_, T>,
    (entries,): (Vec<(String, Vec<u8>)>,),
) -> Result<Changed<Fields>> {
    let host = store.data_mut();
    match types::HostFields::from_list(&mut host.http(), entries) {
        Ok(fields) => {
            let mut view = host.http_view();
            let bytes = view.weight(fields.rep());
            view.charge(bytes)?;
            Ok((Ok(fields),))
        }
        Err(err) => Ok((Err(err.downcast()?),)),
    }
}

fn set_field<T: HttpHost>(
    store: StoreContextMut<'_, T>,
    (fields, name, values): (Fields, String, Vec<Vec<u8>>),
) -> Result<Changed<()>> {
    let set = grown(store, fields.rep(), |host| {
        types::HostFields::set(&mut host.http(), fields, name, values)
    });
    match set? {
        Ok(()) => Ok((Ok(()),)),
        Err(err) => Ok((Err(err.downcast()?),)),
    }
}

fn append_field<T: HttpHost>(
    store: StoreContextMut<'_, T>,
    (fields, name, value): (Fields, String, Vec<u8>),
) -> Result<Changed<()>> {
    let appended = grown(store, fields.rep(), |host| {
        types::HostFields::append(&mut host.http(), fields, name, value)
    });
    match appended? {
        Ok(()) => Ok((Ok(()),)),
        Err(err) => Ok((Err(err.downcast()?),)),
    }
}

fn new_request<T: HttpHost>(mut store: StoreContextMut<'_, T>, (fields,): (Fields,)) -> Result<(Draft,)> {
    store.data_mut().http_view().attempt.egress.draft()?;
    made(store, |host| types::HostOutgoingRequest::new(&mut host.http(), fields))
}

fn set_path<T: HttpHost>(store: StoreContextMut<'_, T>, (request, path): (Draft, Option<String>)) -> Result<Done<()>> {
    let set = grown(store, request.rep(), |host| {
        types::HostOutgoingRequest::set_path_with_query(&mut host.http(), request, path)
    });
    Ok((set??,))
}

fn request_headers<T: HttpHost>(store: StoreContextMut<'_, T>, (request,): (Draft,)) -> Result<(Fields,)> {
    made(store, |host| {
        types::HostOutgoingRequest::headers(&mut host.http(), request)
    })
}

fn request_body<T: HttpHost>(
    store: StoreContextMut<'_, T>,
    (request,): (Draft,),
) -> Result<Done<Resource<HostOutgoingBody>>> {
    let body = grown(store, request.rep(), |host| {
        types::HostOutgoingRequest::body(&mut host.http(), request)
    });
    Ok((body??,))
}

/// Ends a request's body. Its trailers wait to be sent, too, and are bounded.
fn finish_body<T: HttpHost>(
    mut store: StoreContextMut<'_, T>,
    (body, trailers): (Resource<HostOutgoingBody>, Option<Fields>),
) -> Result<(std::result::Result<(), ErrorCode>,)> {
    let host = store.data_mut();
    let bytes = trailers
        .as_ref()
        .map_or(0, |trailers| host.http_view().weight(trailers.rep()));
    if bytes > MAX_TRAILERS_BYTES {
        types::HostOutgoingBody::drop(&mut host.http(), body)?;
        if let Some(trailers) = trailers {
            types::HostFields::drop(&mut host.http(), trailers)?;
        }
        return Ok((Err(ErrorCode::HttpRequestTrailerSectionSize(None)),));
    }
    match types::HostOutgoingBody::finish(&mut host.http(), body, trailers) {
        Ok(()) => Ok((Ok(()),)),
        Err(err) => Ok((Err(err.downcast()?),)),
    }
}

fn new_reply<T: HttpHost>(store: StoreContextMut<'_, T>, (fields,): (Fields,)) -> Result<(Reply,)> {
    made(store, |host| types::HostOutgoingResponse::new(&mut host.http(), fields))
}

fn reply_headers<T: HttpHost>(store: StoreContextMut<'_, T>, (reply,): (Reply,)) -> Result<(Fields,)> {
    made(store, |host| {
        types::HostOutgoingResponse::headers(&mut host.http(), reply)
    })
}

fn reply_body<T: HttpHost>(
    store: StoreContextMut<'_, T>,
    (reply,): (Reply,),
) -> Result<Done<Resource<HostOutgoingBody>>> {
    let body = grown(store, reply.rep(), |host| {
        types::HostOutgoingResponse::body(&mut host.http(), reply)
    });
    Ok((body??,))
}

fn response_headers<T: HttpHost>(store: StoreContextMut<'_, T>, (response,): (Response,)) -> Result<(Fields,)> {
    made(store, |host| {
        types::HostIncomingResponse::headers(&mut host.http(), response)
    })
}
