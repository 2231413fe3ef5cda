//! OCI image layouts, as a directory or a tar.

use std::io::{Read, Write};
use std::path::Path;

use crate::spec::{Descriptor, Index};
use crate::{Store, StoreError};

/// An image for an archive: its manifest or index in the store, and the names it gets.
#[derive(Clone, Debug)]
pub struct ArchiveImage {
    pub descriptor: Descriptor,
    /// Full references (`docker.io/library/x:tag`); none is fine.
    pub names: Vec<String>,
}

/// Reads a layout directory: everything its index leads to is put into the store.
///
/// # Errors
/// When the directory is not a layout, or content has another digest than its descriptor says.
pub fn read_layout(_store: &Store, _directory: &Path) -> Result<Index, StoreError> {
    unimplemented!()
}

/// Reads a layout from a tar, likewise.
///
/// # Errors
/// As [`read_layout`].
pub fn read_archive(_store: &Store, _archive: impl Read + Send) -> Result<Index, StoreError> {
    unimplemented!()
}

/// Writes images with everything they need as a layout directory.
///
/// # Errors
/// When the store lacks a blob or the disk fails.
pub fn write_layout(
    _store: &Store,
    _images: &[ArchiveImage],
    _directory: &Path,
) -> Result<(), StoreError> {
    unimplemented!()
}

/// Writes images as one tar that is an OCI layout and can be loaded by `docker load`.
///
/// # Errors
/// As [`write_layout`].
pub fn write_archive(
    _store: &Store,
    _images: &[ArchiveImage],
    _out: impl Write,
) -> Result<(), StoreError> {
    unimplemented!()
}
