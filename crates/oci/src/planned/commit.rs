//! A planned layer comes into the store: with its files, or packed alone.

use std::fs;

use super::PlannedLayer;
use crate::error::At;
use crate::layers::LayerFile;
use crate::tar_way::TarSink;
use crate::{CommitOptions, Compression, Layer, Stack, Store, StoreError, TempPath};

/// Whether a layer's files are made along with its tar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    Now,
    /// When somebody looks at them. They are made now all the same where nothing else holds all of them: of a layer that is
    /// not compressed, and where files have attributes that a tar leaves out.
    WhenNeeded,
}

impl Store {
    /// Makes a layer of what was planned; what is no change is left out. A layer without changes has no entries.
    ///
    /// # Errors
    /// When an entry cannot be part of a layer, a file changed since it was hashed, or the disk fails.
    pub fn commit_planned(
        &self,
        mut layer: PlannedLayer<'_>,
        below: &Stack,
        options: &CommitOptions,
        files: Files,
    ) -> Result<Layer, StoreError> {
        let has_root = layer.canonicalise(below, options.clamp_mtime)?;
        let clamp = options.clamp_mtime.unwrap_or(i64::MAX);
        let is_compressed = match options.compress {
            Some(Compression::Gzip | Compression::Zstd) => true,
            Some(Compression::Uncompressed) | None => false,
        };
        if files == Files::WhenNeeded && is_compressed && !layer.is_empty() {
            let mut tar = TarSink::of_layer(self, options)?;
            let written = layer.pack(has_root, clamp, &mut tar, None)?;
            // What its tar leaves out would be lost.
            if !written.shows_more {
                let home = self.temp_path();
                fs::create_dir(&home).at("make", &home)?;
                return self.settle_packed(&home, tar, written.entries, has_root, options);
            }
        }
        let mut tar = TarSink::of_layer(self, options)?;
        let home = self.layer_in_progress()?;
        let into = home.path().join("fs");
        let written = layer.pack(has_root, clamp, &mut tar, Some(&into))?;
        self.settle_packed(&home, tar, written.entries, has_root, options)
    }

    fn settle_packed(
        &self,
        home: &TempPath,
        tar: TarSink,
        entries: u64,
        has_root: bool,
        options: &CommitOptions,
    ) -> Result<Layer, StoreError> {
        let packed = tar.finish(None)?;
        let file = LayerFile {
            size: packed.size,
            entries,
            root: has_root,
        };
        let compressed = options.compress.zip(packed.blob.as_ref());
        self.settle_made(home, &packed.diff_id, &file, compressed)
    }
}

impl PlannedLayer<'_> {
    fn is_empty(&self) -> bool {
        self.root.children.is_empty()
    }
}
