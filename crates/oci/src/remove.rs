//! Removing whole trees, whatever their shape, without following a link.
//!
//! A step, or the archive of a stranger, may put directories into each other by the hundred thousand.
//! To go down to the last one takes an open file and a piece of the stack for each, which nobody has.
//! So what lies deep is first moved up, and its turn comes after.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, renameat, unlinkat};
use rustix::io::Errno;

use crate::pack::{names_in, open_dir};

/// How many directories deep the way down goes at once.
const DEEPEST: usize = 64;

/// Removes what is at a path and everything below it. Nothing there is fine.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    match remove_tree(CWD, path.as_os_str()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a name and, when it is a directory, everything below.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    if remove_file(parent, name)? {
        return Ok(());
    }
    let directory = open_dir(parent, name)?;
    let mut work = Removal {
        top: directory.as_fd(),
        moved: 0,
    };
    loop {
        work.clear(directory.as_fd(), 0)?;
        // What was moved up is still in it.
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            other => return Ok(other?),
        }
    }
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    /// How many directories were moved up.
    moved: u64,
}

impl Removal<'_> {
    fn clear(&mut self, directory: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        for name in names_in(directory)? {
            let name = OsString::from_vec(name);
            if gone(remove_file(directory, &name))?.unwrap_or(true) {
                continue;
            }
            if depth == DEEPEST {
                self.move_up(directory, &name)?;
                continue;
            }
            let Some(inner) = gone(open_dir(directory, &name))? else {
                continue;
            };
            self.clear(inner.as_fd(), depth + 1)?;
            gone(unlinkat(directory, &name, AtFlags::REMOVEDIR).map_err(io::Error::from))?;
        }
        Ok(())
    }

    fn move_up(&mut self, directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        loop {
            let free = format!(".launchway-removed-{}", self.moved);
            self.moved += 1;
            match renameat(directory, name, self.top, free.as_str()) {
                // Somebody has given something this name.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                Err(Errno::NOENT) => return Ok(()),
                other => return Ok(other?),
            }
        }
    }
}

/// Removes a name unless it is a directory; tells whether it is gone.
fn remove_file(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Another process may remove the same tree.
fn gone<T>(removed: io::Result<T>) -> io::Result<Option<T>> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{Mode, mkdirat};

    use super::*;

    #[test]
    fn a_tree_of_any_depth_goes() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, "stays").unwrap();
        let path = folder.path().join("deep");
        fs::create_dir_all(path.join(".launchway-removed-0/x")).unwrap();
        fs::write(path.join(".launchway-removed-1"), "").unwrap();
        symlink("..", path.join("up")).unwrap();
        // Deeper than any path is long.
        let mut at = open_dir(CWD, path.as_os_str()).unwrap();
        for _ in 0..3_000 {
            mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open_dir(&at, OsStr::new("d")).unwrap();
        }
        drop(at);
        remove_all(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(fs::read(&outside).unwrap(), b"stays");
        remove_all(&outside).unwrap();
        remove_all(&outside).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
