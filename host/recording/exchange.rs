//! An exchange, and the text of its file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::known::Known;

/// A request, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The request.
    pub request: Request,
    /// What came of it.
    pub answer: Answer,
}

/// A request as it was sent, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Its whole URL.
    pub url: String,
    /// Names and values of its header fields. Bytes of a value that are no ASCII are the characters of Latin-1.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The server answered.
    Response {
        /// From 200 to 999.
        status: u16,
        /// As those of the request.
        headers: Vec<(String, String)>,
        /// As much of it as came.
        body: Vec<u8>,
        /// Whether the body ended before its end.
        broken_off: bool,
    },
    /// There was no answer.
    Failed(Fault),
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The server's name could not be resolved.
    Dns,
    /// No connection: refused, unreachable.
    Connect,
    /// TLS failed.
    Tls,
    /// Something took longer than it may.
    Timeout,
    /// The connection broke, or the server does not keep to HTTP.
    Network,
    /// The request's body has more bytes than a limit allows.
    LargeRequest,
    /// The answer has more bytes than a limit allows.
    LargeAnswer,
    /// The request is none that can be sent.
    Invalid,
    /// The attempt ended first.
    Silence,
}

impl Exchange {
    /// The same without certain values.
    pub(super) fn without(&self, known: &Known) -> Self {
        let text = |text: &str| String::from_utf8_lossy(&known.concealed(text.into())).into_owned();
        // Their characters are bytes.
        let value = |value: &str| text_of(&known.concealed(bytes_of(value).unwrap_or_else(|| value.into())));
        let fields = |fields: &[(String, String)]| {
            let shown = fields.iter().map(|(name, shown)| (name.clone(), value(shown)));
            shown.collect()
        };
        let Request {
            method,
            url,
            headers,
            body,
        } = &self.request;
        Self {
            request: Request {
                method: method.clone(),
                url: text(url),
                headers: fields(headers),
                body: known.concealed(body.clone()),
            },
            answer: match &self.answer {
                Answer::Failed(fault) => Answer::Failed(*fault),
                Answer::Response {
                    status,
                    headers,
                    body,
                    broken_off,
                } => Answer::Response {
                    status: *status,
                    headers: fields(headers),
                    body: known.concealed(body.clone()),
                    broken_off: *broken_off,
                },
            },
        }
    }

    /// The text of its file.
    pub(super) fn to_text(&self) -> Result<String, String> {
        let Request {
            method,
            url,
            headers,
            body,
        } = &self.request;
        let (text, base64) = shown(body);
        let request = RequestTable {
            method: method.clone(),
            url: url.clone(),
            headers: lines(headers),
            body: text,
            body_base64: base64,
        };
        let response = match &self.answer {
            Answer::Failed(fault) => ResponseTable {
                error: Some(*fault),
                ..ResponseTable::default()
            },
            Answer::Response {
                status,
                headers,
                body,
                broken_off,
            } => {
                let (text, base64) = shown(body);
                ResponseTable {
                    status: Some(*status),
                    error: None,
                    broken_off: *broken_off,
                    headers: lines(headers),
                    body: text,
                    body_base64: base64,
                }
            }
        };
        toml::to_string_pretty(&File { request, response }).map_err(|err| err.to_string())
    }

