//! `[[grants.http]]`: which requests a plugin may send. Pure.

use std::fmt;

use serde::Deserialize;

use super::origin::Origin;
use super::steering::Steering;
use crate::config::Grants;

/// This capability's key below `[grants]`.
pub(in crate::sandbox::capabilities) const KEY: &str = "http";

/// Where a plugin may send requests: nowhere, unless its manifest says so.
#[derive(Debug, Clone, Default)]
pub struct HttpGrants(Vec<HttpGrant>);

/// The HTTP requests it may send to one place. A request needs one entry that covers all of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// `scheme://host` or `scheme://host:port`; the host's first label may be `*`.
    pub origin: Origin,
    /// What their paths begin with; none: any path.
    pub path: Option<PathPrefix>,
    /// Their methods; none: any method.
    pub methods: Option<Methods>,
    /// Whether the origin may resolve to an address that is not public: loopback, private, link-local, …
    #[serde(default)]
    pub private: bool,
    /// Whether the host adds the trace of a job that has one: `traceparent` and `tracestate`.
    #[serde(default)]
    pub trace: bool,
}

/// What holds for a request that is granted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cover {
    /// Whether it may go to addresses that are not public.
    pub(super) private: bool,
    /// Whether it carries the job's trace.
    pub(super) trace: bool,
}

/// The beginning of a path. It covers whole segments: `/v1` covers `/v1` and `/v1/x`, not `/v10`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct PathPrefix(String);

/// Some methods, in capital letters.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Methods(Vec<String>);

/// The part of a request that no grant covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    /// Its origin.
    Origin,
    /// Its path, for that origin.
    Path,
    /// Its path, which servers may read in more than one way, and so no grant with a path covers.
    AmbiguousPath,
    /// A header from which some servers take the path instead of the request line.
    PathHeader,
    /// Its method, for that origin and path.
    Method,
    /// A header from which some servers take the method instead of the request line.
    MethodHeader,
}

/// What a manifest grants, for people.
pub(in crate::sandbox::capabilities) fn granted(grants: &Grants) -> Result<Vec<String>, String> {
    Ok(HttpGrants::read(grants)?.0.iter().map(ToString::to_string).collect())
}

