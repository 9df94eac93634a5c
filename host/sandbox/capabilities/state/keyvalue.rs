//! `wasi:keyvalue` over the same buckets, for components that bring it. A bucket is opened by the name that it is granted by.

use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use super::calls::View;
use crate::sandbox::bindings::kiln::state::values;
use crate::sandbox::bindings::kiln::state::values::{ErrorKind, Host as _};
use bindings::wasi::keyvalue::{atomics, batch, store};
use store::Error;

/// The proposal as most who bring it have it (<https://github.com/WebAssembly/wasi-keyvalue>), less its comments.
mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package wasi:keyvalue@0.2.0-draft2;
            interface store {
                variant error { no-such-store, access-denied, other(string) }
                record key-response { keys: list<string>, cursor: option<string> }
                open: func(identifier: string) -> result<bucket, error>;
                resource bucket {
                    get: func(key: string) -> result<option<list<u8>>, error>;
                    set: func(key: string, value: list<u8>) -> result<_, error>;
                    delete: func(key: string) -> result<_, error>;
                    exists: func(key: string) -> result<bool, error>;
                    list-keys: func(cursor: option<string>) -> result<key-response, error>;
                }
            }
            interface atomics {
                use store.{bucket, error};
                variant cas-error { store-error(error), cas-failed(cas) }
                resource cas {
                    new: static func(bucket: borrow<bucket>, key: string) -> result<cas, error>;
                    current: func() -> result<option<list<u8>>, error>;
                }
                increment: func(bucket: borrow<bucket>, key: string, delta: s64) -> result<s64, error>;
                swap: func(cas: cas, value: list<u8>) -> result<_, cas-error>;
            }
            interface batch {
                use store.{bucket, error};
                get-many: func(bucket: borrow<bucket>, keys: list<string>)
                    -> result<list<option<tuple<string, list<u8>>>>, error>;
                set-many: func(bucket: borrow<bucket>, key-values: list<tuple<string, list<u8>>>) -> result<_, error>;
                delete-many: func(bucket: borrow<bucket>, keys: list<string>) -> result<_, error>;
            }
            world imports { import store; import atomics; import batch; }
        ",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": super::Bucket,
            "wasi:keyvalue/atomics.cas": super::Cas,
        },
    });
}

/// Keys in one page of a listing.
const PAGE: u32 = 100;

/// An open bucket: its name.
#[expect(unreachable_pub, reason = "the generated bindings hand it on")]
pub struct Bucket(String);

/// A value that is to be replaced only if it is still the same: which, and the version that it had; none: there was none.
#[expect(unreachable_pub, reason = "the generated bindings hand it on")]
pub struct Cas {
    bucket: String,
    key: String,
    version: Option<u64>,
}

/// What a value was found to be, and its version.
type Found = Option<values::Entry>;

/// An attempt's state, and the table that its handles are in.
pub(in crate::sandbox::capabilities) struct Opened<'a> {
    pub(in crate::sandbox::capabilities) view: View<'a>,
    pub(in crate::sandbox::capabilities) table: &'a mut ResourceTable,
}

type Answer<T> = std::result::Result<T, Error>;

fn told(err: values::Error) -> Error {
    match err.kind {
        ErrorKind::Full => Error::Other(format!("{}; see max_keys and max_bytes of its grant", err.message)),
        _ => Error::Other(err.message),
    }
}

fn change(key: String, action: values::Action, condition: values::Condition) -> values::Change {
    values::Change {
        key,
        action,
        condition,
        ttl_ms: None,
    }
}

impl Opened<'_> {
    fn name(&self, bucket: &Resource<Bucket>) -> Result<String> {
        Ok(self.table.get(bucket)?.0.clone())
    }

    async fn get_one(&mut self, bucket: String, key: String) -> Result<Answer<Found>> {
        let found = self.view.get(bucket, vec![key]).await?;
        Ok(found.map(|found| found.into_iter().next().flatten()).map_err(told))
    }

    /// Takes note of the version that a value has.
    async fn cas(&mut self, bucket: String, key: String) -> Result<Answer<Resource<Cas>>> {
        // A key that is too long is refused here, before it is kept.
        Ok(match self.get_one(bucket.clone(), key.clone()).await? {
            Ok(found) => {
                let version = found.map(|entry| entry.version);
                Ok(self.table.push(Cas { bucket, key, version })?)
            }
            Err(err) => Err(err),
        })
    }

    async fn make(&mut self, bucket: String, changes: Vec<values::Change>) -> Result<Answer<Vec<values::Changed>>> {
        Ok(self.view.write(bucket, changes).await?.map_err(told))
    }
}

