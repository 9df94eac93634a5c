//! An answer: its head, and its body as it comes.

use std::io::{self, Read};
use std::time::SystemTime;

use ::http::header::{LOCATION, RETRY_AFTER};
use ::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use super::exchange::{Exchange, PIECE_BYTES};
use super::redirect::origin;
use super::status::{failure, one_line};
use super::{Error, ErrorKind};
use crate::Failure;

/// How much of a text that the server sends is told: what fits a log line.
const TOLD_BYTES: usize = 200;

/// An answer. Its body is read to the end or dropped; [`Read`] yields it as it comes.
#[derive(Debug)]
pub struct Response {
    exchange: Exchange,
    /// Which request it answers, for messages.
    about: String,
    status: StatusCode,
    headers: HeaderMap,
    /// The exchange is over, and what it was closed with is told no more.
    is_read: bool,
}

impl Response {
    pub(super) fn new(exchange: Exchange, about: String, status: StatusCode, headers: HeaderMap) -> Self {
        Self {
            exchange,
            about,
            status,
            headers,
            is_read: false,
        }
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The answer's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A header's text: none where there is no such header, or its value is no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The whole body.
    ///
    /// # Errors
    /// Where it breaks off.
    pub fn bytes(mut self) -> Result<Vec<u8>, Error> {
        self.up_to(usize::MAX)
    }

    /// The whole body as text. What is no UTF-8 becomes `U+FFFD`.
    ///
    /// # Errors
    /// Where it breaks off.
    pub fn text(self) -> Result<String, Error> {
        let bytes = self.bytes()?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned()))
    }

    /// The whole body, read as JSON.
    ///
    /// # Errors
    /// Where it breaks off, or is no JSON that fits the type.
    pub fn json<T: DeserializeOwned>(mut self) -> Result<T, Error> {
        let bytes = self.up_to(usize::MAX)?;
        serde_json::from_slice(&bytes)
            .map_err(|err| Error::new(ErrorKind::Json, format!("the answer: {err}")).about(&self.about))
    }

    /// Goes on with an answer of success, and ends the attempt with any other: 408, 425, 429 and all from 500 on have
    /// the job tried again, 429 and 503 not before the time that a `retry-after` names. The rest is for good: redirects
    /// that were not followed, and what else the server holds against the request.
    ///
    /// # Errors
    /// The [`Failure`], with the beginning of the answer's body.
    pub fn check_status(mut self) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let mut message = format!("{} answered {}", self.about, self.status);
        // By now the status is known, and that counts: a body that breaks off only says less.
        let told = match self.header(LOCATION.as_str()).filter(|_| self.status.is_redirection()) {
            // Where it leads on the same server may be a secret, as is the path of the request.
            Some(location) if location.contains("://") => format!("to {}", cut(origin(location).as_bytes())),
            Some(_) => String::new(),
            None => cut(&self.up_to(TOLD_BYTES).unwrap_or_default()),
        };
        if !told.is_empty() {
            message += ": ";
            message += &told;
        }
        let retry_after = self.header(RETRY_AFTER.as_str());
        Err(failure(self.status, message, retry_after, SystemTime::now()))
    }

    fn up_to(&mut self, most: usize) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while body.len() < most {
            let piece = self.piece(PIECE_BYTES.min(most - body.len()))?;
            if piece.is_empty() {
                break;
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// The next piece of the body; empty at its end, and after an error.
    fn piece(&mut self, most: usize) -> Result<Vec<u8>, Error> {
        if self.is_read || most == 0 {
            return Ok(Vec::new());
        }
        let piece = self.exchange.read(most);
        self.is_read = !matches!(&piece, Ok(piece) if !piece.is_empty());
        piece.map_err(|err| err.about(&self.about))
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.piece(buffer.len())?;
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

fn cut(text: &[u8]) -> String {
    one_line(&text[..text.len().min(TOLD_BYTES)])
}
