//! `wasi:filesystem` over the tree.

use std::time::{Duration, SystemTime};

use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTableError};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream,
    ErrorCode, Filesize, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags,
    PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::streams::{PIECE_BYTES, Reader, Writer};
use super::tree::{Facts, ROOT, Refusal};
use super::{Opened, TMP, View};

/// What a guest has open.
struct Handle {
    number: u64,
    flags: DescriptorFlags,
    /// Keeps what is open. None: the folder that every attempt has.
    _opened: Option<Opened>,
}

/// A folder that is being listed.
struct Listing {
    folder: Opened,
    /// The name that was told last.
    last: Option<String>,
}

impl From<Refusal> for FsError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Told(code) => code.into(),
            Refusal::Exceeded(exceeded) => Self::trap(exceeded),
        }
    }
}

impl View<'_> {
    fn push(&mut self, handle: Handle) -> Result<Resource<Descriptor>, ResourceTableError> {
        let handle = self.table.push(handle)?;
        Ok(Resource::new_own(handle.rep()))
    }

    fn handle(&self, descriptor: &Resource<Descriptor>) -> FsResult<&Handle> {
        Ok(self.table.get(&Resource::new_borrow(descriptor.rep()))?)
    }

    fn number(&self, descriptor: &Resource<Descriptor>) -> FsResult<u64> {
        Ok(self.handle(descriptor)?.number)
    }

    /// The number of something that was opened for this.
    fn opened_for(&self, flag: DescriptorFlags, descriptor: &Resource<Descriptor>) -> FsResult<u64> {
        let handle = self.handle(descriptor)?;
        if !handle.flags.contains(flag) {
            return Err(ErrorCode::BadDescriptor.into());
        }
        Ok(handle.number)
    }
}

impl preopens::Host for View<'_> {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        let root = self.push(Handle {
            number: ROOT,
            flags: DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY,
            _opened: None,
        })?;
        Ok(vec![(root, TMP.to_owned())])
    }
}

impl types::Host for View<'_> {
    fn convert_error_code(&mut self, err: FsError) -> Result<ErrorCode> {
        err.downcast()
    }

    fn filesystem_error_code(&mut self, err: Resource<wasmtime::Error>) -> Result<Option<ErrorCode>> {
        Ok(self.table.get(&err)?.downcast_ref().copied())
    }
}

