//! A stack's whole tree copied into one directory, and what of it was changed afterwards.
//!
//! For machines on which nothing stacks layers. A step changes the copy; comparing it with what was
//! copied gives what an overlay's upper directory would hold, and from there on both ways are one.
//!
//! Names that are hard links of each other in a layer become files of their own, because that is what
//! overlayfs makes of them when one is written to: the others stay as they were.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, SeekFrom, StatxFlags, XattrFlags, fstat, futimens, lsetxattr,
    mknodat, seek, statat, statx, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::error::At;
use crate::pack::{make_whiteout, names_in, open_dir};
use crate::unpack::{Flavour, times};
use crate::walk_layer::check_depth;
use crate::xattr;
use crate::{EntryKind, Stack, StoreError, Tree, TreeEntry};

/// What was copied, to tell later what was touched.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    files: HashMap<PathBuf, Touch>,
    directories: HashMap<PathBuf, Identity>,
}

/// Inode and time of the last change, which every write moves on and nobody can set.
type Touch = (u64, i64, i64);

/// Inode and time of birth: a directory that was removed and made again is another one.
type Identity = (u64, Option<(i64, u32)>);

/// Longer than the kernel's clock for file times stands still.
const CLOCK_STEP: Duration = Duration::from_millis(12);

/// Fills a directory, which exists and is empty, with everything the stack shows.
pub(crate) fn copy_stack(stack: &Stack, to: &Path) -> Result<Copied, StoreError> {
    let mut copy = Copy {
        stack,
        to,
        clones: true,
        copied: Copied::default(),
    };
    let root = Path::new("");
    let entry = stack
        .entry(root)
        .at("look at the root below", to)?
        .expect("a stack always has a root directory");
    copy.directory(root, &entry)?;
    // A write in the same tick as the copy would leave the same time.
    std::thread::sleep(CLOCK_STEP);
    Ok(copy.copied)
}

struct Copy<'a> {
    stack: &'a Stack,
    to: &'a Path,
    /// The file system may share the bytes of two files; false once it said no.
    clones: bool,
    copied: Copied,
}

