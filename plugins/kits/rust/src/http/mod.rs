//! HTTP requests, to where the plugin's manifest grants them.
//!
//! ```no_run
//! use kiln_handler::{Failure, Job, http};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize)]
//! struct Order {
//!     item: String,
//! }
//!
//! #[derive(Deserialize)]
//! struct Receipt {
//!     number: u64,
//! }
//!
//! fn order(job: Job<String>) -> Result<u64, Failure> {
//!     let receipt: Receipt = http::post("https://api.example.com/orders")
//!         .header("idempotency-key", &job.id)
//!         .json(&Order { item: job.payload })
//!         .send()? // no answer: the job is tried again
//!         .check_status()? // neither is 429 or 503 the end, nor any other 5xx; a 4xx is
//!         .json()?;
//!     Ok(receipt.number)
//! }
//! ```
//!
//! A request that no grant covers ends the attempt as `denied`: a handler never sees it.
//!
//! Several requests are under way at once between [`Request::start`] and [`Pending::response`].

mod error;
mod exchange;
mod redirect;
mod request;
mod response;
mod status;

/// Types of the `http` crate, which other crates speak as well.
pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

pub use error::{Error, ErrorKind};
pub use request::{Pending, Request};
pub use response::Response;

/// A `GET` of an absolute URL.
pub fn get(url: impl Into<String>) -> Request<'static> {
    Request::new(Method::GET, url)
}

/// A `HEAD` of an absolute URL.
pub fn head(url: impl Into<String>) -> Request<'static> {
    Request::new(Method::HEAD, url)
}

/// A `POST` to an absolute URL.
pub fn post(url: impl Into<String>) -> Request<'static> {
    Request::new(Method::POST, url)
}

/// A `PUT` to an absolute URL.
pub fn put(url: impl Into<String>) -> Request<'static> {
    Request::new(Method::PUT, url)
}

/// A `PATCH` of an absolute URL.
pub fn patch(url: impl Into<String>) -> Request<'static> {
    Request::new(Method::PATCH, url)
}

/// A `DELETE` of an absolute URL.
pub fn delete(url: impl Into<String>) -> Request<'static> {
    Request::new(Method::DELETE, url)
}