impl HostDescriptor for View<'_> {
    fn read_via_stream(&mut self, file: Resource<Descriptor>, at: Filesize) -> FsResult<Resource<DynInputStream>> {
        let number = self.opened_for(DescriptorFlags::READ, &file)?;
        let tree = self.tree();
        if tree.lock().facts(number)?.is_folder {
            return Err(ErrorCode::IsDirectory.into());
        }
        let file = Opened::new(tree, number);
        let reader: DynInputStream = Box::new(Reader { file, at });
        Ok(self.table.push(reader)?)
    }

    fn write_via_stream(&mut self, file: Resource<Descriptor>, at: Filesize) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&file, Some(at))
    }

    fn append_via_stream(&mut self, file: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&file, None)
    }

    async fn advise(&mut self, file: Resource<Descriptor>, _: Filesize, _: Filesize, _: Advice) -> FsResult<()> {
        self.number(&file).map(|_| ())
    }

    async fn sync_data(&mut self, file: Resource<Descriptor>) -> FsResult<()> {
        self.number(&file).map(|_| ())
    }

    async fn sync(&mut self, file: Resource<Descriptor>) -> FsResult<()> {
        self.number(&file).map(|_| ())
    }

    async fn get_flags(&mut self, file: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        Ok(self.handle(&file)?.flags)
    }

    async fn get_type(&mut self, file: Resource<Descriptor>) -> FsResult<DescriptorType> {
        let number = self.number(&file)?;
        // Asked of the root before anything else: it needs no tree for that.
        if number == ROOT {
            return Ok(DescriptorType::Directory);
        }
        let facts = self.tree().lock().facts(number)?;
        Ok(kind(facts.is_folder))
    }

    async fn set_size(&mut self, file: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let number = self.opened_for(DescriptorFlags::WRITE, &file)?;
        Ok(self.tree().lock().set_size(number, size)?)
    }

    async fn set_times(
        &mut self,
        file: Resource<Descriptor>,
        read: NewTimestamp,
        written: NewTimestamp,
    ) -> FsResult<()> {
        let number = self.number(&file)?;
        let (read, written) = (time(read)?, time(written)?);
        Ok(self.tree().lock().stamp(number, read, written)?)
    }

    async fn read(&mut self, file: Resource<Descriptor>, len: Filesize, at: Filesize) -> FsResult<(Vec<u8>, bool)> {
        let number = self.opened_for(DescriptorFlags::READ, &file)?;
        let most = usize::try_from(len).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let tree = self.tree().lock();
        let bytes = tree.read(number, at, most)?;
        let at_end = bytes.is_empty() && most > 0;
        Ok((bytes, at_end))
    }

    async fn write(&mut self, file: Resource<Descriptor>, bytes: Vec<u8>, at: Filesize) -> FsResult<Filesize> {
        let number = self.opened_for(DescriptorFlags::WRITE, &file)?;
        self.tree().lock().write(number, Some(at), &bytes)?;
        Ok(bytes.len() as u64)
    }

    async fn read_directory(&mut self, folder: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        let number = self.number(&folder)?;
        let tree = self.tree();
        if !tree.lock().facts(number)?.is_folder {
            return Err(ErrorCode::NotDirectory.into());
        }
        let folder = Opened::new(tree, number);
        let listing = self.table.push(Listing { folder, last: None })?;
        Ok(Resource::new_own(listing.rep()))
    }

    async fn create_directory_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<()> {
        let from = self.number(&folder)?;
        Ok(self.tree().lock().make_folder(from, &path)?)
    }

    async fn stat(&mut self, file: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        let number = self.number(&file)?;
        let facts = self.tree().lock().facts(number)?;
        Ok(stat(&facts))
    }

    async fn stat_at(&mut self, folder: Resource<Descriptor>, _: PathFlags, path: String) -> FsResult<DescriptorStat> {
        let from = self.number(&folder)?;
        let tree = self.tree().lock();
        let facts = tree.facts(tree.find(from, &path)?)?;
        Ok(stat(&facts))
    }

    async fn set_times_at(
        &mut self,
        folder: Resource<Descriptor>,
        _: PathFlags,
        path: String,
        read: NewTimestamp,
        written: NewTimestamp,
    ) -> FsResult<()> {
        let from = self.number(&folder)?;
        let (read, written) = (time(read)?, time(written)?);
        let mut tree = self.tree().lock();
        let number = tree.find(from, &path)?;
        Ok(tree.stamp(number, read, written)?)
    }

    async fn link_at(
        &mut self,
        _: Resource<Descriptor>,
        _: PathFlags,
        _: String,
        _: Resource<Descriptor>,
        _: String,
    ) -> FsResult<()> {
        Err(ErrorCode::Unsupported.into())
    }

    async fn open_at(
        &mut self,
        folder: Resource<Descriptor>,
        _: PathFlags,
        path: String,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let from = self.number(&folder)?;
        let writes = flags.contains(DescriptorFlags::WRITE);
        let tree = self.tree();
        let number = tree.lock().open(from, &path, how, writes)?;
        let opened = Opened::new(tree, number);
        Ok(self.push(Handle {
            number,
            flags,
            _opened: Some(opened),
        })?)
    }

    async fn readlink_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<String> {
        let from = self.number(&folder)?;
        self.tree().lock().find(from, &path)?;
        // It is there, and no link.
        Err(ErrorCode::Invalid.into())
    }

    async fn remove_directory_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<()> {
        let from = self.number(&folder)?;
        Ok(self.tree().lock().remove(from, &path, true)?)
    }

    async fn rename_at(
        &mut self,
        folder: Resource<Descriptor>,
        path: String,
        to_folder: Resource<Descriptor>,
        to_path: String,
    ) -> FsResult<()> {
        let (from, to) = (self.number(&folder)?, self.number(&to_folder)?);
        Ok(self.tree().lock().rename(from, &path, to, &to_path)?)
    }

    async fn symlink_at(&mut self, _: Resource<Descriptor>, _: String, _: String) -> FsResult<()> {
        Err(ErrorCode::Unsupported.into())
    }

    async fn unlink_file_at(&mut self, folder: Resource<Descriptor>, path: String) -> FsResult<()> {
        let from = self.number(&folder)?;
        Ok(self.tree().lock().remove(from, &path, false)?)
    }

    async fn is_same_object(&mut self, one: Resource<Descriptor>, other: Resource<Descriptor>) -> Result<bool> {
        let number = |descriptor: &Resource<Descriptor>| -> Result<u64> {
            let handle: &Handle = self.table.get(&Resource::new_borrow(descriptor.rep()))?;
            Ok(handle.number)
        };
        Ok(number(&one)? == number(&other)?)
    }

    async fn metadata_hash(&mut self, file: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        let number = self.number(&file)?;
        self.tree().lock().facts(number)?;
        Ok(hash(number))
    }

    async fn metadata_hash_at(
        &mut self,
        folder: Resource<Descriptor>,
        _: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let from = self.number(&folder)?;
        Ok(hash(self.tree().lock().find(from, &path)?))
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> Result<()> {
        self.table.delete(Resource::<Handle>::new_own(descriptor.rep()))?;
        Ok(())
    }
}

