//! Turns: what threads and processes do one after the other, by a name.
//!
//! A turn is a lock on a file that the kernel lets go when its holder ends, however it ends. The file
//! goes with the turn, so nothing is left of it; whoever waited on a file that is gone tries again.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, fstat};
use rustix::io::Errno;

use crate::StoreError;
use crate::error::At;

/// Held for as long as it lives.
#[derive(Debug)]
pub struct Turn {
    path: PathBuf,
    /// Locked until it is dropped.
    _file: File,
}

impl Turn {
    /// Takes the turn, waiting for it.
    pub(crate) fn wait(path: PathBuf) -> Result<Self, StoreError> {
        Ok(take(path, FlockOperation::LockExclusive)?
            .expect("a lock that is waited for is had in the end"))
    }

    /// Takes the turn unless somebody has it.
    pub(crate) fn try_now(path: PathBuf) -> Result<Option<Self>, StoreError> {
        take(path, FlockOperation::NonBlockingLockExclusive)
    }
}

fn take(path: PathBuf, how: FlockOperation) -> Result<Option<Turn>, StoreError> {
    loop {
        let file = open_lock(&path).at("open the lock", &path)?;
        match flock(&file, how) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error).at("take the lock", &path),
        }
        // The one before has removed the file, and the next one makes another.
        if fstat(&file).at("look at the lock", &path)?.st_nlink > 0 {
            return Ok(Some(Turn { path, _file: file }));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // While it is held nobody else removes it. One that stays is harmless.
        let _ = fs::remove_file(&self.path);
    }
}

pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_at_a_time_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turn");
        let inside = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let turn = Turn::wait(path.clone()).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        let held = Turn::try_now(path.clone()).unwrap().unwrap();
        assert!(Turn::try_now(path.clone()).unwrap().is_none());
        drop(held);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
