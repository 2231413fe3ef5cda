//! Layers on top of each other, seen as one tree, by the rules overlayfs merges them with.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

use crate::pack::{is_whiteout, names_in, open_dir};
use crate::tree::inside;
use crate::unpack::Flavour;
use crate::xattr;
use crate::{EntryKind, Layer, StoreError, Tree, TreeEntry};

/// Layers, the bottom one first.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    pub layers: Vec<Layer>,
}

/// What one layer says about a path.
enum Says {
    /// Nothing; the layers below decide.
    Nothing,
    /// There is nothing at the path, here and below.
    Hidden,
    Has {
        stat: Stat,
        /// For a directory: whether it hides the one below.
        ends: bool,
    },
}

impl Stack {
    /// The directories to mount an overlay over, the top one first. Overlay refuses a directory
    /// that is given twice, so of equal layers only the uppermost is kept, which hides the others
    /// anyway, and layers without entries are left out as long as there are others. Empty only
    /// for a stack without layers, which have to be [unpacked](Self::unpack) before. Nothing is given of what lies below a layer whose root hides it:
    /// the kernel merges roots whatever they say.
    #[must_use]
    pub fn lower_dirs(&self) -> Vec<PathBuf> {
        let mut seen = BTreeSet::new();
        let hides = |layer: &Layer| layer.hides_all_below().unwrap_or(false);
        let lowest = self.layers.iter().rposition(hides).unwrap_or(0);
        let mut directories: Vec<_> = self.layers[lowest..]
            .iter()
            .rev()
            .filter(|layer| layer.entries > 0 && seen.insert(&layer.diff_id))
            .map(|layer| layer.dir.clone())
            .collect();
        if directories.is_empty() {
            directories.extend(self.layers.get(lowest).map(|layer| layer.dir.clone()));
        }
        directories
    }

    /// Makes the files of all layers that are packed alone, so that their directories can be mounted.
    ///
    /// # Errors
    /// When a layer cannot be unpacked.
    pub fn unpack(&self) -> Result<(), StoreError> {
        self.layers.iter().try_for_each(Layer::unpack)
    }

    /// The uppermost layer that has the path, with what it has there.
    fn find(&self, path: &Path) -> io::Result<Option<(&Layer, Stat)>> {
        let parts = inside(path)?;
        for layer in self.layers.iter().rev() {
            // The root has an owner and a mode of its own only where a layer's tar says so.
            if parts.is_empty() && !layer.has_root {
                continue;
            }
            match says(layer, &parts, false)? {
                Says::Nothing => {}
                Says::Hidden => return Ok(None),
                Says::Has { stat, .. } => return Ok(Some((layer, stat))),
            }
        }
        Ok(None)
    }

    fn found(&self, path: &Path) -> io::Result<(&Layer, Stat)> {
        self.find(path)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Tree for Stack {
    fn entry(&self, path: &Path) -> io::Result<Option<TreeEntry>> {
        if let Some((_, stat)) = self.find(path)? {
            return Ok(Some(TreeEntry::of(&stat)));
        }
        // A tree always has a root; without an entry it is what an empty image starts with.
        Ok(inside(path)?.is_empty().then_some(ROOT))
    }

    fn children(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let listed = self.list(path)?;
        Ok(listed.into_iter().map(|(name, _)| name).collect())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(OsString, TreeEntry)>> {
        let parts = inside(path)?;
        // Nothing where a layer has removed the name.
        let mut found: BTreeMap<Vec<u8>, Option<TreeEntry>> = BTreeMap::new();
        let mut is_directory = parts.is_empty();
        for layer in self.layers.iter().rev() {
            let (stat, ends) = match says(layer, &parts, true)? {
                Says::Nothing => continue,
                Says::Hidden => break,
                Says::Has { stat, ends } => (stat, ends),
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                break;
            }
            is_directory = true;
            let directory = open(layer, &parts, OFlags::RDONLY | OFlags::DIRECTORY)?;
            for name in names_in(&directory)? {
                if let Entry::Vacant(place) = found.entry(name) {
                    let name = OsStr::from_bytes(place.key());
                    let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    place.insert((!is_whiteout(&stat)).then(|| TreeEntry::of(&stat)));
                }
            }
            if ends {
                break;
            }
        }
        if is_directory {
            let shown = found
                .into_iter()
                .filter_map(|(name, entry)| Some((OsString::from_vec(name), entry?)));
            Ok(shown.collect())
        } else {
            self.found(path)?;
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let (layer, stat) = self.found(path)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(open_in(layer, path, OFlags::RDONLY)?.into()),
            FileType::Directory => Err(io::ErrorKind::IsADirectory.into()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            )),
        }
    }

    fn open_with_xattrs(&self, path: &Path) -> io::Result<(File, xattr::Xattrs)> {
        let file = self.open(path)?;
        let xattrs = xattr::read_shown(&file)?;
        Ok((file, xattrs))
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let (layer, stat) = self.found(path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a symbolic link",
            ));
        }
        read_link_in(layer, path)
    }

