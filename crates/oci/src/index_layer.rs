//! Making the index of a layer directory.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use launchway_model::Algorithm;
use rustix::fs::{AtFlags, FileType, Stat, readlinkat, statat};

use crate::compress::threads;
use crate::error::At;
use crate::hash::{Hasher, hash_reader};
use crate::pack::{is_whiteout, names_in, open_dir};
use crate::unpack::Flavour;
use crate::xattr::{self, Xattrs};
use crate::{IndexedKind, IndexedPath, Layer, PathIndex, StoreError};

/// Reads a layer's directory; file contents are hashed by all cores.
pub(crate) fn index(layer: &Layer, flavour: Flavour) -> Result<PathIndex, StoreError> {
    let mut scan = Scan {
        layer,
        opaque: flavour.opaque(),
        index: PathIndex::default(),
        files: Vec::new(),
    };
    let root = layer.open().at("open", &layer.dir)?;
    scan.directory(root.as_fd(), &mut Vec::new())?;
    let Scan {
        mut index, files, ..
    } = scan;
    for (path, content) in hash_files(layer, files)? {
        if let Some(indexed) = index.paths.get_mut(&path) {
            indexed.content = content;
        }
    }
    Ok(index)
}

struct Scan<'a> {
    layer: &'a Layer,
    opaque: &'static CStr,
    index: PathIndex,
    files: Vec<Vec<u8>>,
}

impl Scan<'_> {
    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let own = path.len();
        for name in names_in(directory).at("list", self.at(path))? {
            if own > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            self.child(directory, OsStr::from_bytes(&name), path)?;
            path.truncate(own);
        }
        Ok(())
    }

    fn child(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let full = self.at(path);
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).at("look at", &full)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            _ if is_whiteout(&stat) => IndexedKind::Whiteout,
            FileType::RegularFile => IndexedKind::File,
            FileType::Directory => IndexedKind::Dir,
            FileType::Symlink => IndexedKind::Symlink,
            FileType::Fifo => IndexedKind::Fifo,
            FileType::CharacterDevice => IndexedKind::CharDevice,
            FileType::BlockDevice => IndexedKind::BlockDevice,
            FileType::Socket | FileType::Unknown => return Ok(()),
        };
        let mut indexed = IndexedPath::new(kind);
        if kind == IndexedKind::Whiteout {
            self.index.paths.insert(path.clone(), indexed);
            return Ok(());
        }
        set_metadata(&mut indexed, &stat);
        let xattrs = xattr::read_at(&full).at("read the attributes of", &full)?;
        indexed.xattrs = xattr_digest(&xattrs);
        match kind {
            IndexedKind::File => self.files.push(path.clone()),
            IndexedKind::Symlink => {
                indexed.content = readlinkat(parent, name, Vec::new())
                    .at("read the link", &full)?
                    .into_bytes();
            }
            IndexedKind::CharDevice | IndexedKind::BlockDevice => {
                indexed.content = stat.st_rdev.to_le_bytes().to_vec();
            }
            IndexedKind::Dir => {
                let directory = open_dir(parent, name).at("open", &full)?;
                indexed.opaque = xattr::is_opaque(&directory, self.opaque)
                    .at("read the attributes of", &full)?;
                self.index.paths.insert(path.clone(), indexed);
                return self.directory(directory.as_fd(), path);
            }
            IndexedKind::Fifo | IndexedKind::Whiteout => {}
        }
        self.index.paths.insert(path.clone(), indexed);
        Ok(())
    }

    fn at(&self, path: &[u8]) -> PathBuf {
        self.layer.dir.join(OsStr::from_bytes(path))
    }
}

fn set_metadata(indexed: &mut IndexedPath, stat: &Stat) {
    // The mode of a link means nothing.
    if indexed.kind != IndexedKind::Symlink {
        indexed.mode = stat.st_mode & 0o7777;
    }
    indexed.uid = stat.st_uid;
    indexed.gid = stat.st_gid;
}

fn xattr_digest(xattrs: &Xattrs) -> Vec<u8> {
    if xattrs.is_empty() {
        return Vec::new();
    }
    let mut hasher = Hasher::new();
    for (name, value) in xattrs {
        for part in [name.as_bytes(), value.as_slice()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.finish().hex().as_bytes().to_vec()
}

type Hashed = (Vec<u8>, Vec<u8>);

fn hash_files(layer: &Layer, files: Vec<Vec<u8>>) -> Result<Vec<Hashed>, StoreError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(files.len()));
    thread::scope(|scope| {
        let work = || -> Result<(), StoreError> {
            let mut own = Vec::new();
            while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                let full = layer.dir.join(OsStr::from_bytes(path));
                let file = File::open(&full).at("open", &full)?;
                let (digest, _) = hash_reader(file, Algorithm::Sha256).at("read", &full)?;
                own.push((path.clone(), digest.hex().as_bytes().to_vec()));
            }
            done.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .append(&mut own);
            Ok(())
        };
        let workers: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("hashing a file does not panic"))
    })?;
    Ok(done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner))
}
