//! What the host keeps for the handles of an attempt: charged to the attempt's memory, and let go of at its end.
//!
//! A handle's own record takes some hundred bytes, and the limit `handles` bounds their number. What can be large is what a
//! guest puts behind one: header fields, paths, bodies, and what a request under way takes. The bindings here, which stand
//! in place of the library's, charge for those as they grow. A charge is only ever added to; once the sum has doubled,
//! everything is weighed anew.

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
use wasmtime_wasi_http::{Error, FieldMap, WasiBody, WasiHttpView as _};

use super::holdings::Exceeded;
use super::state::State;
use crate::config::MAX_HTTP_CHUNK_BYTES;

/// Bytes of an empty list of header fields.
const FIELDS_BYTES: usize = 256;

/// Bytes of a place for a field, used or not: about a hundred of the field itself, and its part of an index.
const PLACE_BYTES: usize = 128;

/// Bytes that a field takes beside its text: the allocations of name and value, and a place among the further values of its
/// name.
const FIELD_BYTES: usize = 256;

/// Bytes of a request without its path and its fields: method, scheme and authority are bounded.
const REQUEST_BYTES: usize = 1024;

/// Bytes of the fields that may follow a request's body. Those in use are checksums and signatures.
const MAX_TRAILERS_BYTES: usize = 16 * 1024;

/// Bytes that wait in a request's body to be sent: two chunks, what follows them, and the channel they stand in.
const BODY_BYTES: usize = 2 * MAX_HTTP_CHUNK_BYTES + MAX_TRAILERS_BYTES + 4096;

/// Bytes below which nothing is weighed anew.
const LEAST_WEIGHED_BYTES: usize = 256 * 1024;

type Fields = Resource<FieldMap>;
type Draft = Resource<HostOutgoingRequest>;
type Reply = Resource<HostOutgoingResponse>;
type Response = Resource<HostIncomingResponse>;
/// What WIT calls `result<T>`.
type Done<T> = (std::result::Result<T, ()>,);
/// What the functions that change fields return.
type Changed<T> = (std::result::Result<T, HeaderError>,);

impl State {
    /// Charges for `bytes` that the host has come to keep for a handle.
    pub(super) fn charge(&mut self, bytes: usize) -> std::result::Result<(), Exceeded> {
        if self.holdings.keep_more(bytes) {
            return Ok(());
        }
        self.weigh()
    }

    /// Charges for what the host really keeps for all handles.
    fn weigh(&mut self) -> std::result::Result<(), Exceeded> {
        let under_way = self.egress.open().saturating_mul(self.plugin.egress.exchange_bytes());
        let entries = self.http().table.iter_mut();
        let kept = under_way + entries.map(|entry| weight(entry)).sum::<usize>();
        self.holdings.keep(kept, (2 * kept).max(LEAST_WEIGHED_BYTES))
    }

    /// What the host keeps for one handle.
    fn weight(&mut self, handle: u32) -> usize {
        self.http().table.get_any_mut(handle).map_or(0, |entry| weight(entry))
    }

