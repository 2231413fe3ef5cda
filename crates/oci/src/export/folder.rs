//! The files of images in a folder of this machine, laid over what is there.
//!
//! Everything belongs to who writes it, as nobody else's files can be made without being root. The
//! folder is untrusted: an image, or somebody who wrote there before, may have put symbolic links
//! into it. So every directory is opened beneath one handle without following links, and whatever is
//! no directory is replaced by a rename, never written through.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags, chmodat, chownat,
    fchmod, futimens, linkat, mkdirat, mknodat, openat, openat2, renameat, statat, symlinkat,
    unlinkat, utimensat,
};
use rustix::io::Errno;

use super::{ExportedFiles, Found, each};
use crate::error::At;
use crate::pack::names_in;
use crate::remove::remove_tree;
use crate::unpack::times;
use crate::{EntryKind, StoreError};

/// What becomes of what is in the folder and in no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    Keep,
    /// It goes, once all else is written.
    Remove,
}

/// Writes the files of images into an existing folder. A directory that is there is kept with all
/// that is in it and takes over the mode of the image's; anything else of the same name is replaced.
/// With `mtime`, everything gets this time. `stop` is asked before every entry.
///
/// # Errors
/// When two images without folders of their own have a file at the same path, when something
/// cannot be made, or when it was stopped; what was written before stays, and no file is half there.
pub fn write_files_to_folder(
    images: &[ExportedFiles],
    mtime: Option<i64>,
    folder: &Path,
    stale: Stale,
    stop: &dyn Fn() -> bool,
) -> Result<(), StoreError> {
    let root = openat(
        CWD,
        folder,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at("open", folder)?;
    let mut writer = FolderWriter {
        root,
        shown: folder,
        last_parent: None,
        directories: Vec::new(),
        next: 0,
    };
    let done = writer.all(images, mtime, stale, stop);
    // Also of what was not written to its end: a folder that others could enter before must not stay shut.
    let finished = writer.finish_directories();
    done.and(finished)
}

struct FolderWriter<'a> {
    root: OwnedFd,
    shown: &'a Path,
    /// The directory of the entry before. Forgotten when something that was there is replaced.
    last_parent: Option<(PathBuf, OwnedFd)>,
    /// Modes and times of directories, set when all is in them: one may forbid writing.
    directories: Vec<(PathBuf, u32, i64)>,
    next: u64,
}