impl View<'_> {
    fn writer(&mut self, file: &Resource<Descriptor>, at: Option<u64>) -> FsResult<Resource<DynOutputStream>> {
        let number = self.opened_for(DescriptorFlags::WRITE, file)?;
        let file = Opened::new(self.tree(), number);
        let writer: DynOutputStream = Box::new(Writer { file, at });
        Ok(self.table.push(writer)?)
    }
}

impl HostDirectoryEntryStream for View<'_> {
    async fn read_directory_entry(
        &mut self,
        listing: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        let listing: &mut Listing = self.table.get_mut(&Resource::new_borrow(listing.rep()))?;
        let tree = listing.folder.tree.lock();
        let Some((name, is_folder)) = tree.next_entry(listing.folder.number, listing.last.as_deref())? else {
            return Ok(None);
        };
        listing.last = Some(name.clone());
        let type_ = kind(is_folder);
        Ok(Some(DirectoryEntry { type_, name }))
    }

    fn drop(&mut self, listing: Resource<DirectoryEntryStream>) -> Result<()> {
        self.table.delete(Resource::<Listing>::new_own(listing.rep()))?;
        Ok(())
    }
}

fn kind(is_folder: bool) -> DescriptorType {
    if is_folder {
        DescriptorType::Directory
    } else {
        DescriptorType::RegularFile
    }
}

fn stat(facts: &Facts) -> DescriptorStat {
    DescriptorStat {
        type_: kind(facts.is_folder),
        link_count: 1,
        size: facts.size,
        data_access_timestamp: date(facts.times.read),
        data_modification_timestamp: date(facts.times.written),
        status_change_timestamp: date(facts.times.changed),
    }
}

/// Tells things apart: preview 1 has it as the number of a file.
fn hash(number: u64) -> MetadataHashValue {
    MetadataHashValue {
        lower: number,
        upper: 0,
    }
}

fn date(time: SystemTime) -> Option<Datetime> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Datetime {
        seconds: since.as_secs(),
        nanoseconds: since.subsec_nanos(),
    })
}

/// None: it stays as it is.
fn time(new: NewTimestamp) -> Result<Option<SystemTime>, ErrorCode> {
    match new {
        NewTimestamp::NoChange => Ok(None),
        NewTimestamp::Now => Ok(Some(SystemTime::now())),
        NewTimestamp::Timestamp(Datetime { seconds, nanoseconds }) => {
            let nanoseconds = Duration::from_nanos(nanoseconds.into());
            let since = Duration::from_secs(seconds).checked_add(nanoseconds);
            let time = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
            time.map(Some).ok_or(ErrorCode::Overflow)
        }
    }
}
