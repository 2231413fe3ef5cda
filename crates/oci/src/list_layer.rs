//! What a layer directory has, from names and metadata alone: no content is read.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use crate::error::At;
use crate::walk_layer::walk;
use crate::{IndexedKind, Layer, Store, StoreError};

/// An entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPath {
    /// Relative to the root.
    pub path: Vec<u8>,
    pub kind: IndexedKind,
    /// The twelve permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes, for files.
    pub size: u64,
    /// Where a symbolic link points.
    pub target: Vec<u8>,
    /// A directory that hides everything below it.
    pub opaque: bool,
    /// The same for all names of a file that has several.
    pub inode: Option<u64>,
}

impl Store {
    /// The entries of a layer, parents before what is in them, without the root itself.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn list_layer(&self, layer: &Layer) -> Result<Vec<ListedPath>, StoreError> {
        let mut found = Vec::new();
        let root = layer.open().at("open", &layer.dir)?;
        walk(root.as_fd(), &layer.dir, &mut |walked| {
            let stat = &walked.stat;
            let is_file = walked.kind == IndexedKind::File;
            found.push(ListedPath {
                path: walked.path.to_owned(),
                kind: walked.kind,
                mode: stat.st_mode & 0o7777,
                uid: stat.st_uid,
                gid: stat.st_gid,
                size: if is_file {
                    u64::try_from(stat.st_size).unwrap_or(0)
                } else {
                    0
                },
                target: if walked.kind == IndexedKind::Symlink {
                    walked.target()?
                } else {
                    Vec::new()
                },
                opaque: walked.is_opaque(self.flavour().opaque())?,
                inode: (is_file && stat.st_nlink > 1).then_some(stat.st_ino),
            });
            Ok(())
        })?;
        Ok(found)
    }
}

impl Layer {
    /// Opens a regular file of the layer, as [`list_layer`](Store::list_layer) names it.
    ///
    /// # Errors
    /// When it is not there, or the disk fails.
    pub fn open_file(&self, path: &[u8]) -> Result<File, StoreError> {
        let full = self.dir.join(OsStr::from_bytes(path));
        crate::pack::open_file(rustix::fs::CWD, full.as_os_str()).at("open", &full)
    }
}
