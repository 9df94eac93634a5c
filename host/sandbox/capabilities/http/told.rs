//! What a guest is told, in the words of `kiln:http/client`, of a request that went wrong.

use wasmtime_wasi_http::Error as Fault;

use crate::sandbox::bindings::kiln::http::client::{Error, ErrorKind};

/// The error for a request, or a call, that cannot be carried out.
pub(super) fn wrong(message: &str) -> Error {
    Error {
        kind: ErrorKind::Invalid,
        message: message.to_owned(),
    }
}

pub(super) fn told(fault: &Fault) -> Error {
    if let Fault::InternalError(Some(why)) = fault {
        return Error {
            kind: ErrorKind::Network,
            message: why.clone(),
        };
    }
    let (kind, message) = match fault {
        Fault::DnsTimeout => (ErrorKind::Dns, "resolving the server's name took too long"),
        Fault::DnsError { .. } | Fault::DestinationNotFound => (ErrorKind::Dns, "the server's name is not known"),
        Fault::ConnectionRefused => (ErrorKind::Connect, "connection refused"),
        Fault::DestinationUnavailable | Fault::DestinationIpUnroutable | Fault::DestinationIpProhibited => {
            (ErrorKind::Connect, "the server cannot be reached")
        }
        Fault::TlsCertificateError => (
            ErrorKind::Tls,
            "the server's certificate does not prove its name, or its authority is not known to the host (see --egress-ca)",
        ),
        Fault::TlsProtocolError | Fault::TlsAlertReceived { .. } => (ErrorKind::Tls, "TLS failed"),
        Fault::ConnectionTimeout => (ErrorKind::Timeout, "connecting took too long"),
        Fault::ConnectionReadTimeout | Fault::HttpResponseTimeout => {
            (ErrorKind::Timeout, "the server took too long to answer")
        }
        Fault::ConnectionWriteTimeout => (ErrorKind::Timeout, "the server took too long to take the request"),
        Fault::ConnectionLimitReached => (
            ErrorKind::TooMany,
            "more requests than http_requests, or more connections than http_connections",
        ),
        Fault::HttpRequestBodySize(_) => (
            ErrorKind::TooLarge,
            "the request's body has more bytes than http_body_bytes, or than http_signed_body_bytes and the host signs it",
        ),
        Fault::HttpResponseBodySize(_) => (
            ErrorKind::TooLarge,
            "the answer's body has more bytes than http_body_bytes",
        ),
        Fault::HttpRequestHeaderSectionSize(_) => (ErrorKind::TooLarge, "the headers are too large"),
        Fault::HttpResponseHeaderSectionSize(_) => (
            ErrorKind::TooLarge,
            "the answer's headers have more bytes than http_header_bytes",
        ),
        Fault::HttpRequestMethodInvalid => (ErrorKind::Invalid, "a method that no request may have"),
        Fault::HttpRequestUriInvalid => (ErrorKind::Invalid, "the URL is none that can be requested"),
        Fault::HttpResponseIncomplete => (ErrorKind::Network, "the answer broke off"),
        Fault::HttpProtocolError => (ErrorKind::Network, "the server does not keep to HTTP"),
        _ => (ErrorKind::Network, "the connection broke"),
    };
    Error {
        kind,
        message: message.to_owned(),
    }
}
