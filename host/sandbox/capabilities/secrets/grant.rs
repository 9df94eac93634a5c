//! `[grants.secrets]`: which secrets a plugin may use, and how.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::denied::KEY;
use super::{hmac, oauth, sigv4};
use crate::config::Grants;
use crate::sandbox::capabilities::env;
use crate::sandbox::capabilities::http::{HttpGrants, Origin, Sign};

/// How a plugin may use a secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Table")]
pub(super) enum SecretGrant {
    /// It holds a placeholder; in the headers of requests to this origin, the host puts the value in its place.
    Header(Origin),
    /// It reads the value itself.
    Value,
    /// It holds nothing; the host signs its requests to this origin.
    Signature(Origin, Scheme),
}

/// How requests are signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scheme {
    SigV4(sigv4::Terms),
    Hmac(hmac::Terms),
    OAuth(oauth::Terms),
}

#[derive(Deserialize, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
enum Exposure {
    #[default]
    Header,
    Value,
    SigV4,
    #[serde(rename = "hmac-sha256")]
    Hmac,
    #[serde(rename = "oauth2")]
    OAuth,
}

impl SecretGrant {
    /// Where its requests go, unless the plugin itself holds it.
    fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Header(origin) | Self::Signature(origin, _) => Some(origin),
            Self::Value => None,
        }
    }
}

impl TryFrom<Table> for SecretGrant {
    type Error = String;

    fn try_from(mut entry: Table) -> Result<Self, String> {
        let expose = entry.remove("expose");
        let shown = expose
            .as_ref()
            .map_or_else(|| "\"header\"".to_owned(), Value::to_string);
        let expose = expose.map_or(Ok(Exposure::default()), read_as)?;
        let origin = entry.remove("origin").map(read_as).transpose()?;
        let origin = match (expose, origin) {
            (Exposure::Value, None) => return nothing_more(&entry).map(|()| Self::Value),
            (Exposure::Value, Some(_)) => {
                return Err(
                    "a secret with expose = \"value\" has no origin: the plugin may send it wherever it may send \
                            anything"
                        .to_owned(),
                );
            }
            (_, None) => return Err(format!("a secret with expose = {shown} needs the origin it is for")),
            (_, Some(origin)) => origin,
        };
        let scheme = match expose {
            Exposure::Header | Exposure::Value => return nothing_more(&entry).map(|()| Self::Header(origin)),
            Exposure::SigV4 => Scheme::SigV4(read_as(entry.into())?),
            Exposure::Hmac => Scheme::Hmac(read_as(entry.into())?),
            Exposure::OAuth => Scheme::OAuth(read_as(entry.into())?),
        };
        Ok(Self::Signature(origin, scheme))
    }
}

impl Scheme {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::SigV4(terms) => terms.check(),
            Self::Hmac(terms) => terms.check(),
            Self::OAuth(terms) => terms.check(),
        }
    }

    /// What signs requests with a secret's value.
    pub(super) fn signer(&self, name: &str, origin: &Origin, value: &str) -> Result<Arc<dyn Sign>, String> {
        Ok(match self {
            Self::SigV4(terms) => Arc::new(terms.signer(name, origin, value)?),
            Self::Hmac(terms) => Arc::new(terms.signer(name, origin, value)?),
            Self::OAuth(terms) => Arc::new(terms.signer(name, value)?),
        })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SigV4(terms) => terms.fmt(f),
            Self::Hmac(terms) => terms.fmt(f),
            Self::OAuth(terms) => terms.fmt(f),
        }
    }
}

fn read_as<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    value
        .try_into()
        .map_err(|err: toml::de::Error| err.message().to_owned())
}

fn nothing_more(entry: &Table) -> Result<(), String> {
    let more = entry
        .keys()
        .next()
        .map(|key| format!("unknown field `{key}`, expected `expose` or `origin`"));
    more.map_or(Ok(()), Err)
}

/// What a manifest grants. A secret's name stands beside those of variables, and its origin has to be one that requests may
/// go to.
pub(super) fn read(grants: &Grants) -> Result<BTreeMap<String, SecretGrant>, String> {
    let secrets: BTreeMap<String, SecretGrant> = grants.read(KEY)?;
    if secrets.is_empty() {
        return Ok(secrets);
    }
    let (variables, http) = (env::variables(grants)?, HttpGrants::read(grants)?);
    let why = secrets.iter().find_map(|(name, grant)| {
        if !is_variable(name) {
            return Some(format!(
                "secret {name:?}: a name has letters, digits and _, and no digit first"
            ));
        }
        if variables.contains_key(name) {
            return Some(format!("secret {name}: the name also stands in [grants.env]"));
        }
        if let Some(origin) = grant.origin().filter(|origin| !http.include(origin)) {
            return Some(format!("secret {name}: no [[grants.http]] covers its origin {origin}"));
        }
        let SecretGrant::Signature(origin, scheme) = grant else {
            return None;
        };
        let wrong = scheme.check().err().map(|why| format!("secret {name}: {why}"));
        wrong.or_else(|| signed_twice(name, origin, &secrets))
    });
    why.map_or(Ok(secrets), |why| Err(grants.wrong(KEY, &why)))
}

