//! The secrets of a loaded plugin: looked up when it loads, and read by its handler, put into the headers they are for, or
//! used to sign its requests.
//!
//! A value is in the host's memory and on the wire, in no message and no log; nothing here can be printed.

mod denied;
mod encoding;
mod grant;
mod hmac;
mod oauth;
mod sigv4;
mod template;

use std::borrow::Cow;
use std::env;
use std::io;
use std::path::Path;
use std::str;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::HOST;
use http::{HeaderMap, HeaderValue};
use uuid::Uuid;
use wasmtime_wasi_http::Error;

use super::denied::Denied;
use super::error::GrantError;
use super::http::{Credentials, Origin, Refusal, Sign};
use super::offer::{Interfaces, Offer};
use crate::config::Grants;
use crate::recording::Known;
pub(super) use denied::KEY;
pub(super) use grant::granted;
use grant::{SecretGrant, read};

/// A handler finds values, or what stands for them, in its environment.
pub(super) const OFFERS: &[Interfaces] = &[Interfaces {
    package: "wasi:cli",
    version: "0.2",
    names: &["environment"],
    offer: Offer::ByGrant(KEY),
}];

/// Bytes of a secret. A certificate chain with its key fits in.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// What comes before a secret's name in the host's environment.
const VARIABLE_PREFIX: &str = "KILN_SECRET_";

/// Placeholders in the headers of one request. Their number is bounded, not the bytes of what takes their place: a bound on
/// those would tell the guest how long a secret is.
const MAX_PLACEHOLDERS: usize = 8;

/// Bytes of the shortest value that is looked for in recordings: a shorter one stands in any text by chance.
const LEAST_CONCEALED: usize = 4;

/// What a guest is told that asks for more.
const TOO_MANY: Error = Error::HttpRequestHeaderSectionSize(None);

/// The secrets granted to a plugin.
#[derive(Default)]
pub(super) struct Secrets {
    /// What the guest reads: name, and value or placeholder.
    variables: Vec<(String, String)>,
    headers: Vec<HeaderSecret>,
    /// No two are for one origin.
    signers: Vec<SigningSecret>,
}

/// A secret of which the guest holds a placeholder.
struct HeaderSecret {
    name: String,
    placeholder: String,
    value: String,
    origin: Origin,
}

/// A secret that signs requests.
struct SigningSecret {
    name: String,
    value: String,
    origin: Origin,
    signer: Arc<dyn Sign>,
}

impl Secrets {
    /// Finds the value of every secret granted: in the environment, else in the folder. Where no request goes out, what is
    /// not found has a stand-in.
    pub(super) fn find(grants: &Grants, dir: Option<&Path>, offline: bool) -> Result<Self, GrantError> {
        let mut found = Self::default();
        let granted = read(grants).map_err(GrantError::Wrong)?;
        for (name, grant) in &granted {
            let missing = |why| GrantError::Missing {
                why: format!("secret {name}: {why}"),
                loads_where: place_of(granted.keys()),
            };
            let value = match value(name, grant, dir) {
                Ok(value) => value,
                Err(_) if offline => stand_in(name),
                Err(why) => return Err(missing(why)),
            };
            let seen = match grant {
                SecretGrant::Value => value,
                SecretGrant::Signature(..) if offline => continue,
                SecretGrant::Signature(origin, scheme) => {
                    found.signers.push(SigningSecret {
                        name: name.clone(),
                        signer: scheme.signer(name, origin, &value).map_err(missing)?,
                        value,
                        origin: origin.clone(),
                    });
                    continue;
                }
                SecretGrant::Header(origin) => {
                    // New with each load, so that none can be known beforehand.
                    let placeholder = format!("{}-{}", stand_in(name), Uuid::new_v4().simple());
                    found.headers.push(HeaderSecret {
                        name: name.clone(),
                        placeholder: placeholder.clone(),
                        value,
                        origin: origin.clone(),
                    });
                    placeholder
                }
            };
            found.variables.push((name.clone(), seen));
        }
        Ok(found)
    }

