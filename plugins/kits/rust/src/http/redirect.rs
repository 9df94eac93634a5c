//! Where a redirect leads, and what of a request goes there.

use ::http::{StatusCode, Uri};

/// Whether an answer with this status sends the client elsewhere.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The method that goes on, and whether the body goes along, as browsers do it.
pub(super) fn next_method(status: StatusCode, method: &str) -> (&str, bool) {
    let becomes_get = match status.as_u16() {
        301 | 302 => method == "POST",
        303 => method != "GET" && method != "HEAD",
        _ => false,
    };
    if becomes_get { ("GET", false) } else { (method, true) }
}

/// Leaves out what is not for another server, and what told of a body that stays behind.
pub(super) fn trim(headers: &mut Vec<(String, Vec<u8>)>, from: &str, to: &str, keeps_body: bool) {
    let is_elsewhere = origin(from) != origin(to);
    headers.retain(|(name, _)| match name.as_str() {
        "authorization" | "cookie" => !is_elsewhere,
        "content-type" | "content-encoding" | "content-length" => keeps_body,
        _ => true,
    });
}

/// `https://api.example.com:8443` of a URL: without user, path and query, which often are the secret.
pub(super) fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + 3));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}{host}")
}

/// The absolute URL that `location` means in an answer from `base`; none where it means none of HTTP's.
pub(super) fn target(base: &str, location: &str) -> Option<String> {
    let location = location.trim();
    let (scheme, _) = base.split_once("://")?;
    let (path, query) = match location.find('?') {
        Some(at) => location.split_at(at),
        None => (location, ""),
    };
    let has_scheme = path.split(['/', '#']).next().is_some_and(|start| start.contains(':'));
    let url = if has_scheme {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else {
        let from = base.parse::<Uri>().ok()?;
        let path = if path.is_empty() {
            from.path().to_owned()
        } else if path.starts_with('/') {
            without_dots(path)
        } else {
            let (folder, _) = from.path().rsplit_once('/').unwrap_or_default();
            without_dots(&format!("{folder}/{path}"))
        };
        format!("{}{path}{query}", origin(base))
    };
    let is_http = url.starts_with("http://") || url.starts_with("https://");
    is_http.then_some(url)
}

/// A path with its `.` and `..` carried out.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut ends_as_folder = false;
    for part in path.split('/').skip(1) {
        ends_as_folder = matches!(part, "." | "..");
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = if ends_as_folder && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_resolved_against_the_url_it_came_from() {
        let base = "https://a.example:8443/x/y/z?q=1#part";
        let cases = [
            ("http://b.example/p", "http://b.example/p"),
            ("//b.example/p", "https://b.example/p"),
            ("/p?to=/../q", "https://a.example:8443/p?to=/../q"),
            ("p", "https://a.example:8443/x/y/p"),
            ("../p/./q", "https://a.example:8443/x/p/q"),
            ("../../../..", "https://a.example:8443/"),
            (".", "https://a.example:8443/x/y/"),
            ("?q=2", "https://a.example:8443/x/y/z?q=2"),
            ("p?at=12:30", "https://a.example:8443/x/y/p?at=12:30"),
            ("", "https://a.example:8443/x/y/z"),
        ];
        for (location, url) in cases {
            assert_eq!(target(base, location).as_deref(), Some(url), "{location}");
        }
        assert_eq!(target(base, "mailto:ada@example.com"), None);
        assert_eq!(target(base, "file:///etc/passwd"), None);
    }

    #[test]
    fn an_origin_tells_no_secret() {
        for url in [
            "https://ada:secret@a.example:8443/secret",
            "https://a.example:8443?secret",
        ] {
            assert_eq!(origin(url), "https://a.example:8443");
        }
        assert_eq!(origin("no URL"), "no URL");
    }

    #[test]
    fn only_what_browsers_turn_into_a_get_loses_its_body() {
        let next = |status: u16, method| next_method(StatusCode::from_u16(status).unwrap(), method);
        assert_eq!(next(302, "POST"), ("GET", false));
        assert_eq!(next(302, "PUT"), ("PUT", true));
        assert_eq!(next(303, "PUT"), ("GET", false));
        assert_eq!(next(303, "HEAD"), ("HEAD", true));
        assert_eq!(next(307, "POST"), ("POST", true));
    }

    #[test]
    fn credentials_stay_with_the_server_they_were_meant_for() {
        let header = |name: &str| (name.to_owned(), b"x".to_vec());
        let mut headers = ["authorization", "cookie", "content-type", "x-mark"]
            .map(header)
            .to_vec();
        trim(&mut headers, "https://a.example/1", "https://a.example/2", true);
        assert_eq!(headers.len(), 4);
        trim(&mut headers, "https://a.example/1", "https://a.example:8443/1", true);
        assert_eq!(headers, ["content-type", "x-mark"].map(header));
        trim(&mut headers, "https://a.example/1", "https://a.example/2", false);
        assert_eq!(headers, ["x-mark"].map(header));
    }
}