    fn xattrs(&self, path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
        let parts = inside(path)?;
        let Some((layer, stat)) = self.find(path)? else {
            return if parts.is_empty() {
                Ok(BTreeMap::new())
            } else {
                Err(io::ErrorKind::NotFound.into())
            };
        };
        xattrs_in(layer, path, TreeEntry::of(&stat).kind)
    }
}

/// The root of a tree without layers.
pub(crate) const ROOT: TreeEntry = TreeEntry {
    kind: EntryKind::Dir,
    mode: 0o755,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: 0,
    rdev: 0,
    inode: None,
};

fn open(layer: &Layer, parts: &[&OsStr], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path: PathBuf = if parts.is_empty() {
        PathBuf::from(".")
    } else {
        parts.iter().collect()
    };
    let directory = layer
        .open()
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    openat2(
        directory,
        &path,
        flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )
}

/// Something of a layer, by its path; no link on the way is followed.
pub(crate) fn open_in(layer: &Layer, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(open(layer, &inside(path)?, flags)?)
}

/// Whether a directory of a layer hides the one below.
pub(crate) fn is_opaque_itself(layer: &Layer, path: &Path) -> io::Result<bool> {
    let directory = open_in(layer, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    for mark in [Flavour::Trusted.opaque(), Flavour::User.opaque()] {
        if xattr::is_opaque(&directory, mark)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The extended attributes of something in a layer that a stack shows.
pub(crate) fn xattrs_in(layer: &Layer, path: &Path, kind: EntryKind) -> io::Result<xattr::Xattrs> {
    match kind {
        EntryKind::File | EntryKind::Dir => {
            xattr::read_shown(open_in(layer, path, OFlags::RDONLY)?)
        }
        // Every directory on the way was seen to be one, and layers never change.
        _ => xattr::read_shown_at(&layer.dir.join(path)),
    }
}

/// Where a symbolic link in a layer points.
pub(crate) fn read_link_in(layer: &Layer, path: &Path) -> io::Result<PathBuf> {
    let link = open_in(layer, path, OFlags::PATH)?;
    let target = readlinkat(&link, c"", Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()).into())
}

/// What a layer says about a path. Whether a directory found there ends the merging is only looked
/// up when `with_ends` asks for it.
fn says(layer: &Layer, parts: &[&OsStr], with_ends: bool) -> io::Result<Says> {
    match open(layer, parts, OFlags::PATH) {
        Ok(found) => {
            let stat = fstat(&found)?;
            if is_whiteout(&stat) {
                return Ok(Says::Hidden);
            }
            let ends = with_ends
                && FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && opaque_on_the_way(layer, parts)?;
            Ok(Says::Has { stat, ends })
        }
        Err(Errno::NOENT) => {
            // The nearest thing that is there decides: a removed or opaque directory on the way
            // hides what the layers below have.
            for length in 1..parts.len() {
                match open(layer, &parts[..length], OFlags::PATH) {
                    Ok(found) if is_whiteout(&fstat(&found)?) => return Ok(Says::Hidden),
                    Ok(_) => {}
                    Err(Errno::NOENT) => {
                        return Ok(hidden_if(opaque_on_the_way(layer, &parts[..length - 1])?));
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(hidden_if(opaque_on_the_way(
                layer,
                &parts[..parts.len().saturating_sub(1)],
            )?))
        }
        // Something on the way is no directory.
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(Says::Hidden),
        Err(error) => Err(error.into()),
    }
}

fn hidden_if(hidden: bool) -> Says {
    if hidden { Says::Hidden } else { Says::Nothing }
}

/// Whether the directory at the path or one above it is opaque. All of them exist.
fn opaque_on_the_way(layer: &Layer, parts: &[&OsStr]) -> io::Result<bool> {
    const MARKS: [&CStr; 2] = [Flavour::Trusted.opaque(), Flavour::User.opaque()];
    // The overlay of the kernel does not look at the mark of a root; see `Stack::lower_dirs`.
    if layer.hides_all_below()? {
        return Ok(true);
    }
    // Each from the one above it: from the root, the way down would be gone again for every step of it.
    let mut above: Option<OwnedFd> = None;
    for part in parts {
        let directory = match &above {
            Some(above) => open_dir(above, part)?,
            None => open_dir(layer.open()?, part)?,
        };
        for mark in MARKS {
            if xattr::is_opaque(&directory, mark)? {
                return Ok(true);
            }
        }
        above = Some(directory);
    }
    Ok(false)
}