impl Copy<'_> {
    fn directory(&mut self, path: &Path, entry: &TreeEntry) -> Result<(), StoreError> {
        let full = self.to.join(path);
        for name in self.stack.children(path).at("list", path)? {
            let child = path.join(name);
            let Some(entry) = self.stack.entry(&child).at("look at", &child)? else {
                continue;
            };
            self.child(&child, &entry)?;
        }
        self.metadata(path, entry)?;
        let identity = identity(CWD, full.as_os_str()).at("look at", &full)?;
        self.copied.directories.insert(path.to_owned(), identity);
        Ok(())
    }

    fn child(&mut self, path: &Path, entry: &TreeEntry) -> Result<(), StoreError> {
        let full = self.to.join(path);
        match entry.kind {
            EntryKind::Dir => {
                fs::create_dir(&full).at("make", &full)?;
                return self.directory(path, entry);
            }
            EntryKind::File => {
                let mut from = self.stack.open(path).at("open", path)?;
                let mut to = File::create_new(&full).at("make", &full)?;
                self.content(&mut from, &mut to, entry.size)
                    .at("copy", &full)?;
            }
            EntryKind::Symlink => {
                let target = self.stack.read_link(path).at("read the link", path)?;
                symlink(target, &full).at("make", &full)?;
            }
            EntryKind::Fifo | EntryKind::CharDevice | EntryKind::BlockDevice => {
                let kind = match entry.kind {
                    EntryKind::Fifo => FileType::Fifo,
                    EntryKind::CharDevice => FileType::CharacterDevice,
                    _ => FileType::BlockDevice,
                };
                mknodat(CWD, &full, kind, Mode::empty(), entry.rdev).at("make", &full)?;
            }
            EntryKind::Socket => return Ok(()),
        }
        self.metadata(path, entry)?;
        let stat = statat(CWD, &full, AtFlags::SYMLINK_NOFOLLOW).at("look at", &full)?;
        self.copied.files.insert(path.to_owned(), touch(&stat));
        Ok(())
    }

    /// Shares the bytes where the file system can, and leaves holes holes.
    fn content(&mut self, from: &mut File, to: &mut File, size: u64) -> io::Result<()> {
        if self.clones && size > 0 {
            match rustix::fs::ioctl_ficlone(&*to, &*from) {
                Ok(()) => return Ok(()),
                Err(_) => self.clones = false,
            }
        }
        let stat = fstat(&*from)?;
        if stat.st_blocks.cast_unsigned() * 512 >= size {
            return io::copy(from, to).map(|_| ());
        }
        to.set_len(size)?;
        let mut at = 0;
        while at < size {
            let start = match seek(&*from, SeekFrom::Data(at)) {
                Ok(start) => start,
                // Nothing but a hole is left.
                Err(Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            let end = seek(&*from, SeekFrom::Hole(start))?;
            seek(&*from, SeekFrom::Start(start))?;
            seek(&*to, SeekFrom::Start(start))?;
            io::copy(&mut io::Read::take(&*from, end - start), to)?;
            at = end;
        }
        Ok(())
    }

    /// Owner first, because changing it clears the setuid bits and the capabilities; the time last.
    fn metadata(&self, path: &Path, entry: &TreeEntry) -> Result<(), StoreError> {
        let full = self.to.join(path);
        lchown(&full, Some(entry.uid), Some(entry.gid)).at("set the owner of", &full)?;
        if entry.kind != EntryKind::Symlink {
            let mode = fs::Permissions::from_mode(entry.mode);
            fs::set_permissions(&full, mode).at("set the mode of", &full)?;
        }
        let attributes = self.stack.xattrs(path).at("read the attributes of", path)?;
        for (name, value) in &attributes {
            let set = lsetxattr(&full, name.as_os_str(), value, XattrFlags::empty());
            xattr::tolerate(name, set).at("set the attributes of", &full)?;
        }
        utimensat(CWD, &full, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .at("set the time of", &full)
    }
}

fn touch(stat: &rustix::fs::Stat) -> Touch {
    (
        stat.st_ino,
        stat.st_ctime,
        i64::try_from(stat.st_ctime_nsec).unwrap_or(0),
    )
}

fn identity(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Identity> {
    let found = statx(
        parent,
        name,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::INO | StatxFlags::BTIME,
    )?;
    let born = StatxFlags::from_bits_retain(found.stx_mask)
        .contains(StatxFlags::BTIME)
        .then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec));
    Ok((found.stx_ino, born))
}

/// Turns a changed copy into what an overlay's upper directory would hold: what was not touched goes,
/// what is missing gets a mark, and a directory that was made anew hides the one below.
pub(crate) fn reduce(
    upper: &Path,
    below: &Stack,
    copied: &Copied,
    flavour: Flavour,
) -> Result<(), StoreError> {
    let root = open_dir(CWD, upper.as_os_str()).at("open", upper)?;
    let reduce = Reduce {
        upper,
        below,
        copied,
        opaque: flavour.opaque(),
    };
    reduce.directory(root.as_fd(), Path::new(""), false)
}

struct Reduce<'a> {
    upper: &'a Path,
    below: &'a Stack,
    copied: &'a Copied,
    opaque: &'static std::ffi::CStr,
}

impl Reduce<'_> {
    fn directory(
        &self,
        directory: BorrowedFd<'_>,
        path: &Path,
        new: bool,
    ) -> Result<(), StoreError> {
        let full = self.upper.join(path);
        let before = fstat(directory).at("look at", &full)?;
        let names = names_in(directory).at("list", &full)?;
        for name in &names {
            self.child(directory, OsStr::from_bytes(name), path, new)?;
        }
        if !new {
            for name in self.below.children(path).at("list", path)? {
                if names.binary_search(&name.as_bytes().to_vec()).is_err() {
                    make_whiteout(directory, &name).at("mark as removed", full.join(&name))?;
                }
            }
        }
        futimens(
            directory,
            &rustix::fs::Timestamps {
                last_access: times(before.st_mtime).last_access,
                last_modification: rustix::fs::Timespec {
                    tv_sec: before.st_mtime,
                    tv_nsec: i64::try_from(before.st_mtime_nsec).unwrap_or(0),
                },
            },
        )
        .at("set the time of", &full)
    }

    fn child(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        parent_path: &Path,
        new: bool,
    ) -> Result<(), StoreError> {
        let path = parent_path.join(name);
        check_depth(&path)?;
        let full = self.upper.join(&path);
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).at("look at", &full)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let directory = open_dir(parent, name).at("open", &full)?;
            let was = self.copied.directories.get(&path).filter(|_| !new);
            let is = identity(parent, name).at("look at", &full)?;
            let new = match was {
                Some(was) if *was == is => false,
                Some(_) => {
                    xattr::set_opaque(&directory, self.opaque).at("mark", &full)?;
                    true
                }
                None => true,
            };
            return self.directory(directory.as_fd(), &path, new);
        }
        if !new && self.copied.files.get(&path) == Some(&touch(&stat)) {
            unlinkat(parent, name, AtFlags::empty()).at("remove", &full)?;
        }
        Ok(())
    }
}
