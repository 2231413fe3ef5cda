//! What a layer directory has, from names and metadata alone: no content is read.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, readlinkat, statat};

use crate::error::At;
use crate::pack::{is_whiteout, names_in, open_dir};
use crate::{IndexedKind, Layer, Store, StoreError, xattr};

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
        let mut list = List {
            layer,
            opaque: self.flavour().opaque(),
            found: Vec::new(),
        };
        let root = layer.open().at("open", &layer.dir)?;
        list.directory(root.as_fd(), &mut Vec::new())?;
        Ok(list.found)
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

struct List<'a> {
    layer: &'a Layer,
    opaque: &'static std::ffi::CStr,
    found: Vec<ListedPath>,
}

impl List<'_> {
    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let own = path.len();
        for name in names_in(directory).at("list", self.at(path))? {
            if own > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            self.child(directory, OsStr::from_bytes(&name), path)?;
            path.truncate(own);
        }
        Ok(())
    }

    fn child(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).at("look at", self.at(path))?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            _ if is_whiteout(&stat) => IndexedKind::Whiteout,
            FileType::RegularFile => IndexedKind::File,
            FileType::Directory => IndexedKind::Dir,
            FileType::Symlink => IndexedKind::Symlink,
            FileType::Fifo => IndexedKind::Fifo,
            FileType::CharacterDevice => IndexedKind::CharDevice,
            FileType::BlockDevice => IndexedKind::BlockDevice,
            FileType::Socket | FileType::Unknown => return Ok(()),
        };
        let is_file = kind == IndexedKind::File;
        let mut listed = ListedPath {
            path: path.clone(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: if is_file {
                u64::try_from(stat.st_size).unwrap_or(0)
            } else {
                0
            },
            target: Vec::new(),
            opaque: false,
            inode: (is_file && stat.st_nlink > 1).then_some(stat.st_ino),
        };
        match kind {
            IndexedKind::Symlink => {
                listed.target = readlinkat(parent, name, Vec::new())
                    .at("read the link", self.at(path))?
                    .into_bytes();
            }
            IndexedKind::Dir => {
                let directory = open_dir(parent, name).at("open", self.at(path))?;
                listed.opaque = xattr::is_opaque(&directory, self.opaque)
                    .at("read the attributes of", self.at(path))?;
                self.found.push(listed);
                return self.directory(directory.as_fd(), path);
            }
            _ => {}
        }
        self.found.push(listed);
        Ok(())
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.layer.dir.join(OsStr::from_bytes(path))
    }
}
