//! Where a new layer comes to be: in a directory, or in memory until it is packed. Both lie over the layers below.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use launchway_oci::{
    Attributes, EntryKind, PlannedLayer, Source, Stack, Tree, TreeEntry, resolve, resolve_by,
};
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, XattrFlags};

use crate::over::Over;

type Xattrs = std::collections::BTreeMap<OsString, Vec<u8>>;

pub(crate) enum Upper<'a> {
    Directory {
        path: PathBuf,
        view: Over,
    },
    Planned {
        layer: PlannedLayer<'a>,
        below: Stack,
    },
}

/// Owner, mode and time of what is put into a layer.
#[derive(Clone, Copy)]
pub(crate) struct Put {
    pub(crate) owner: (u32, u32),
    pub(crate) mode: u32,
    pub(crate) mtime: i64,
}

impl<'a> Upper<'a> {
    pub(crate) fn directory(path: &Path, below: &Stack) -> Self {
        Self::Directory {
            path: path.to_owned(),
            view: Over::new(path, below.clone()),
        }
    }

    /// `seen` is what of the layers below is seen; the root is theirs in any case.
    pub(crate) fn planned(below: &Stack, seen: &Stack) -> io::Result<Self> {
        Ok(Self::Planned {
            layer: PlannedLayer::new(below)?,
            below: seen.clone(),
        })
    }

    pub(crate) fn below(&self) -> &Stack {
        match self {
            Self::Directory { view, .. } => &view.below,
            Self::Planned { below, .. } => below,
        }
    }

    /// What stands at a path, here or below.
    pub(crate) fn entry(&self, path: &Path) -> io::Result<Option<TreeEntry>> {
        let (layer, below) = match self {
            Self::Directory { view, .. } => return view.entry(path),
            Self::Planned { layer, below } => (layer, below),
        };
        match layer.entry(path)? {
            Some(entry) if !path.as_os_str().is_empty() => Ok(Some(entry)),
            Some(entry) => Ok(Some(below.entry(path)?.unwrap_or(entry))),
            None if layer.hides(path)? => Ok(None),
            None => below.entry(path),
        }
    }

    /// Whether this layer itself has a directory at a path.
    pub(crate) fn has_directory(&self, path: &Path) -> bool {
        match self {
            Self::Directory { path: root, .. } => {
                fs::symlink_metadata(root.join(path)).is_ok_and(|metadata| metadata.is_dir())
            }
            Self::Planned { layer, .. } => {
                let entry = layer.entry(path).ok().flatten();
                entry.is_some_and(|entry| entry.kind == EntryKind::Dir)
            }
        }
    }

