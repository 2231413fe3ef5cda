//! What of a planned layer is a change: the same rules as for a directory that steps have filled (`canon.rs`).

use std::io;
use std::path::Path;

use super::contents::check;
use super::{Folder, Leaf, Node, PlannedLayer, Source};
use crate::canon::{check_name, same_content};
use crate::error::At;
use crate::xattr::{self, Xattrs};
use crate::{EntryKind, Stack, StoreError, Tree, TreeEntry};

impl PlannedLayer<'_> {
    /// Leaves out what is no change, and lowers times. Says whether the root directory itself was changed.
    pub(crate) fn canonicalise(
        &mut self,
        below: &Stack,
        clamp_mtime: Option<i64>,
    ) -> Result<bool, StoreError> {
        let work = Canonical {
            below,
            clamp: clamp_mtime.unwrap_or(i64::MAX),
        };
        let path = Path::new("");
        work.folder(&mut self.root, path, true)?;
        let root = below.entry(path).at("look at the root below", path)?;
        let root = root.expect("a stack always has a root directory");
        let own = &mut self.root.attributes;
        own.mtime = root.mtime.min(work.clamp);
        let same = (root.mode, root.uid, root.gid) == (own.mode & 0o7777, own.uid, own.gid);
        Ok(!same || !work.same_xattrs(path, &own.xattrs)?)
    }
}

struct Canonical<'a> {
    below: &'a Stack,
    clamp: i64,
}

impl Canonical<'_> {
    /// `over` says whether there is a directory at the same path below.
    fn folder(&self, folder: &mut Folder<'_>, path: &Path, over: bool) -> Result<(), StoreError> {
        folder.attributes.mtime = folder.attributes.mtime.min(self.clamp);
        let mut same = Vec::new();
        for (name, node) in &mut folder.children {
            let path = path.join(name);
            check_name(name, &path)?;
            let below = if over {
                self.below
                    .entry(&path)
                    .at("look up below the layer", &path)?
            } else {
                None
            };
            let is_change = match node {
                Node::Leaf(leaf) => self.is_change(leaf, &path, below.as_ref())?,
                Node::Folder(inner) => {
                    let below = below.filter(|entry| entry.kind == EntryKind::Dir);
                    self.folder(inner, &path, below.is_some())?;
                    match below {
                        Some(below) if inner.children.is_empty() => {
                            !self.is_same_folder(inner, &path, &below)?
                        }
                        _ => true,
                    }
                }
            };
            if !is_change {
                same.push(name.clone());
            }
        }
        for name in same {
            folder.children.remove(&name);
        }
        Ok(())
    }

    fn is_same_folder(
        &self,
        folder: &Folder<'_>,
        path: &Path,
        below: &TreeEntry,
    ) -> Result<bool, StoreError> {
        // A time alone is no change of a directory.
        let own = &folder.attributes;
        let same = (below.mode, below.uid, below.gid) == (own.mode & 0o7777, own.uid, own.gid);
        Ok(same && self.same_xattrs(path, &own.xattrs)?)
    }

    fn is_change(
        &self,
        leaf: &Leaf<'_>,
        path: &Path,
        below: Option<&TreeEntry>,
    ) -> Result<bool, StoreError> {
        // A socket without its process is nothing.
        if leaf.kind() == EntryKind::Socket {
            return Ok(false);
        }
        let Some(below) = below else {
            return Ok(true);
        };
        let mut own = leaf.entry();
        own.mode &= 0o7777;
        own.mtime = own.mtime.min(self.clamp);
        own.inode = below.inode;
        if own != *below || !self.same_xattrs(path, &leaf.xattrs().at("read", path)?)? {
            return Ok(true);
        }
        let theirs = || self.below.open(path).at("open below the layer", path);
        let same = match &leaf.source {
            Source::File {
                tree, path: from, ..
            } => {
                let ours = tree.open(from).at("open", from)?;
                let same = same_content(&ours, theirs()?);
                // What is left out is not read again, so it is asked here whether it is what was hashed.
                check(*tree, from, &ours, true)?;
                same
            }
            Source::Bytes(bytes) => same_content(io::Cursor::new(bytes), theirs()?),
            Source::Symlink(target) => self.below.read_link(path).map(|link| link == *target),
            Source::Node(..) => Ok(true),
        };
        Ok(!same.at("compare", path)?)
    }

    fn same_xattrs(&self, path: &Path, own: &Xattrs) -> Result<bool, StoreError> {
        let below = self
            .below
            .xattrs(path)
            .at("read below the layer the attributes of", path)?;
        Ok(xattr::written(own.clone()) == xattr::written(below))
    }
}