    /// What the guest reads, by name: a value, or a placeholder for it.
    pub(super) fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// A header's text with values in place of placeholders. None if it holds no placeholder. Each takes one off
    /// `room`.
    fn filled(&self, text: &str, to: &Origin, room: &mut usize) -> Result<Option<String>, Refusal> {
        let mut filled = Cow::Borrowed(text);
        for secret in &self.headers {
            let places = filled.matches(&secret.placeholder).count();
            if places == 0 {
                continue;
            }
            if !secret.origin.covers(to) {
                return Err(Refusal::Denied(secret.denied(to)));
            }
            *room = room.checked_sub(places).ok_or(TOO_MANY)?;
            filled = Cow::Owned(filled.replace(&secret.placeholder, &secret.value));
        }
        Ok(match filled {
            Cow::Borrowed(_) => None,
            Cow::Owned(filled) => Some(filled),
        })
    }
}

impl HeaderSecret {
    /// The denial of a request that would take the secret to another origin than its own.
    fn denied(&self, to: &Origin) -> Denied {
        let (name, origin) = (&self.name, &self.origin);
        let what = format!(
            "http request to {to}: its headers hold the secret {name}, which is for {origin} only; see \
             [grants.secrets.{name}] in"
        );
        denied::denied(what)
    }
}

impl Credentials for Secrets {
    /// Puts values in place of placeholders.
    fn fill(&self, headers: &mut HeaderMap, to: &Origin) -> Result<(), Refusal> {
        if self.headers.is_empty() {
            return Ok(());
        }
        let mut room = MAX_PLACEHOLDERS;
        for (_, header) in headers.iter_mut().filter(|(name, _)| *name != HOST) {
            let Ok(text) = str::from_utf8(header.as_bytes()) else {
                continue;
            };
            let credentials = credentials(text);
            let plain = credentials.as_deref().unwrap_or(text);
            let Some(filled) = self.filled(plain, to, &mut room)? else {
                continue;
            };
            let filled = match &credentials {
                Some(_) => format!("Basic {}", BASE64.encode(filled)),
                None => filled,
            };
            // Header and secrets hold only characters that a header may have, so the result does, too.
            *header = HeaderValue::try_from(filled).map_err(|_| TOO_MANY)?;
            header.set_sensitive(true);
        }
        Ok(())
    }

    fn concealed(&self, text: Vec<u8>) -> Vec<u8> {
        let seen = self.variables.iter().map(|(name, seen)| (name, seen));
        let filled_in = self.headers.iter().map(|secret| (&secret.name, &secret.value));
        let signing = self.signers.iter().map(|secret| (&secret.name, &secret.value));
        let mut known = Known::default();
        for (name, value) in seen.chain(filled_in).chain(signing) {
            if value.len() >= LEAST_CONCEALED {
                known.add(value.as_bytes(), &stand_in(name));
            }
        }
        known.concealed(text)
    }

    fn signer(&self, to: &Origin) -> Option<Arc<dyn Sign>> {
        let secret = self.signers.iter().find(|secret| secret.origin.covers(to))?;
        Some(Arc::clone(&secret.signer))
    }

    fn hold_bodies(&self) -> bool {
        let held = |secret: &SigningSecret| secret.signer.may_need_body() || secret.signer.renewal().is_some();
        self.signers.iter().any(held)
    }
}

/// What stands for a secret in a recording, and in place of its value where there is none.
fn stand_in(name: &str) -> String {
    format!("kiln-secret-{name}")
}

/// User name and password in a header for basic authentication. Their Base64 would hide a placeholder.
fn credentials(header: &str) -> Option<String> {
    let (scheme, encoded) = header.split_once(' ')?;
    let encoded = encoded.trim();
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| BASE64.decode(encoded))?;
    String::from_utf8(decoded.ok()?).ok()
}

/// What a host needs for a plugin with these secrets to load.
fn place_of<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let variables: Vec<_> = names.map(|name| format!("{VARIABLE_PREFIX}{name}")).collect();
    format!("a worker has {}, or files in its --secrets", variables.join(", "))
}

