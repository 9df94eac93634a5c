//! What is hidden in a recording because of its name: credentials in headers, queries, forms and the answers of token servers.
//!
//! Names are all there is to go by, so this can miss one. The values of granted secrets are hidden wherever they stand, but by
//! whoever knows them.

use std::borrow::Cow;

/// Stands where something is hidden.
pub(crate) const HIDDEN: &str = "HIDDEN";

/// What a name is made of that is a secret's, without regard to case, `-` and `_`.
const PARTS: [&str; 12] = [
    "secret",
    "password",
    "passwd",
    "signature",
    "credential",
    "apikey",
    "accesskey",
    "accesstoken",
    "refreshtoken",
    "securitytoken",
    "authtoken",
    "privatetoken",
];

/// Whole names of secrets.
const NAMES: [&str; 11] = [
    "key",
    "token",
    "sig",
    "auth",
    "authorization",
    "proxyauthorization",
    "cookie",
    "jwt",
    "assertion",
    "clientassertion",
    "idtoken",
];

/// Members of a JSON object whose texts are hidden: those of OAuth. Names like `token` mean other things there.
const MEMBERS: [&str; 10] = [
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "password",
    "accessToken",
    "refreshToken",
    "idToken",
    "clientSecret",
    "client_assertion",
];

/// Whether what is called so is a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    NAMES.contains(&plain.as_str())
        || PARTS.iter().any(|part| plain.contains(part))
        || plain.ends_with("token") && plain.starts_with('x')
}

/// A header's value. Of a cookie that a server sets, name and attributes stay.
pub(crate) fn header(name: &str, value: &str) -> String {
    if name == "set-cookie"
        && let Some((cookie, rest)) = value.split_once('=')
    {
        let attributes = rest.split_once(';').map(|(_, attributes)| format!(";{attributes}"));
        return format!("{cookie}={HIDDEN}{}", attributes.unwrap_or_default());
    }
    let shown = if is_secret(name) { HIDDEN } else { value };
    shown.to_owned()
}

/// A URL: what stands in its query under the names of secrets is hidden.
pub(crate) fn url(url: &str) -> String {
    match url.split_once('?') {
        Some((before, query)) => format!("{before}?{}", pairs(query)),
        None => url.to_owned(),
    }
}

/// A body of this content type.
pub(crate) fn body(content_type: &str, body: Vec<u8>) -> Vec<u8> {
    let Ok(text) = str::from_utf8(&body) else {
        return body;
    };
    let content_type = content_type.to_ascii_lowercase();
    if content_type.starts_with("application/x-www-form-urlencoded") {
        pairs(text).into_bytes()
    } else if content_type.contains("json") {
        match members(text) {
            Cow::Borrowed(_) => body,
            Cow::Owned(text) => text.into_bytes(),
        }
    } else {
        body
    }
}

/// `a=b&c=d`.
fn pairs(text: &str) -> String {
    let pairs: Vec<_> = text
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => Cow::Owned(format!("{name}={HIDDEN}")),
            _ => Cow::Borrowed(pair),
        })
        .collect();
    pairs.join("&")
}

/// JSON, byte for byte but for the texts of secret members.
fn members(json: &str) -> Cow<'_, str> {
    let mut shown = Cow::Borrowed(json);
    for member in MEMBERS {
        let name = format!("\"{member}\"");
        let mut from = 0;
        while let Some(at) = shown[from..].find(&name) {
            from += at + name.len();
            let rest = shown[from..].trim_start();
            let Some(rest) = rest.strip_prefix(':').map(str::trim_start) else {
                continue;
            };
            let Some(text) = rest.strip_prefix('"') else { continue };
            let begin = shown.len() - text.len();
            let end = begin + end_of_text(text);
            shown.to_mut().replace_range(begin..end, HIDDEN);
            from = begin + HIDDEN.len();
        }
    }
    shown
}

/// Where a JSON text ends whose opening quote stands before it.
fn end_of_text(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_hidden_by_their_names() {
        for (name, value, shown) in [
            ("authorization", "Bearer x", HIDDEN),
            ("x-api-key", "x", HIDDEN),
            ("x-auth-token", "x", HIDDEN),
            ("cookie", "a=b", HIDDEN),
            ("set-cookie", "sid=x=y; Path=/", "sid=HIDDEN; Path=/"),
            ("idempotency-key", "7", "7"),
            ("content-type", "text/plain", "text/plain"),
            ("x-next-page", "7", "7"),
        ] {
            assert_eq!(header(name, value), shown, "{name}");
        }
        for (whole, shown) in [
            (
                "https://a.example/b?q=1&api_key=x&pageToken=7",
                "https://a.example/b?q=1&api_key=HIDDEN&pageToken=7",
            ),
            (
                "https://a.example/?X-Amz-Signature=x&X-Amz-Credential=y&X-Amz-Date=1",
                "https://a.example/?X-Amz-Signature=HIDDEN&X-Amz-Credential=HIDDEN&X-Amz-Date=1",
            ),
            ("https://a.example/key=1", "https://a.example/key=1"),
        ] {
            assert_eq!(url(whole), shown);
        }
        for (content_type, whole, shown) in [
            (
                "application/x-www-form-urlencoded",
                "grant_type=client_credentials&client_secret=x",
                "grant_type=client_credentials&client_secret=HIDDEN",
            ),
            (
                "application/json; charset=utf-8",
                r#"{"access_token" : "a\"b", "expires_in": 5, "id_token": null, "token": "word"}"#,
                r#"{"access_token" : "HIDDEN", "expires_in": 5, "id_token": null, "token": "word"}"#,
            ),
            (
                "application/json",
                r#"{"password": "cut off \"#,
                r#"{"password": "HIDDEN"#,
            ),
            ("Application/JSON", r#"{"password": "x"}"#, r#"{"password": "HIDDEN"}"#),
            ("APPLICATION/x-www-form-urlencoded", "token=x", "token=HIDDEN"),
            ("text/plain", "password=x", "password=x"),
        ] {
            assert_eq!(String::from_utf8(body(content_type, whole.into())).unwrap(), shown);
        }
    }
}
