//! `[grants.secrets]`: which secrets a plugin may use, and how.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::Grants;
use crate::sandbox::capabilities::env;
use crate::sandbox::capabilities::http::{HttpGrants, Origin};

/// This capability's key below `[grants]`.
pub(in crate::sandbox::capabilities) const KEY: &str = "secrets";

/// How a plugin may use a secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "SecretEntry")]
pub(super) enum SecretGrant {
    /// It holds a placeholder; in the headers of requests to this origin, the host puts the value in its place.
    Header(Origin),
    /// It reads the value itself.
    Value,
}

/// A secret's entry as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretEntry {
    #[serde(default)]
    expose: Exposure,
    origin: Option<Origin>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Exposure {
    #[default]
    Header,
    Value,
}

impl TryFrom<SecretEntry> for SecretGrant {
    type Error = &'static str;

    fn try_from(entry: SecretEntry) -> Result<Self, Self::Error> {
        match (entry.expose, entry.origin) {
            (Exposure::Header, Some(origin)) => Ok(Self::Header(origin)),
            (Exposure::Header, None) => Err("a secret with expose = \"header\" needs the origin it is for"),
            (Exposure::Value, None) => Ok(Self::Value),
            (Exposure::Value, Some(_)) => Err(
                "a secret with expose = \"value\" has no origin: the plugin may send it wherever it may send anything",
            ),
        }
    }
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
        match grant {
            SecretGrant::Header(origin) if !http.include(origin) => {
                Some(format!("secret {name}: no [[grants.http]] covers its origin {origin}"))
            }
            SecretGrant::Header(_) | SecretGrant::Value => None,
        }
    });
    why.map_or(Ok(secrets), |why| Err(grants.wrong(KEY, &why)))
}

/// What is granted, for people.
pub(in crate::sandbox::capabilities) fn granted(grants: &Grants) -> Result<Vec<String>, String> {
    let show = |(name, grant): (String, SecretGrant)| match grant {
        SecretGrant::Header(origin) => format!("{name} (secret, for {origin})"),
        SecretGrant::Value => format!("{name} (secret, its value)"),
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
        ] {
            let message = read(&Grants::of(&format!("{http}\n{entry}"))).unwrap_err();
            assert!(
                message.starts_with("line ") && message.contains(why),
                "{entry}: {message}"
            );
        }
    }
}
