//! What fuse-overlayfs leaves in an upper directory → what the kernel's overlay would have left.
//!
//! It marks removals as the kernel does where it may make the device, and with a file `.wh.NAME` where
//! not; directories that hide what is below with an attribute and with two odd names. No name that starts
//! with `.wh.` comes from the command: fuse-overlayfs does not let it make one.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Timespec, Timestamps, fremovexattr, fstat, futimens, statat, unlinkat,
};
use rustix::io::Errno;

use crate::StoreError;
use crate::error::At;
use crate::pack::{OPAQUE, WHITEOUT, make_whiteout, names_in, open_dir};
use crate::unpack::{Flavour, times};
use crate::walk_layer::check_depth;
use crate::xattr;

const OTHER_OPAQUE: &[u8] = b".wh..opq";

/// The attributes that mark a directory which hides what is below it.
const OPAQUE_ATTRIBUTES: [&CStr; 3] = [
    c"trusted.overlay.opaque",
    c"user.overlay.opaque",
    c"user.fuseoverlayfs.opaque",
];

/// Rewrites the marks in place; times stay.
pub(crate) fn translate(upper: &Path, flavour: Flavour) -> Result<(), StoreError> {
    let root = open_dir(CWD, upper.as_os_str()).at("open", upper)?;
    directory(root.as_fd(), upper, flavour)
}

fn directory(at: BorrowedFd<'_>, path: &Path, flavour: Flavour) -> Result<(), StoreError> {
    let before = fstat(at).at("look at", path)?;
    let mut opaque = false;
    for name in names_in(at).at("list", path)? {
        let name_os = OsStr::from_bytes(&name);
        let full = path.join(name_os);
        check_depth(&full)?;
        if name == OPAQUE || name == OTHER_OPAQUE {
            opaque = true;
            unlinkat(at, name_os, AtFlags::empty()).at("remove", &full)?;
        } else if let Some(removed) = name.strip_prefix(WHITEOUT) {
            unlinkat(at, name_os, AtFlags::empty()).at("remove", &full)?;
            match make_whiteout(at, OsStr::from_bytes(removed)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error).at("mark as removed", &full),
            }
        } else {
            let stat = statat(at, name_os, AtFlags::SYMLINK_NOFOLLOW).at("look at", &full)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let inner = open_dir(at, name_os).at("open", &full)?;
                directory(inner.as_fd(), &full, flavour)?;
            }
        }
    }
    for mark in OPAQUE_ATTRIBUTES {
        opaque |= xattr::is_opaque(at, mark).at("read the attributes of", path)?;
    }
    for own in xattr::names(at).at("read the attributes of", path)? {
        if xattr::is_overlay(own.as_bytes()) {
            fremovexattr(at, own.as_os_str()).at("clean the attributes of", path)?;
        }
    }
    if opaque {
        xattr::set_opaque(at, flavour.opaque()).at("mark", path)?;
    }
    let modified = Timespec {
        tv_sec: before.st_mtime,
        tv_nsec: i64::try_from(before.st_mtime_nsec).unwrap_or(0),
    };
    let kept = Timestamps {
        last_access: times(before.st_mtime).last_access,
        last_modification: modified,
    };
    futimens(at, &kept).at("set the time of", path)
}
