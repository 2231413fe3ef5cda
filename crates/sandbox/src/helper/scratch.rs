//! A small file system in memory for what a run needs besides its layers. It is attached where no path of the host
//! leads and goes with the sandbox's mount namespace.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, mkdirat, openat, symlinkat};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::{Refused, Step, mounts, sys};

/// Names of the scratch directories.
const EMPTY: &str = "empty";

pub(super) struct Scratch {
    root: OwnedFd,
}

impl Scratch {
    pub(super) fn mount() -> Result<Self, Refused> {
        let root =
            mounts::new_file_system("tmpfs", &[("mode", Some("0755"))], sys::MOUNT_NO_DEVICES)
                .step("mounting a file system in memory")?;
        mounts::attach_over_root(root.as_fd()).step("attaching a file system in memory")?;
        let scratch = Self { root };
        scratch.directory(EMPTY)?;
        Ok(scratch)
    }

    /// Creates a directory and opens it.
    pub(super) fn directory(&self, name: &str) -> Result<OwnedFd, Refused> {
        create_directory(self.root.as_fd(), OsStr::new(name))
            .step("preparing the file system in memory")
    }

    pub(super) fn link(
        &self,
        directory: BorrowedFd<'_>,
        name: &str,
        target: &Path,
    ) -> Result<(), Refused> {
        symlinkat(target, directory, name)
            .step(format_args!("naming the layer {}", target.display()))
    }

    /// Creates a file that everybody can read, and a mount of it.
    pub(super) fn file(&self, name: &str, content: &[u8]) -> Result<OwnedFd, Refused> {
        self.write(name, content)?;
        self.clone_mount(name, sys::MOUNT_NO_EXEC)
    }

    /// The same with a mode and an owner; it can be executed if its mode says so.
    pub(super) fn file_with(
        &self,
        name: &str,
        content: &[u8],
        (mode, uid, gid): (u32, u32, u32),
    ) -> Result<OwnedFd, Refused> {
        let file = self.write(name, content)?;
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).step(format_args!(
            "giving a file to user {uid} and group {gid} (are they mapped?)"
        ))?;
        fchmod(&file, Mode::from_raw_mode(mode & 0o7777))
            .step("preparing the file system in memory")?;
        let attributes = if mode & 0o111 == 0 {
            sys::MOUNT_NO_EXEC
        } else {
            0
        };
        self.clone_mount(name, attributes)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<OwnedFd, Refused> {
        let file = openat(
            &self.root,
            name,
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o644),
        )
        .step("preparing the file system in memory")?;
        let mut file = std::fs::File::from(file);
        file.write_all(content)
            .step("preparing the file system in memory")?;
        Ok(file.into())
    }

    /// A mount of an empty directory that cannot be changed.
    pub(super) fn empty_directory(&self) -> Result<OwnedFd, Refused> {
        self.clone_mount(EMPTY, sys::MOUNT_NO_EXEC)
    }

    fn clone_mount(&self, name: &str, attributes: u64) -> Result<OwnedFd, Refused> {
        let mount = open_tree(
            &self.root,
            name,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .step("mounting from memory")?;
        sys::set_mount_attributes(
            mount.as_fd(),
            sys::MOUNT_READ_ONLY | sys::MOUNT_NO_SETUID | sys::MOUNT_NO_DEVICES | attributes,
        )
        .step("mounting from memory")?;
        Ok(mount)
    }
}

/// Creates a directory with mode 0755 and opens it.
pub(super) fn create_directory(
    parent: BorrowedFd<'_>,
    name: &OsStr,
) -> rustix::io::Result<OwnedFd> {
    mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
    openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Makes a directory the one relative names start at.
pub(super) fn work_in(directory: BorrowedFd<'_>) -> Result<(), Refused> {
    rustix::process::fchdir(directory).step("entering the file system in memory")
}

/// Opens a directory of the host.
pub(super) fn open_host_directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}
