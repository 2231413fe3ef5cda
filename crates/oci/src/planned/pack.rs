//! A planned layer → its tar and, where it is wanted, its directory. Each file is read once.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fsetxattr, futimens, linkat, mkdirat, mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::contents::{Content, Contents, check, read_ahead};
use super::{Attributes, Folder, Leaf, Node, PlannedLayer, Source};
use crate::error::At;
use crate::pack::{TarOut, open_dir};
use crate::tar_write::{TarHeader, TarKind};
use crate::unpack::times;
use crate::xattr::{self, Xattrs};
use crate::{EntryKind, StoreError};

/// What was written.
pub(crate) struct Tar {
    pub(crate) entries: u64,
    /// Files have attributes that steps see and that a tar leaves out.
    pub(crate) shows_more: bool,
}

impl<'a> PlannedLayer<'a> {
    /// Writes the tar. The root gets an entry only when `with_root` says that the layer
    /// changes it. With a directory, which is empty, everything is made in it, too. Times later than `clamp` become it.
    pub(crate) fn pack(
        &self,
        with_root: bool,
        clamp: i64,
        out: &mut dyn std::io::Write,
        into: Option<&Path>,
    ) -> Result<Tar, StoreError> {
        let mut files = Vec::new();
        list_files(&self.root, &mut HashSet::new(), &mut files);
        let root = into
            .map(|path| open_dir(CWD, path.as_os_str()).at("open", path))
            .transpose()?;
        read_ahead(&files, |contents| {
            let mut packer = Packer {
                out: TarOut::new(out),
                contents,
                links: HashMap::new(),
                clamp,
                root: root.as_ref(),
                base: into.unwrap_or(Path::new("")),
                buffer: vec![0; 256 * 1024],
                shows_more: false,
            };
            if with_root {
                let own = &self.root.attributes;
                packer.header(b"./", TarKind::Dir, own, 0, b"", 0, &own.xattrs)?;
            }
            let mut path = Vec::new();
            packer.folder(&self.root, &mut path, root.as_ref().map(AsFd::as_fd))?;
            if let Some(root) = &root {
                packer.finish_folder(root.as_fd(), &self.root.attributes, &path)?;
            }
            Ok(Tar {
                shows_more: packer.shows_more,
                entries: packer.out.end()?,
            })
        })
    }
}

/// The files in the order in which they are packed, each once.
fn list_files<'p, 'a>(
    folder: &'p Folder<'a>,
    seen: &mut HashSet<*const Leaf<'a>>,
    files: &mut Vec<&'p Leaf<'a>>,
) {
    for node in folder.children.values() {
        match node {
            Node::Folder(inner) => list_files(inner, seen, files),
            Node::Leaf(leaf) => {
                let has_several = Arc::strong_count(leaf) > 1;
                if leaf.kind() == EntryKind::File
                    && (!has_several || seen.insert(Arc::as_ptr(leaf)))
                {
                    files.push(leaf);
                }
            }
        }
    }
}

struct Packer<'p, 's, 'f, 'a> {
    out: TarOut<'p>,
    contents: &'p mut Contents<'s, 'f>,
    /// The first name of everything that has several, and the attributes of files.
    links: HashMap<*const Leaf<'a>, (Vec<u8>, Xattrs)>,
    clamp: i64,
    /// Where everything is made.
    root: Option<&'p OwnedFd>,
    base: &'p Path,
    buffer: Vec<u8>,
    shows_more: bool,
}