impl store::Host for Opened<'_> {
    async fn open(&mut self, identifier: String) -> Result<Answer<Resource<Bucket>>> {
        // One that is not granted ends the attempt here.
        self.view.rules.bucket(&identifier)?;
        Ok(Ok(self.table.push(Bucket(identifier))?))
    }
}

impl store::HostBucket for Opened<'_> {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Answer<Option<Vec<u8>>>> {
        let found = self.get_one(self.name(&bucket)?, key).await?;
        Ok(found.map(|entry| entry.map(|entry| entry.value)))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Result<Answer<()>> {
        batch::Host::set_many(self, bucket, vec![(key, value)]).await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Answer<()>> {
        batch::Host::delete_many(self, bucket, vec![key]).await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Answer<bool>> {
        let found = self.get_one(self.name(&bucket)?, key).await?;
        Ok(found.map(|entry| entry.is_some()))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Result<Answer<store::KeyResponse>> {
        let bucket = self.name(&bucket)?;
        let keys = self.view.list_keys(bucket, String::new(), cursor, PAGE).await?;
        Ok(keys.map_err(told).map(|keys| store::KeyResponse {
            cursor: keys.last().filter(|_| keys.len() == PAGE as usize).cloned(),
            keys,
        }))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl batch::Host for Opened<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Answer<Vec<Option<(String, Vec<u8>)>>>> {
        let bucket = self.name(&bucket)?;
        let found = self.view.get(bucket, keys.clone()).await?;
        let named = |(key, entry): (String, Option<values::Entry>)| Some((key, entry?.value));
        Ok(found
            .map(|found| keys.into_iter().zip(found).map(named).collect())
            .map_err(told))
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, values: Vec<(String, Vec<u8>)>) -> Result<Answer<()>> {
        let bucket = self.name(&bucket)?;
        let set = |(key, value)| change(key, values::Action::Set(value), values::Condition::Always);
        let made = self.make(bucket, values.into_iter().map(set).collect()).await?;
        Ok(made.map(|_| ()))
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Result<Answer<()>> {
        let bucket = self.name(&bucket)?;
        let delete = |key| change(key, values::Action::Delete, values::Condition::Always);
        let made = self.make(bucket, keys.into_iter().map(delete).collect()).await?;
        Ok(made.map(|_| ()))
    }
}

impl atomics::Host for Opened<'_> {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Result<Answer<i64>> {
        let bucket = self.name(&bucket)?;
        let add = change(key, values::Action::Add(delta), values::Condition::Always);
        let made = self.make(bucket, vec![add]).await?;
        Ok(made.map(|made| made.first().map_or(0, |changed| changed.number)))
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> Result<std::result::Result<(), atomics::CasError>> {
        let Cas { bucket, key, version } = self.table.delete(cas)?;
        let condition = version.map_or(values::Condition::Absent, values::Condition::Version);
        let set = change(key.clone(), values::Action::Set(value), condition);
        match self.view.write(bucket.clone(), vec![set]).await? {
            Ok(_) => Ok(Ok(())),
            Err(err) if err.kind == ErrorKind::Conflict => Ok(Err(match self.cas(bucket, key).await? {
                Ok(anew) => atomics::CasError::CasFailed(anew),
                Err(err) => atomics::CasError::StoreError(err),
            })),
            Err(err) => Ok(Err(atomics::CasError::StoreError(told(err)))),
        }
    }
}

impl atomics::HostCas for Opened<'_> {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Answer<Resource<Cas>>> {
        let bucket = self.name(&bucket)?;
        self.cas(bucket, key).await
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Answer<Option<Vec<u8>>>> {
        let Cas { bucket, key, .. } = self.table.get(&cas)?;
        let found = match self.get_one(bucket.clone(), key.clone()).await? {
            Ok(found) => found,
            Err(err) => return Ok(Err(err)),
        };
        // What is swapped then is what was shown.
        self.table.get_mut(&cas)?.version = found.as_ref().map(|entry| entry.version);
        Ok(Ok(found.map(|entry| entry.value)))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

/// Makes [`Opened`] of an attempt's data.
struct OfAttempt;

impl HasData for OfAttempt {
    type Data<'a> = Opened<'a>;
}

pub(super) fn link<T: Send>(linker: &mut Linker<T>, opened: fn(&mut T) -> Opened<'_>) -> Result<()> {
    store::add_to_linker::<_, OfAttempt>(linker, opened)?;
    atomics::add_to_linker::<_, OfAttempt>(linker, opened)?;
    batch::add_to_linker::<_, OfAttempt>(linker, opened)
}
