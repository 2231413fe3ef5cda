//! Mount points made in the root itself, where no layer of their own can hold them, and taken away after the run.
//!
//! They leave nothing behind: directories on the way keep their times, and a directory that the command put something
//! into stays with that, as if the command had made it.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, fstat, futimens,
    mkdirat, openat, openat2, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::mounts::Target;
use super::resolve::{open_in_root, resolve};
use super::{Refused, Step};

/// What was made, in this order: a path in the root, and whether it is a directory.
#[derive(Debug, Default)]
pub(super) struct Stubs(Vec<(PathBuf, bool)>);

impl Stubs {
    /// Makes what the targets lack.
    pub(super) fn make(root: BorrowedFd<'_>, targets: &[Target]) -> Result<Self, Refused> {
        let mut stubs = Self::default();
        let mut seen: Vec<PathBuf> = Vec::new();
        for target in targets {
            let doing = || format!("preparing the mount point {}", target.path.display());
            let resolved = resolve(root, &target.path).step(doing())?;
            let whole = resolved.whole();
            // Below another mount there is nothing to make.
            let covered = seen.iter().any(|other| whole.starts_with(other));
            seen.push(whole);
            if resolved.exists() || covered {
                continue;
            }
            stubs
                .one(
                    root,
                    &resolved.existing,
                    &resolved.missing,
                    target.directory,
                )
                .step(doing())?;
        }
        Ok(stubs)
    }

    fn one(
        &mut self,
        root: BorrowedFd<'_>,
        existing: &Path,
        missing: &Path,
        directory: bool,
    ) -> rustix::io::Result<()> {
        let how = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut walked = existing.to_owned();
        let mut at = open_in_root(root, &walked, how)?;
        let mut names = missing.components().peekable();
        while let Some(name) = names.next() {
            let before = times(at.as_fd())?;
            walked.push(name);
            let as_directory = directory || names.peek().is_some();
            if as_directory {
                mkdirat(&at, name.as_os_str(), Mode::from_raw_mode(0o755))?;
            } else {
                let how = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                openat(&at, name.as_os_str(), how, Mode::from_raw_mode(0o644))?;
            }
            self.0.push((walked.clone(), as_directory));
            futimens(&at, &before)?;
            if as_directory {
                at = open_in_root(root, &walked, how)?;
            }
        }
        Ok(())
    }

    /// Takes the mounts off them. What is mounted on cannot be removed, and where the root is a mount of the upper directory
    /// itself, that is said of the upper directory too. This process has the root of the run as its own since it changed.
    pub(super) fn unmount(&self) {
        for (path, _) in self.0.iter().rev() {
            let path = Path::new("/").join(path);
            // It ends with a refusal: nothing is mounted there any more, or never was.
            while unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
        }
    }

    /// Takes away what is still there and still empty, below the directory that holds the changes.
    pub(super) fn remove(&self, upper: BorrowedFd<'_>) -> Result<(), Refused> {
        for (path, directory) in self.0.iter().rev() {
            match remove(upper, path, *directory) {
                // The command moved it, or put something there.
                Ok(())
                | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NOTEMPTY | Errno::XDEV) =>
                    {}
                Err(errno) => {
                    return Err(errno)
                        .step(format_args!("removing the mount point {}", path.display()));
                }
            }
        }
        Ok(())
    }
}

fn remove(upper: BorrowedFd<'_>, path: &Path, directory: bool) -> rustix::io::Result<()> {
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Ok(());
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let parent = openat2(
        upper,
        parent,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )?;
    let before = times(parent.as_fd())?;
    let flags = if directory {
        AtFlags::REMOVEDIR
    } else {
        let found = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_size != 0 {
            return Ok(());
        }
        AtFlags::empty()
    };
    match unlinkat(&parent, name, flags) {
        Err(Errno::NOTEMPTY) => {
            clear_marks(parent.as_fd(), name)?;
            unlinkat(&parent, name, flags)?;
        }
        other => other?,
    }
    futimens(&parent, &before)
}

/// fuse-overlayfs puts two marks into every new directory. They are removed when nothing else is there.
fn clear_marks(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    const MARKS: [&CStr; 2] = [c".wh..wh..opq", c".wh..opq"];
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, how, Mode::empty())?;
    let mut found = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if MARKS.contains(&name) {
            found.push(name.to_owned());
        } else if name != c"." && name != c".." {
            return Err(Errno::NOTEMPTY);
        }
    }
    for mark in found {
        unlinkat(&directory, mark.as_c_str(), AtFlags::empty())?;
    }
    Ok(())
}

fn times(directory: BorrowedFd<'_>) -> rustix::io::Result<Timestamps> {
    let status = fstat(directory)?;
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Ok(Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec),
        last_modification: time(status.st_mtime, status.st_mtime_nsec),
    })
}
