//! Answers requests with exchanges that were kept.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::exchange::{Answer, Exchange, Request};

/// Files of a folder that are read.
const MAX_FILES: usize = 10_000;

/// Bytes of one: a body of the default limit, as text, with another beside it.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// Characters of two requests that are compared to find the nearest.
const COMPARED_CHARS: usize = 300;

/// Answers requests from a folder.
#[derive(Debug)]
pub struct Replayer {
    folder: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// In order.
    files: Vec<KeptFile>,
    /// How many requests with this method and URL were made.
    claimed: HashMap<(String, String), usize>,
}

#[derive(Debug)]
struct KeptFile {
    name: String,
    request: Request,
    /// None: it was taken.
    answer: Option<Answer>,
}

impl KeptFile {
    fn asks(&self, (method, url): &(String, String)) -> bool {
        self.request.method == *method && self.request.url == *url
    }

    /// Its request, for people.
    fn shown(&self) -> String {
        shown(&self.request.method, &self.request.url)
    }
}

/// A request for which there is an exchange.
#[derive(Debug)]
pub(crate) struct Claim {
    replayer: Arc<Replayer>,
    request: (String, String),
}

/// A request for which there is no exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrecorded {
    request: String,
    folder: String,
    /// How often this very request was recorded.
    times: usize,
    /// The most similar request, and its file.
    nearest: Option<(String, String)>,
}

impl fmt::Display for Unrecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            request,
            folder,
            times,
            nearest,
        } = self;
        match (times, nearest) {
            (0, None) => write!(f, "{request}: not recorded; there is no recording in {folder}"),
            (0, Some((nearest, file))) => {
                write!(
                    f,
                    "{request}: not recorded in {folder}; the nearest is {nearest} ({file})"
                )
            }
            (1, _) => write!(f, "{request}: recorded only once in {folder}, and asked for again"),
            (times, _) => write!(
                f,
                "{request}: recorded only {times} times in {folder}, and asked for again"
            ),
        }
    }
}

impl Replayer {
    /// Reads a folder of recordings.
    ///
    /// # Errors
    /// When it, or one of its files, cannot be read or is wrong.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let names = files(folder).map_err(|err| format!("{}: {err}", folder.display()))?;
        if names.len() > MAX_FILES {
            return Err(format!(
                "{} holds {} recordings, more than {MAX_FILES}",
                folder.display(),
                names.len()
            ));
        }
        let read = |name: String| {
            let path = folder.join(&name);
            let Exchange { request, answer } = read(&path).map_err(|err| format!("{}: {err}", path.display()))?;
            let answer = Some(answer);
            Ok(KeptFile { name, request, answer })
        };
        Ok(Self {
            folder: folder.to_owned(),
            kept: Mutex::new(Kept {
                files: names.into_iter().map(read).collect::<Result<_, String>>()?,
                claimed: HashMap::new(),
            }),
        })
    }

    /// Looks whether there is one more exchange with this method and URL.
    pub(crate) fn claim(self: &Arc<Self>, method: &str, url: &str) -> Result<Claim, Unrecorded> {
        let request = (method.to_owned(), url.to_owned());
        let mut kept = self.kept.lock();
        let times = kept.files.iter().filter(|file| file.asks(&request)).count();
        let claimed = kept.claimed.entry(request.clone()).or_default();
        if *claimed == times {
            let asked = shown(method, url);
            let likeness = |file: &KeptFile| likeness(&file.shown(), &asked);
            let nearest = kept.files.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            return Err(Unrecorded {
                folder: self.folder.display().to_string(),
                times,
                nearest: nearest.map(|file| (file.shown(), file.name.clone())),
                request: asked,
            });
        }
        *claimed += 1;
        let replayer = Arc::clone(self);
        Ok(Claim { replayer, request })
    }

    /// The files that no request has asked for.
    #[must_use]
    pub fn unused(&self) -> Vec<String> {
        let kept = self.kept.lock();
        let unused = kept.files.iter().filter(|file| file.answer.is_some());
        unused.map(|file| file.name.clone()).collect()
    }
}

