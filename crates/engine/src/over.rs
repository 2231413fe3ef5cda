//! A layer in the making, laid over the layers below it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use launchway_oci::{EntryKind, Stack, Tree, TreeEntry};

/// A plain directory laid over a stack, as a tree. The directory holds no removals.
pub(crate) struct Over {
    upper: PathBuf,
    /// The layers below alone.
    pub(crate) below: Stack,
}

impl Over {
    pub(crate) fn new(upper: &Path, below: Stack) -> Self {
        Self {
            upper: upper.to_owned(),
            below,
        }
    }

    fn upper_metadata(&self, path: &Path) -> io::Result<Option<fs::Metadata>> {
        match fs::symlink_metadata(self.upper.join(path)) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether something in the upper directory that is no directory hides what lies below a path.
    fn is_hidden(&self, path: &Path) -> io::Result<bool> {
        for parent in path.ancestors().skip(1) {
            if let Some(metadata) = self.upper_metadata(parent)? {
                return Ok(!metadata.is_dir());
            }
        }
        Ok(false)
    }
}

impl Tree for Over {
    fn entry(&self, path: &Path) -> io::Result<Option<TreeEntry>> {
        match self.upper_metadata(path)? {
            Some(metadata) if !path.as_os_str().is_empty() => Ok(Some(entry_of(&metadata))),
            Some(metadata) => Ok(Some(
                self.below
                    .entry(path)?
                    .unwrap_or_else(|| entry_of(&metadata)),
            )),
            None if self.is_hidden(path)? => Ok(None),
            None => self.below.entry(path),
        }
    }

    fn children(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = BTreeSet::new();
        if let Some(metadata) = self.upper_metadata(path)? {
            if !metadata.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            for entry in fs::read_dir(self.upper.join(path))? {
                names.insert(entry?.file_name());
            }
        }
        let below = self.below.entry(path)?;
        if below.is_some_and(|entry| entry.kind == EntryKind::Dir) && !self.is_hidden(path)? {
            names.extend(self.below.children(path)?);
        }
        Ok(names.into_iter().collect())
    }

    fn open(&self, path: &Path) -> io::Result<fs::File> {
        match self.upper_metadata(path)? {
            Some(_) => fs::File::open(self.upper.join(path)),
            None => self.below.open(path),
        }
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        match self.upper_metadata(path)? {
            Some(_) => fs::read_link(self.upper.join(path)),
            None => self.below.read_link(path),
        }
    }

    fn xattrs(&self, path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
        match self.upper_metadata(path)? {
            Some(_) => read_xattrs(&self.upper.join(path)),
            None => self.below.xattrs(path),
        }
    }
}

fn read_xattrs(path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    let mut names = vec![0; 64 * 1024];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut all = BTreeMap::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        value.truncate(length);
        all.insert(OsString::from_vec(name.to_vec()), value);
    }
    Ok(all)
}

/// What a plain directory holds under a path, as a tree entry.
fn entry_of(metadata: &fs::Metadata) -> TreeEntry {
    let kind = metadata.file_type();
    let kind = if kind.is_dir() {
        EntryKind::Dir
    } else if kind.is_symlink() {
        EntryKind::Symlink
    } else if kind.is_fifo() {
        EntryKind::Fifo
    } else if kind.is_socket() {
        EntryKind::Socket
    } else if kind.is_char_device() {
        EntryKind::CharDevice
    } else if kind.is_block_device() {
        EntryKind::BlockDevice
    } else {
        EntryKind::File
    };
    TreeEntry {
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: metadata.size(),
        mtime: metadata.mtime(),
        rdev: metadata.rdev(),
        inode: (metadata.nlink() > 1 && kind != EntryKind::Dir)
            .then(|| (metadata.dev(), metadata.ino())),
    }
}
