//! The store.

use std::io::Read;
use std::path::{Path, PathBuf};

use launchway_model::Digest;

use crate::spec::Descriptor;
use crate::{
    BlobWriter, CommitOptions, Compression, Flavour, Layer, PathIndex, Stack, StoreError, TempPath,
    WorkingLayer,
};

/// Blobs and layers under one directory, shared by threads and processes.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) root: std::sync::Arc<PathBuf>,
}

impl Store {
    /// # Errors
    /// When the directory cannot be made or is no store.
    pub fn open(_root: &Path, _flavour: Flavour) -> Result<Self, StoreError> {
        unimplemented!()
    }
    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn blob_path(&self, _digest: &Digest) -> PathBuf {
        unimplemented!()
    }
    pub fn has_blob(&self, _digest: &Digest) -> bool {
        unimplemented!()
    }
    pub fn blob_size(&self, _digest: &Digest) -> Result<u64, StoreError> {
        unimplemented!()
    }
    pub fn read_blob(&self, _digest: &Digest) -> Result<Vec<u8>, StoreError> {
        unimplemented!()
    }
    pub fn put_blob(&self, _bytes: &[u8]) -> Result<Digest, StoreError> {
        unimplemented!()
    }
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        unimplemented!()
    }
    pub fn temp_path(&self) -> TempPath {
        unimplemented!()
    }
    pub fn adopt_blob(&self, _path: &Path, _digest: &Digest) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn new_layer(&self) -> Result<WorkingLayer, StoreError> {
        unimplemented!()
    }
    /// As [`new_layer`](Self::new_layer), with the upper directory's owner and mode those of the
    /// stack's root, as an overlay shows the upper one's.
    pub fn new_layer_on(&self, _below: &Stack) -> Result<WorkingLayer, StoreError> {
        unimplemented!()
    }
    pub fn commit_layer(
        &self,
        _layer: WorkingLayer,
        _below: &Stack,
        _options: &CommitOptions,
    ) -> Result<Layer, StoreError> {
        unimplemented!()
    }
    pub fn import_layer(
        &self,
        _blob: &Digest,
        _media_type: &str,
        _diff_id: &Digest,
    ) -> Result<Layer, StoreError> {
        unimplemented!()
    }
    /// Unpacks an uncompressed tar as a layer and keeps it compressed, in one pass.
    pub fn import_tar(
        &self,
        _tar: impl Read + Send,
        _compression: Compression,
        _expected: Option<&Digest>,
    ) -> Result<Layer, StoreError> {
        unimplemented!()
    }
    pub fn layer(&self, _diff_id: &Digest) -> Option<Layer> {
        unimplemented!()
    }
    pub fn compressed(
        &self,
        _diff_id: &Digest,
        _compression: Compression,
    ) -> Result<Descriptor, StoreError> {
        unimplemented!()
    }
    pub fn path_index(&self, _diff_id: &Digest) -> Result<PathIndex, StoreError> {
        unimplemented!()
    }
}