    /// Reads the text of a file.
    pub(super) fn from_text(text: &str) -> Result<Self, String> {
        let File { request, response } = toml::from_str(text).map_err(|err| err.to_string())?;
        let answer = match (response.status, response.error) {
            (Some(status @ 200..=999), None) => Answer::Response {
                status,
                headers: fields(&response.headers)?,
                body: bytes(response.body, response.body_base64)?,
                broken_off: response.broken_off,
            },
            (Some(status), None) => return Err(format!("status {status} is none that a server answers with")),
            (None, Some(fault)) => Answer::Failed(fault),
            _ => return Err("a response has either status or error".to_owned()),
        };
        Ok(Self {
            request: Request {
                method: request.method,
                url: request.url,
                headers: fields(&request.headers)?,
                body: bytes(request.body, request.body_base64)?,
            },
            answer,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    request: RequestTable,
    response: ResponseTable,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestTable {
    method: String,
    url: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<String>,
    body: Option<String>,
    body_base64: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseTable {
    status: Option<u16>,
    error: Option<Fault>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    broken_off: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<String>,
    body: Option<String>,
    body_base64: Option<String>,
}

/// A body as text, or in Base64 where it is none.
fn shown(body: &[u8]) -> (Option<String>, Option<String>) {
    match str::from_utf8(body) {
        Ok("") => (None, None),
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(body))),
    }
}

fn bytes(text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err("a body is either body or body_base64".to_owned()),
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => STANDARD
            .decode(base64)
            .map_err(|err| format!("body_base64 is no Base64: {err}")),
        (None, None) => Ok(Vec::new()),
    }
}

fn lines(fields: &[(String, String)]) -> Vec<String> {
    fields.iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

fn fields(lines: &[String]) -> Result<Vec<(String, String)>, String> {
    let field = |line: &String| {
        let (name, value) = line.split_once(':')?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        let fits = HeaderName::from_bytes(name.as_bytes()).is_ok() && value_of(&value).is_some();
        fits.then_some((name, value))
    };
    lines
        .iter()
        .map(|line| field(line).ok_or_else(|| format!("a header is written like \"name: value\", not {line:?}")))
        .collect()
}

/// A header's value as text.
pub(crate) fn text_of(value: &[u8]) -> String {
    value.iter().copied().map(char::from).collect()
}

/// A header's value; none if it holds what no value may.
pub(crate) fn value_of(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&bytes_of(text)?).ok()
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(c).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(body: &[u8], answer: Answer) -> Exchange {
        Exchange {
            request: Request {
                method: "POST".to_owned(),
                url: "https://a.example/b?c=d".to_owned(),
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body: body.to_vec(),
            },
            answer,
        }
    }

    #[test]
    fn an_exchange_is_a_file_that_people_read_and_comes_back_as_it_was() {
        let answer = |body: &[u8], broken_off| Answer::Response {
            status: 200,
            headers: vec![
                ("set-cookie".to_owned(), "a=1".to_owned()),
                ("x-empty".to_owned(), String::new()),
                ("set-cookie".to_owned(), "b=\u{fc}".to_owned()),
            ],
            body: body.to_vec(),
            broken_off,
        };
        for body in [
            b"{\"a\": \"\\n\"}\n\r\n'''\"\"\"\x07'".as_slice(),
            b"\n\n",
            b"",
            b"'",
            b"\xff\0",
        ] {
            for answer in [answer(body, true), Answer::Failed(Fault::Tls)] {
                let exchange = exchange(body, answer);
                let text = exchange.to_text().unwrap();
                assert_eq!(Exchange::from_text(&text).unwrap(), exchange, "{text}");
            }
        }
        let text = exchange(b"{\"a\": 1}", answer(b"one\ntwo\n", false)).to_text().unwrap();
        assert_eq!(
            text,
            r#"[request]
method = "POST"
url = "https://a.example/b?c=d"
headers = ["content-type: application/json"]
body = '{"a": 1}'

[response]
status = 200
headers = [
    "set-cookie: a=1",
    "x-empty: ",
    "set-cookie: b=ü",
]
body = """
one
two
"""
"#
        );
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let request = "[request]\nmethod = \"GET\"\nurl = \"http://a\"\n";
        for (rest, why) in [
            ("[response]", "either status or error"),
            ("[response]\nstatus = 200\nerror = \"dns\"", "either status or error"),
            ("[response]\nstatus = 199", "status 199"),
            ("[response]\nerror = \"ghost\"", "unknown variant"),
            ("[response]\nstatus = 200\nheaders = [\"a\"]", "name: value"),
            ("[response]\nstatus = 200\nheaders = [\"a b: c\"]", "name: value"),
            (
                "[response]\nstatus = 200\nbody = \"\"\nbody_base64 = \"\"",
                "either body",
            ),
            ("[response]\nstatus = 200\nbody_base64 = \"?\"", "no Base64"),
            ("[response]\nstatus = 200\nbodi = \"\"", "unknown field `bodi`"),
            ("", "missing field `response`"),
        ] {
            let found = Exchange::from_text(&format!("{request}{rest}")).unwrap_err();
            assert!(found.contains(why), "{rest}: {found}");
        }
    }
}
