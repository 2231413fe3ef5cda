//! An overlay's upper directory → a layer directory.
//!
//! Overlay leaves things in the upper directory that are no changes: directories and files it
//! copied up and nobody altered, marks of its own, stubs that mounts needed. They are removed in
//! place, so that afterwards the directory holds the layer and nothing else, and packing it is all
//! that is left to do.

use std::collections::HashSet;
use std::ffi::{CStr, OsStr};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Stat, fremovexattr, fstat, futimens, lremovexattr, readlinkat, statat,
    utimensat,
};

use crate::error::At;
use crate::pack::{WHITEOUT, is_whiteout, names_in, open_dir, open_file};
use crate::pipe::fill;
use crate::remove::remove_tree;
use crate::tree::{Tree, TreeEntry};
use crate::unpack::{Flavour, times};
use crate::walk_layer::check_depth;
use crate::xattr::{self, Xattrs};
use crate::{EntryKind, Stack, StoreError};

/// Makes an upper directory canonical. Returns whether the root directory itself was changed.
pub(crate) fn canonicalise(
    upper: &Path,
    below: &Stack,
    flavour: Flavour,
    clamp_mtime: Option<i64>,
    ignore: &[PathBuf],
) -> Result<bool, StoreError> {
    let root = open_dir(CWD, upper.as_os_str()).at("open", upper)?;
    let work = Canonical {
        upper,
        below,
        opaque: flavour.opaque(),
        clamp: clamp_mtime.unwrap_or(i64::MAX),
        ignore: ignore.iter().map(PathBuf::as_path).collect(),
    };
    work.directory(root.as_fd(), Path::new(""), false)?;
    work.root(root.as_fd())
}

struct Canonical<'a> {
    upper: &'a Path,
    below: &'a Stack,
    opaque: &'static CStr,
    clamp: i64,
    ignore: HashSet<&'a Path>,
}

/// What is left of a directory.
#[derive(Default)]
struct Left {
    entries: usize,
    /// Names came or went, so the directory's new time is earned.
    names_changed: bool,
    stubs_removed: bool,
}

