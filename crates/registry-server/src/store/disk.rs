//! Files that appear whole or not at all, and when they are flushed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

use super::{Act as _, PART, StoreError};
use crate::Durability;

/// Writes below one root, by its durability.
#[derive(Clone)]
pub(crate) struct Disk {
    durability: Durability,
    uploads: PathBuf,
    /// Held while directories are made, so that nobody relies on one that is not flushed yet.
    making: Arc<Mutex<HashSet<PathBuf>>>,
}

/// A file in `uploads`, removed unless it is moved to where it belongs.
#[derive(Debug)]
pub(crate) struct TempFile {
    path: PathBuf,
}

impl Disk {
    pub(crate) fn new(durability: Durability, uploads: PathBuf) -> Self {
        Self {
            durability,
            uploads,
            making: Arc::default(),
        }
    }

    /// A new empty file on the same file system as everything else, open for reading and writing.
    pub(crate) fn temp_file(&self, id: &str) -> Result<(TempFile, File), StoreError> {
        let path = self.uploads.join(format!("{id}{PART}"));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .act("create a temporary file")?;
        Ok((TempFile { path }, file))
    }

    /// A file with these bytes, flushed, not yet in its place.
    pub(crate) fn written(&self, bytes: &[u8]) -> Result<TempFile, StoreError> {
        let (temp, mut file) = self.temp_file(&random_id())?;
        file.write_all(bytes).act("write a file")?;
        self.flush(&file)?;
        Ok(temp)
    }

    /// Replaces a file: afterwards it has the old bytes or the new ones, whatever happens.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let temp = self.written(bytes)?;
        temp.rename(path).act("replace a file")?;
        match path.parent() {
            Some(directory) => self.flush_directory(directory),
            None => Ok(()),
        }
    }

    pub(crate) fn flush(&self, file: &File) -> Result<(), StoreError> {
        match self.durability {
            Durability::Disk => file.sync_data().act("flush a file"),
            Durability::Process => Ok(()),
        }
    }

    /// Makes the entries of a directory durable.
    pub(crate) fn flush_directory(&self, directory: &Path) -> Result<(), StoreError> {
        match self.durability {
            Durability::Disk => File::open(directory)
                .and_then(|directory| directory.sync_all())
                .act("flush a directory"),
            Durability::Process => Ok(()),
        }
    }

    /// Makes sure that a directory is there, and what is above it, each entry durable.
    pub(crate) fn create_directories(&self, directory: &Path) -> Result<(), StoreError> {
        let mut made = self
            .making
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if made.contains(directory) && directory.exists() {
            return Ok(());
        }
        self.create_each(directory)?;
        // Only saves time; what is forgotten is looked at again.
        if made.len() >= 4096 {
            made.clear();
        }
        made.insert(directory.to_owned());
        Ok(())
    }

    fn create_each(&self, directory: &Path) -> Result<(), StoreError> {
        match fs::create_dir(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = directory.parent() {
                    self.create_each(parent)?;
                }
                match fs::create_dir(directory) {
                    // Somebody else was faster; flushed below all the same.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    result => result.act("create a directory")?,
                }
            }
            result => result.act("create a directory")?,
        }
        match directory.parent() {
            Some(parent) => self.flush_directory(parent),
            None => Ok(()),
        }
    }
}

impl TempFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the file to its place.
    pub(crate) fn rename(self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // What stays behind is removed when the root is next opened.
        let _ = fs::remove_file(&self.path);
    }
}

/// 128 random bits in hexadecimal.
pub(crate) fn random_id() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system gives random bytes");
    format!("{:032x}", u128::from_be_bytes(bytes))
}
