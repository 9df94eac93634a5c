//! Keeps exchanges, each in a file.
//!
//! A credential that a request carries is in no file, wherever else it stands: a server may send it back, and may have given it
//! out in an answer that is kept already.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use parking_lot::{Condvar, Mutex};

use super::exchange::Exchange;
use super::hidden;
use super::known::Known;

/// Characters of a file's name that are taken from the URL.
const NAME_CHARS: usize = 60;

/// How long an exchange may take to end whose attempt is over.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of the shortest credential that is looked for: a shorter one stands in any text by chance.
const LEAST_CREDENTIAL: usize = 8;

/// Keeps exchanges in a folder.
pub struct Recorder {
    folder: PathBuf,
    state: Mutex<State>,
    ended: Condvar,
}

struct State {
    begun: usize,
    ended: usize,
    /// The credentials that requests have carried.
    carried: Known,
    /// The numbers of exchanges, and their files.
    kept: Vec<(usize, PathBuf)>,
    /// What could not be written first, and why.
    failed: Option<String>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Keeps exchanges in this folder, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or read, or holds recordings already: two runs in one folder could not be told apart.
    pub fn create(folder: &Path) -> Result<Self, String> {
        let wrong = |err: std::io::Error| format!("{}: {err}", folder.display());
        fs::create_dir_all(folder).map_err(wrong)?;
        if !super::replayer::files(folder).map_err(wrong)?.is_empty() {
            return Err(format!(
                "{} holds recordings already; delete them, or name another folder",
                folder.display()
            ));
        }
        Ok(Self {
            folder: folder.to_owned(),
            state: Mutex::new(State {
                begun: 0,
                ended: 0,
                carried: Known::default(),
                kept: Vec::new(),
                failed: None,
            }),
            ended: Condvar::new(),
        })
    }

    /// The number of an exchange that begins.
    pub(crate) fn begin(&self) -> usize {
        let mut state = self.state.lock();
        state.begun += 1;
        state.begun
    }

    /// Notes the credentials in the headers of a request that is about to be sent: what the host has filled in, and what has a
    /// credential's name.
    pub(crate) fn note(&self, headers: &HeaderMap) {
        let secret = |(name, value): &(&http::HeaderName, &http::HeaderValue)| {
            value.is_sensitive() || hidden::is_secret(name.as_str())
        };
        let mut state = self.state.lock();
        for (_, value) in headers.iter().filter(secret) {
            for credential in credentials(value.as_bytes()) {
                if credential.len() >= LEAST_CREDENTIAL {
                    state.carried.add(&credential, hidden::HIDDEN);
                }
            }
        }
    }

    /// Keeps an exchange under its number.
    pub(crate) fn keep(&self, number: usize, exchange: &Exchange) {
        let mut state = self.state.lock();
        let exchange = exchange.without(&state.carried);
        let written = self.write(number, &exchange);
        match written {
            Ok(path) => state.kept.push((number, path)),
            Err(err) => _ = state.failed.get_or_insert(err),
        }
        state.ended += 1;
        self.ended.notify_all();
    }

    fn write(&self, number: usize, exchange: &Exchange) -> Result<PathBuf, String> {
        let path = self.folder.join(name(number, exchange));
        let written = exchange
            .to_text()
            .and_then(|text| fs::write(&path, text).map_err(|err| err.to_string()));
        written.map_err(|err| format!("{}: {err}", path.display()))?;
        Ok(path)
    }

    /// How many exchanges were kept, once all have ended. Their attempts are over, so they end at once.
    ///
    /// # Errors
    /// The first that could not be written, and why; or that some have not ended.
    pub fn kept(&self) -> Result<usize, String> {
        let mut state = self.state.lock();
        let mut in_time = true;
        while in_time && state.ended < state.begun {
            in_time = !self.ended.wait_for(&mut state, PATIENCE).timed_out();
        }
        for (number, path) in &state.kept {
            self.conceal(*number, path, &state.carried)?;
        }
        if let Some(why) = &state.failed {
            return Err(why.clone());
        }
        match state.begun - state.ended {
            0 => Ok(state.kept.len()),
            missing => Err(format!(
                "{missing} of {} exchanges had not ended {} s after the attempt; {} does not hold them",
                state.begun,
                PATIENCE.as_secs(),
                self.folder.display()
            )),
        }
    }

