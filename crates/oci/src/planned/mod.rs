//! A layer that is known before anything of it is written: what COPY puts together.
//!
//! It is filled like a directory. Its files stay where they are until the layer is packed; then each is read once, into
//! the tar and, when somebody needs the files, into the layer's directory as well.

mod canon;
mod commit;
mod contents;
mod pack;

pub use commit::Files;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::tree::inside;
use crate::walk_layer::{TOO_DEEP, is_too_deep};
use crate::xattr::Xattrs;
use crate::{EntryKind, Stack, Tree, TreeEntry};

/// What an entry has beside its name and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    pub uid: u32,
    pub gid: u32,
    /// The twelve permission bits.
    pub mode: u32,
    /// Whole seconds since the epoch.
    pub mtime: i64,
    /// Of directories. Those of files come with their content.
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
}

/// Where the content of something that is no directory comes from.
#[derive(Clone)]
pub enum Source<'a> {
    /// A regular file of a tree.
    File {
        tree: &'a (dyn Tree + Sync),
        path: PathBuf,
        size: u64,
    },
    /// A regular file that is at hand.
    Bytes(Vec<u8>),
    Symlink(PathBuf),
    /// A pipe, a socket, or a device with its number.
    Node(EntryKind, u64),
}

/// Something that is no directory, with one name or several.
pub(crate) struct Leaf<'a> {
    pub(crate) attributes: Attributes,
    pub(crate) source: Source<'a>,
}

pub(crate) struct Folder<'a> {
    pub(crate) attributes: Attributes,
    pub(crate) children: BTreeMap<OsString, Node<'a>>,
}

pub(crate) enum Node<'a> {
    Folder(Folder<'a>),
    Leaf(Arc<Leaf<'a>>),
}

/// A layer in the making, in memory. Paths are relative to its root.
pub struct PlannedLayer<'a> {
    pub(crate) root: Folder<'a>,
    /// What the clock said when it was begun: the time of directories that get something new.
    now: i64,
}

impl Leaf<'_> {
    pub(crate) fn kind(&self) -> EntryKind {
        match &self.source {
            Source::File { .. } | Source::Bytes(_) => EntryKind::File,
            Source::Symlink(_) => EntryKind::Symlink,
            Source::Node(kind, _) => *kind,
        }
    }

    pub(crate) fn entry(&self) -> TreeEntry {
        let (size, rdev) = match &self.source {
            Source::File { size, .. } => (*size, 0),
            Source::Bytes(bytes) => (bytes.len() as u64, 0),
            Source::Symlink(_) => (0, 0),
            Source::Node(EntryKind::CharDevice | EntryKind::BlockDevice, number) => (0, *number),
            Source::Node(..) => (0, 0),
        };
        self.attributes.entry(self.kind(), size, rdev)
    }

    /// The attributes as they are now, where they are.
    pub(crate) fn xattrs(&self) -> io::Result<Xattrs> {
        match &self.source {
            Source::File { tree, path, .. } => tree.xattrs(path),
            Source::Bytes(_) | Source::Symlink(_) | Source::Node(..) => Ok(Xattrs::new()),
        }
    }
}

impl Attributes {
    fn entry(&self, kind: EntryKind, size: u64, rdev: u64) -> TreeEntry {
        TreeEntry {
            kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            size,
            mtime: self.mtime,
            rdev,
            inode: None,
        }
    }
}

impl Node<'_> {
    fn entry(&self) -> TreeEntry {
        match self {
            Self::Folder(folder) => folder.attributes.entry(EntryKind::Dir, 0, 0),
            Self::Leaf(leaf) => leaf.entry(),
        }
    }
}

