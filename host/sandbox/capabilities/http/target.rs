//! What a request asks its server for. Pure.

use http::Uri;

/// The target of a request as it stands on its first line: a path that begins with a slash, and its query.
pub(in crate::sandbox::capabilities) fn target(uri: &Uri) -> String {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let slash = if target.starts_with('/') { "" } else { "/" };
    format!("{slash}{target}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_begins_with_a_slash_even_if_a_url_has_only_a_query() {
        for (url, asked) in [
            ("https://a.example", "/"),
            ("https://a.example?b=c", "/?b=c"),
            ("https://a.example/?b=c", "/?b=c"),
            ("https://a.example/d%20e?b=c", "/d%20e?b=c"),
            ("/d?b", "/d?b"),
        ] {
            assert_eq!(target(&url.parse().unwrap()), asked, "{url}");
        }
    }
}
