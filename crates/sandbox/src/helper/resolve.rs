//! Finding a path inside the sandbox's root, following links as if that root were the whole world.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, readlinkat,
};
use rustix::io::{Errno, Result};

/// As many links as the kernel follows.
const LINK_LIMIT: usize = 40;

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The part that exists, relative to the root and free of links.
    pub(super) existing: PathBuf,
    /// What would have to be created below it.
    pub(super) missing: PathBuf,
}

impl Resolved {
    pub(super) fn whole(&self) -> PathBuf {
        self.existing.join(&self.missing)
    }

    pub(super) fn exists(&self) -> bool {
        self.missing.as_os_str().is_empty()
    }
}

/// Follows every link of `path`, the last one included. `..` stops at the root. A link to something that does not exist
/// leads to where that would be.
pub(super) fn resolve(root: BorrowedFd<'_>, path: &Path) -> Result<Resolved> {
    let mut ahead: VecDeque<OsString> = names(path);
    let mut existing = PathBuf::new();
    let mut missing = PathBuf::new();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            // Going back from what does not exist yet is as good as from what does.
            let _ = if missing.as_os_str().is_empty() {
                existing.pop()
            } else {
                missing.pop()
            };
            continue;
        }
        if !missing.as_os_str().is_empty() {
            missing.push(name);
            continue;
        }
        let candidate = existing.join(&name);
        let found = match open_path(root, &candidate) {
            Ok(found) => found,
            Err(Errno::NOENT) => {
                missing.push(name);
                continue;
            }
            Err(error) => return Err(error),
        };
        if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::Symlink {
            existing = candidate;
            continue;
        }
        links += 1;
        if links > LINK_LIMIT {
            return Err(Errno::LOOP);
        }
        let target = PathBuf::from(OsString::from_vec(
            readlinkat(&found, "", Vec::new())?.into_bytes(),
        ));
        if target.is_absolute() {
            existing = PathBuf::new();
        }
        for name in names(&target).into_iter().rev() {
            ahead.push_front(name);
        }
    }
    Ok(Resolved { existing, missing })
}

/// A handle on something inside the root; a link itself, not what it points to. `path` is relative.
pub(super) fn open_path(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    open_in_root(root, path, OFlags::PATH | OFlags::NOFOLLOW)
}

/// Opens something inside the root in any way.
pub(super) fn open_in_root(root: BorrowedFd<'_>, path: &Path, how: OFlags) -> Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    openat2(
        root,
        path,
        how | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

/// A handle on `path` for mounting on it; what does not exist is created, as a directory or as an empty file.
pub(super) fn mount_point(root: BorrowedFd<'_>, path: &Path, directory: bool) -> Result<OwnedFd> {
    let resolved = resolve(root, path)?;
    let mut at = open_path(root, &resolved.existing)?;
    let mut names = resolved.missing.components().peekable();
    while let Some(name) = names.next() {
        let name = name.as_os_str();
        at = if directory || names.peek().is_some() {
            mkdirat(&at, name, Mode::from_raw_mode(0o755))?;
            openat(
                &at,
                name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?
        } else {
            openat(
                &at,
                name,
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::from_raw_mode(0o644),
            )?
        };
    }
    Ok(at)
}

/// The names of a path; the root and `.` are none.
fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_os_string()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_inside() {
        let root = tempfile::tempdir().expect("temporary directory");
        let at = root.path();
        fs::create_dir_all(at.join("run/lock")).unwrap();
        fs::create_dir_all(at.join("var")).unwrap();
        fs::write(at.join("file"), "").unwrap();
        for (link, target) in [
            ("var/run", "/run"),
            ("up", "../../../../run"),
            ("dangling", "../run/systemd/resolve.conf"),
            ("a", "b"),
            ("b", "a"),
            ("chain", "var/run/lock"),
        ] {
            symlink(target, at.join(link)).unwrap();
        }
        let handle = fs::File::open(at).unwrap();
        let cases: &[(&str, Option<(&str, &str)>)] = &[
            ("/", Some(("", ""))),
            ("/run", Some(("run", ""))),
            ("/var/run/lock", Some(("run/lock", ""))),
            ("/var/run/new/deep", Some(("run", "new/deep"))),
            ("/up/lock", Some(("run/lock", ""))),
            ("/dangling", Some(("run", "systemd/resolve.conf"))),
            ("/../../run", Some(("run", ""))),
            ("/new/../run", Some(("run", ""))),
            ("chain/./x", Some(("run/lock", "x"))),
            ("/a", None),
            ("/file/x", None),
        ];
        for (path, expected) in cases {
            let expected = expected.map(|(existing, missing)| Resolved {
                existing: existing.into(),
                missing: missing.into(),
            });
            assert_eq!(
                resolve(handle.as_fd(), Path::new(path)).ok(),
                expected,
                "{path}"
            );
        }
    }
}