impl<'a> Packer<'_, '_, '_, 'a> {
    fn at(&self, path: &[u8]) -> PathBuf {
        self.base.join(OsStr::from_bytes(path))
    }

    /// Packs what is in a directory; `path` is the directory's own, and is given back unchanged.
    fn folder(
        &mut self,
        folder: &Folder<'a>,
        path: &mut Vec<u8>,
        made: Option<BorrowedFd<'_>>,
    ) -> Result<(), StoreError> {
        let own = path.len();
        for (name, node) in &folder.children {
            if own > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            match node {
                Node::Folder(inner) => {
                    let attributes = &inner.attributes;
                    self.header(
                        path,
                        TarKind::Dir,
                        attributes,
                        0,
                        b"",
                        0,
                        &attributes.xattrs,
                    )?;
                    let made = match made {
                        Some(parent) => {
                            mkdirat(parent, name, Mode::RWXU).at("make", self.at(path))?;
                            Some(open_dir(parent, name).at("open", self.at(path))?)
                        }
                        None => None,
                    };
                    self.folder(inner, path, made.as_ref().map(AsFd::as_fd))?;
                    if let Some(made) = &made {
                        self.finish_folder(made.as_fd(), attributes, path)?;
                    }
                }
                Node::Leaf(leaf) => self.leaf(leaf, name, path, made)?,
            }
            path.truncate(own);
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        leaf: &Arc<Leaf<'a>>,
        name: &OsStr,
        path: &[u8],
        made: Option<BorrowedFd<'_>>,
    ) -> Result<(), StoreError> {
        let id = Arc::as_ptr(leaf);
        let has_several = Arc::strong_count(leaf) > 1;
        if has_several && let Some((first, xattrs)) = self.links.get(&id) {
            let (first, xattrs) = (first.clone(), xattrs.clone());
            self.header(path, TarKind::Link, &leaf.attributes, 0, &first, 0, &xattrs)?;
            if let (Some(parent), Some(root)) = (made, self.root) {
                linkat(
                    root,
                    OsStr::from_bytes(&first),
                    parent,
                    name,
                    AtFlags::empty(),
                )
                .at("link", self.at(path))?;
            }
            return Ok(());
        }
        let xattrs = match &leaf.source {
            Source::File { .. } | Source::Bytes(_) => self.file(leaf, name, path, made)?,
            Source::Symlink(target) => {
                let target = target.as_os_str();
                let none = Xattrs::new();
                self.header(
                    path,
                    TarKind::Symlink,
                    &leaf.attributes,
                    0,
                    target.as_bytes(),
                    0,
                    &none,
                )?;
                if let Some(parent) = made {
                    symlinkat(target, parent, name).at("make", self.at(path))?;
                    self.finish_name(parent, name, leaf, path)?;
                }
                none
            }
            Source::Node(kind, number) => self.node(*kind, *number, leaf, name, path, made)?,
        };
        if has_several {
            self.links.insert(id, (path.to_vec(), xattrs));
        }
        Ok(())
    }

    fn file(
        &mut self,
        leaf: &Leaf<'a>,
        name: &OsStr,
        path: &[u8],
        made: Option<BorrowedFd<'_>>,
    ) -> Result<Xattrs, StoreError> {
        let content = self.contents.next()?;
        let mut made = match made {
            Some(parent) => Some(make_file(parent, name).at("make", self.at(path))?),
            None => None,
        };
        let size = leaf.entry().size;
        let xattrs = match content {
            Content::Whole(bytes, xattrs) => {
                self.header(path, TarKind::File, &leaf.attributes, size, b"", 0, &xattrs)?;
                self.out.write(&bytes)?;
                if let Some(made) = &mut made {
                    made.write_all(&bytes).at("write", self.at(path))?;
                }
                xattrs
            }
            Content::Open(file, xattrs) => {
                self.header(path, TarKind::File, &leaf.attributes, size, b"", 0, &xattrs)?;
                self.large_file(leaf, file, size, made.as_mut(), path)?;
                xattrs
            }
        };
        self.out.pad(size)?;
        if let Some(made) = made {
            self.finish_file(&made, &leaf.attributes, &xattrs, path)?;
        }
        Ok(xattrs)
    }

    fn large_file(
        &mut self,
        leaf: &Leaf<'a>,
        mut file: File,
        size: u64,
        mut made: Option<&mut File>,
        path: &[u8],
    ) -> Result<(), StoreError> {
        let Source::File {
            tree, path: from, ..
        } = &leaf.source
        else {
            return Ok(());
        };
        let mut left = size;
        loop {
            // The read behind the end has to find nothing.
            let want = usize::try_from(left).unwrap_or(usize::MAX).max(1);
            let want = want.min(self.buffer.len());
            let got = match file.read(&mut self.buffer[..want]) {
                Ok(0) => break,
                Ok(got) if got as u64 > left => return Err(StoreError::Changed(from.clone())),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other,
            }
            .at("read", from)?;
            self.out.write(&self.buffer[..got])?;
            if let Some(made) = &mut made {
                made.write_all(&self.buffer[..got])
                    .at("write", self.base.join(OsStr::from_bytes(path)))?;
            }
            left -= got as u64;
        }
        check(*tree, from, &file, left == 0)
    }

    fn node(
        &mut self,
        kind: EntryKind,
        number: u64,
        leaf: &Leaf<'a>,
        name: &OsStr,
        path: &[u8],
        made: Option<BorrowedFd<'_>>,
    ) -> Result<Xattrs, StoreError> {
        let (tar, file) = match kind {
            EntryKind::CharDevice => (TarKind::CharDevice, FileType::CharacterDevice),
            EntryKind::BlockDevice => (TarKind::BlockDevice, FileType::BlockDevice),
            EntryKind::Fifo => (TarKind::Fifo, FileType::Fifo),
            // Sockets were left out before.
            _ => return Ok(Xattrs::new()),
        };
        let none = Xattrs::new();
        let number = if kind == EntryKind::Fifo { 0 } else { number };
        self.header(path, tar, &leaf.attributes, 0, b"", number, &none)?;
        if let Some(parent) = made {
            mknodat(parent, name, file, Mode::RUSR | Mode::WUSR, number)
                .at("make", self.at(path))?;
            self.finish_name(parent, name, leaf, path)?;
        }
        Ok(none)
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a header")]
    fn header(
        &mut self,
        path: &[u8],
        kind: TarKind,
        attributes: &Attributes,
        size: u64,
        link: &[u8],
        device: u64,
        xattrs: &Xattrs,
    ) -> Result<(), StoreError> {
        let written = xattr::written(xattrs.clone());
        self.shows_more |= written.len() < xattrs.len();
        self.out.emit(&TarHeader {
            path,
            kind,
            mode: attributes.mode & 0o7777,
            uid: attributes.uid,
            gid: attributes.gid,
            size,
            mtime: attributes.mtime.min(self.clamp),
            link,
            device: (rustix::fs::major(device), rustix::fs::minor(device)),
            xattrs: &written,
        })
    }

    /// Owner first, because changing it clears the set-user-id bits and the capabilities; the time last.
    fn finish_file(
        &self,
        file: impl AsFd,
        attributes: &Attributes,
        xattrs: &Xattrs,
        path: &[u8],
    ) -> Result<(), StoreError> {
        let file = file.as_fd();
        let (uid, gid) = owner(attributes);
        fchown(file, uid, gid).at("set the owner of", self.at(path))?;
        fchmod(file, mode(attributes)).at("set the mode of", self.at(path))?;
        for (name, value) in xattrs {
            match fsetxattr(file, name.as_os_str(), value, XattrFlags::empty()) {
                // BuildKit goes on where the file system takes no such attribute; so do we.
                Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
                Err(error) => return Err(error).at("set the attributes of", self.at(path)),
            }
        }
        futimens(file, &times(attributes.mtime.min(self.clamp)))
            .at("set the time of", self.at(path))
    }

    fn finish_folder(
        &self,
        folder: BorrowedFd<'_>,
        attributes: &Attributes,
        path: &[u8],
    ) -> Result<(), StoreError> {
        self.finish_file(folder, attributes, &attributes.xattrs, path)
    }

    fn finish_name(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        leaf: &Leaf<'a>,
        path: &[u8],
    ) -> Result<(), StoreError> {
        let attributes = &leaf.attributes;
        let (uid, gid) = owner(attributes);
        chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .at("set the owner of", self.at(path))?;
        if leaf.kind() != EntryKind::Symlink {
            // It was made just now and is no link, so this cannot follow one.
            chmodat(parent, name, mode(attributes), AtFlags::empty())
                .at("set the mode of", self.at(path))?;
        }
        let times = times(attributes.mtime.min(self.clamp));
        utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .at("set the time of", self.at(path))
    }
}

fn owner(attributes: &Attributes) -> (Option<Uid>, Option<Gid>) {
    let (uid, gid) = (attributes.uid, attributes.gid);
    (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

fn mode(attributes: &Attributes) -> Mode {
    Mode::from_raw_mode(attributes.mode & 0o7777)
}

fn make_file(parent: BorrowedFd<'_>, name: &OsStr) -> std::io::Result<File> {
    let how = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, how, Mode::RUSR | Mode::WUSR)?.into())
}
