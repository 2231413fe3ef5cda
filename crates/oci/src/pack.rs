//! A layer directory → its tar.
//!
//! There is one tar for a directory: entries in depth-first order with siblings sorted bytewise,
//! headers in one spelling, times in whole seconds. So a tar can be made again at any later time.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, mknodat, openat};
use rustix::io::Errno;

use crate::error::At;
use crate::tar_write::{BLOCK, TarHeader, TarKind, write_header};
use crate::unpack::Flavour;
use crate::walk_layer::{Walked, walk};
use crate::xattr::{self, Xattrs};
use crate::{IndexedKind, StoreError};

pub(crate) const WHITEOUT: &[u8] = b".wh.";
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";

/// Whether this is a mark for a removed name: overlay's own, or ours.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => stat.st_rdev == 0,
        FileType::Socket => stat.st_mode & 0o7777 == 0,
        _ => false,
    }
}

/// Marks a name as removed. A file system that is an overlay itself, as a container's is, refuses overlay's mark. There,
/// where no overlay can be mounted anyway, a socket without permissions stands for it: no layer carries sockets.
pub(crate) fn make_whiteout(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    let directory = directory.as_fd();
    match mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Err(Errno::PERM) => mknodat(directory, name, FileType::Socket, Mode::empty(), 0),
        other => other,
    }
}

/// The sorted names in a directory.
pub(crate) fn names_in(directory: impl AsFd) -> std::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_bytes().to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(crate) fn open_dir(parent: impl AsFd, name: &OsStr) -> std::io::Result<OwnedFd> {
    Ok(openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

pub(crate) fn open_file(parent: impl AsFd, name: &OsStr) -> std::io::Result<File> {
    Ok(openat(
        parent,
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )?
    .into())
}

/// Writes the tar of a layer directory and returns how many entries it has. The root directory
/// gets an entry only when `with_root` says that the layer changes it.
pub(crate) fn pack(
    directory: &Path,
    with_root: bool,
    flavour: Flavour,
    out: &mut dyn Write,
) -> Result<u64, StoreError> {
    let root = open_dir(CWD, directory.as_os_str()).at("open", directory)?;
    let mut packer = Packer {
        out: TarOut::new(out),
        opaque: flavour.opaque(),
        links: HashMap::new(),
        buffer: vec![0; 256 * 1024],
    };
    if with_root {
        let stat = fstat(&root).at("look at", directory)?;
        let xattrs = xattr::read(&root).at("read the attributes of", directory)?;
        packer.entry(b"./", TarKind::Dir, &stat, b"", &xattrs)?;
    }
    if xattr::is_opaque(&root, packer.opaque).at("read the attributes of", directory)? {
        packer.whiteout(OPAQUE)?;
    }
    walk(root.as_fd(), directory, &mut |walked| packer.walked(walked))?;
    packer.out.end()
}

/// A tar that is being written.
pub(crate) struct TarOut<'a> {
    out: &'a mut dyn Write,
    entries: u64,
    header: Vec<u8>,
}

impl<'a> TarOut<'a> {
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            entries: 0,
            header: Vec::with_capacity(4 * BLOCK),
        }
    }

    pub(crate) fn emit(&mut self, header: &TarHeader<'_>) -> Result<(), StoreError> {
        self.header.clear();
        write_header(&mut self.header, header).map_err(|reason| StoreError::NotRepresentable {
            path: PathBuf::from(OsStr::from_bytes(header.path)),
            reason,
        })?;
        self.entries += 1;
        self.out.write_all(&self.header).map_err(sink)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.out.write_all(bytes).map_err(sink)
    }

    /// Fills the last block of a file up.
    pub(crate) fn pad(&mut self, size: u64) -> Result<(), StoreError> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.write(&[0; BLOCK][..padding as usize])
    }

    /// Writes the end mark, and tells how many entries there are.
    pub(crate) fn end(mut self) -> Result<u64, StoreError> {
        self.write(&[0; 2 * BLOCK])?;
        Ok(self.entries)
    }
}

struct Packer<'a> {
    out: TarOut<'a>,
    opaque: &'static CStr,
    /// The first name of every file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl Packer<'_> {
    fn walked(&mut self, walked: &Walked<'_>) -> Result<(), StoreError> {
        let (path, stat) = (walked.path, &walked.stat);
        // Overlay gives all its whiteouts one inode: they must not be taken for hard links.
        if walked.kind == IndexedKind::Whiteout {
            let name = walked.name().as_bytes();
            let marker = [&path[..path.len() - name.len()], WHITEOUT, name].concat();
            return self.whiteout(&marker);
        }
        if walked.kind == IndexedKind::Dir {
            self.entry(path, TarKind::Dir, stat, b"", &walked.xattrs()?)?;
            if walked.is_opaque(self.opaque)? {
                self.whiteout(&[path, b"/", OPAQUE].concat())?;
            }
            return Ok(());
        }
        if stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&inode) {
                let first = first.clone();
                // Whoever unpacks this may set the owner of every name again, as containerd does,
                // and that clears the file's capabilities: each name brings them back.
                return self.entry(path, TarKind::Link, stat, &first, &walked.xattrs()?);
            }
            self.links.insert(inode, path.to_owned());
        }
        let kind = match walked.kind {
            IndexedKind::File => return self.file(walked),
            IndexedKind::Symlink => {
                let target = walked.target()?;
                return self.entry(path, TarKind::Symlink, stat, &target, &walked.xattrs()?);
            }
            IndexedKind::CharDevice => TarKind::CharDevice,
            IndexedKind::BlockDevice => TarKind::BlockDevice,
            IndexedKind::Fifo => TarKind::Fifo,
            IndexedKind::Dir | IndexedKind::Whiteout => {
                unreachable!("directories and removals were packed above")
            }
        };
        self.entry(path, kind, stat, b"", &walked.xattrs()?)
    }

    fn file(&mut self, walked: &Walked<'_>) -> Result<(), StoreError> {
        let mut file = open_file(walked.parent, walked.name()).at("open", walked.full())?;
        let xattrs = xattr::read(&file).at("read the attributes of", walked.full())?;
        self.entry(walked.path, TarKind::File, &walked.stat, b"", &xattrs)?;
        let size = walked.stat.st_size.cast_unsigned();
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let got = match file.read(&mut self.buffer[..want]) {
                Ok(0) => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other,
            }
            .at("read", walked.full())?;
            self.out.write(&self.buffer[..got])?;
            left -= got as u64;
        }
        self.out.pad(size)
    }

    fn entry(
        &mut self,
        path: &[u8],
        kind: TarKind,
        stat: &Stat,
        link: &[u8],
        xattrs: &Xattrs,
    ) -> Result<(), StoreError> {
        let is_device = matches!(kind, TarKind::CharDevice | TarKind::BlockDevice);
        let device = if is_device {
            (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            )
        } else {
            (0, 0)
        };
        let size = if kind == TarKind::File {
            stat.st_size.cast_unsigned()
        } else {
            0
        };
        self.out.emit(&TarHeader {
            path,
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size,
            mtime: stat.st_mtime,
            link,
            device,
            xattrs,
        })
    }

    /// A removal: an empty file whose name says it. Its metadata mean nothing and are fixed.
    fn whiteout(&mut self, path: &[u8]) -> Result<(), StoreError> {
        self.out.emit(&TarHeader {
            path,
            kind: TarKind::File,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            link: b"",
            device: (0, 0),
            xattrs: &Xattrs::new(),
        })
    }
}

fn sink(source: std::io::Error) -> StoreError {
    StoreError::Write {
        what: "tar of a layer",
        source,
    }
}