impl Canonical<'_> {
    fn shown(&self, path: &Path) -> PathBuf {
        self.upper.join(path)
    }

    fn below(&self, path: &Path, hidden: bool) -> Result<Option<TreeEntry>, StoreError> {
        if hidden {
            return Ok(None);
        }
        self.below.entry(path).at("look up below the layer", path)
    }

    fn directory(
        &self,
        directory: BorrowedFd<'_>,
        path: &Path,
        hidden: bool,
    ) -> Result<Left, StoreError> {
        let mut left = Left::default();
        for name in names_in(directory).at("list", self.shown(path))? {
            self.child(directory, OsStr::from_bytes(&name), path, hidden, &mut left)?;
        }
        Ok(left)
    }

    fn child(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        parent_path: &Path,
        hidden: bool,
        left: &mut Left,
    ) -> Result<(), StoreError> {
        let path = parent_path.join(name);
        check_depth(&path)?;
        let stat =
            statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).at("look at", self.shown(&path))?;
        let below = self.below(&path, hidden)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let ignored = self.ignore.contains(path.as_path());
        if kind == FileType::Directory {
            return self.child_directory(parent, name, &path, (&stat, below, hidden), left);
        }
        if ignored {
            left.stubs_removed = true;
            return self.remove(parent, name, &path);
        }
        if is_whiteout(&stat) {
            if below.is_none() {
                return self.remove(parent, name, &path);
            }
            left.entries += 1;
            left.names_changed = true;
            return Ok(());
        }
        // A socket without its process is nothing.
        if kind == FileType::Socket {
            return self.remove(parent, name, &path);
        }
        check_name(name, &path)?;
        // A new name of a file that is below becomes a file of its own: the name below is no change,
        // and a layer can link to what is in it alone. Other builders do the same.
        if self.is_unchanged(parent, name, &path, &stat, below.as_ref())? {
            return self.remove(parent, name, &path);
        }
        left.entries += 1;
        left.names_changed |= below.is_none();
        let full = self.shown(&path);
        for attribute in xattr::names_at(&full).at("read the attributes of", &full)? {
            check_attribute(&attribute, &path)?;
            if xattr::is_overlay(attribute.as_bytes()) {
                lremovexattr(&full, attribute.as_os_str()).at("clean the attributes of", &full)?;
            }
        }
        if self.needs_time(&stat) {
            utimensat(
                parent,
                name,
                &times(self.recorded(&stat)),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .at("set the time of", &full)?;
        }
        Ok(())
    }

    fn child_directory(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        (stat, below, hidden): (&Stat, Option<TreeEntry>, bool),
        left: &mut Left,
    ) -> Result<(), StoreError> {
        check_name(name, path)?;
        let full = self.shown(path);
        let directory = open_dir(parent, name).at("open", &full)?;
        let opaque = self.is_opaque(directory.as_fd(), path)?;
        let inner = self.directory(directory.as_fd(), path, hidden || opaque)?;
        let below_directory = below.filter(|entry| entry.kind == EntryKind::Dir);
        if inner.entries == 0 && self.ignore.contains(path) {
            left.stubs_removed = true;
            return self.remove(parent, name, path);
        }
        // Overlay marks every new directory opaque; that says something only where there is a
        // directory below to hide.
        let keeps_opaque = opaque && below_directory.is_some();
        let restored = match &below_directory {
            Some(entry) if inner.stubs_removed && !inner.names_changed => Some(entry.mtime),
            _ => None,
        };
        let mtime = restored.unwrap_or_else(|| self.recorded(stat));
        // A time alone is no change of a directory, as with BuildKit: what comes and goes in it, or an
        // empty one that is copied over it, leaves it as it was below.
        if let Some(entry) = &below_directory
            && !keeps_opaque
            && inner.entries == 0
        {
            let same = (entry.mode, entry.uid, entry.gid)
                == (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
                && self.same_xattrs(
                    path,
                    &xattr::read(&directory).at("read the attributes of", &full)?,
                )?;
            if same {
                return self.remove(parent, name, path);
            }
        }
        left.entries += 1;
        left.names_changed |= below.is_none();
        self.clean_directory(directory.as_fd(), path, keeps_opaque)?;
        // Removing what was no change has touched the directory, so its time is always set.
        futimens(&directory, &times(mtime)).at("set the time of", &full)
    }

    /// Strips overlay's marks off a directory, except for an opaque mark that means something.
    fn clean_directory(
        &self,
        directory: BorrowedFd<'_>,
        path: &Path,
        keep_opaque: bool,
    ) -> Result<(), StoreError> {
        let full = self.shown(path);
        for attribute in xattr::names(directory).at("read the attributes of", &full)? {
            check_attribute(&attribute, path)?;
            let kept = keep_opaque && attribute.as_bytes() == self.opaque.to_bytes();
            if xattr::is_overlay(attribute.as_bytes()) && !kept {
                fremovexattr(directory, attribute.as_os_str())
                    .at("clean the attributes of", &full)?;
            }
        }
        Ok(())
    }

    /// The root counts as changed when its owner, mode or attributes were; its time is that of
    /// the last step and means nothing.
    fn root(&self, root: BorrowedFd<'_>) -> Result<bool, StoreError> {
        let path = Path::new("");
        self.clean_directory(root, path, false)?;
        let stat = fstat(root).at("look at", self.upper)?;
        let below = self
            .below(path, false)?
            .expect("a stack always has a root directory");
        let mtime = below.mtime.min(self.clamp);
        futimens(root, &times(mtime)).at("set the time of", self.upper)?;
        let own = xattr::read(root).at("read the attributes of", self.upper)?;
        Ok(
            (below.mode, below.uid, below.gid) != (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
                || !self.same_xattrs(path, &own)?,
        )
    }

    /// Whether a file, link, device or pipe is what the layers below have already.
    fn is_unchanged(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        stat: &Stat,
        below: Option<&TreeEntry>,
    ) -> Result<bool, StoreError> {
        let Some(below) = below else {
            return Ok(false);
        };
        let mut own = TreeEntry::of(stat);
        own.mtime = self.recorded(stat);
        own.inode = below.inode;
        if own != *below {
            return Ok(false);
        }
        let full = self.shown(path);
        let own_xattrs = xattr::read_at(&full).at("read the attributes of", &full)?;
        if !self.same_xattrs(path, &own_xattrs)? {
            return Ok(false);
        }
        match own.kind {
            EntryKind::File => {
                let ours = open_file(parent, name).at("open", &full)?;
                let theirs = self.below.open(path).at("open below the layer", path)?;
                same_content(ours, theirs).at("compare", &full)
            }
            EntryKind::Symlink => {
                let ours = readlinkat(parent, name, Vec::new()).at("read the link", &full)?;
                let theirs = self
                    .below
                    .read_link(path)
                    .at("read below the layer the link", path)?;
                Ok(ours.as_bytes() == theirs.as_os_str().as_bytes())
            }
            _ => Ok(true),
        }
    }

    fn same_xattrs(&self, path: &Path, own: &Xattrs) -> Result<bool, StoreError> {
        let below = self
            .below
            .xattrs(path)
            .at("read below the layer the attributes of", path)?;
        Ok(*own == xattr::written(below))
    }

    fn is_opaque(&self, directory: BorrowedFd<'_>, path: &Path) -> Result<bool, StoreError> {
        xattr::is_opaque(directory, self.opaque).at("read the attributes of", self.shown(path))
    }

    /// The time as the layer will have it.
    fn recorded(&self, stat: &Stat) -> i64 {
        stat.st_mtime.min(self.clamp)
    }

    fn needs_time(&self, stat: &Stat) -> bool {
        stat.st_mtime_nsec != 0 || stat.st_mtime > self.clamp
    }

    fn remove(&self, parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), StoreError> {
        remove_tree(parent, name).at("remove", self.shown(path))
    }
}

pub(crate) fn check_name(name: &OsStr, path: &Path) -> Result<(), StoreError> {
    if name.as_bytes().starts_with(WHITEOUT) {
        return Err(StoreError::NotRepresentable {
            path: path.to_owned(),
            reason: "names that start with .wh. stand for removals in a layer",
        });
    }
    Ok(())
}

/// Refuses marks that say that the rest of an entry is in a layer below, at another path even. The
/// overlay has to be mounted so that they do not appear.
fn check_attribute(attribute: &OsStr, path: &Path) -> Result<(), StoreError> {
    let name = attribute.as_bytes();
    let reason = if !xattr::is_overlay(name) {
        return Ok(());
    } else if name.ends_with(b".overlay.redirect") {
        "it was renamed by an overlay with redirect_dir=on"
    } else if name.ends_with(b".overlay.metacopy") {
        "only its metadata were copied, by an overlay with metacopy=on"
    } else {
        return Ok(());
    };
    Err(StoreError::NotRepresentable {
        path: path.to_owned(),
        reason,
    })
}

pub(crate) fn same_content(mut ours: impl Read, mut theirs: impl Read) -> io::Result<bool> {
    let mut buffers = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let lengths = (
            fill(&mut ours, &mut buffers.0)?,
            fill(&mut theirs, &mut buffers.1)?,
        );
        if buffers.0[..lengths.0] != buffers.1[..lengths.1] {
            return Ok(false);
        }
        if lengths.0 == 0 {
            return Ok(true);
        }
    }
}
