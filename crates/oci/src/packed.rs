//! Layers that the store has packed alone: nobody has looked at their files yet.
//!
//! What ends an image is often pushed or exported and never read again here, so its files are not made. The first who opens
//! the layer unpacks it, as if it had been pulled.

use std::fs;
use std::io;

use launchway_model::Digest;

use crate::error::At;
use crate::hash::Hasher;
use crate::layers::MARK_FILE;
use crate::mark;
use crate::pipe::decompressed;
use crate::survey::USAGE_FILE;
use crate::{Compression, Layer, Store, StoreError, TempPath};

impl Store {
    /// A compressed form of a layer that was made here, if one is there.
    pub(crate) fn packed_blob(&self, layer: &Layer) -> Result<Option<Digest>, StoreError> {
        for compression in [Compression::Gzip, Compression::Zstd] {
            if let Some(found) = self.remembered(layer, compression.file())?
                && let Ok(digest) = found.digest.parse::<Digest>()
                && self.blob_path(&digest).is_file()
            {
                return Ok(Some(digest));
            }
        }
        Ok(None)
    }

    /// Makes the files of a layer that is packed alone. Several may come to that at once: one unpacks, the others
    /// wait for it.
    pub(crate) fn unpack_in_place(&self, layer: &Layer) -> Result<(), StoreError> {
        if layer.dir.is_dir() {
            return Ok(());
        }
        let _turn = self.turn(&format!("unpack-{}", layer.diff_id.hex()))?;
        if layer.dir.is_dir() {
            return Ok(());
        }
        let blob = self.packed_blob(layer)?;
        let blob = blob.ok_or_else(|| StoreError::BlobGone(layer.diff_id.clone()))?;
        let (home, _) = self.unpack_blob(self.open_blob(&blob)?, &layer.diff_id)?;
        self.give_files(&home, layer)
    }

    /// Puts files beside what is remembered of a layer that has none.
    pub(crate) fn give_files(&self, home: &TempPath, layer: &Layer) -> Result<(), StoreError> {
        let place = self.layer_home(&layer.diff_id);
        // They are of this boot, whatever is known of the rest.
        mark::write(&place.join(MARK_FILE), self.boot())?;
        match fs::remove_file(place.join(USAGE_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).at("remove", place.join(USAGE_FILE));
            }
            _ => {}
        }
        match fs::rename(home.path().join("fs"), &layer.dir) {
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                Err(error).at("move files to", &layer.dir)
            }
            _ => Ok(()),
        }
    }

    /// Whether a blob is a layer, by its diff id.
    pub(crate) fn is_blob_of(&self, blob: &Digest, diff_id: &Digest) -> bool {
        let hash = || -> io::Result<Digest> {
            let mut tar = decompressed(fs::File::open(self.blob_path(blob))?)?;
            let mut hasher = Hasher::with(diff_id.algorithm());
            let mut buffer = vec![0; 256 * 1024];
            loop {
                match io::Read::read(&mut tar, &mut buffer) {
                    Ok(0) => return Ok(hasher.finish()),
                    Ok(got) => hasher.update(&buffer[..got]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        };
        hash().is_ok_and(|found| found == *diff_id)
    }
}
