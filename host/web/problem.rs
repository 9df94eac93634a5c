//! What went wrong with a request, as RFC 9457 has it, or as a page where a browser asked.

use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::admin::AdminError;
use crate::queue::QueueError;

/// What went wrong.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) detail: String,
    headers: Vec<(HeaderName, &'static str)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn missing(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn with(mut self, header: HeaderName, value: &'static str) -> Self {
        self.headers.push((header, value));
        self
    }
}

impl Problem {
    /// Whether it says that something is not there.
    pub(super) fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

impl From<AdminError> for Problem {
    fn from(err: AdminError) -> Self {
        let status = match &err {
            AdminError::NoEntry(_)
            | AdminError::NoHost(_)
            | AdminError::NotAside(_)
            | AdminError::NoQueue
            | AdminError::NoSchedule(_) => StatusCode::NOT_FOUND,
            AdminError::Key
            | AdminError::Value(_)
            | AdminError::SeveralSchedules(_)
            | AdminError::NotApart
            | AdminError::NoEdit(_)
            | AdminError::Untriable(_)
            | AdminError::Plugin(_)
            | AdminError::Load(_) => StatusCode::BAD_REQUEST,
            AdminError::Sandbox(_) => StatusCode::INTERNAL_SERVER_ERROR,
            AdminError::Busy
            | AdminError::Store(QueueError::Busy | QueueError::Full { .. } | QueueError::MarksFull { .. }) => {
                StatusCode::CONFLICT
            }
            // The store answers, and something in it is not what it should be.
            AdminError::Store(err) if !err.is_outage() => StatusCode::INTERNAL_SERVER_ERROR,
            AdminError::Store(_) | AdminError::Unusable(_) | AdminError::State(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, err.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let reason = self.status.canonical_reason().unwrap_or_default();
        let body =
            json!({"type": "about:blank", "title": reason, "status": self.status.as_u16(), "detail": self.detail});
        let json = [(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        let mut response = (self.status, json, body.to_string()).into_response();
        for (name, value) in &self.headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response.extensions_mut().insert(self);
        response
    }
}
