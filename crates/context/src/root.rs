//! One directory of this machine, out of which no path and no symlink leads.
//!
//! Every file is reached from one directory handle by `openat2` with RESOLVE_BENEATH and
//! RESOLVE_NO_SYMLINKS: following links is the business of those who resolve paths in a tree, and
//! they do it without the kernel.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, statat};
use rustix::io::Errno;

#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
}

/// A name in a directory; the type is `Unknown` where the file system does not tell it.
pub(crate) struct Listed {
    pub(crate) name: OsString,
    pub(crate) kind: FileType,
}

impl Root {
    /// Opens the directory itself; a symlink that leads to it is followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            directory: rustix::fs::openat(CWD, path, flags, Mode::empty())?,
        })
    }

    /// What stands at a path; `None` when there is nothing, or a symlink or file on the way.
    pub(crate) fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match self.locate(path) {
            Ok(file) => Ok(Some(rustix::fs::fstat(&file)?)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names in a directory, sorted by their bytes.
    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<Listed>> {
        let directory = self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::new(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(Listed {
                    name: OsString::from_vec(name.to_vec()),
                    kind: entry.file_type(),
                });
            }
        }
        names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// The names in a directory, sorted by their bytes, with what stands there. What vanishes meanwhile is left out.
    pub(crate) fn list_with_stats(&self, path: &Path) -> io::Result<Vec<(OsString, Stat)>> {
        let directory = self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut found = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => found.push((OsString::from_vec(name.to_bytes().to_vec()), stat)),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    /// A regular file for reading. Anything else is refused: opening a pipe would wait for a
    /// writer, and opening a device can have effects.
    pub(crate) fn read(&self, path: &Path) -> io::Result<File> {
        let file = self.open_at(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if kind != FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file",
            ));
        }
        Ok(File::from(file))
    }

    pub(crate) fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let link = self.locate(path)?;
        let target = rustix::fs::readlinkat(&link, c"", Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// One extended attribute, if the file has it.
    pub(crate) fn xattr(&self, path: &Path, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
        let file = self.locate(path)?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        // A handle made with O_PATH has no attributes of its own; its name in /proc leads to the
        // file, whatever has been renamed meanwhile.
        let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut value = vec![0; 4096];
        match rustix::fs::getxattr(&handle, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn locate(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW)
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = inside(path)?;
        let flags = flags | OFlags::CLOEXEC;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve) {
            // Kernels before 5.6 do not know the call, and some container hosts forbid it.
            Err(Errno::NOSYS | Errno::PERM) => self.open_by_steps(path, flags),
            other => Ok(other?),
        }
    }

    /// The same as `openat2` gives, one directory at a time.
    fn open_by_steps(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let mut current: Option<OwnedFd> = None;
        let mut names = path.iter().peekable();
        while let Some(name) = names.next() {
            let flags = if names.peek().is_some() {
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
            } else {
                flags | OFlags::NOFOLLOW
            };
            let at = current.as_ref().unwrap_or(&self.directory);
            current = Some(rustix::fs::openat(at, name, flags, Mode::empty())?);
        }
        current.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The path as the kernel takes it: `.` for the root; anything but plain names is refused.
fn inside(path: &Path) -> io::Result<&Path> {
    if path.as_os_str().is_empty() {
        return Ok(Path::new("."));
    }
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if path.components().all(plain) {
        Ok(path)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path is not relative to the root",
        ))
    }
}

/// One extended attribute of an open file, if it has it.
pub(crate) fn xattr_of(file: &File, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0; 256];
    loop {
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(Errno::RANGE) if value.len() < 1 << 16 => value = vec![0; 1 << 16],
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        code,
        Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG)
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_path_and_no_link_leads_out() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        std::fs::create_dir_all(inner.join("dir")).unwrap();
        std::fs::write(outer.path().join("secret"), "s").unwrap();
        std::fs::write(inner.join("dir/file"), "f").unwrap();
        symlink("../secret", inner.join("up")).unwrap();
        symlink(outer.path(), inner.join("out")).unwrap();
        symlink("dir", inner.join("alias")).unwrap();
        let root = Root::open(&inner).unwrap();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for (path, reachable) in [
            ("dir/file", true),
            ("dir", true),
            ("up", true),
            ("alias", true),
            ("alias/file", false),
            ("out/secret", false),
            ("dir/file/x", false),
            ("none", false),
        ] {
            let path = Path::new(path);
            assert_eq!(root.stat(path).unwrap().is_some(), reachable, "{path:?}");
            let steps = root.open_by_steps(path, flags);
            assert_eq!(steps.is_ok(), reachable, "{path:?}");
            if let Err(error) = steps {
                assert!(is_absence(&error), "{path:?}: {error}");
            }
        }
        for path in ["../secret", "/etc/passwd", "dir/../../secret"] {
            let error = root.stat(Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        assert!(root.read(Path::new("up")).is_err());
        assert_eq!(
            root.read_link(Path::new("up")).unwrap(),
            Path::new("../secret")
        );
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::from_raw_mode(0o600)).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let error = root.read(Path::new("pipe")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