/// Refuses two signatures for one request.
fn signed_twice(name: &str, origin: &Origin, secrets: &BTreeMap<String, SecretGrant>) -> Option<String> {
    let other = secrets.iter().find(|(other, grant)| match grant {
        SecretGrant::Signature(its, _) => *other != name && (its.covers(origin) || origin.covers(its)),
        SecretGrant::Header(_) | SecretGrant::Value => false,
    });
    other.map(|(other, _)| format!("secret {name}: requests to {origin} are signed with the secret {other} already"))
}

/// What is granted, for people.
pub(in crate::sandbox::capabilities) fn granted(grants: &Grants) -> Result<Vec<String>, String> {
    let show = |(name, grant): (String, SecretGrant)| match grant {
        SecretGrant::Header(origin) => format!("{name} (secret, for {origin})"),
        SecretGrant::Value => format!("{name} (secret, its value)"),
        SecretGrant::Signature(origin, scheme) => format!("{name} (secret, signs requests to {origin} {scheme})"),
    };
    Ok(read(grants)?.into_iter().map(show).collect())
}

/// Whether it can be the name of an environment variable, and of a file.
fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_signs_is_shown_without_its_secret() {
        let grants = Grants::of(
            "[grants]\nhttp = [{ origin = \"https://*.example\" }]\n\
             [grants.secrets.A]\nexpose = \"sigv4\"\norigin = \"https://s3.example\"\nregion = \"eu\"\naccess_key_id = \"AKID\"\n\
             [grants.secrets.B]\nexpose = \"hmac-sha256\"\norigin = \"https://b.example\"\nheader = \"X-Signature\"\n\
             [grants.secrets.C]\nexpose = \"oauth2\"\norigin = \"https://c.example\"\nclient_id = \"kiln\"\n\
             token_url = \"https://login.test/token\"",
        );
        assert_eq!(
            granted(&grants).unwrap(),
            [
                "A (secret, signs requests to https://s3.example by sigv4 for s3 in eu as AKID)",
                "B (secret, signs requests to https://b.example by hmac-sha256 in x-signature)",
                "C (secret, signs requests to https://c.example by oauth2 with tokens of https://login.test for kiln)",
            ]
        );
    }

    #[test]
    fn a_secret_is_for_a_granted_origin_or_for_the_plugin_itself() {
        let http = "[grants]\nhttp = [{ origin = \"https://*.example\" }]";
        let granted = Grants::of(&format!(
            "{http}\nsecrets.A = {{ origin = \"https://a.example\" }}\nsecrets._b1.expose = \"value\""
        ));
        let granted = read(&granted).unwrap();
        assert_eq!(granted["A"], SecretGrant::Header(Origin::new(true, "a.example", None)));
        assert_eq!(granted["_b1"], SecretGrant::Value);
        for (entry, why) in [
            ("secrets.A = {}", "needs the origin"),
            (
                "secrets.A = { expose = \"value\", origin = \"https://a.example\" }",
                "has no origin",
            ),
            (
                "secrets.A.origin = \"https://b.test\"",
                "secret A: no [[grants.http]] covers its origin https://b.test",
            ),
            (
                "env.A = \"\"\nsecrets.A.expose = \"value\"",
                "secret A: the name also stands in [grants.env]",
            ),
            ("secrets.1A.expose = \"value\"", "no digit first"),
            ("secrets.\"\".expose = \"value\"", "letters, digits and _"),
            ("secrets.\"../A\".expose = \"value\"", "letters, digits and _"),
            ("secrets.A.expose = \"body\"", "unknown variant"),
            (
                "secrets.A = { expose = \"value\", region = \"a\" }",
                "unknown field `region`",
            ),
            (
                "secrets.A = { expose = \"sigv4\", region = \"a\" }",
                "a secret with expose = \"sigv4\" needs the origin",
            ),
            (
                "secrets.A = { expose = \"sigv4\", origin = \"https://b.test\", region = \"a\" }",
                "no [[grants.http]] covers",
            ),
            (
                "secrets.A = { expose = \"sigv4\", origin = \"https://a.example\" }",
                "missing field `region`",
            ),
            (
                "secrets.A = { expose = \"hmac-sha256\", origin = \"https://a.example\", header = \"a\" }\n\
                 secrets.B = { expose = \"sigv4\", origin = \"https://*.example\", region = \"a\" }",
                "secret A: requests to https://a.example are signed with the secret B already",
            ),
        ] {
            let message = read(&Grants::of(&format!("{http}\n{entry}"))).unwrap_err();
            assert!(
                message.starts_with("line ") && message.contains(why),
                "{entry}: {message}"
            );
        }
    }
}
