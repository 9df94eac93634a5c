//! What a guest is told of a request that went wrong under way.

use std::error::Error as _;
use std::io;

use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

/// What to tell a guest of a connection that failed.
pub(super) fn fault(err: &hyper::Error) -> Error {
    if let Some(Error::HttpRequestBodySize(cap)) = err.source().and_then(|source| source.downcast_ref()) {
        return Error::HttpRequestBodySize(*cap);
    }
    let io: Option<&io::Error> = err.source().and_then(|source| source.downcast_ref());
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => Error::ConnectionWriteTimeout,
        Some(io::ErrorKind::UnexpectedEof) => Error::HttpResponseIncomplete,
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Error::HttpProtocolError,
        _ if err.is_parse_too_large() => Error::HttpResponseHeaderSectionSize(None),
        _ if err.is_incomplete_message() => Error::HttpResponseIncomplete,
        _ if err.is_parse() || err.is_user() => Error::HttpProtocolError,
        _ => Error::ConnectionTerminated,
    }
}

/// What a guest is told that asks why a body broke off.
pub(super) fn code(err: &Error) -> ErrorCode {
    match err {
        Error::HttpRequestBodySize(cap) => ErrorCode::HttpRequestBodySize(*cap),
        Error::HttpResponseBodySize(cap) => ErrorCode::HttpResponseBodySize(*cap),
        Error::HttpResponseHeaderSectionSize(size) => ErrorCode::HttpResponseTrailerSectionSize(*size),
        Error::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::ConnectionWriteTimeout => ErrorCode::ConnectionWriteTimeout,
        Error::HttpProtocolError => ErrorCode::HttpProtocolError,
        _ => ErrorCode::ConnectionTerminated,
    }
}