impl Claim {
    /// The answer to a request with this body: that to the same body if there is one, else the next in order. None if all
    /// were taken, which no claim allows.
    pub(crate) fn take(self, body: &[u8]) -> Option<Answer> {
        let mut kept = self.replayer.kept.lock();
        let fits = |file: &KeptFile| file.answer.is_some() && file.asks(&self.request);
        let with_body = kept
            .files
            .iter()
            .position(|file| fits(file) && file.request.body == body);
        let at = with_body.or_else(|| kept.files.iter().position(fits))?;
        kept.files[at].answer.take()
    }
}

fn shown(method: &str, url: &str) -> String {
    format!("{method} {url}")
}

fn likeness(a: &str, b: &str) -> f64 {
    let begin = |text: &str| text.chars().take(COMPARED_CHARS).collect::<String>();
    strsim::normalized_levenshtein(&begin(a), &begin(b))
}

fn read(path: &Path) -> Result<Exchange, String> {
    let bytes = crate::file::read(path, MAX_FILE_BYTES).map_err(|err| err.to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it has more than {MAX_FILE_BYTES} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    Exchange::from_text(&text)
}

/// The names of the recordings in a folder, in the order of the numbers that they begin with.
pub(super) fn files(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml")
            && let Some(name) = path.file_name()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort_by_cached_key(|name| {
        let digits: String = name.chars().take_while(char::is_ascii_digit).collect();
        (digits.parse().unwrap_or(u64::MAX), name.clone())
    });
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Recorder;

    fn exchange(method: &str, url: &str, body: &str, answer: &str) -> Exchange {
        Exchange {
            request: Request {
                method: method.to_owned(),
                url: url.to_owned(),
                headers: Vec::new(),
                body: body.into(),
            },
            answer: Answer::Response {
                status: 200,
                headers: Vec::new(),
                body: answer.into(),
                broken_off: false,
            },
        }
    }

    fn recorded(exchanges: &[Exchange]) -> (tempfile::TempDir, Arc<Replayer>) {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(folder.path()).unwrap();
        for exchange in exchanges {
            recorder.keep(recorder.begin(), exchange);
        }
        assert_eq!(recorder.kept(), Ok(exchanges.len()));
        let replayer = Replayer::open(folder.path()).unwrap();
        (folder, Arc::new(replayer))
    }

    fn body_of(answer: Option<Answer>) -> String {
        let Some(Answer::Response { body, .. }) = answer else {
            panic!("no answer")
        };
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn equal_requests_are_answered_in_order_unless_their_bodies_tell_them_apart() {
        let post = |body, answer| exchange("POST", "https://a.example/x", body, answer);
        let (_folder, replayer) = recorded(&[post("1", "one"), post("2", "two"), post("3", "three")]);
        let answer = |body: &str| {
            body_of(
                replayer
                    .claim("POST", "https://a.example/x")
                    .unwrap()
                    .take(body.as_bytes()),
            )
        };
        assert_eq!(answer("2"), "two");
        assert_eq!(answer("other"), "one");
        assert_eq!(replayer.unused(), ["0003-post-a.example-x.toml"]);
        assert_eq!(
            body_of(replayer.claim("POST", "https://a.example/x").unwrap().take(b"2")),
            "three"
        );
        let again = replayer.claim("POST", "https://a.example/x").unwrap_err().to_string();
        assert!(again.contains("recorded only 3 times in"), "{again}");
    }

    #[test]
    fn what_was_not_recorded_is_named_with_what_is_nearest() {
        let (folder, replayer) = recorded(&[
            exchange("GET", "https://a.example/users/1", "", ""),
            exchange("GET", "https://b.example/", "", ""),
        ]);
        let missing = replayer
            .claim("GET", "https://a.example/users/2")
            .unwrap_err()
            .to_string();
        let shown = folder.path().display();
        assert_eq!(
            missing,
            format!(
                "GET https://a.example/users/2: not recorded in {shown}; the nearest is GET https://a.example/users/1 \
                 (0001-get-a.example-users-1.toml)"
            )
        );
        assert!(Recorder::create(folder.path()).is_err());
    }
}
