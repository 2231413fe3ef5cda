//! Which extended attributes belong into a layer, and reading and writing them.
//!
//! A layer is written with `security.capability` and nothing else: overlay's own marks describe this
//! machine's mounts, labels of security modules describe its policy, access lists hold ids that
//! mean nothing elsewhere, and `user.*` is what other builders leave out as well. A stack *shows* `user.*`
//! all the same, of images that have them and of steps: the steps after them, copies to other stages and
//! files that are written out have them, as with BuildKit.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

pub(crate) type Xattrs = BTreeMap<OsString, Vec<u8>>;

/// Whether an attribute is written into a layer.
fn is_written(name: &OsStr) -> bool {
    name.as_bytes() == b"security.capability"
}

/// Whether an attribute is seen in a stack, and is set on files that come out of an archive.
fn is_shown(name: &OsStr) -> bool {
    let plain = name.as_bytes().starts_with(b"user.") && !is_overlay(name.as_bytes());
    plain || is_written(name)
}

/// Those of an archive's attributes that are set on files.
pub(crate) fn wanted(xattrs: &Xattrs) -> impl Iterator<Item = (&OsStr, &[u8])> {
    xattrs
        .iter()
        .filter(|(name, _)| is_shown(name))
        .map(|(name, value)| (name.as_os_str(), value.as_slice()))
}

/// Those of what is shown that are written into a layer.
pub(crate) fn written(mut shown: Xattrs) -> Xattrs {
    shown.retain(|name, _| is_written(name));
    shown
}

/// A file system without `user.` attributes is no reason to refuse a layer; lost capabilities are.
pub(crate) fn tolerate(name: &OsStr, set: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match set {
        Err(Errno::NOTSUP | Errno::PERM) if name.as_bytes().starts_with(b"user.") => Ok(()),
        other => other,
    }
}

/// Whether an attribute is one of overlay's own marks, or of fuse-overlayfs'.
pub(crate) fn is_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.")
        || name.starts_with(b"user.overlay.")
        || name.starts_with(b"user.fuseoverlayfs.")
}

/// The attribute names of an open file or directory.
pub(crate) fn names(file: impl AsFd) -> io::Result<Vec<OsString>> {
    let file = file.as_fd();
    list_with(|buffer| fs::flistxattr(file, buffer))
}

/// The attribute names of what is at a path, which may be a symbolic link.
pub(crate) fn names_at(path: &Path) -> io::Result<Vec<OsString>> {
    list_with(|buffer| fs::llistxattr(path, buffer))
}

/// The value of an attribute, `None` when it is not set.
pub(crate) fn value(file: impl AsFd, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    let file = file.as_fd();
    value_with(|buffer| fs::fgetxattr(file, name, buffer))
}

/// As [`value`], of what is at a path.
pub(crate) fn value_at(path: &Path, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    value_with(|buffer| fs::lgetxattr(path, name, buffer))
}

/// The attributes of an open file or directory that are written into a layer.
pub(crate) fn read(file: impl AsFd) -> io::Result<Xattrs> {
    chosen(file, is_written)
}

/// As [`read`], of what is at a path.
pub(crate) fn read_at(path: &Path) -> io::Result<Xattrs> {
    chosen_at(path, is_written)
}

/// The attributes of an open file or directory that a stack shows.
pub(crate) fn read_shown(file: impl AsFd) -> io::Result<Xattrs> {
    chosen(file, is_shown)
}

/// As [`read_shown`], of what is at a path.
pub(crate) fn read_shown_at(path: &Path) -> io::Result<Xattrs> {
    chosen_at(path, is_shown)
}

fn chosen(file: impl AsFd, choose: fn(&OsStr) -> bool) -> io::Result<Xattrs> {
    let file = file.as_fd();
    let mut found = Xattrs::new();
    for name in names(file)? {
        if choose(&name)
            && let Some(value) = value(file, &name)?
        {
            found.insert(name, value);
        }
    }
    Ok(found)
}

fn chosen_at(path: &Path, choose: fn(&OsStr) -> bool) -> io::Result<Xattrs> {
    let mut found = Xattrs::new();
    for name in names_at(path)? {
        if choose(&name)
            && let Some(value) = value_at(path, &name)?
        {
            found.insert(name, value);
        }
    }
    Ok(found)
}

/// Whether a directory carries overlay's opaque mark under this attribute name.
pub(crate) fn is_opaque(directory: impl AsFd, mark: &CStr) -> io::Result<bool> {
    let mut value = [0; 8];
    match fs::fgetxattr(directory, mark, &mut value[..]) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Sets overlay's opaque mark.
pub(crate) fn set_opaque(directory: impl AsFd, mark: &CStr) -> io::Result<()> {
    Ok(fs::fsetxattr(directory, mark, b"y", XattrFlags::empty())?)
}

fn list_with(
    mut list: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<OsString>> {
    // Most files have no attributes at all: one call with a small buffer settles it.
    let mut buffer = vec![0; 256];
    let length = loop {
        match list(&mut buffer) {
            Ok(length) => break length,
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer = vec![0; buffer.len() * 16],
            Err(error) => return Err(error.into()),
        }
    };
    buffer.truncate(length);
    Ok(buffer
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| OsString::from_vec(name.to_vec()))
        .collect())
}

fn value_with(
    mut get: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 256];
    loop {
        match get(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer = vec![0; buffer.len() * 16],
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_capabilities_are_written_and_those_of_users_are_shown() {
        for (name, written, shown) in [
            ("security.capability", true, true),
            ("user.mime_type", false, true),
            ("user.overlay.opaque", false, false),
            ("user.fuseoverlayfs.origin", false, false),
            ("trusted.overlay.opaque", false, false),
            ("trusted.x", false, false),
            ("security.selinux", false, false),
            ("system.posix_acl_access", false, false),
        ] {
            let name = OsStr::new(name);
            assert_eq!(
                (is_written(name), is_shown(name)),
                (written, shown),
                "{name:?}"
            );
        }
    }
}
