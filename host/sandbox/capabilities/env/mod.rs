//! The environment that a handler sees: the variables of `[grants.env]`, and nothing of its host's. `base` links it.

use std::collections::BTreeMap;

use super::offer::{Interfaces, Offer};
use crate::config::{Grants, check_name};

/// This capability's key below `[grants]`.
pub(super) const KEY: &str = "env";

pub(super) const OFFERS: &[Interfaces] = &[Interfaces {
    package: "wasi:cli",
    version: "0.2",
    names: &["environment"],
    offer: Offer::ByGrant(KEY),
}];

/// The variables that a manifest grants.
pub(super) fn variables(grants: &Grants) -> Result<BTreeMap<String, String>, String> {
    let variables: BTreeMap<String, String> = grants.read(KEY)?;
    for name in variables.keys() {
        check_name(name).map_err(|why| grants.wrong(KEY, &why))?;
    }
    Ok(variables)
}

/// What is granted, for people: names alone, since values may be secret.
pub(super) fn granted(grants: &Grants) -> Result<Vec<String>, String> {
    Ok(variables(grants)?.into_keys().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_granted_by_name_and_value_and_shown_by_name() {
        let grants = Grants::of("[grants.env]\nSHOP = \"tea\"");
        assert_eq!(variables(&grants).unwrap()["SHOP"], "tea");
        assert_eq!(granted(&grants).unwrap(), ["SHOP"]);
        for (wrong, why) in [
            ("A = 1", "invalid type: integer `1`, expected a string"),
            ("\"\" = \"a\"", "a name has 1 to 256 bytes"),
            ("\"a\\u001b\" = \"a\"", "no control or other hidden characters"),
        ] {
            let found = granted(&Grants::of(&format!("[grants.env]\n{wrong}"))).unwrap_err();
            assert!(found.starts_with("line ") && found.contains(why), "{found}");
        }
    }
}
