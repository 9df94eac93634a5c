//! Paths as guests write them. Pure.

use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

/// Bytes of a path, and of one name in it.
const MAX_PATH_BYTES: usize = 4096;
const MAX_NAME_BYTES: usize = 255;

/// The names of a path that begins in some folder.
pub(super) struct Path<'a> {
    names: Vec<&'a str>,
    ends_in_slash: bool,
}

/// What a path ends with.
pub(super) enum Last<'a> {
    /// The name of something in the folder before it.
    Name(&'a str),
    /// `.` or `..`, which lead to a folder.
    Same(&'a str),
}

impl<'a> Path<'a> {
    /// # Errors
    /// For what is no relative path, or too long.
    pub(super) fn read(path: &'a str) -> Result<Self, ErrorCode> {
        if path.len() > MAX_PATH_BYTES {
            return Err(ErrorCode::NameTooLong);
        }
        if path.is_empty() {
            return Err(ErrorCode::NoEntry);
        }
        if path.starts_with('/') {
            return Err(ErrorCode::NotPermitted);
        }
        if path.contains('\0') {
            return Err(ErrorCode::Invalid);
        }
        let names: Vec<_> = path.split('/').filter(|name| !name.is_empty()).collect();
        if names.iter().any(|name| name.len() > MAX_NAME_BYTES) {
            return Err(ErrorCode::NameTooLong);
        }
        let ends_in_slash = path.ends_with('/');
        Ok(Self { names, ends_in_slash })
    }

    /// All names but the last.
    pub(super) fn folders(&self) -> impl Iterator<Item = &'a str> {
        let before = self.names.len().saturating_sub(1);
        self.names.iter().take(before).copied()
    }

    pub(super) fn last(&self) -> Last<'a> {
        match self.names.last().copied().unwrap_or(".") {
            name @ ("." | "..") => Last::Same(name),
            name => Last::Name(name),
        }
    }

    pub(super) fn must_be_folder(&self) -> bool {
        self.ends_in_slash
    }
}
