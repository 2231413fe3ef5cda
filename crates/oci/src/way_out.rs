//! Whether the names and links of an archive lead out of the directory it is unpacked into.
//!
//! Through links, the kernel never lets it: it stays at the root, as at that of a machine. An archive
//! that ADD unpacks means another place then, and is refused, as in BuildKit. Links that start with a
//! slash are meant from the root, as in `lib -> /usr/lib`.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2, readlinkat};

/// As many as the kernel follows.
const MOST_LINKS: usize = 40;

/// The path an archive's name means, without leading slashes and single dots. `..` is refused even
/// where it would stay inside: no builder writes it, and layers are not the place to be clever.
pub(crate) fn inside(name: &[u8]) -> Result<PathBuf, &'static str> {
    if name.contains(&0) {
        return Err("its name has a NUL");
    }
    let mut path = PathBuf::new();
    for part in name.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("its name leads out of the archive"),
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    Ok(path)
}

/// Whether a relative link on the way to a path leads above the root. What is missing leads nowhere.
pub(crate) fn leads_out(root: BorrowedFd<'_>, path: &Path) -> bool {
    let mut rest: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
    let mut real = PathBuf::new();
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        match name.as_bytes() {
            b"." | b"/" => {}
            b".." => {
                if !real.pop() {
                    return true;
                }
            }
            _ => {
                real.push(&name);
                let Some(target) = link_at(root, &real) else {
                    continue;
                };
                links += 1;
                if links > MOST_LINKS {
                    return false;
                }
                real.pop();
                let absolute = target.is_absolute();
                if absolute {
                    real.clear();
                }
                for part in parts(&target, absolute).into_iter().rev() {
                    rest.push_front(part);
                }
            }
        }
    }
    false
}

/// The names of a link's target. Above the root of an absolute one is the root.
fn parts(target: &Path, absolute: bool) -> Vec<OsString> {
    let mut parts: Vec<OsString> = Vec::new();
    for part in target {
        match part.as_bytes() {
            b"/" => {}
            b".." if absolute && parts.is_empty() => {}
            _ => parts.push(part.to_owned()),
        }
    }
    parts
}

/// What a path without links but the last leads to, when it is a link.
fn link_at(root: BorrowedFd<'_>, path: &Path) -> Option<PathBuf> {
    let link = openat2(
        root,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
    .ok()?;
    let target = readlinkat(link, "", Vec::new()).ok()?;
    Some(OsString::from_vec(target.into_bytes()).into())
}
