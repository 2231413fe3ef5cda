//! Things under the store's `tmp` that vanish unless they are adopted.
//!
//! Each process has a directory of its own there and holds a lock in it as long as it lives, so
//! what a killed process left behind can be told from what a living one is working on.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use launchway_model::Digest;
use rustix::fs::{FlockOperation, flock};

use crate::StoreError;
use crate::copied::Copied;
use crate::error::At;
use crate::hash::Hasher;
use crate::held::Held;
use crate::remove::remove_all;
use crate::store::Store;
use crate::turn::open_lock;

/// The temporary directory of one opened store.
#[derive(Debug)]
pub(crate) struct Session {
    directory: PathBuf,
    next: AtomicU64,
    /// Locked until the process ends, however it ends; what the process uses is written in it.
    lock: File,
}

impl Session {
    /// Makes a directory under `tmp` and removes those whose processes are gone.
    pub(crate) fn open(tmp: &Path) -> Result<Arc<Self>, StoreError> {
        // A directory without a locked lock would look like a dead one's, so making and cleaning
        // exclude each other.
        let _door = lock(&tmp.join("lock"))?;
        clean(tmp)?;
        let directory = tmp.join(fresh_name());
        fs::create_dir(&directory).at("make", &directory)?;
        let lock = lock(&directory.join("lock"))?;
        Ok(Arc::new(Self {
            directory,
            next: AtomicU64::new(0),
            lock,
        }))
    }

    /// What this process uses. `door` is the file that is locked while something is removed.
    pub(crate) fn held(&self, door: PathBuf) -> Result<Held, StoreError> {
        let path = self.directory.join("lock");
        let log = self.lock.try_clone().at("open the lock", &path)?;
        Held::new(path, log, door)
    }

    pub(crate) fn path(self: &Arc<Self>) -> TempPath {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        TempPath {
            path: self.directory.join(number.to_string()),
            _session: Arc::clone(self),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next process that opens the store.
        let _ = remove_all(&self.directory);
    }
}

/// A name that no directory had before: whoever still removes an earlier one, by its name, must not
/// hit this one.
fn fresh_name() -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("{}-{random:016x}", std::process::id())
}

/// Takes an exclusive lock on a file, waiting for it; it is given back when the file is dropped.
pub(crate) fn lock(path: &Path) -> Result<File, StoreError> {
    let file = open_lock(path).at("open the lock", path)?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).at("take the lock", path),
        }
    }
}

fn clean(tmp: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(tmp).at("list", tmp)? {
        let path = entry.at("list", tmp)?.path();
        if !path.is_dir() {
            continue;
        }
        let lock = match open_lock(&path.join("lock")) {
            // Its process ends just now, and removes it itself.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.at("open the lock in", &path)?,
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // The steps of a build that was killed a moment ago may still be dying in there: what cannot be
            // removed now is no reason not to work, and the next process tries again.
            let _ = remove_all(&path);
        }
    }
    Ok(())
}

/// A path on the store's file system at which nothing exists yet; what is put there is removed
/// when this is dropped.
#[derive(Debug)]
pub struct TempPath {
    path: PathBuf,
    _session: Arc<Session>,
}

impl TempPath {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl TempPath {
    /// Removes what is there, and says so when that fails.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remove(self) -> Result<(), StoreError> {
        remove_all(&self.path).at("remove", &self.path)
    }
}

impl AsRef<Path> for TempPath {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        // Mostly the path was renamed away and there is nothing; the rest goes with the session.
        let _ = remove_all(&self.path);
    }
}

/// Writes a new blob and hashes it on the way. Nothing is left behind when it is dropped.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    temp: TempPath,
    file: File,
    hasher: Hasher,
    length: u64,
}

impl BlobWriter {
    pub(crate) fn new(store: &Store, hasher: Hasher) -> Result<Self, StoreError> {
        let temp = store.temp_path();
        let file = File::create_new(&temp).at("make", &temp)?;
        Ok(Self {
            store: store.clone(),
            temp,
            file,
            hasher,
            length: 0,
        })
    }

    /// Puts the blob in its place; returns its digest and its length in bytes.
    ///
    /// # Errors
    /// When the digest is not the expected one, or the disk fails.
    pub fn finish(self, expected: Option<&Digest>) -> Result<(Digest, u64), StoreError> {
        let found = self.hasher.finish();
        if let Some(expected) = expected
            && *expected != found
        {
            return Err(StoreError::DigestMismatch {
                what: "blob",
                expected: expected.clone(),
                found,
            });
        }
        drop(self.file);
        self.store.adopt_blob(self.temp.path(), &found)?;
        Ok((found, self.length))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The upper and work directory of an overlay whose changes become a layer. Removed on drop.
#[derive(Debug)]
pub struct WorkingLayer {
    temp: TempPath,
    upper: PathBuf,
    work: PathBuf,
    pub(crate) changed_by: ChangedBy,
}

/// What writes into an upper directory, which decides how changes are told from the rest.
#[derive(Debug)]
pub(crate) enum ChangedBy {
    /// The kernel's overlay, or this program: what is there was changed.
    Overlay,
    /// fuse-overlayfs, with marks of its own.
    Fuse,
    /// Anybody: it began as a copy of everything.
    Copy(Copied),
}

impl WorkingLayer {
    pub(crate) fn new(temp: TempPath) -> Result<Self, StoreError> {
        let upper = temp.path().join("fs");
        let work = temp.path().join("work");
        for directory in [temp.path(), &upper, &work] {
            fs::create_dir(directory).at("make", directory)?;
        }
        Ok(Self {
            temp,
            upper,
            work,
            changed_by: ChangedBy::Overlay,
        })
    }

    #[must_use]
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    #[must_use]
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Says that fuse-overlayfs will stack it.
    #[must_use]
    pub fn for_fuse(mut self) -> Self {
        self.changed_by = ChangedBy::Fuse;
        self
    }

    /// Gives up the work directory; what is left becomes the layer.
    pub(crate) fn into_temp(self) -> Result<TempPath, StoreError> {
        remove_all(&self.work).at("remove", &self.work)?;
        Ok(self.temp)
    }
}
