//! A blob on its way in: a temporary file and the hash of what is in it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Context, SHA256, SHA512};
use bytes::Bytes;
use launchway_model::{Algorithm, Digest};

use super::{Act as _, Disk, StoreError, TempFile};

/// Incremental hashing with one of the registered algorithms.
#[derive(Clone)]
pub(crate) struct Hasher {
    algorithm: Algorithm,
    context: Context,
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let context = match algorithm {
            Algorithm::Sha256 => Context::new(&SHA256),
            Algorithm::Sha512 => Context::new(&SHA512),
        };
        Self { algorithm, context }
    }

    pub(crate) fn of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
        let mut hasher = Self::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        let hash = self.context.finish();
        match self.algorithm {
            Algorithm::Sha256 => {
                Digest::sha256(hash.as_ref().try_into().expect("SHA-256 gives 32 bytes"))
            }
            Algorithm::Sha512 => {
                Digest::sha512(hash.as_ref().try_into().expect("SHA-512 gives 64 bytes"))
            }
        }
    }
}

pub(crate) struct UploadFile {
    /// `None` once the file was moved to its place or given up.
    temp: Option<TempFile>,
    file: File,
    hasher: Hasher,
    written: u64,
    /// `written`, for whoever asks while a thread is busy writing.
    progress: Arc<AtomicU64>,
}

impl UploadFile {
    pub(crate) fn create(disk: &Disk, id: &str, algorithm: Algorithm) -> Result<Self, StoreError> {
        let (temp, file) = disk.temp_file(id)?;
        Ok(Self {
            temp: Some(temp),
            file,
            hasher: Hasher::new(algorithm),
            written: 0,
            progress: Arc::default(),
        })
    }

    /// Another handle for reading what arrives.
    pub(crate) fn reader(&self) -> Result<File, StoreError> {
        self.file.try_clone().act("open an upload")
    }

    pub(crate) fn is_open(&self) -> bool {
        self.temp.is_some()
    }

    /// How many bytes arrived so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Follows `written` from outside.
    pub(crate) fn progress(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.progress)
    }

    /// Appends pieces. After an error what was appended before still counts, and the same pieces
    /// may come again.
    pub(crate) fn append(&mut self, pieces: &[Bytes]) -> Result<(), StoreError> {
        for piece in pieces {
            self.file
                .write_all_at(piece, self.written)
                .act("write an upload")?;
            self.hasher.update(piece);
            self.written += piece.len() as u64;
            self.progress.store(self.written, Ordering::Release);
        }
        Ok(())
    }

    /// The digest of all that arrived, and the file to be put in its place.
    pub(crate) fn finish(
        &mut self,
        algorithm: Algorithm,
    ) -> Result<Option<(Digest, TempFile)>, StoreError> {
        let Some(temp) = self.temp.take() else {
            return Ok(None);
        };
        // A write that failed half way may have left a tail behind.
        if self.file.metadata().act("finish an upload")?.len() != self.written {
            self.file.set_len(self.written).act("finish an upload")?;
        }
        let hasher = if self.hasher.algorithm == algorithm {
            self.hasher.clone()
        } else {
            // Nobody said beforehand that it would be this algorithm.
            self.rehash(algorithm)?
        };
        Ok(Some((hasher.finish(), temp)))
    }

    /// Gives the upload up and removes its file.
    pub(crate) fn discard(&mut self) {
        self.temp = None;
    }

    fn rehash(&self, algorithm: Algorithm) -> Result<Hasher, StoreError> {
        let mut hasher = Hasher::new(algorithm);
        let mut buffer = vec![0; 256 << 10];
        let mut offset = 0;
        loop {
            let read = self
                .file
                .read_at(&mut buffer, offset)
                .act("read an upload")?;
            if read == 0 {
                return Ok(hasher);
            }
            hasher.update(&buffer[..read]);
            offset += read as u64;
        }
    }
}
