//! Where a request comes from: under which name, and from whose page.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::Method;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::uri::Authority;

/// The name and port under which a request asks, in small letters.
pub(super) fn host(request: &Request) -> Option<String> {
    let named = request.uri().authority().map(Authority::as_str);
    let host = named.or_else(|| request.headers().get(HOST)?.to_str().ok())?;
    Some(host.to_ascii_lowercase())
}

/// Whether that is a name of ours. Any address is: only a name can be made to mean another machine than it meant before.
pub(super) fn is_allowed(host: &str, names: &[String]) -> bool {
    let name = without_port(host);
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name == "localhost"
        || address.parse::<IpAddr>().is_ok()
        || names
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(name) || allowed.eq_ignore_ascii_case(host))
}

/// Whether a request was not sent by another site's page to have work done here: such a page may lead here, and not more.
pub(super) fn may_read(request: &Request) -> bool {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_foreign = matches!(header("sec-fetch-site"), Some("cross-site" | "same-site"));
    !is_foreign || header("sec-fetch-mode") == Some("navigate") && header("sec-fetch-dest") == Some("document")
}

/// Whether a request that changes something was not sent by another site's page.
///
/// Browsers say where a request comes from. What is no browser says neither; then a request must be one that no page can
/// have a browser send without asking first.
pub(super) fn is_own(request: &Request, host: &str) -> bool {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = header("sec-fetch-site") {
        return site == "same-origin";
    }
    if let Some(origin) = header(ORIGIN.as_str()) {
        let origin = origin.split_once("://").map_or("", |(_, origin)| origin);
        return origin.eq_ignore_ascii_case(host);
    }
    // Browsers ask before a page may send these elsewhere.
    let is_asked_about = |of: &str| of.starts_with("application/json") || of.starts_with("application/wasm");
    let is_json = header(CONTENT_TYPE.as_str()).is_some_and(is_asked_about);
    let is_bearer = header(AUTHORIZATION.as_str()).is_some_and(|given| given.starts_with("Bearer "));
    is_json || is_bearer || *request.method() == Method::DELETE
}

/// An address of version 6 has brackets around it wherever a port may follow.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => {
            if name.contains(':') && !name.ends_with(']') {
                host
            } else {
                name
            }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn addresses_and_localhost_are_allowed_and_of_names_only_those_that_are_told() {
        let names = ["kiln.example.com".to_owned()];
        for host in [
            "localhost",
            "localhost:9465",
            "127.0.0.1:9465",
            "[::1]:9465",
            "10.0.0.7",
            "kiln.example.com:443",
        ] {
            assert!(is_allowed(host, &names), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9465",
            "kiln.example.com.evil.example",
            "",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_allowed(host, &names), "{host}");
        }
    }

    #[test]
    fn what_another_sites_page_sends_is_not_own() {
        let own = |method: Method, headers: &[(&str, &str)]| {
            let request = headers
                .iter()
                .fold(Request::builder().method(method), |request, (name, value)| {
                    request.header(*name, *value)
                });
            is_own(&request.body(Body::empty()).unwrap(), "localhost:9465")
        };
        assert!(own(Method::POST, &[("sec-fetch-site", "same-origin")]));
        for site in ["cross-site", "same-site", "none"] {
            assert!(
                !own(
                    Method::POST,
                    &[("sec-fetch-site", site), ("content-type", "application/json")]
                ),
                "{site}"
            );
        }
        assert!(own(Method::POST, &[("origin", "http://localhost:9465")]));
        for origin in [
            "null",
            "http://localhost:9466",
            "http://evil.example",
            "http://localhost:9465.evil.example",
        ] {
            assert!(
                !own(Method::POST, &[("origin", origin), ("authorization", "Bearer x")]),
                "{origin}"
            );
        }
        assert!(!own(
            Method::POST,
            &[("content-type", "application/x-www-form-urlencoded")]
        ));
        assert!(own(Method::POST, &[("content-type", "application/json")]));
        assert!(own(Method::DELETE, &[]));
    }
}
