//! Headers by which some servers take another path, or another method, than the request line says: no grant that names a
//! path, or methods, covers a request with one.
//!
//! Bodies and queries are not looked at: they are between the handler and the server.

use http::HeaderMap;

/// Last words of header names from which servers, or proxies before them, take the path: `x-original-url`,
/// `x-rewrite-url`, `x-forwarded-prefix`, `x-envoy-original-path`, `x-request-uri`, `x-script-name`, and `WebDAV`'s
/// `destination`.
const PATH_ENDS: [&str; 7] = [
    "url",
    "uri",
    "path",
    "prefix",
    "destination",
    "script-name",
    "path-info",
];

/// Parts of header names that make object stores read or write another object than the path names: `x-amz-copy-source`,
/// Swift's `x-copy-from` and `x-object-manifest`.
const PATH_PARTS: [&str; 6] = [
    "copy-from",
    "copy-source",
    "destinationurl",
    "object-manifest",
    "rename-source",
    "rewrite",
];

/// Parts of header names from which servers take the method: `x-http-method-override`, `x-method-override`,
/// `x-http-method`.
const METHOD_PARTS: [&str; 2] = ["method", "http-verb"];

/// Headers in which a browser asks what another origin allows. They change no request.
const NO_METHOD: &str = "access-control-";

/// A request's headers from which some servers take another path or method.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Steering<'a> {
    /// One that names a path.
    pub(super) path: Option<&'a str>,
    /// One that names a method.
    pub(super) method: Option<&'a str>,
}

impl<'a> Steering<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let first = |is_meant: fn(&str) -> bool| {
            let mut names = headers.keys().map(http::HeaderName::as_str);
            names.find(|name| is_meant(&plain(name)))
        };
        Self {
            path: first(names_path),
            method: first(names_method),
        }
    }
}

/// A header's name as it is where headers become variables, as in CGI and its successors: `X_Original.URL` is the same
/// there as `X-Original-URL`.
fn plain(name: &str) -> String {
    let plain = |char: char| {
        if char.is_ascii_alphanumeric() {
            char.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    name.chars().map(plain).collect()
}

fn names_path(name: &str) -> bool {
    let ends_with = |end: &&str| -> bool {
        let before = name.strip_suffix(*end);
        before.is_some_and(|before| before.is_empty() || before.ends_with('-'))
    };
    PATH_ENDS.iter().any(ends_with) || PATH_PARTS.iter().any(|part| name.contains(part))
}

fn names_method(name: &str) -> bool {
    !name.starts_with(NO_METHOD) && METHOD_PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_some_server_follows_is_found_however_it_is_spelt() {
        for name in [
            "x-original-url",
            "x-rewrite-url",
            "x-original-uri",
            "x-forwarded-prefix",
            "x-forwarded-path",
            "x-forwarded-uri",
            "x-envoy-original-path",
            "x-request-uri",
            "x-proxy-url",
            "x-script-name",
            "x_original_url",
            "x.rewrite_url",
            "destination",
            "x-amz-copy-source",
            "x-ms-rename-source",
            "x-copy-from",
            "x-object-manifest",
            "x-http-destinationurl",
            "request-uri",
            "path-info",
            "x-waws-unencoded-url",
        ] {
            assert!(names_path(&plain(name)), "{name}");
        }
        for name in [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
            "x_http_method_override",
            "x-http-verb-override",
            "method",
            "_method",
            "x-original-method",
            "x-forwarded-method",
        ] {
            assert!(names_method(&plain(name)) && !names_path(&plain(name)), "{name}");
        }
        for name in [
            "accept",
            "authorization",
            "content-location",
            "content-type",
            "referer",
            "x-curl-version",
            "x-forwarded-for",
            "x-forwarded-proto",
            "access-control-request-method",
            "idempotency-key",
            "x-goog-api-key",
            "traceparent",
        ] {
            assert!(!names_path(&plain(name)) && !names_method(&plain(name)), "{name}");
        }
    }
}
