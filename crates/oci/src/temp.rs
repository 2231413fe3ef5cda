//! Things under the store's `tmp` that vanish unless they are adopted.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use launchway_model::Digest;

use crate::StoreError;
use crate::hash::Hasher;
use crate::store::Store;

/// A path on the store's file system at which nothing exists yet; what is put there is removed
/// when this is dropped.
#[derive(Debug)]
pub struct TempPath {
    pub(crate) path: PathBuf,
}

impl TempPath {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for TempPath {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// Writes a new blob and hashes it on the way.
pub struct BlobWriter {
    pub(crate) store: Store,
    pub(crate) temp: TempPath,
    pub(crate) file: File,
    pub(crate) hasher: Hasher,
    pub(crate) length: u64,
}

impl BlobWriter {
    /// Puts the blob in its place.
    ///
    /// # Errors
    /// When the digest is not the expected one, or the disk fails.
    pub fn finish(self, _expected: Option<&Digest>) -> Result<(Digest, u64), StoreError> {
        unimplemented!()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The upper and work directory of an overlay whose changes become a layer. Removed on drop.
#[derive(Debug)]
pub struct WorkingLayer {
    pub(crate) temp: TempPath,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
}

impl WorkingLayer {
    #[must_use]
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    #[must_use]
    pub fn work(&self) -> &Path {
        &self.work
    }
}
