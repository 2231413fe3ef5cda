//! Blobs shared between repositories by hard links.
//!
//! A blob is first put into its repository and then linked into the pool, and it leaves the pool
//! before it leaves its last repository: whatever moment a crash picks, nothing is left in the pool
//! that no repository has. A blob that is in a repository and not in the pool is merely not shared.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use launchway_model::{Algorithm, Digest};

use super::{Act as _, Disk, StoreError, TempFile, blob_path, disk};

/// Locks over digests. Only links and renames happen under them, never a flush.
const SHARDS: usize = 64;

pub(crate) struct Blobs {
    pool: PathBuf,
    disk: Disk,
    shards: [Mutex<()>; SHARDS],
}

impl Blobs {
    pub(crate) fn new(pool: PathBuf, disk: Disk) -> Self {
        Self {
            pool,
            disk,
            shards: [const { Mutex::new(()) }; SHARDS],
        }
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Whether any repository has a blob that can be shared.
    pub(crate) fn is_pooled(&self, digest: &Digest) -> bool {
        blob_path(&self.pool, digest).exists()
    }

    /// Visits every blob that can be shared, in no order. What is no blob's name is passed over.
    pub(crate) fn each_pooled(
        &self,
        mut visit: impl FnMut(Digest, &fs::DirEntry),
    ) -> Result<(), StoreError> {
        const ACT: &str = "list the blobs";
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.pool.join(algorithm.as_str());
            let Some(entries) = absent_is_none(fs::read_dir(directory)).act(ACT)? else {
                continue;
            };
            for entry in entries {
                let entry = entry.act(ACT)?;
                let name = entry.file_name();
                let digest = name
                    .to_str()
                    .and_then(|hex| format!("{}:{hex}", algorithm.as_str()).parse().ok());
                if let Some(digest) = digest {
                    visit(digest, &entry);
                }
            }
        }
        Ok(())
    }

    /// Puts a finished file of `size` bytes into a repository's `blobs`, durably. The file's digest
    /// has been checked. A blob that is known already replaces the file.
    pub(crate) fn add(
        &self,
        blobs: &Path,
        digest: &Digest,
        temp: TempFile,
        size: u64,
    ) -> Result<(), StoreError> {
        const ACT: &str = "store a blob";
        let target = blob_path(blobs, digest);
        let pooled = blob_path(&self.pool, digest);
        let directory = self.directory_for(&target)?;
        self.directory_for(&pooled)?;
        // Bytes that are here already were flushed when they came.
        let has = |path: &Path| fs::metadata(path).is_ok_and(|meta| meta.len() == size);
        let mut flushed = false;
        loop {
            if !has(&target) && !has(&pooled) && !flushed {
                self.disk.flush(&File::open(temp.path()).act(ACT)?)?;
                flushed = true;
            }
            let _guard = self.shard(digest);
            if has(&target) {
                drop(temp);
            } else if has(&pooled) {
                if link_over(&pooled, &target).is_err() {
                    // Too many links to one file, or none on this file system.
                    if !flushed {
                        self.disk.flush(&File::open(temp.path()).act(ACT)?)?;
                    }
                    temp.rename(&target).act(ACT)?;
                }
            } else if flushed {
                temp.rename(&target).act(ACT)?;
                // Without the link the blob is whole, and merely not shared.
                let _ = link_over(&target, &pooled);
            } else {
                // It was deleted between the look and the lock: once more, with a flush.
                continue;
            }
            break;
        }
        // Also for a blob that was there: whoever put it may not have come to this point yet.
        self.disk.flush_directory(&directory)
    }

    /// Gives a repository a blob of another one. False when the other does not have it.
    pub(crate) fn mount(
        &self,
        from: &Path,
        to: &Path,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        self.link_into(&blob_path(from, digest), to, digest)
    }

    /// Gives a repository a blob that any repository has.
    pub(crate) fn mount_from_pool(&self, to: &Path, digest: &Digest) -> Result<bool, StoreError> {
        self.link_into(&blob_path(&self.pool, digest), to, digest)
    }

    fn link_into(&self, source: &Path, to: &Path, digest: &Digest) -> Result<bool, StoreError> {
        const ACT: &str = "mount a blob";
        let target = blob_path(to, digest);
        let pooled = blob_path(&self.pool, digest);
        let directory = self.directory_for(&target)?;
        self.directory_for(&pooled)?;
        {
            let _guard = self.shard(digest);
            if !source.exists() {
                return Ok(false);
            }
            if !target.exists() && link_over(source, &target).is_err() {
                let (temp, mut copy) = self.disk.temp_file(&disk::random_id())?;
                let mut file = File::open(source).act(ACT)?;
                io::copy(&mut file, &mut copy).act(ACT)?;
                self.disk.flush(&copy)?;
                temp.rename(&target).act(ACT)?;
            }
            if !pooled.exists() {
                let _ = link_over(source, &pooled);
            }
        }
        self.disk.flush_directory(&directory)?;
        Ok(true)
    }

    /// Takes a blob from a repository, and from the pool when it was the last that had it. False
    /// when the repository does not have it.
    pub(crate) fn remove(&self, blobs: &Path, digest: &Digest) -> Result<bool, StoreError> {
        const ACT: &str = "delete a blob";
        let target = blob_path(blobs, digest);
        {
            let _guard = self.shard(digest);
            let Some(meta) = absent_is_none(fs::metadata(&target)).act(ACT)? else {
                return Ok(false);
            };
            let pooled = blob_path(&self.pool, digest);
            if let Some(shared) = absent_is_none(fs::metadata(&pooled)).act(ACT)?
                && shared.ino() == meta.ino()
                && shared.nlink() <= 2
            {
                fs::remove_file(&pooled).act(ACT)?;
            }
            fs::remove_file(&target).act(ACT)?;
        }
        if let Some(directory) = target.parent() {
            self.disk.flush_directory(directory)?;
        }
        Ok(true)
    }

    fn directory_for(&self, path: &Path) -> Result<PathBuf, StoreError> {
        let directory = path
            .parent()
            .expect("a blob's path has its algorithm above it");
        self.disk.create_directories(directory)?;
        Ok(directory.to_owned())
    }

    fn shard(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        let first = u8::from_str_radix(&digest.hex()[..2], 16).expect("a digest is hexadecimal");
        self.shards[usize::from(first) % SHARDS]
            .lock()
            .expect("nothing panics while it holds a digest")
    }
}

pub(crate) fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A hard link; what stands at `to` (a blob of the wrong length) gives way.
fn link_over(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(to)?;
            fs::hard_link(from, to)
        }
        result => result,
    }
}
