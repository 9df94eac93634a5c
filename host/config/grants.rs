//! What a manifest grants, as its text. The capabilities of the sandbox define the keys and what stands below each:
//! every capability reads its own part.

use std::sync::Arc;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::toml_error::{at, told};

/// The table `[grants]` of a manifest: what a plugin may do beyond the default. Empty by default.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// The manifest that holds them. Errors name its lines and columns.
    manifest: Arc<str>,
}

impl Grants {
    /// The grants in a manifest's text.
    #[must_use]
    pub fn of(manifest: &str) -> Self {
        let manifest = manifest.into();
        Self { manifest }
    }

    /// These grants together with those in `lines`, as if `lines` stood at the manifest's end.
    ///
    /// # Errors
    /// One line that says why they do not fit the manifest.
    pub fn with(&self, lines: &str) -> Result<Self, String> {
        let both = Self::of(&format!("{}\n{lines}", self.manifest));
        both.table()?;
        Ok(both)
    }

    /// What stands below `key`; the default where nothing does.
    ///
    /// # Errors
    /// One line: where the entry is wrong, what is wrong, and what was expected.
    pub fn read<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T, String> {
        match self.table()?.remove(key) {
            Some(value) => T::deserialize(ValueDeserializer::from(value)).map_err(|err| told(&self.manifest, &err)),
            None => Ok(T::default()),
        }
    }

    /// What is wrong with the entry below `key`, and where it stands: one line.
    #[must_use]
    pub fn wrong(&self, key: &str, why: &str) -> String {
        let span = self.table().ok().and_then(|table| Some(table.get(key)?.span()));
        at(&self.manifest, span, why)
    }

    /// Refuses every key but these.
    ///
    /// # Errors
    /// One line: where the first other key stands, and which keys there are.
    pub fn allow_only(&self, keys: &[&str]) -> Result<(), String> {
        let table = self.table()?;
        let Some(other) = table.keys().find(|key| !keys.contains(&key.get_ref().as_ref())) else {
            return Ok(());
        };
        let expected = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>();
        let why = format!("unknown grant `{}`, expected {}", other.get_ref(), expected.join(", "));
        Err(at(&self.manifest, Some(other.span()), &why))
    }

    fn table(&self) -> Result<DeTable<'_>, String> {
        let manifest = DeTable::parse(&self.manifest).map_err(|err| told(&self.manifest, &err))?;
        match manifest.into_inner().remove("grants").map(Spanned::into_inner) {
            None => Ok(DeTable::new()),
            Some(DeValue::Table(table)) => Ok(table),
            Some(other) => Err(format!("grants: expected a table, found {}", other.type_str())),
        }
    }
}

/// Accepts any value unread: [`Grants::of`] reads it once it is known which capability asks.
pub(super) fn read_later<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Grants, D::Error> {
    IgnoredAny::deserialize(deserializer)?;
    Ok(Grants::default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_part_is_read_by_itself_and_what_is_wrong_is_told_by_its_place() {
        let grants = Grants::of("timeout = \"1s\"\n[grants.numbers]\na = 1\nb = \"no\"\n[grants.names]\nx = \"y\"");
        let names: BTreeMap<String, String> = grants.read("names").unwrap();
        assert_eq!(names["x"], "y");
        assert_eq!(grants.read::<Vec<u8>>("other").unwrap(), [0; 0]);
        let err = grants.read::<BTreeMap<String, u8>>("numbers").unwrap_err();
        assert_eq!(
            err,
            "line 4, column 5: invalid type: string \"no\", expected a whole number of 0 or more"
        );
        assert_eq!(grants.wrong("names", "no"), "line 5, column 1: no");
        assert_eq!(grants.allow_only(&["names", "numbers"]), Ok(()));
        assert_eq!(
            grants.allow_only(&["names"]).unwrap_err(),
            "line 2, column 9: unknown grant `numbers`, expected `names`"
        );
    }

    #[test]
    fn what_is_no_table_of_grants_is_refused() {
        let err = Grants::of("grants = 1").read::<Vec<u8>>("a").unwrap_err();
        assert_eq!(err, "grants: expected a table, found integer");
        assert!(Grants::default().read::<Vec<u8>>("a").unwrap().is_empty());
    }
}
