//! A file tree to look at: what COPY reads from and what users and working directories are looked
//! up in. Paths are relative to the tree's root, `""` is the root itself, and no method follows a
//! symbolic link; [`resolve`] does that, inside the tree.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use launchway_model::Digest;
use rustix::fs::{FileType, Stat};

/// What an entry of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    File,
    Dir,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

/// The metadata of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    pub kind: EntryKind,
    /// The twelve permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes, for files.
    pub size: u64,
    /// Whole seconds since the epoch.
    pub mtime: i64,
    /// For devices: the number as `makedev` packs it.
    pub rdev: u64,
    /// Device and inode when the file has more than one name, to keep hard links together.
    pub inode: Option<(u64, u64)>,
}

impl TreeEntry {
    /// The entry that a `stat` describes.
    #[must_use]
    pub fn of(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => EntryKind::Dir,
            FileType::Symlink => EntryKind::Symlink,
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::Socket,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::RegularFile | FileType::Unknown => EntryKind::File,
        };
        let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: if kind == EntryKind::File {
                stat.st_size.cast_unsigned()
            } else {
                0
            },
            mtime: stat.st_mtime,
            rdev: if is_device { stat.st_rdev } else { 0 },
            inode: (stat.st_nlink > 1 && kind != EntryKind::Dir)
                .then_some((stat.st_dev, stat.st_ino)),
        }
    }
}

/// A tree of files that does not change while it is looked at.
pub trait Tree {
    /// The entry at a path; `None` when there is none.
    ///
    /// # Errors
    /// When the disk fails or the path is not a relative one without `..`.
    fn entry(&self, path: &Path) -> io::Result<Option<TreeEntry>>;

    /// The names in a directory, sorted bytewise.
    ///
    /// # Errors
    /// When there is no directory at the path.
    fn children(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// When there is no regular file at the path.
    fn open(&self, path: &Path) -> io::Result<File>;

    /// Where the symbolic link at a path points.
    ///
    /// # Errors
    /// When there is no symbolic link at the path.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;

    /// The extended attributes that copies have as well: `security.capability` and, of images, `user.*`.
    ///
    /// # Errors
    /// When there is no entry at the path.
    fn xattrs(&self, path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>>;

    /// The names in a directory, sorted bytewise, with what they name.
    ///
    /// # Errors
    /// When there is no directory at the path.
    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, TreeEntry)>> {
        let mut found = Vec::new();
        for name in self.children(path)? {
            if let Some(entry) = self.entry(&path.join(&name))? {
                found.push((name, entry));
            }
        }
        Ok(found)
    }

    /// Opens a regular file, with the extended attributes that belong into a layer.
    ///
    /// # Errors
    /// When there is no regular file at the path.
    fn open_with_xattrs(&self, path: &Path) -> io::Result<(File, BTreeMap<OsString, Vec<u8>>)> {
        Ok((self.open(path)?, self.xattrs(path)?))
    }

    /// What is known of a file's content without reading it.
    ///
    /// # Errors
    /// When the disk fails.
    fn known_content(&self, _path: &Path) -> io::Result<Option<FileContent>> {
        Ok(None)
    }

    /// Told of a file that [`open`](Self::open) gave, before it is read for its digest.
    ///
    /// # Errors
    /// When the disk fails.
    fn begin_to_hash(&self, _path: &Path, _file: &File) -> io::Result<()> {
        Ok(())
    }

    /// Told of what was read since [`begin_to_hash`](Self::begin_to_hash). Says whether the file stayed as it was.
    ///
    /// # Errors
    /// When the disk fails.
    fn end_of_hash(&self, _path: &Path, _file: &File, _content: &FileContent) -> io::Result<bool> {
        Ok(true)
    }

    /// Whether a file that was read to its end is still the one whose digest was told last.
    ///
    /// # Errors
    /// When the disk fails.
    fn is_unchanged(&self, _path: &Path, _file: &File) -> io::Result<bool> {
        Ok(true)
    }
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContent {
    /// Of its bytes, a sha256.
    pub digest: Digest,
    pub size: u64,
    /// The extended attributes that belong into a layer.
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
}

/// As many links as the kernel follows before it calls it a loop.
const MAX_LINKS: usize = 40;

/// The path that `path` means inside the tree when its symbolic links are followed: absolute links
/// start at the tree's root, and `..` stops there. What does not exist is kept as it is written,
/// so the path of something that is yet to be made can be resolved too.
///
/// # Errors
/// When there are more than 40 links in the way, or the tree cannot be read.
pub fn resolve(tree: &dyn Tree, path: &Path, follow_last: bool) -> io::Result<PathBuf> {
    let link = |path: &Path| match tree.entry(path)? {
        Some(entry) if entry.kind == EntryKind::Symlink => tree.read_link(path).map(Some),
        _ => Ok(None),
    };
    resolve_by(&link, path, follow_last)
}

/// As [`resolve`], where `link` tells what the symbolic link at a path points to, if there is one.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_by(
    link: &dyn Fn(&Path) -> io::Result<Option<PathBuf>>,
    path: &Path,
    follow_last: bool,
) -> io::Result<PathBuf> {
    let mut todo: VecDeque<OsString> = parts(path).collect();
    let mut done = PathBuf::new();
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            done.pop();
            continue;
        }
        let here = done.join(&part);
        let is_last = todo.is_empty();
        let target = if follow_last || !is_last {
            link(&here)?
        } else {
            None
        };
        let Some(target) = target else {
            done = here;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::from(rustix::io::Errno::LOOP));
        }
        if target.is_absolute() {
            done = PathBuf::new();
        }
        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
            todo.push_front(part);
        }
    }
    Ok(done)
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

/// Calls `visit` for `root` and everything below it: parents before children, siblings sorted
/// bytewise. Does nothing when there is no entry at `root`.
///
/// # Errors
/// What the tree or `visit` fails with; the walk ends there.
pub fn walk<E: From<io::Error>>(
    tree: &dyn Tree,
    root: &Path,
    visit: &mut dyn FnMut(&Path, &TreeEntry) -> Result<(), E>,
) -> Result<(), E> {
    let Some(entry) = tree.entry(root)? else {
        return Ok(());
    };
    visit(root, &entry)?;
    if entry.kind == EntryKind::Dir {
        for name in tree.children(root)? {
            walk(tree, &root.join(name), visit)?;
        }
    }
    Ok(())
}

/// The names of a path that stays inside a tree.
pub(crate) fn inside(path: &Path) -> io::Result<Vec<&OsStr>> {
    path.components()
        .filter(|component| !matches!(component, Component::CurDir))
        .map(|component| match component {
            Component::Normal(name) => Ok(name),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a path in a tree is relative and has no '..'",
            )),
        })
        .collect()
}