impl HttpGrants {
    /// Reads the grants of a manifest.
    ///
    /// # Errors
    /// One line: where they are wrong, what is wrong, and what was expected.
    pub fn read(grants: &Grants) -> Result<Self, String> {
        grants.read(KEY).map(Self)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &HttpGrant> {
        self.0.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any request may go to an origin.
    pub(in crate::sandbox::capabilities) fn include(&self, origin: &Origin) -> bool {
        self.iter().any(|grant| grant.origin.covers(origin))
    }

    /// Whether any request carries its job's trace.
    pub(super) fn trace_any(&self) -> bool {
        self.iter().any(|grant| grant.trace)
    }

    /// Finds the grants that cover a request.
    ///
    /// # Errors
    /// The part of the request that no grant covers.
    pub(super) fn cover(
        &self,
        origin: &Origin,
        path: &str,
        method: &str,
        steering: Steering<'_>,
    ) -> Result<Cover, Gap> {
        let mut grants: Vec<_> = self.iter().filter(|grant| grant.origin.covers(origin)).collect();
        let mut narrow = |gap: Gap, covers: &dyn Fn(&HttpGrant) -> bool| {
            grants.retain(|grant| covers(grant));
            if grants.is_empty() { Err(gap) } else { Ok(()) }
        };
        let ambiguous = !is_plain(path);
        let gap = if ambiguous { Gap::AmbiguousPath } else { Gap::Path };
        narrow(Gap::Origin, &|_| true)?;
        narrow(gap, &|grant| {
            let prefix = grant.path.as_ref();
            prefix.is_none_or(|prefix| !ambiguous && prefix.covers(path))
        })?;
        narrow(Gap::PathHeader, &|grant| {
            steering.path.is_none() || grant.path.is_none()
        })?;
        narrow(Gap::Method, &|grant| {
            let methods = grant.methods.as_ref();
            methods.is_none_or(|methods| methods.0.iter().any(|granted| granted == method))
        })?;
        narrow(Gap::MethodHeader, &|grant| {
            steering.method.is_none() || grant.methods.is_none()
        })?;
        Ok(Cover {
            private: grants.iter().any(|grant| grant.private),
            trace: grants.iter().any(|grant| grant.trace),
        })
    }
}

impl PathPrefix {
    /// Whether a plain path begins with these segments.
    fn covers(&self, path: &str) -> bool {
        let rest = path.strip_prefix(self.0.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Whether every server reads a path in the same way, even one that decodes it several times, strips parts of its
/// segments, or replaces characters by others. Only then does a path that begins with a granted one lead below it.
///
/// A plain path has only the characters that RFC 3986 allows in paths. Its percent-encodings stand for ASCII, but never
/// for a dot, a separator, a percent sign or a control character. No run of dots stands by itself.
fn is_plain(path: &str) -> bool {
    decoded(path).is_some_and(|decoded| !decoded.split('/').any(has_bare_dots))
}

/// A path without its percent-encodings; none if one of its characters or encodings is not plain.
fn decoded(path: &str) -> Option<String> {
    let mut decoded = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let plain = if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let byte = u8::try_from(digit()? * 16 + digit()?).ok()?;
            let printable = (b' '..=b'~').contains(&byte);
            (printable && !b"./\\;%".contains(&byte)).then_some(byte)
        } else {
            (byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte)).then_some(byte)
        };
        decoded.push(char::from(plain?));
    }
    Some(decoded)
}

/// Whether a run of dots in a segment has no part of a name beside it. A server may strip everything else from such a
/// segment, and read the dots as the parent folder.
fn has_bare_dots(segment: &str) -> bool {
    let of_name = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_~".contains(byte));
    let segment = segment.as_bytes();
    let mut at = 0;
    while let Some(from) = segment[at..].iter().position(|byte| *byte == b'.') {
        let from = at + from;
        at = from + segment[from..].iter().take_while(|byte| **byte == b'.').count();
        let before = from.checked_sub(1).and_then(|before| segment.get(before));
        if !of_name(before) && !of_name(segment.get(at)) {
            return true;
        }
    }
    false
}

impl fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Methods(methods)) = &self.methods {
            write!(f, "{} ", methods.join("/"))?;
        }
        write!(f, "{}", self.origin)?;
        if let Some(PathPrefix(path)) = &self.path {
            f.write_str(path)?;
        }
        if self.private {
            f.write_str(" (private addresses too)")?;
        }
        if self.trace {
            f.write_str(" (with the job's trace)")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for PathPrefix {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err(format!("path {path:?} does not start with /"));
        }
        if !is_plain(&path) {
            return Err(format!(
                "path {path:?}: no query, fragment, .. or %2e may stand in it, nor what is not ASCII"
            ));
        }
        Ok(Self(path))
    }
}

impl TryFrom<Vec<String>> for Methods {
    type Error = String;