    /// A path with its symbolic links followed.
    pub(crate) fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let (layer, below) = match self {
            Self::Directory { view, .. } => return resolve(view, path, true),
            Self::Planned { layer, below } => (layer, below),
        };
        let link = |path: &Path| match layer.entry(path)? {
            Some(entry) if entry.kind == EntryKind::Symlink => layer.read_link(path).map(Some),
            Some(_) => Ok(None),
            None if layer.hides(path)? => Ok(None),
            None => match below.entry(path)? {
                Some(entry) if entry.kind == EntryKind::Symlink => below.read_link(path).map(Some),
                _ => Ok(None),
            },
        };
        resolve_by(&link, path, true)
    }

    pub(crate) fn make_directory(&mut self, path: &Path) -> io::Result<()> {
        match self {
            Self::Directory { path: root, .. } => fs::create_dir(root.join(path)),
            Self::Planned { layer, .. } => layer.make_directory(path, 0o755),
        }
    }

    /// The time of a directory of this layer.
    pub(crate) fn mtime(&mut self, path: &Path) -> io::Result<i64> {
        match self {
            Self::Directory { path: root, .. } => {
                fs::symlink_metadata(root.join(path)).map(|metadata| metadata.mtime())
            }
            Self::Planned { layer, .. } => Ok(layer.attributes(path)?.mtime),
        }
    }

    pub(crate) fn set_mtime(&mut self, path: &Path, mtime: i64) -> io::Result<()> {
        match self {
            Self::Directory { path: root, .. } => set_mtime(&root.join(path), mtime),
            Self::Planned { layer, .. } => {
                layer.attributes(path)?.mtime = mtime;
                Ok(())
            }
        }
    }

    /// Sets the mode of a directory of this layer.
    pub(crate) fn set_mode(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        match self {
            Self::Directory { path: root, .. } => {
                let mode = fs::Permissions::from_mode(mode & 0o7777);
                fs::set_permissions(root.join(path), mode)
            }
            Self::Planned { layer, .. } => {
                layer.attributes(path)?.mode = mode & 0o7777;
                Ok(())
            }
        }
    }

    /// Sets owner and mode of a directory of this layer.
    pub(crate) fn set_owner_and_mode(
        &mut self,
        path: &Path,
        owner: (u32, u32),
        mode: u32,
    ) -> io::Result<()> {
        match self {
            Self::Directory { path: root, .. } => {
                std::os::unix::fs::lchown(root.join(path), Some(owner.0), Some(owner.1))?;
            }
            Self::Planned { layer, .. } => {
                let attributes = layer.attributes(path)?;
                (attributes.uid, attributes.gid) = owner;
            }
        }
        self.set_mode(path, mode)
    }

    /// Gives a directory of this layer all that it should have, in the order that keeps all of it: a change of owner
    /// clears set-user-id bits and capabilities.
    pub(crate) fn finish_directory(
        &mut self,
        path: &Path,
        put: Put,
        xattrs: Xattrs,
    ) -> io::Result<()> {
        self.set_owner_and_mode(path, put.owner, put.mode)?;
        match self {
            Self::Directory { path: root, .. } => set_xattrs(&root.join(path), &xattrs)?,
            Self::Planned { layer, .. } => layer.attributes(path)?.xattrs.extend(xattrs),
        }
        self.set_mtime(path, put.mtime)
    }

    /// Removes something of this layer that is no directory, if it is there.
    pub(crate) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        match self {
            Self::Directory { path: root, .. } => match fs::remove_file(root.join(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            // What is put there takes its place.
            Self::Planned { .. } => Ok(()),
        }
    }

    /// Removes whatever this layer has at a path, if anything.
    pub(crate) fn remove(&mut self, path: &Path, is_directory: bool) -> io::Result<()> {
        let removed = match self {
            Self::Directory { path: root, .. } if is_directory => {
                fs::remove_dir_all(root.join(path))
            }
            Self::Directory { path: root, .. } => fs::remove_file(root.join(path)),
            Self::Planned { layer, .. } => layer.remove(path),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Gives what was put at `first` a second name.
    pub(crate) fn link(&mut self, first: &Path, path: &Path) -> io::Result<()> {
        match self {
            Self::Directory { path: root, .. } => fs::hard_link(root.join(first), root.join(path)),
            Self::Planned { layer, .. } => layer.link(first, path),
        }
    }

    /// Puts something of a tree that is no directory where nothing is.
    pub(crate) fn put(
        &mut self,
        path: &Path,
        tree: &'a (dyn Tree + Sync),
        source: &Path,
        entry: &TreeEntry,
        put: Put,
    ) -> io::Result<()> {
        let root = match self {
            Self::Directory { path: root, .. } => root,
            Self::Planned { layer, .. } => {
                let source = match entry.kind {
                    EntryKind::File => Source::File {
                        tree,
                        path: source.to_owned(),
                        size: entry.size,
                    },
                    EntryKind::Symlink => Source::Symlink(tree.read_link(source)?),
                    kind => Source::Node(kind, entry.rdev),
                };
                return layer.put(path, put.attributes(), source);
            }
        };
        let real = root.join(path);
        match entry.kind {
            EntryKind::File => {
                let mut from = tree.open(source)?;
                io::copy(&mut from, &mut fs::File::create(&real)?)?;
            }
            EntryKind::Symlink => std::os::unix::fs::symlink(tree.read_link(source)?, &real)?,
            kind => {
                let kind = match kind {
                    EntryKind::Fifo => rustix::fs::FileType::Fifo,
                    EntryKind::Socket => rustix::fs::FileType::Socket,
                    EntryKind::CharDevice => rustix::fs::FileType::CharacterDevice,
                    _ => rustix::fs::FileType::BlockDevice,
                };
                rustix::fs::mknodat(CWD, &real, kind, Mode::from_raw_mode(0o600), entry.rdev)?;
            }
        }
        std::os::unix::fs::lchown(&real, Some(put.owner.0), Some(put.owner.1))?;
        if entry.kind != EntryKind::Symlink {
            fs::set_permissions(&real, fs::Permissions::from_mode(put.mode & 0o7777))?;
        }
        set_xattrs(&real, &tree.xattrs(source)?)?;
        set_mtime(&real, put.mtime)
    }

    /// Puts a file from memory where nothing is. Its time is now.
    pub(crate) fn put_bytes(
        &mut self,
        path: &Path,
        content: &[u8],
        owner: (u32, u32),
        mode: u32,
    ) -> io::Result<()> {
        match self {
            Self::Directory { path: root, .. } => {
                let real = root.join(path);
                fs::write(&real, content)?;
                std::os::unix::fs::lchown(&real, Some(owner.0), Some(owner.1))?;
                fs::set_permissions(&real, fs::Permissions::from_mode(mode & 0o7777))
            }
            Self::Planned { layer, .. } => {
                let put = Put {
                    owner,
                    mode,
                    mtime: layer.now(),
                };
                layer.put(path, put.attributes(), Source::Bytes(content.to_owned()))
            }
        }
    }
}

impl Put {
    fn attributes(self) -> Attributes {
        Attributes {
            uid: self.owner.0,
            gid: self.owner.1,
            mode: self.mode & 0o7777,
            mtime: self.mtime,
            xattrs: Xattrs::new(),
        }
    }
}

fn set_xattrs(path: &Path, xattrs: &Xattrs) -> io::Result<()> {
    for (name, value) in xattrs {
        match rustix::fs::lsetxattr(path, name.as_bytes(), value, XattrFlags::empty()) {
            // BuildKit goes on where the file system takes no such attribute; so do we.
            Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

pub(crate) fn set_mtime(path: &Path, mtime: i64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}