impl FolderWriter<'_> {
    fn at(&self, path: &Path) -> PathBuf {
        self.shown.join(path)
    }

    fn all(
        &mut self,
        images: &[ExportedFiles],
        mtime: Option<i64>,
        stale: Stale,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), StoreError> {
        let mut written = BTreeSet::new();
        each(images, mtime, &mut |found| {
            if stop() {
                let error = io::Error::other("stopped");
                return Err(error).at("write", self.at(found.path));
            }
            if stale == Stale::Remove {
                written.insert(found.path.to_owned());
            }
            self.entry(found)
        })?;
        if stale == Stale::Remove {
            self.last_parent = None;
            self.remove_others(&written)?;
        }
        Ok(())
    }

    fn entry(&mut self, found: &Found<'_>) -> Result<(), StoreError> {
        let path = found.path;
        let Some(name) = path.file_name() else {
            return Ok(());
        };
        let parent = self.parent(path.parent().unwrap_or(Path::new("")))?;
        let parent = parent.as_fd();
        let old = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error).at("look at", self.at(path)),
        };
        let is_directory = found.entry.kind == EntryKind::Dir;
        if is_directory {
            if old != Some(FileType::Directory) {
                if old.is_some() {
                    self.last_parent = None;
                    unlinkat(parent, name, AtFlags::empty()).at("replace", self.at(path))?;
                }
                mkdirat(parent, name, Mode::RWXU).at("make", self.at(path))?;
                give_to_self(parent, name).at("set the owner of", self.at(path))?;
            }
            self.attributes(found, parent, name);
            // Whoever could not enter a directory of an earlier build could not go on.
            chmodat(parent, name, Mode::RWXU, AtFlags::empty())
                .at("set the mode of", self.at(path))?;
            let (mode, mtime) = (found.entry.mode, found.entry.mtime);
            self.directories.push((path.to_owned(), mode, mtime));
            return Ok(());
        }
        // Nobody sees a name before what it names is whole.
        let temporary = self.temporary(parent, found)?;
        if old == Some(FileType::Directory) {
            self.last_parent = None;
            remove_tree(parent, name).at("replace", self.at(path))?;
        }
        self.rename(parent, &temporary, name, path)
    }

    fn rename(
        &self,
        parent: BorrowedFd<'_>,
        temporary: &OsStr,
        name: &OsStr,
        path: &Path,
    ) -> Result<(), StoreError> {
        renameat(parent, temporary, parent, name)
            .inspect_err(|_| {
                let _ = unlinkat(parent, temporary, AtFlags::empty());
            })
            .at("move into place", self.at(path))?;
        // Renaming one name of a file over another one of it does nothing at all.
        match unlinkat(parent, temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error).at("clean up beside", self.at(path)),
        }
    }

    /// Makes the thing under a name that nothing else has.
    fn temporary(
        &mut self,
        parent: BorrowedFd<'_>,
        found: &Found<'_>,
    ) -> Result<OsString, StoreError> {
        loop {
            let name = format!(".launchway-{}-{}", std::process::id(), self.next);
            self.next += 1;
            let name = OsString::from(name);
            match self.make(parent, &name, found) {
                Err(StoreError::Io { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let _ = unlinkat(parent, &name, AtFlags::empty());
                    return Err(error);
                }
                Ok(()) => return Ok(name),
            }
        }
    }

    fn make(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        found: &Found<'_>,
    ) -> Result<(), StoreError> {
        let (source, entry) = (found.source, &found.entry);
        let shown = || self.at(found.path);
        if let Some(first) = found.link {
            let directory = self.directory(first.parent().unwrap_or(Path::new("")))?;
            let first = first.file_name().unwrap_or_default();
            return linkat(&directory, first, parent, name, AtFlags::empty()).at("link", shown());
        }
        match entry.kind {
            EntryKind::File => {
                let made = openat(
                    parent,
                    name,
                    OFlags::WRONLY
                        | OFlags::CREATE
                        | OFlags::EXCL
                        | OFlags::NOFOLLOW
                        | OFlags::CLOEXEC,
                    Mode::RUSR | Mode::WUSR,
                )
                .at("make", shown())?;
                let mut made = File::from(made);
                let mut content = found.open().at("open", source)?;
                io::copy(&mut content, &mut made).at("write", shown())?;
            }
            EntryKind::Symlink => {
                let target = found.read_link().at("read the link", source)?;
                symlinkat(&target, parent, name).at("make", shown())?;
            }
            kind => {
                let kind = match kind {
                    EntryKind::CharDevice => FileType::CharacterDevice,
                    EntryKind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, entry.rdev)
                    .at("make the device", shown())?;
            }
        }
        self.attributes(found, parent, name);
        give_to_self(parent, name).at("set the owner of", shown())?;
        if entry.kind != EntryKind::Symlink {
            // It was made just now and is no link, so this cannot follow one.
            let mode = Mode::from_raw_mode(entry.mode);
            chmodat(parent, name, mode, AtFlags::empty()).at("set the mode of", shown())?;
        }
        utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .at("set the time of", shown())
    }

    /// Extended attributes that this file system takes. Capabilities are not given to files of this
    /// machine; BuildKit's are lost too, as it sets the owner after them.
    fn attributes(&self, found: &Found<'_>, parent: BorrowedFd<'_>, name: &OsStr) {
        let path = Path::new("/proc/self/fd")
            .join(parent.as_raw_fd().to_string())
            .join(name);
        for (attribute, value) in found.xattrs().unwrap_or_default() {
            if attribute.as_bytes().starts_with(b"user.") {
                let _ = rustix::fs::lsetxattr(&path, &attribute, &value, XattrFlags::empty());
            }
        }
    }

    /// The directory that an entry goes into; it was written before.
    fn parent(&mut self, path: &Path) -> Result<OwnedFd, StoreError> {
        if let Some((last, directory)) = &self.last_parent
            && last == path
        {
            return directory.try_clone().at("open", self.at(path));
        }
        let directory = self.directory(path)?;
        let kept = directory.try_clone().at("open", self.at(path))?;
        self.last_parent = Some((path.to_owned(), kept));
        Ok(directory)
    }

    fn directory(&self, path: &Path) -> Result<OwnedFd, StoreError> {
        let name = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        openat2(
            &self.root,
            name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
        .at("open", self.at(path))
    }

    /// Removes what was not written, by the names in directories that are open, never through a link.
    fn remove_others(&self, written: &BTreeSet<PathBuf>) -> Result<(), StoreError> {
        let mut waiting = vec![PathBuf::new()];
        while let Some(path) = waiting.pop() {
            let directory = self.directory(&path)?;
            for name in names_in(&directory).at("list", self.at(&path))? {
                let name = OsStr::from_bytes(&name);
                let child = path.join(name);
                if !written.contains(&child) {
                    remove_tree(directory.as_fd(), name).at("remove", self.at(&child))?;
                    continue;
                }
                let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
                    .at("look at", self.at(&child))?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    waiting.push(child);
                }
            }
        }
        Ok(())
    }

    /// The innermost come first: a time is lost when something below is touched, and a mode may
    /// close the way.
    fn finish_directories(&mut self) -> Result<(), StoreError> {
        self.last_parent = None;
        for (path, mode, mtime) in std::mem::take(&mut self.directories).into_iter().rev() {
            let directory = self.directory(&path)?;
            fchmod(&directory, Mode::from_raw_mode(mode)).at("set the mode of", self.at(&path))?;
            futimens(&directory, &times(mtime)).at("set the time of", self.at(&path))?;
        }
        Ok(())
    }
}

/// A folder with the set-group-ID bit gives its group to what is made in it, and is overruled.
fn give_to_self(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    let uid = Uid::from_raw(rustix::process::geteuid().as_raw());
    let gid = Gid::from_raw(rustix::process::getegid().as_raw());
    chownat(
        parent,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::{CommitOptions, Flavour, Stack, Store};

    #[test]
    fn no_folder_stays_shut_when_writing_ends_early() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), Flavour::Trusted).unwrap();
        let working = store.new_layer().unwrap();
        let to = folder.path().join("to");
        for path in [working.upper().join("dir"), to.join("dir")] {
            fs::create_dir_all(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(working.upper().join("dir/file"), "").unwrap();
        let layer = store
            .commit_layer(working, &Stack::default(), &CommitOptions::default())
            .unwrap();
        let images = [ExportedFiles {
            folder: None,
            files: Stack {
                layers: vec![layer],
            },
        }];
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) > 0;
        assert!(write_files_to_folder(&images, None, &to, Stale::Keep, &stop).is_err());
        assert!(!to.join("dir/file").exists());
        let mode = fs::metadata(to.join("dir")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
    }
}