    /// Ends what handles reach outside of the instance: connections, and what waits in them. The handles stay, since
    /// language runtimes hold on to those of standard output; the others say that their stream is closed, or their answer
    /// taken. What is data alone, such as header fields, stays as the instance's memory does.
    pub(super) fn close_handles(&mut self) -> std::result::Result<(), Exceeded> {
        self.http().table.iter_mut().for_each(|entry| close(entry));
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
        // Without its server's name it cannot be sent: what was its body is gone.
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
pub(super) fn charge_growth(types: &mut LinkerInstance<'_, State>) -> Result<()> {
    types.func_wrap("[constructor]fields", new_fields)?;
    types.func_wrap("[static]fields.from-list", fields_from_list)?;
    types.func_wrap("[method]fields.clone", clone_fields)?;
    types.func_wrap("[method]fields.set", set_field)?;
    types.func_wrap("[method]fields.append", append_field)?;
    types.func_wrap("[constructor]outgoing-request", new_request)?;
    types.func_wrap("[method]outgoing-request.set-path-with-query", set_path)?;
    types.func_wrap("[method]outgoing-request.headers", request_headers)?;
    types.func_wrap("[method]outgoing-request.body", request_body)?;
    types.func_wrap("[static]outgoing-body.finish", finish_body)?;
    types.func_wrap("[constructor]outgoing-response", new_reply)?;
    types.func_wrap("[method]outgoing-response.headers", reply_headers)?;
    types.func_wrap("[method]outgoing-response.body", reply_body)?;
    types.func_wrap("[method]incoming-response.headers", response_headers)
}

/// Makes a handle and charges for it.
fn made<T: 'static>(
    mut store: StoreContextMut<'_, State>,
    make: impl FnOnce(&mut State) -> Result<Resource<T>>,
) -> Result<(Resource<T>,)> {
    let state = store.data_mut();
    let handle = make(state)?;
    let bytes = state.weight(handle.rep());
    state.charge(bytes)?;
    Ok((handle,))
}

/// Calls what may have a handle grow, and charges for that.
fn grown<T>(
    mut store: StoreContextMut<'_, State>,
    handle: u32,
    grow: impl FnOnce(&mut State) -> T,
) -> std::result::Result<T, Exceeded> {
    let state = store.data_mut();
    let before = state.weight(handle);
    let told = grow(state);
    let after = state.weight(handle);
    state.charge(after.saturating_sub(before))?;
    Ok(told)
}

fn new_fields(store: StoreContextMut<'_, State>, (): ()) -> Result<(Fields,)> {
    made(store, |state| types::HostFields::new(&mut state.http()))
}

fn clone_fields(store: StoreContextMut<'_, State>, (fields,): (Fields,)) -> Result<(Fields,)> {
    made(store, |state| types::HostFields::clone(&mut state.http(), fields))
}

fn fields_from_list(
    mut store: StoreContextMut<'_, State>,
    (entries,): (Vec<(String, Vec<u8>)>,),
) -> Result<Changed<Fields>> {
    let state = store.data_mut();
    match types::HostFields::from_list(&mut state.http(), entries) {
        Ok(fields) => {
            let bytes = state.weight(fields.rep());
            state.charge(bytes)?;
            Ok((Ok(fields),))
        }
        Err(err) => Ok((Err(err.downcast()?),)),
    }
}

fn set_field(
    store: StoreContextMut<'_, State>,
    (fields, name, values): (Fields, String, Vec<Vec<u8>>),
) -> Result<Changed<()>> {
    let set = grown(store, fields.rep(), |state| {
        types::HostFields::set(&mut state.http(), fields, name, values)
    });
    match set? {
        Ok(()) => Ok((Ok(()),)),
        Err(err) => Ok((Err(err.downcast()?),)),
    }
}

fn append_field(
    store: StoreContextMut<'_, State>,
    (fields, name, value): (Fields, String, Vec<u8>),
) -> Result<Changed<()>> {
    let appended = grown(store, fields.rep(), |state| {
        types::HostFields::append(&mut state.http(), fields, name, value)
    });
    match appended? {
        Ok(()) => Ok((Ok(()),)),
        Err(err) => Ok((Err(err.downcast()?),)),
    }
}

fn new_request(mut store: StoreContextMut<'_, State>, (fields,): (Fields,)) -> Result<(Draft,)> {
    store.data_mut().egress.draft()?;
    made(store, |state| {
        types::HostOutgoingRequest::new(&mut state.http(), fields)
    })
}

fn set_path(store: StoreContextMut<'_, State>, (request, path): (Draft, Option<String>)) -> Result<Done<()>> {
    let set = grown(store, request.rep(), |state| {
        types::HostOutgoingRequest::set_path_with_query(&mut state.http(), request, path)
    });
    Ok((set??,))
}

fn request_headers(store: StoreContextMut<'_, State>, (request,): (Draft,)) -> Result<(Fields,)> {
    made(store, |state| {
        types::HostOutgoingRequest::headers(&mut state.http(), request)
    })
}

fn request_body(store: StoreContextMut<'_, State>, (request,): (Draft,)) -> Result<Done<Resource<HostOutgoingBody>>> {
    let body = grown(store, request.rep(), |state| {
        types::HostOutgoingRequest::body(&mut state.http(), request)
    });
    Ok((body??,))
}

/// Ends a request's body. What follows it waits with it to be sent, and is bounded like it.
fn finish_body(
    mut store: StoreContextMut<'_, State>,
    (body, trailers): (Resource<HostOutgoingBody>, Option<Fields>),
) -> Result<(std::result::Result<(), ErrorCode>,)> {
    let state = store.data_mut();
    let bytes = trailers.as_ref().map_or(0, |trailers| state.weight(trailers.rep()));
    if bytes > MAX_TRAILERS_BYTES {
        types::HostOutgoingBody::drop(&mut state.http(), body)?;
        if let Some(trailers) = trailers {
            types::HostFields::drop(&mut state.http(), trailers)?;
        }
        return Ok((Err(ErrorCode::HttpRequestTrailerSectionSize(None)),));
    }
    match types::HostOutgoingBody::finish(&mut state.http(), body, trailers) {
        Ok(()) => Ok((Ok(()),)),
        Err(err) => Ok((Err(err.downcast()?),)),
    }
}

fn new_reply(store: StoreContextMut<'_, State>, (fields,): (Fields,)) -> Result<(Reply,)> {
    made(store, |state| {
        types::HostOutgoingResponse::new(&mut state.http(), fields)
    })
}

fn reply_headers(store: StoreContextMut<'_, State>, (reply,): (Reply,)) -> Result<(Fields,)> {
    made(store, |state| {
        types::HostOutgoingResponse::headers(&mut state.http(), reply)
    })
}

fn reply_body(store: StoreContextMut<'_, State>, (reply,): (Reply,)) -> Result<Done<Resource<HostOutgoingBody>>> {
    let body = grown(store, reply.rep(), |state| {
        types::HostOutgoingResponse::body(&mut state.http(), reply)
    });
    Ok((body??,))
}

fn response_headers(store: StoreContextMut<'_, State>, (response,): (Response,)) -> Result<(Fields,)> {
    made(store, |state| {
        types::HostIncomingResponse::headers(&mut state.http(), response)
    })
}
