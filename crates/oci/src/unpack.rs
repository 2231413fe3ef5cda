//! Unpacking that cannot leave its directory.
//!
//! Every name is looked up by the kernel relative to an open directory with that directory as the
//! root (`openat2`, `RESOLVE_IN_ROOT`), so neither `..` nor a symbolic link made by an earlier
//! entry leads out; no path is put together from strings. A layer is untrusted input.

use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
    chmodat, chownat, fchmod, fchown, futimens, linkat, mkdirat, mknodat, openat, openat2, statat,
    symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::UnpackError;
use crate::pack::{OPAQUE, WHITEOUT, is_whiteout, make_whiteout, open_dir};
use crate::pipe;
use crate::remove::remove_tree;
use crate::tar_read::{TarEntry, TarReader};
use crate::tar_write::TarKind;
use crate::way_out::{inside, leads_out};
use crate::xattr;

/// How removals are marked in layer directories, which depends on who mounts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// The real root: `trusted.overlay.*`.
    Trusted,
    /// Inside a user namespace: `user.overlay.*`, and device nodes, which cannot be made there,
    /// are left out.
    User,
}

impl Flavour {
    /// The attribute that marks a directory which hides what is below it.
    pub(crate) const fn opaque(self) -> &'static CStr {
        match self {
            Self::Trusted => c"trusted.overlay.opaque",
            Self::User => c"user.overlay.opaque",
        }
    }
}

/// What entries called `.wh.…` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// Removals, as in a layer: they become overlay's marks.
    Overlay(Flavour),
    /// Ordinary files, as in an archive that ADD unpacks.
    Plain,
}

/// How an archive is unpacked.
#[derive(Clone, Copy, Debug)]
pub struct UnpackOptions {
    pub whiteouts: Whiteouts,
    /// Every entry gets this owner instead of its own. A directory that no entry names is made by who
    /// unpacks, as Docker does.
    pub owner: Option<(u32, u32)>,
}

/// Unpacks a tar, plain or compressed with gzip or zstd, into a directory; nothing outside of the
/// directory is touched. Returns the number of entries.
///
/// A leading slash means the directory itself. Later entries replace earlier ones; a directory
/// over a directory takes over its metadata. The tar of a layer may carry attributes the file
/// system cannot hold; those in `user.` are then left out.
///
/// # Errors
/// When the archive is damaged or an entry leads outside; what was unpacked before stays.
pub fn unpack(
    archive: impl Read + Send,
    target: &Path,
    options: &UnpackOptions,
) -> Result<u64, UnpackError> {
    let plain = pipe::decompressed(archive).map_err(UnpackError::Read)?;
    pipe::read_ahead(plain, |tar| unpack_tar(tar, target, options)).map(|done| done.entries)
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    pub(crate) entries: u64,
    /// Whether an entry was the root directory itself.
    pub(crate) has_root: bool,
    /// Whether the archive had its end mark.
    pub(crate) end_seen: bool,
    /// The directories without an entry of their own.
    pub(crate) implied: BTreeSet<PathBuf>,
}

/// As [`unpack`], for a plain tar; the input is read up to the archive's end mark, not further.
pub(crate) fn unpack_tar(
    tar: &mut dyn Read,
    target: &Path,
    options: &UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    let root = openat(
        CWD,
        target,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| UnpackError::Target(error.into()))?;
    let mut unpacker = Unpacker {
        root,
        options,
        last_parent: None,
        directory_times: Vec::new(),
        buffer: vec![0; 256 * 1024],
        done: Unpacked::default(),
    };
    let mut reader = TarReader::new(tar);
    while let Some(entry) = reader.next_entry()? {
        unpacker.entry(&entry, &mut reader)?;
        unpacker.done.entries += 1;
    }
    unpacker.done.end_seen = reader.end_seen();
    unpacker.set_directory_times()?;
    Ok(unpacker.done)
}

struct Unpacker<'a> {
    root: OwnedFd,
    options: &'a UnpackOptions,
    /// The directory of the entry before, which is mostly that of the next one too. Forgotten
    /// whenever something is removed, because its path may then lead elsewhere.
    last_parent: Option<(PathBuf, OwnedFd)>,
    /// Making entries changes the times of their directories, so those are set at the end.
    directory_times: Vec<(PathBuf, i64)>,
    buffer: Vec<u8>,
    done: Unpacked,
}