    /// Takes out of a file what requests have carried since it was written.
    fn conceal(&self, number: usize, path: &Path, carried: &Known) -> Result<(), String> {
        let wrong = |err: &dyn fmt::Display| format!("{}: {err}", path.display());
        let text = fs::read_to_string(path).map_err(|err| wrong(&err))?;
        let kept = Exchange::from_text(&text).map_err(|err| wrong(&err))?;
        let concealed = kept.without(carried);
        if concealed != kept {
            fs::remove_file(path).map_err(|err| wrong(&err))?;
            self.write(number, &concealed)?;
        }
        Ok(())
    }
}

/// What of a header's value is a credential: all of it, what follows a scheme, and of `Basic` the password.
fn credentials(value: &[u8]) -> Vec<Vec<u8>> {
    let mut found = vec![value.to_vec()];
    let mut words = value.splitn(2, |byte| *byte == b' ');
    if let (Some(scheme), Some(rest)) = (words.next(), words.next()) {
        let rest = rest.trim_ascii();
        found.push(rest.to_vec());
        let pair = scheme.eq_ignore_ascii_case(b"basic").then(|| BASE64.decode(rest));
        if let Some(Ok(pair)) = pair
            && let Some(colon) = pair.iter().position(|byte| *byte == b':')
        {
            found.push(pair[colon + 1..].to_vec());
        }
    }
    found
}

/// `0001-get-api.example.com-v1-rates.toml`.
fn name(number: usize, exchange: &Exchange) -> String {
    let url = exchange.request.url.as_str();
    let url = url.split_once("://").map_or(url, |(_, rest)| rest);
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let what: String = url.chars().map(plain).take(NAME_CHARS).collect();
    let method: String = exchange.request.method.chars().map(plain).collect();
    format!(
        "{number:04}-{}-{}.toml",
        method.to_lowercase(),
        what.trim_end_matches('-')
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::recording::{Answer, Request};

    fn exchange(url: &str, header: &str, body: &str) -> Exchange {
        Exchange {
            request: Request {
                method: "GET".to_owned(),
                url: url.to_owned(),
                headers: Vec::new(),
                body: Vec::new(),
            },
            answer: Answer::Response {
                status: 200,
                headers: vec![("x-echo".to_owned(), header.to_owned())],
                body: body.into(),
                broken_off: false,
            },
        }
    }

    #[test]
    fn what_a_request_carries_stands_in_no_file_whenever_that_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(folder.path()).unwrap();
        let (login, echo) = (recorder.begin(), recorder.begin());
        // An answer that gives out what a later request carries, under a name that says nothing.
        let gives = exchange("https://a.example/for/t0ken-1234", "", r#"{"token": "t0ken-1234"}"#);
        recorder.keep(login, &gives);
        let mut headers = HeaderMap::new();
        let basic = format!("Basic {}", BASE64.encode("ada:pass w\u{f6}rd"));
        for (name, value, filled_in) in [
            ("authorization", "Bearer t0ken-1234", false),
            ("x-api-key", &*basic, false),
            ("x-filled", "placed-here", true),
            ("x-note", "no credential", false),
            ("cookie", "short=1", false),
        ] {
            let mut value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            value.set_sensitive(filled_in);
            headers.insert(name, value);
        }
        recorder.note(&headers);
        let body = format!("t0ken-1234 {basic} pass%20w%C3%B6rd placed-here; no credential; short=1");
        recorder.keep(
            echo,
            &exchange("https://a.example/echo", "pass w\u{f6}rd, t0ken-1234", &body),
        );
        assert_eq!(recorder.kept(), Ok(2));
        let mut texts: Vec<_> = crate::recording::replayer::files(folder.path()).unwrap();
        assert_eq!(
            texts,
            ["0001-get-a.example-for-HIDDEN.toml", "0002-get-a.example-echo.toml"]
        );
        for text in &mut texts {
            *text = fs::read_to_string(folder.path().join(&*text)).unwrap();
        }
        assert!(texts[0].contains(r#"body = '{"token": "HIDDEN"}'"#), "{}", texts[0]);
        assert!(texts[1].contains("\"x-echo: HIDDEN, HIDDEN\""), "{}", texts[1]);
        let shown = "body = \"HIDDEN HIDDEN HIDDEN HIDDEN; no credential; short=1\"";
        assert!(texts[1].contains(shown), "{}", texts[1]);
    }

    #[test]
    fn an_exchange_that_does_not_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(folder.path()).unwrap();
        recorder.keep(recorder.begin(), &exchange("https://a.example/", "", ""));
        recorder.begin();
        let missing = recorder.kept().unwrap_err();
        assert!(
            missing.starts_with("1 of 2 exchanges had not ended 1 s after the attempt"),
            "{missing}"
        );
    }
}
