//! `wasi:config`: the values of the manifest's `[config]`, for every handler. It has no state in an attempt.

use std::collections::BTreeMap;

use wasmtime::component::{HasData, Linker};

use super::offer::{Interfaces, Offer};
use crate::sandbox::bindings::wasi::config::store;

pub(super) const OFFERS: &[Interfaces] = &[Interfaces {
    package: "wasi:config",
    version: "0.2.0-rc.1",
    names: &["store"],
    offer: Offer::Always,
}];

/// A plugin's values, as a handler reads them.
pub(super) struct Values<'a>(pub(super) &'a BTreeMap<String, String>);

impl store::Host for Values<'_> {
    fn get(&mut self, key: String) -> Result<Option<String>, store::Error> {
        Ok(self.0.get(&key).cloned())
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, store::Error> {
        Ok(self.0.clone().into_iter().collect())
    }
}

/// Makes [`Values`] of an attempt's data.
struct OfPlugin;

impl HasData for OfPlugin {
    type Data<'a> = Values<'a>;
}

pub(super) fn link<T: 'static>(linker: &mut Linker<T>, values: fn(&mut T) -> Values<'_>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, OfPlugin>(linker, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::Host as _;

    #[test]
    fn a_handler_reads_one_value_or_all() {
        let values = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let mut read = Values(&values);
        assert_eq!(read.get("a".to_owned()).unwrap().as_deref(), Some("1"));
        assert_eq!(read.get("b".to_owned()).unwrap(), None);
        assert_eq!(read.get_all().unwrap(), [("a".to_owned(), "1".to_owned())]);
    }
}