/// Why an entry could not be made; gets its name added on the way out.
enum Failure {
    Refused(&'static str),
    Io(&'static str, io::Error),
    Whole(UnpackError),
}

trait Doing<T> {
    fn doing(self, action: &'static str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, action: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::Io(action, error.into()))
    }
}

/// Why a directory could not be opened.
fn opened(action: &'static str) -> impl Fn(Errno) -> Failure {
    move |error| match error {
        Errno::XDEV => Failure::Refused("a link of the archive leads out of it"),
        error => Failure::Io(action, error.into()),
    }
}

impl Unpacker<'_> {
    fn entry<R: Read>(
        &mut self,
        entry: &TarEntry,
        reader: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        self.make(entry, reader).map_err(|failure| match failure {
            Failure::Refused(reason) => UnpackError::Refused {
                entry: entry.shown(),
                reason,
            },
            Failure::Io(action, source) => UnpackError::Entry {
                action,
                entry: entry.shown(),
                source,
            },
            Failure::Whole(error) => error,
        })
    }

    fn make<R: Read>(
        &mut self,
        entry: &TarEntry,
        reader: &mut TarReader<R>,
    ) -> Result<(), Failure> {
        let path = inside(&entry.name).map_err(Failure::Refused)?;
        // The kernel takes the highest number for "leave as it is".
        if entry.uid == u32::MAX || entry.gid == u32::MAX {
            return Err(Failure::Refused("its owner is no valid id"));
        }
        let Some(name) = path.file_name() else {
            // Docker passes over what names nothing, and so does ADD.
            let nameless = !entry.name.starts_with(b"/") && entry.kind != TarKind::Dir;
            if nameless && self.options.whiteouts == Whiteouts::Plain {
                return Ok(());
            }
            return self.make_root(entry);
        };
        let parent_path = path.parent().unwrap_or(Path::new(""));
        let parent = self.parent(parent_path)?;
        if let Whiteouts::Overlay(flavour) = self.options.whiteouts
            && let Some(removed) = name.as_bytes().strip_prefix(WHITEOUT)
        {
            return self.make_whiteout(parent.as_fd(), name, removed, flavour);
        }
        let old = stat(parent.as_fd(), name).doing("look at")?;
        let mut hides_below = false;
        if let Some(old) = &old {
            let old_kind = FileType::from_raw_mode(old.st_mode);
            let keeps = entry.kind == TarKind::Dir && old_kind == FileType::Directory;
            if entry.kind == TarKind::Link && inside(&entry.link).is_ok_and(|link| link == path) {
                return Err(Failure::Refused("it is a hard link to itself"));
            }
            // What is no directory hid everything below; the directory in its place still does.
            hides_below = old_kind != FileType::Directory;
            if !keeps {
                self.remove(parent.as_fd(), name)?;
            }
        }
        match entry.kind {
            TarKind::File => return self.make_file(entry, parent.as_fd(), name, reader),
            TarKind::Dir => {
                return self.make_directory(entry, parent.as_fd(), &path, name, hides_below);
            }
            TarKind::Link => {
                self.make_link(entry, parent.as_fd(), name)?;
                let stat = stat(parent.as_fd(), name).doing("look at")?;
                let is_file = stat.is_some_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                });
                // In an archive that ADD unpacks, the last name says whose the file is, as in Docker.
                return if is_file && self.options.whiteouts == Whiteouts::Plain {
                    self.finish_special(entry, parent.as_fd(), name)
                } else {
                    Ok(())
                };
            }
            TarKind::Symlink => {
                if entry.link.is_empty() || entry.link.contains(&0) {
                    return Err(Failure::Refused("its link has no target"));
                }
                symlinkat(OsStr::from_bytes(&entry.link), &parent, name).doing("make")?;
            }
            TarKind::Fifo => {
                mknodat(&parent, name, FileType::Fifo, Mode::empty(), 0).doing("make")?;
            }
            TarKind::CharDevice | TarKind::BlockDevice => {
                if !self.make_device(entry, parent.as_fd(), name)? {
                    return Ok(());
                }
            }
        }
        self.finish_special(entry, parent.as_fd(), name)
    }

    fn make_root(&mut self, entry: &TarEntry) -> Result<(), Failure> {
        if entry.kind != TarKind::Dir {
            return Err(Failure::Refused("its name is empty"));
        }
        let root = self.root.try_clone().doing("open")?;
        self.done.has_root = true;
        self.directory_times.push((PathBuf::from("."), entry.mtime));
        self.set_metadata(entry, root.as_fd())
    }

    fn make_file<R: Read>(
        &mut self,
        entry: &TarEntry,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        reader: &mut TarReader<R>,
    ) -> Result<(), Failure> {
        let mut file = File::from(
            openat(
                parent,
                name,
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::RUSR | Mode::WUSR,
            )
            .doing("make")?,
        );
        let mut body = reader.body();
        loop {
            let got = match body.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Whole(UnpackError::Read(error))),
            };
            io::Write::write_all(&mut file, &self.buffer[..got]).doing("write")?;
        }
        self.set_metadata(entry, file.as_fd())?;
        futimens(&file, &times(entry.mtime)).doing("set the time of")
    }

    fn make_directory(
        &mut self,
        entry: &TarEntry,
        parent: BorrowedFd<'_>,
        path: &Path,
        name: &OsStr,
        hides_below: bool,
    ) -> Result<(), Failure> {
        match mkdirat(parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).doing("make"),
        }
        let directory = open_dir(parent, name).doing("open")?;
        self.set_metadata(entry, directory.as_fd())?;
        if let (true, Whiteouts::Overlay(flavour)) = (hides_below, self.options.whiteouts) {
            xattr::set_opaque(&directory, flavour.opaque()).doing("mark")?;
        }
        self.directory_times.push((path.to_owned(), entry.mtime));
        self.done.implied.remove(path);
        Ok(())
    }

    fn make_link(
        &mut self,
        entry: &TarEntry,
        parent: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<(), Failure> {
        let target = inside(&entry.link)
            .map_err(|_| Failure::Refused("its hard link leads out of the archive"))?;
        let Some(target_name) = target.file_name() else {
            return Err(Failure::Refused("its hard link leads to the root"));
        };
        let target_parent = target.parent().unwrap_or(Path::new(""));
        let directory = self.open_inside(target_parent).map_err(opened("link"))?;
        if self.options.whiteouts != Whiteouts::Plain
            && matches!(stat(directory.as_fd(), target_name), Ok(Some(stat)) if is_whiteout(&stat))
        {
            return Err(Failure::Refused("its hard link leads to a removed file"));
        }
        linkat(&directory, target_name, parent, name, AtFlags::empty()).doing("link")
    }

    /// False when the device cannot be made here and is left out.
    fn make_device(
        &mut self,
        entry: &TarEntry,
        parent: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<bool, Failure> {
        let kind = if entry.kind == TarKind::CharDevice {
            FileType::CharacterDevice
        } else {
            FileType::BlockDevice
        };
        let number = rustix::fs::makedev(entry.device.0, entry.device.1);
        if kind == FileType::CharacterDevice
            && number == 0
            && self.options.whiteouts != Whiteouts::Plain
        {
            return Err(Failure::Refused("a device 0:0 would remove its name"));
        }
        match mknodat(parent, name, kind, Mode::empty(), number) {
            Ok(()) => Ok(true),
            Err(Errno::PERM) if self.options.whiteouts == Whiteouts::Overlay(Flavour::User) => {
                Ok(false)
            }
            Err(error) => Err(error).doing("make"),
        }
    }

    /// A whiteout hides what is in the layers below, never what its own layer brings, whichever of
    /// the two comes first.
    fn make_whiteout(
        &mut self,
        parent: BorrowedFd<'_>,
        marker: &OsStr,
        removed: &[u8],
        flavour: Flavour,
    ) -> Result<(), Failure> {
        if marker.as_bytes() == OPAQUE {
            // The parent was opened to look names up, which is not enough to mark it.
            let directory = open_dir(parent, OsStr::new(".")).doing("open")?;
            return xattr::set_opaque(&directory, flavour.opaque()).doing("mark");
        }
        // Other `.wh..wh.…` names are notes that AUFS left to itself.
        if marker.as_bytes().starts_with(b".wh..wh.") {
            return Ok(());
        }
        if matches!(removed, b"" | b"." | b"..") {
            return Err(Failure::Refused("it removes no name"));
        }
        let name = OsStr::from_bytes(removed);
        match stat(parent, name).doing("look at")? {
            Some(own) if FileType::from_raw_mode(own.st_mode) == FileType::Directory => {
                let directory = open_dir(parent, name).doing("open")?;
                xattr::set_opaque(&directory, flavour.opaque()).doing("mark")
            }
            Some(_) => Ok(()),
            None => make_whiteout(parent, name).doing("make the mark of"),
        }
    }

    /// Owner first, because changing it clears the setuid bits and the capabilities.
    fn set_metadata(&self, entry: &TarEntry, file: BorrowedFd<'_>) -> Result<(), Failure> {
        let (uid, gid) = self.owner(entry);
        fchown(file, Some(uid), Some(gid)).doing("set the owner of")?;
        fchmod(file, Mode::from_raw_mode(entry.mode)).doing("set the mode of")?;
        for (name, value) in xattr::wanted(&entry.xattrs) {
            let set = rustix::fs::fsetxattr(file, name, value, XattrFlags::empty());
            xattr::tolerate(name, set).doing("set an attribute of")?;
        }
        Ok(())
    }

    /// The metadata of what cannot be opened: links, devices, pipes.
    fn finish_special(
        &self,
        entry: &TarEntry,
        parent: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<(), Failure> {
        let (uid, gid) = self.owner(entry);
        chownat(
            parent,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .doing("set the owner of")?;
        if entry.kind != TarKind::Symlink {
            // The entry was made just now and is no link, so this cannot follow one.
            let mode = Mode::from_raw_mode(entry.mode);
            chmodat(parent, name, mode, AtFlags::empty()).doing("set the mode of")?;
        }
        for (attribute, value) in xattr::wanted(&entry.xattrs) {
            // The directory is named by its open descriptor; only the last name is looked up.
            let path = Path::new("/proc/self/fd")
                .join(parent.as_raw_fd().to_string())
                .join(name);
            let set = rustix::fs::lsetxattr(&path, attribute, value, XattrFlags::empty());
            xattr::tolerate(attribute, set).doing("set an attribute of")?;
        }
        utimensat(parent, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .doing("set the time of")
    }

    fn owner(&self, entry: &TarEntry) -> (Uid, Gid) {
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        (Uid::from_raw(uid), Gid::from_raw(gid))
    }

    /// An existing directory, looked up inside the root.
    fn open_inside(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let open = |resolve| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
            openat2(&self.root, path, flags, Mode::empty(), resolve)
        };
        if self.options.whiteouts == Whiteouts::Plain {
            match open(ResolveFlags::BENEATH) {
                Err(Errno::XDEV) if leads_out(self.root.as_fd(), path) => return Err(Errno::XDEV),
                // A link from the root.
                Err(Errno::XDEV) => {}
                found => return found,
            }
        }
        open(ResolveFlags::IN_ROOT)
    }

    /// The directory an entry goes into; it is made when the archive does not have it.
    fn parent(&mut self, path: &Path) -> Result<OwnedFd, Failure> {
        if let Some((last, directory)) = &self.last_parent
            && last == path
        {
            return directory.try_clone().doing("open the directory of");
        }
        let directory = match self.open_inside(path) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(path)?,
            Err(error) => return Err(opened("open the directory of")(error)),
        };
        let kept = directory.try_clone().doing("open the directory of")?;
        self.last_parent = Some((path.to_owned(), kept));
        Ok(directory)
    }

    fn make_parents(&mut self, path: &Path) -> Result<OwnedFd, Failure> {
        const ACTION: &str = "make the directory of";
        let mut so_far = PathBuf::new();
        let mut directory = self.open_inside(&so_far).doing(ACTION)?;
        for name in path {
            so_far.push(name);
            directory = match self.open_inside(&so_far) {
                Ok(found) => found,
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    let old = stat(directory.as_fd(), name).doing(ACTION)?;
                    let mut hides_below = false;
                    if let Some(old) = old {
                        if FileType::from_raw_mode(old.st_mode) == FileType::Symlink {
                            return Err(Failure::Refused(
                                "its directory is a symbolic link that leads to no directory",
                            ));
                        }
                        // It is no directory, and what hid everything below still does.
                        hides_below = true;
                        self.remove(directory.as_fd(), name)?;
                    }
                    let mode = Mode::from_raw_mode(0o755);
                    mkdirat(&directory, name, mode).doing(ACTION)?;
                    let made = open_dir(&directory, name).doing(ACTION)?;
                    fchmod(&made, mode).doing(ACTION)?;
                    if let (true, Whiteouts::Overlay(flavour)) =
                        (hides_below, self.options.whiteouts)
                    {
                        xattr::set_opaque(&made, flavour.opaque()).doing(ACTION)?;
                    }
                    // The archive says nothing about it: no time of today gets in.
                    self.directory_times.push((so_far.clone(), 0));
                    self.done.implied.insert(so_far.clone());
                    self.open_inside(&so_far).doing(ACTION)?
                }
                Err(error) => return Err(opened(ACTION)(error)),
            };
        }
        Ok(directory)
    }

    fn remove(&mut self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Failure> {
        self.last_parent = None;
        remove_tree(parent, name).doing("replace")
    }

    fn set_directory_times(&mut self) -> Result<(), UnpackError> {
        for (path, mtime) in std::mem::take(&mut self.directory_times) {
            let opened = openat2(
                &self.root,
                &path,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            );
            let set = match opened {
                Ok(directory) => futimens(&directory, &times(mtime)),
                // A later entry took its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(error) => Err(error),
            };
            set.map_err(|error| UnpackError::Entry {
                action: "set the time of",
                entry: path.display().to_string(),
                source: error.into(),
            })?;
        }
        Ok(())
    }
}

fn stat(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<rustix::fs::Stat>> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A modification time in whole seconds; the access time gets the same.
pub(crate) fn times(mtime: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