impl<'a> PlannedLayer<'a> {
    /// An empty layer over others, whose root is as theirs.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn new(below: &Stack) -> io::Result<Self> {
        let root = Path::new("");
        let entry = below.entry(root)?.ok_or(io::ErrorKind::NotFound)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            root: Folder {
                attributes: Attributes {
                    uid: entry.uid,
                    gid: entry.gid,
                    mode: entry.mode,
                    mtime: entry.mtime,
                    xattrs: below.xattrs(root)?,
                },
                children: BTreeMap::new(),
            },
            now: since.map_or(0, |since| {
                i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
            }),
        })
    }

    /// When it was begun, in seconds since the epoch.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.now
    }

    /// Takes out what this layer has at a path, with all that is below.
    ///
    /// # Errors
    /// When nothing is there.
    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        match folder.children.remove(&name) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What this layer itself has at a path.
    ///
    /// # Errors
    /// When the path is not a relative one without `..`.
    pub fn entry(&self, path: &Path) -> io::Result<Option<TreeEntry>> {
        let parts = inside(path)?;
        let Some((name, parents)) = parts.split_last() else {
            let root = &self.root.attributes;
            return Ok(Some(root.entry(EntryKind::Dir, 0, 0)));
        };
        let folder = self.folder(parents);
        Ok(folder.and_then(|folder| folder.children.get(*name).map(Node::entry)))
    }

    /// Whether something of this layer that is no directory stands on the way to a path, and hides what is below.
    ///
    /// # Errors
    /// When the path is not a relative one without `..`.
    pub fn hides(&self, path: &Path) -> io::Result<bool> {
        let parts = inside(path)?;
        let Some((_, parents)) = parts.split_last() else {
            return Ok(false);
        };
        let mut folder = &self.root;
        for name in parents {
            folder = match folder.children.get(*name) {
                Some(Node::Folder(inner)) => inner,
                Some(Node::Leaf(_)) => return Ok(true),
                None => return Ok(false),
            };
        }
        Ok(false)
    }

    /// Where the symbolic link at a path of this layer points.
    ///
    /// # Errors
    /// When there is none.
    pub fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let parts = inside(path)?;
        let found = parts.split_last().and_then(|(name, parents)| {
            let folder = self.folder(parents)?;
            folder.children.get(*name)
        });
        match found {
            Some(Node::Leaf(leaf)) => match &leaf.source {
                Source::Symlink(target) => Ok(target.clone()),
                _ => Err(io::ErrorKind::InvalidInput.into()),
            },
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn folder(&self, parts: &[&OsStr]) -> Option<&Folder<'a>> {
        let mut folder = &self.root;
        for name in parts {
            folder = match folder.children.get(*name)? {
                Node::Folder(inner) => inner,
                Node::Leaf(_) => return None,
            };
        }
        Some(folder)
    }

    fn folder_mut(&mut self, parts: &[&OsStr]) -> io::Result<&mut Folder<'a>> {
        let mut folder = &mut self.root;
        for name in parts {
            folder = match folder.children.get_mut(*name) {
                Some(Node::Folder(inner)) => inner,
                Some(Node::Leaf(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(folder)
    }

    /// The directory that holds a path, which gets a new time, and the path's name.
    fn parent(&mut self, path: &Path) -> io::Result<(&mut Folder<'a>, OsString)> {
        let now = self.now;
        // No directory would take it, and every walk over the layer takes a piece of the stack for each step down.
        if is_too_deep(path) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, TOO_DEEP));
        }
        let parts = inside(path)?;
        let (name, parents) = parts
            .split_last()
            .ok_or(io::Error::from(io::ErrorKind::IsADirectory))?;
        let name = (*name).to_owned();
        let folder = self.folder_mut(parents)?;
        folder.attributes.mtime = now;
        Ok((folder, name))
    }

    /// Makes a directory, owned by root, whose parent is there.
    ///
    /// # Errors
    /// When something is there already.
    pub fn make_directory(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        let now = self.now;
        let (folder, name) = self.parent(path)?;
        if folder.children.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let made = Folder {
            attributes: Attributes {
                uid: 0,
                gid: 0,
                mode,
                mtime: now,
                xattrs: BTreeMap::new(),
            },
            children: BTreeMap::new(),
        };
        folder.children.insert(name, Node::Folder(made));
        Ok(())
    }

    /// The attributes of a directory of this layer.
    ///
    /// # Errors
    /// When there is none at the path.
    pub fn attributes(&mut self, path: &Path) -> io::Result<&mut Attributes> {
        Ok(&mut self.folder_mut(&inside(path)?)?.attributes)
    }

    /// Puts something that is no directory at a path, in the place of what is there.
    ///
    /// # Errors
    /// When a directory is there, or none around it.
    pub fn put(
        &mut self,
        path: &Path,
        attributes: Attributes,
        source: Source<'a>,
    ) -> io::Result<()> {
        let mut attributes = attributes;
        if matches!(source, Source::Symlink(_)) {
            attributes.mode = 0o777;
        }
        let leaf = Leaf { attributes, source };
        self.put_leaf(path, Arc::new(leaf))
    }

    /// Gives what is at a path a second name.
    ///
    /// # Errors
    /// When there is nothing, or a directory at either path.
    pub fn link(&mut self, first: &Path, path: &Path) -> io::Result<()> {
        let parts = inside(first)?;
        let found = parts.split_last().and_then(|(name, parents)| {
            let folder = self.folder(parents)?;
            folder.children.get(*name)
        });
        let Some(Node::Leaf(leaf)) = found else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let leaf = Arc::clone(leaf);
        self.put_leaf(path, leaf)
    }

    fn put_leaf(&mut self, path: &Path, leaf: Arc<Leaf<'a>>) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        if let Some(Node::Folder(_)) = folder.children.get(&name) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        folder.children.insert(name, Node::Leaf(leaf));
        Ok(())
    }
}
