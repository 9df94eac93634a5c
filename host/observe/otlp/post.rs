//! Requests to a receiver.

use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::Uri;

use super::Endpoint;

/// Time for a request, with all of its tries.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Wait before a request is made again that the receiver had no time for.
const RETRY_WAIT: Duration = Duration::from_millis(500);

/// How requests are made.
pub(in crate::observe) struct Post {
    url: Uri,
    headers: Vec<(String, String)>,
    agent: Agent,
}

impl Post {
    /// For `what` is sent: `traces`, `metrics`.
    ///
    /// # Errors
    /// When the URL or a header is none.
    pub(in crate::observe) fn new(what: &str, endpoint: &Endpoint) -> Result<Self, String> {
        let post = Self {
            url: uri(what, &endpoint.url)?,
            headers: endpoint.headers.clone(),
            agent: agent(),
        };
        let checked = post.request().body(());
        checked.map_err(|err| format!("headers of {what}: {err}"))?;
        Ok(post)
    }

    fn request(&self) -> ureq::http::request::Builder {
        let request = ureq::http::Request::post(&self.url).header("content-type", "application/json");
        self.headers
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value))
    }

    /// Sends a body, and tries again where the receiver says that this helps.
    pub(in crate::observe) fn send(&self, body: &[u8]) -> Result<(), String> {
        let until = Instant::now() + REQUEST_TIME;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let request = self.request().body(body).map_err(|err| err.to_string())?;
            let request = self.agent.configure_request(request).timeout_global(Some(left)).build();
            let status = self.agent.run(request).map_err(|err| err.to_string())?.status();
            match status.as_u16() {
                200..300 => return Ok(()),
                // What the specification of OTLP names as worth another try.
                429 | 502 | 503 | 504 if left > RETRY_WAIT * 2 => thread::sleep(RETRY_WAIT),
                status => return Err(format!("{} answers {status}", self.url)),
            }
        }
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(1)
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Where requests go.
fn uri(what: &str, url: &str) -> Result<Uri, String> {
    let wrong = || format!("{url:?} is no URL of a receiver such as http://127.0.0.1:4318");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    if uri.path() != "/" {
        return Ok(uri);
    }
    format!("{}/v1/{what}", url.trim_end_matches('/'))
        .parse()
        .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_that_of_what_is_sent() {
        let of = |what, url: &str| uri(what, url).map(|uri| uri.to_string());
        for what in ["traces", "metrics"] {
            for url in ["http://a:4318", "http://a:4318/"] {
                assert_eq!(of(what, url), Ok(format!("http://a:4318/v1/{what}")));
            }
        }
        assert_eq!(
            of("traces", "https://a/otlp/v1/traces").as_deref(),
            Ok("https://a/otlp/v1/traces")
        );
        for wrong in ["", "a:4318", "ftp://a", "http://"] {
            assert!(of("traces", wrong).is_err(), "{wrong}");
        }
    }
}