    fn try_from(methods: Vec<String>) -> Result<Self, String> {
        if methods.is_empty() {
            return Err("methods is empty: name one, or leave it out to grant all".to_owned());
        }
        let is_method = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        match methods.iter().find(|method| !is_method(method)) {
            Some(method) => Err(format!("method {method:?}: expected capital letters, such as \"POST\"")),
            None => Ok(Self(methods)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(text: &str) -> HttpGrants {
        HttpGrants::read(&Grants::of(&format!("[grants]\n{text}"))).unwrap()
    }

    fn wrong(text: &str) -> String {
        HttpGrants::read(&Grants::of(&format!("[grants]\n{text}"))).unwrap_err()
    }

    fn example() -> Origin {
        Origin::new(true, "a.example", None)
    }

    #[test]
    fn a_path_covers_whole_segments_and_nothing_ambiguous() {
        for prefix in ["/v1", "/v1/"] {
            let grants = grants(&format!(
                "http = [{{ origin = \"https://a.example\", path = \"{prefix}\" }}]"
            ));
            for path in [
                "/v1",
                "/v1/",
                "/v1/x",
                "/v1/x..y/z...",
                "/v1/.well-known/a.b,c;d=e",
                "/v1//x",
                "/v1/%41%20b%3Fc",
            ] {
                assert_eq!(
                    grants.cover(&example(), path, "GET", Steering::default()),
                    Ok(Cover::default()),
                    "{path}"
                );
            }
            for path in ["/", "/v10", "/v", "/V1", "//v1", "/v1;x", "/v2/v1"] {
                assert_eq!(
                    grants.cover(&example(), path, "GET", Steering::default()),
                    Err(Gap::Path),
                    "{path}"
                );
            }
            for path in [
                "/v1/../v2",
                "/v1/..",
                "/v1/%2e%2e/v2",
                "/v1/.%2E/v2",
                "/v1/..;a=b/v2",
                "/v1%2f..%2fv2",
                "/v1/..\\v2",
                "/v1/..%3b/x",
                "/v1/%252e%252e/x",
                "/v1/%u002e%u002e/x",
                "/v1/%c0%ae%c0%ae/x",
                "/v1/..%00/x",
                "/v1/..%09/x",
                "/v1/%5c",
                "/v1/.",
                "/v1/...",
                "/v1/;..;/x",
                "/v1/%20../x",
                "/v1/..%20/x",
                "/v1/a;../x",
                "/v1/%%32%65%%32%65/x",
                "/v1/%25252e/x",
                "/v1/%e0%80%ae/x",
                "/v1/%f0%80%80%ae/x",
                "/v1/\u{2025}/x",
                "/v1/%e2%80%a5/x",
                "/v1/%ef%bc%8f/x",
                "/v1/%c4%ae%c4%ae/x",
                "/v1/a%2eb",
                "/v1/a%2fb",
                "/v1/a%3bb",
                "/v1/%2",
                "/v1/%",
                "/v1/%g0",
                "/v1/%7f",
                "/v1/a|b",
            ] {
                assert_eq!(
                    grants.cover(&example(), path, "GET", Steering::default()),
                    Err(Gap::AmbiguousPath),
                    "{path}"
                );
            }
        }
        let everywhere = grants("http = [{ origin = \"https://a.example\" }]");
        assert_eq!(
            everywhere.cover(&example(), "/v1/../v2", "GET", Steering::default()),
            Ok(Cover::default())
        );
    }

    /// What servers are known to do to a path before they look its segments up, in any order and number.
    const READINGS: &[fn(&str) -> String] = &[
        percent_decoded,
        |path| path.replace('\\', "/"),
        |path| path.replace(['\0', '\t', '\n', '\r'], ""),
        // Path parameters, as servlet containers have them.
        |path| by_segment(path, |segment| segment.split(';').next().unwrap_or_default().to_owned()),
        // Windows strips what stands at the end; others trim.
        |path| by_segment(path, |segment| segment.trim().to_owned()),
        // Compatibility characters, and the low byte of wide ones.
        |path| {
            let fold = |c: char| match c {
                '\u{2024}' | '\u{fe52}' | '\u{ff0e}' => ".".to_owned(),
                '\u{2025}' | '\u{fe30}' => "..".to_owned(),
                '\u{2044}' | '\u{2215}' | '\u{ff0f}' => "/".to_owned(),
                c => c.to_string(),
            };
            path.chars().map(fold).collect()
        },
        |path| path.chars().map(|c| char::from((u32::from(c) & 0xff) as u8)).collect(),
    ];

    fn by_segment(path: &str, read: impl Fn(&str) -> String) -> String {
        path.split('/').map(read).collect::<Vec<_>>().join("/")
    }

    /// As lenient as any: what is no encoding stays, overlong sequences count.
    fn percent_decoded(path: &str) -> String {
        let hex = |at: usize| u8::from_str_radix(path.get(at + 1..at + 3)?, 16).ok();
        let (mut bytes, mut at) = (Vec::new(), 0);
        while at < path.len() {
            let encoded = (path.as_bytes()[at] == b'%').then(|| hex(at)).flatten();
            bytes.push(encoded.unwrap_or(path.as_bytes()[at]));
            at += if encoded.is_some() { 3 } else { 1 };
        }
        while let Some(at) = bytes
            .windows(2)
            .position(|two| matches!(two, [0xc0 | 0xc1, 0x80..=0xbf]))
        {
            let byte = (bytes[at] & 1) << 6 | (bytes[at + 1] & 0x3f);
            bytes.splice(at..at + 2, [byte]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Where a path leads once dots are resolved.
    fn resolved(path: &str) -> String {
        let mut segments = Vec::new();
        for segment in path.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    segments.pop();
                }
                other => segments.push(other),
            }
        }
        format!("/{}", segments.join("/"))
    }

    proptest::proptest! {
        #[test]
        fn no_reading_of_a_covered_path_leads_out_of_it(
            pieces in proptest::collection::vec(proptest::sample::select(vec![
                ".", "..", "/", "\\", ";", "%2e", "%2E", "%2f", "%5c", "%25", "2e", "%32%65", "%", "%00", "%20", " ", "a",
                "v2", "%61", "%c0%ae", "%c0%af", "%e2%80%a5", "\u{2025}", "%ef%bc%8e", "%c4%ae", "=", ",", "-", "~", "%09",
            ]), 0..12),
            readings in proptest::collection::vec(0..READINGS.len(), 0..6),
        ) {
            let grants = grants("http = [{ origin = \"https://a.example\", path = \"/v1/x\" }]");
            let path = format!("/v1/x/{}", pieces.concat());
            if grants.cover(&example(), &path, "GET", Steering::default()).is_ok() {
                let read = readings.iter().fold(path.clone(), |path, reading| READINGS[*reading](&path));
                let leads = resolved(&read);
                proptest::prop_assert!(leads == "/v1/x" || leads.starts_with("/v1/x/"), "{} -> {}", path, leads);
            }
        }
    }

    #[test]
    fn one_entry_has_to_cover_all_of_a_request() {
        let grants = grants(
            r#"http = [
                { origin = "https://a.example", path = "/read", methods = ["GET", "HEAD"] },
                { origin = "https://a.example", path = "/write", methods = ["POST"], private = true },
            ]"#,
        );
        assert_eq!(
            grants.cover(&example(), "/read", "GET", Steering::default()),
            Ok(Cover::default())
        );
        assert_eq!(
            grants.cover(&example(), "/write", "POST", Steering::default()),
            Ok(Cover {
                private: true,
                ..Cover::default()
            })
        );
        assert_eq!(
            grants.cover(&example(), "/read", "POST", Steering::default()),
            Err(Gap::Method)
        );
        assert_eq!(
            grants.cover(&example(), "/write", "post", Steering::default()),
            Err(Gap::Method)
        );
        assert_eq!(
            grants.cover(&example(), "/", "GET", Steering::default()),
            Err(Gap::Path)
        );
        let steers = |path, method| {
            let steering = Steering { path, method };
            let anywhere = self::grants("http = [{ origin = \"https://a.example\" }]");
            assert_eq!(
                anywhere.cover(&example(), "/read", "GET", steering),
                Ok(Cover::default())
            );
            grants.cover(&example(), "/read", "GET", steering)
        };
        assert_eq!(steers(Some("x-original-url"), None), Err(Gap::PathHeader));
        assert_eq!(steers(None, Some("x-http-method")), Err(Gap::MethodHeader));
        let other = Origin::new(false, "a.example", None);
        assert_eq!(
            grants.cover(&other, "/read", "GET", Steering::default()),
            Err(Gap::Origin)
        );
    }

    #[test]
    fn a_grant_that_could_not_be_meant_is_refused() {
        for (entry, why) in [
            ("path = \"v1\"", "does not start with /"),
            ("path = \"/v1/../x\"", "no query"),
            ("path = \"/v1?a\"", "no query"),
            ("methods = []", "methods is empty"),
            ("methods = [\"\"]", "expected capital letters"),
            ("methods = [\"get\"]", "expected capital letters"),
            ("hosts = []", "unknown field"),
        ] {
            let message = wrong(&format!("http = [{{ origin = \"https://a.example\", {entry} }}]"));
            assert!(
                message.starts_with("line 2, ") && message.contains(why),
                "{entry}: {message}"
            );
        }
    }
}
