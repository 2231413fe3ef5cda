//! The one walk over a layer's directory, for everything that is made of one: its tar, its index, its
//! list.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Stat, readlinkat, statat};

use crate::error::At;
use crate::pack::{is_whiteout, names_in, open_dir};
use crate::xattr::{self, Xattrs};
use crate::{IndexedKind, StoreError};

/// In a layer. The kernel takes paths of 4095 bytes, which includes where the layer itself is: what lies deeper cannot be
/// reached by its path.
const LONGEST_PATH: usize = 3584;
pub(crate) const TOO_DEEP: &str = "its path is longer than 3584 bytes";

/// Something in a layer's directory.
pub(crate) struct Walked<'a> {
    base: &'a Path,
    /// The directory it is in.
    pub(crate) parent: BorrowedFd<'a>,
    /// Relative to the layer's root.
    pub(crate) path: &'a [u8],
    pub(crate) kind: IndexedKind,
    pub(crate) stat: Stat,
    /// A directory, opened.
    directory: Option<BorrowedFd<'a>>,
}

impl Walked<'_> {
    pub(crate) fn name(&self) -> &OsStr {
        let start = self.path.iter().rposition(|byte| *byte == b'/');
        OsStr::from_bytes(&self.path[start.map_or(0, |at| at + 1)..])
    }

    /// Where it is on this machine.
    pub(crate) fn full(&self) -> PathBuf {
        self.base.join(OsStr::from_bytes(self.path))
    }

    /// Where a symbolic link points.
    pub(crate) fn target(&self) -> Result<Vec<u8>, StoreError> {
        let target = readlinkat(self.parent, self.name(), Vec::new());
        Ok(target.at("read the link", self.full())?.into_bytes())
    }

    /// Whether it is a directory that hides everything below it.
    pub(crate) fn is_opaque(&self, mark: &std::ffi::CStr) -> Result<bool, StoreError> {
        match self.directory {
            Some(directory) => {
                xattr::is_opaque(directory, mark).at("read the attributes of", self.full())
            }
            None => Ok(false),
        }
    }

    /// The attributes that are written into a layer.
    pub(crate) fn xattrs(&self) -> Result<Xattrs, StoreError> {
        match self.directory {
            Some(directory) => xattr::read(directory),
            None => xattr::read_at(&self.full()),
        }
        .at("read the attributes of", self.full())
    }
}

/// A directory on the way down.
struct Level {
    directory: OwnedFd,
    names: std::vec::IntoIter<Vec<u8>>,
    /// How long its own path is.
    path: usize,
}

impl Level {
    fn of(directory: OwnedFd, path: usize) -> std::io::Result<Self> {
        let names = names_in(&directory)?.into_iter();
        Ok(Self {
            directory,
            names,
            path,
        })
    }
}

/// Calls `visit` for everything below a layer's root: parents before what is in them, siblings sorted
/// bytewise. Sockets are passed over, since without its process a socket is nothing.
pub(crate) fn walk(
    root: BorrowedFd<'_>,
    base: &Path,
    visit: &mut dyn FnMut(&Walked<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let root = root.try_clone_to_owned().at("open", base)?;
    let mut levels = vec![Level::of(root, 0).at("list", base)?];
    let mut path: Vec<u8> = Vec::new();
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        path.truncate(level.path);
        if level.path > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        let full = || base.join(OsStr::from_bytes(&path));
        if path.len() > LONGEST_PATH {
            return Err(too_deep(full()));
        }
        let name = OsStr::from_bytes(&name);
        let parent = level.directory.as_fd();
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).at("look at", full())?;
        let Some(kind) = kind_of(&stat) else {
            continue;
        };
        let directory = match kind {
            IndexedKind::Dir => Some(open_dir(parent, name).at("open", full())?),
            _ => None,
        };
        visit(&Walked {
            base,
            parent,
            path: &path,
            kind,
            stat,
            directory: directory.as_ref().map(AsFd::as_fd),
        })?;
        if let Some(directory) = directory {
            levels.push(Level::of(directory, path.len()).at("list", full())?);
        }
    }
    Ok(())
}

/// Nothing is made of a tree that is deeper than a path is long.
pub(crate) fn check_depth(path: &Path) -> Result<(), StoreError> {
    if is_too_deep(path) {
        return Err(too_deep(path.to_owned()));
    }
    Ok(())
}

pub(crate) fn is_too_deep(path: &Path) -> bool {
    path.as_os_str().len() > LONGEST_PATH
}

fn too_deep(path: PathBuf) -> StoreError {
    StoreError::NotRepresentable {
        path,
        reason: TOO_DEEP,
    }
}

fn kind_of(stat: &Stat) -> Option<IndexedKind> {
    // Overlay's whiteouts are devices, so they are told first.
    if is_whiteout(stat) {
        return Some(IndexedKind::Whiteout);
    }
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => IndexedKind::File,
        FileType::Directory => IndexedKind::Dir,
        FileType::Symlink => IndexedKind::Symlink,
        FileType::Fifo => IndexedKind::Fifo,
        FileType::CharacterDevice => IndexedKind::CharDevice,
        FileType::BlockDevice => IndexedKind::BlockDevice,
        FileType::Socket | FileType::Unknown => return None,
    })
}
