//! Making the index of a layer directory.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use launchway_model::Algorithm;

use crate::compress::threads;
use crate::error::At;
use crate::hash::{Hasher, hash_reader};
use crate::unpack::Flavour;
use crate::walk_layer::{Walked, walk};
use crate::xattr::Xattrs;
use crate::{IndexedKind, IndexedPath, Layer, PathIndex, StoreError};

/// Reads a layer's directory; file contents are hashed by all cores.
pub(crate) fn index(layer: &Layer, flavour: Flavour) -> Result<PathIndex, StoreError> {
    let mut index = PathIndex::default();
    let mut files: Vec<Vec<u8>> = Vec::new();
    let root = layer.open().at("open", &layer.dir)?;
    walk(root.as_fd(), &layer.dir, &mut |walked| {
        if walked.kind == IndexedKind::File {
            files.push(walked.path.to_owned());
        }
        let indexed = indexed(walked, flavour)?;
        index.paths.insert(walked.path.to_owned(), indexed);
        Ok(())
    })?;
    for (path, content) in hash_files(layer, files)? {
        if let Some(indexed) = index.paths.get_mut(&path) {
            indexed.content = content;
        }
    }
    Ok(index)
}

/// All but the content of a file.
fn indexed(walked: &Walked<'_>, flavour: Flavour) -> Result<IndexedPath, StoreError> {
    let mut indexed = IndexedPath::new(walked.kind);
    if walked.kind == IndexedKind::Whiteout {
        return Ok(indexed);
    }
    let stat = &walked.stat;
    // The mode of a link means nothing.
    if walked.kind != IndexedKind::Symlink {
        indexed.mode = stat.st_mode & 0o7777;
    }
    indexed.uid = stat.st_uid;
    indexed.gid = stat.st_gid;
    indexed.xattrs = xattr_digest(&walked.xattrs()?);
    indexed.opaque = walked.is_opaque(flavour.opaque())?;
    indexed.content = match walked.kind {
        IndexedKind::Symlink => walked.target()?,
        IndexedKind::CharDevice | IndexedKind::BlockDevice => stat.st_rdev.to_le_bytes().to_vec(),
        _ => Vec::new(),
    };
    Ok(indexed)
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
