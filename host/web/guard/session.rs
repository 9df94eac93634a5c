//! Sessions of browsers: each is a random value in a cookie, known here until its time is over or its owner logs out.
//!
//! They are kept in memory, and end with the process.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};

/// How long a session lasts.
const TIME: Duration = Duration::from_hours(12);

/// Sessions that one person has at once; the oldest ends when another begins.
pub const MAX_SESSIONS: usize = 32;

const COOKIE: &str = "kiln_session";

/// Bytes of the value that names a session: nobody guesses as much.
const BYTES: usize = 32;

/// The sessions there are, by the digest of what names them: so the time that a look takes tells nothing about it.
#[derive(Debug, Default)]
pub(in crate::web) struct Sessions(Mutex<HashMap<[u8; 32], Session>>);

#[derive(Debug)]
struct Session {
    name: String,
    began: Instant,
}

impl Sessions {
    /// Begins a session of somebody, and returns its cookie. None: the system has no random numbers.
    pub(super) fn begin(&self, name: &str, secure: bool) -> Option<String> {
        let mut value = [0; BYTES];
        SystemRandom::new().fill(&mut value).ok()?;
        let value = BASE64_URL_SAFE_NO_PAD.encode(value);
        let mut all = self.0.lock();
        all.retain(|_, session| session.began.elapsed() < TIME);
        let own = all.iter().filter(|(_, session)| session.name == name);
        let oldest = own
            .clone()
            .min_by_key(|(_, session)| session.began)
            .map(|(key, _)| *key);
        if let Some(oldest) = oldest.filter(|_| own.count() >= MAX_SESSIONS) {
            all.remove(&oldest);
        }
        let session = Session {
            name: name.to_owned(),
            began: Instant::now(),
        };
        all.insert(key(&value), session);
        Some(cookie(&value, TIME, secure))
    }

    /// Whose session a header's cookies name; none if it is over or nobody's.
    pub(super) fn check(&self, cookies: &str) -> Option<String> {
        let all = self.0.lock();
        let session = all.get(&key(in_cookies(cookies)?))?;
        (session.began.elapsed() < TIME).then(|| session.name.clone())
    }

    /// Ends the session that a header's cookies name.
    pub(super) fn end(&self, cookies: &str) {
        if let Some(value) = in_cookies(cookies) {
            self.0.lock().remove(&key(value));
        }
    }
}

/// The cookie that has a browser forget its session.
pub(super) fn none(secure: bool) -> String {
    cookie("", Duration::ZERO, secure)
}

fn cookie(value: &str, time: Duration, secure: bool) -> String {
    let (seconds, secure) = (time.as_secs(), if secure { "; Secure" } else { "" });
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

fn in_cookies(cookies: &str) -> Option<&str> {
    let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

fn key(value: &str) -> [u8; 32] {
    Sha256::digest(value).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_by_its_cookie_until_it_ends_and_each_person_has_so_many() {
        let sessions = Sessions::default();
        let cookie = sessions.begin("ana", false).unwrap();
        assert!(!cookie.contains("Secure") && sessions.begin("ana", true).unwrap().ends_with("; Secure"));
        let of = |cookie: &str| cookie.split(';').next().unwrap().to_owned();
        let first = of(&cookie);
        assert_eq!(sessions.check(&format!("a=b; {first}")).as_deref(), Some("ana"));
        for nonsense in ["", "kiln_session=", "kiln_session=x", &first[1..]] {
            assert_eq!(sessions.check(nonsense), None, "{nonsense}");
        }
        let other = of(&sessions.begin("bo", false).unwrap());
        let mut last = String::new();
        for _ in 0..MAX_SESSIONS {
            last = of(&sessions.begin("ana", false).unwrap());
        }
        assert_eq!(sessions.check(&first), None, "the oldest ended");
        assert_eq!(
            sessions.check(&other).as_deref(),
            Some("bo"),
            "another person's does not"
        );
        sessions.end(&last);
        assert_eq!(sessions.check(&last), None);
    }
}