/// A secret's value, fit for what it is granted for.
fn value(name: &str, grant: &SecretGrant, dir: Option<&Path>) -> Result<String, String> {
    let variable = format!("{VARIABLE_PREFIX}{name}");
    let value = match env::var_os(&variable) {
        Some(value) => {
            let value = value.into_string();
            value.map_err(|_| format!("{variable} in the environment is not UTF-8"))?
        }
        None => from_file(name, &variable, dir)?,
    };
    let header = matches!(grant, SecretGrant::Header(_));
    if value.is_empty() {
        Err("its value is empty".to_owned())
    } else if value.len() as u64 > MAX_SECRET_BYTES {
        Err(format!("its value is larger than {MAX_SECRET_BYTES} bytes"))
    } else if value.contains('\0') {
        Err("its value holds a NUL".to_owned())
    } else if header && HeaderValue::from_bytes(value.as_bytes()).is_err() {
        Err("its value cannot stand in a header: it holds a line break or a control character".to_owned())
    } else {
        Ok(value)
    }
}

/// What a secret's file holds, without the line break that editors put at its end.
fn from_file(name: &str, variable: &str, dir: Option<&Path>) -> Result<String, String> {
    let dir =
        dir.ok_or_else(|| format!("not in the environment as {variable}, and no secrets folder is named (--secrets)"))?;
    let path = dir.join(name);
    // Two bytes more than allowed: a value that is too large still shows it once a line break is dropped.
    let bytes = crate::file::read(&path, MAX_SECRET_BYTES + 2).map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => format!(
            "not in the environment as {variable}, and there is no {}",
            path.display()
        ),
        _ => format!("{}: {err}", path.display()),
    })?;
    let mut value = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()))?;
    if value.ends_with('\n') {
        value.pop();
        if value.ends_with('\r') {
            value.pop();
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        secret_of("s3cret")
    }

    fn secret_of(value: &str) -> Secrets {
        let grants = r#"
            [grants]
            http = [{ origin = "https://a.example" }]
            secrets.KEY.origin = "https://a.example"
        "#;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("KEY"), format!("{value}\n")).unwrap();
        Secrets::find(&Grants::of(grants), Some(dir.path()), false).unwrap_or_else(|err| panic!("{err}"))
    }

    fn filled(secrets: &Secrets, name: &'static str, value: &str) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        let to = Origin::new(true, "a.example", None);
        match secrets.fill(&mut headers, &to) {
            Ok(()) => Ok(headers[name].to_str().unwrap().to_owned()),
            Err(Refusal::Told(_)) => Err("too many".to_owned()),
            Err(Refusal::Denied(denied)) => Err(denied.told("a")),
        }
    }

    #[test]
    fn a_placeholder_is_filled_in_wherever_it_stands_in_a_header() {
        let secrets = secrets();
        let held = &secrets.variables[0].1;
        for (header, value) in [
            (held.clone(), "s3cret".to_owned()),
            (format!("Bearer {held}"), "Bearer s3cret".to_owned()),
            (format!("a={held}; b={held}"), "a=s3cret; b=s3cret".to_owned()),
            (
                format!("basic {}", BASE64.encode(format!("user:{held}"))),
                format!("Basic {}", BASE64.encode("user:s3cret")),
            ),
            ("Basic !".to_owned(), "Basic !".to_owned()),
            ("kiln-secret-KEY-".to_owned(), "kiln-secret-KEY-".to_owned()),
        ] {
            assert_eq!(filled(&secrets, "authorization", &header), Ok(value));
        }
        assert_eq!(
            filled(&secrets, "host", held).as_ref(),
            Ok(held),
            "where it goes is no secret"
        );
    }

    /// A guest that sees where filling ends must not learn a secret's length from it.
    #[test]
    fn how_many_placeholders_are_filled_does_not_depend_on_the_value() {
        for value in ["s".to_owned(), "s".repeat(60_000)] {
            let secrets = secret_of(&value);
            let held = &secrets.variables[0].1;
            assert_eq!(filled(&secrets, "x", &held.repeat(8)), Ok(value.repeat(8)));
            assert_eq!(filled(&secrets, "x", &held.repeat(9)), Err("too many".to_owned()));
        }
    }

    #[test]
    fn a_placeholder_is_new_with_each_load() {
        assert_ne!(secrets().variables, secrets().variables);
    }

    #[test]
    fn a_value_that_would_not_do_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let header = SecretGrant::Header(Origin::new(true, "a.example", None));
        let check = |bytes: &[u8], grant: &SecretGrant| {
            std::fs::write(dir.path().join("KEY"), bytes).unwrap();
            value("KEY", grant, Some(dir.path()))
        };
        assert_eq!(check(b"one\ntwo\n", &SecretGrant::Value).as_deref(), Ok("one\ntwo"));
        assert!(check(b"one\ntwo\n", &header).unwrap_err().contains("line break"));
        assert!(check(b"\n", &header).unwrap_err().contains("empty"));
        assert!(check(b"a\0", &SecretGrant::Value).unwrap_err().contains("NUL"));
        assert!(check(b"\xff", &SecretGrant::Value).unwrap_err().contains("UTF-8"));
        assert!(check("x".repeat(65536).as_bytes(), &header).is_ok());
        assert!(
            check("x".repeat(65537).as_bytes(), &header)
                .unwrap_err()
                .contains("larger")
        );
        assert!(
            value("OTHER", &header, Some(dir.path()))
                .unwrap_err()
                .contains("there is no")
        );
    }

    #[test]
    fn a_placeholder_that_goes_elsewhere_is_denied() {
        let secrets = secrets();
        let mut headers = HeaderMap::new();
        headers.insert("x", HeaderValue::from_str(&secrets.variables[0].1).unwrap());
        let Err(Refusal::Denied(denied)) = secrets.fill(&mut headers, &Origin::new(true, "b.example", None)) else {
            panic!("it is for https://a.example");
        };
        assert_eq!(
            denied.told("a"),
            "http request to https://b.example: its headers hold the secret KEY, which is for https://a.example only; \
             see [grants.secrets.KEY] in a.toml"
        );
    }

    #[test]
    fn what_signs_is_not_needed_where_no_request_goes_out_and_is_left_out_of_what_is_recorded() {
        let grants = "[grants]\nhttp = [{ origin = \"https://a.example\" }]\n[grants.secrets.KEY]\nexpose = \"hmac-sha256\"\n\
                      origin = \"https://a.example\"\nheader = \"x-signature\"";
        let grants = Grants::of(grants);
        let offline = Secrets::find(&grants, None, true);
        assert!(offline.is_ok_and(|secrets| secrets.variables.is_empty() && secrets.signers.is_empty()));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("KEY"), "s3cret").unwrap();
        let secrets = Secrets::find(&grants, Some(dir.path()), false).unwrap_or_else(|err| panic!("{err}"));
        assert!(secrets.variables.is_empty(), "the guest holds nothing");
        let at = |host| secrets.signer(&Origin::new(true, host, None)).is_some();
        assert_eq!((at("a.example"), at("b.example")), (true, false));
        assert_eq!(secrets.concealed(b"<s3cret>".to_vec()), b"<kiln-secret-KEY>");
    }

    #[test]
    fn bodies_are_held_only_for_who_needs_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("KEY"), "s3cret").unwrap();
        for (terms, held) in [
            ("expose = \"header\"", false),
            ("expose = \"hmac-sha256\"\nheader = \"a\"", true),
            ("expose = \"hmac-sha256\"\nheader = \"a\"\nsigned = \"{path}\"", false),
            ("expose = \"sigv4\"\nregion = \"a\"\naccess_key_id = \"b\"", true),
            // They are sent again with another token.
            (
                "expose = \"oauth2\"\nclient_id = \"a\"\ntoken_url = \"https://b.example\"",
                true,
            ),
        ] {
            let grants = Grants::of(&format!(
                "[grants]\nhttp = [{{ origin = \"https://a.example\" }}]\n[grants.secrets.KEY]\n\
                 origin = \"https://a.example\"\n{terms}"
            ));
            let secrets = Secrets::find(&grants, Some(dir.path()), false).unwrap_or_else(|err| panic!("{err}"));
            assert_eq!(secrets.hold_bodies(), held, "{terms}");
        }
    }

    #[test]
    fn a_plugin_without_its_secrets_says_where_it_loads() {
        let grants = Grants::of("[grants]\nsecrets.NONE_1.expose = \"value\"\nsecrets.NONE_2.expose = \"value\"");
        let Err(GrantError::Missing { why, loads_where }) = Secrets::find(&grants, None, false) else {
            panic!("they are nowhere");
        };
        assert!(why.starts_with("secret NONE_1: not in the environment"), "{why}");
        assert_eq!(
            loads_where,
            "a worker has KILN_SECRET_NONE_1, KILN_SECRET_NONE_2, or files in its --secrets"
        );
    }
}
