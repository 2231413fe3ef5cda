//! Whether an unpacked layer is what its diff id says.
//!
//! The tar of a layer is hashed when it is made. Here it is made again from what is on the disk. A
//! layer that was pulled may have come as a tar that we would write another way; then its blob is
//! unpacked once more, and the two are compared.

use std::fs;
use std::io;
use std::io::Write;

use launchway_model::Digest;

use crate::error::At;
use crate::hash::Hasher;
use crate::index_layer::index;
use crate::layers::{INDEX_FILE, LAYER_FILE, LayerFile, MARK_FILE, PULLED_FILE};
use crate::mark;
use crate::pack::pack;
use crate::xattr::written;
use crate::{Layer, Store, StoreError, Tree as _, Turn};

/// The name under which a layer is held.
#[must_use]
pub fn layer_name(diff_id: &Digest) -> String {
    format!("layer {diff_id}")
}

impl Store {
    /// Holds a layer, and gives it when it is there and whole. One that is damaged is removed.
    pub(crate) fn use_layer(&self, diff_id: &Digest) -> Result<Option<Layer>, StoreError> {
        let name = layer_name(diff_id);
        let was_whole = self.held().hold(&name)?;
        let Some(layer) = self.read_layer(diff_id) else {
            return Ok(None);
        };
        if was_whole {
            return Ok(Some(layer));
        }
        let mark = self.layer_home(diff_id).join(MARK_FILE);
        if !self.is_believed(&mark) {
            let _turn = self.check_turn(diff_id)?;
            let Some(layer) = self.read_layer(diff_id) else {
                return Ok(None);
            };
            if !self.is_believed(&mark) {
                if !self.is_layer_whole(&layer)? {
                    self.discard_layer(diff_id)?;
                    return Ok(None);
                }
                self.forget_what_can_be_made_again(diff_id)?;
                mark::settle(&mark)?;
            }
        }
        mark::touch(&mark);
        self.held().is_whole(&name);
        Ok(Some(layer))
    }

    /// The turn of looking whether something is whole, and of putting something in its place.
    pub(crate) fn check_turn(&self, digest: &Digest) -> Result<Turn, StoreError> {
        self.turn(&format!("check-{}", digest.hex()))
    }

    /// The layer as it is remembered, with its files or its compressed form; no look is taken into them.
    pub(crate) fn read_layer(&self, diff_id: &Digest) -> Option<Layer> {
        let home = self.layer_home(diff_id);
        let file: LayerFile =
            serde_json::from_slice(&fs::read(home.join(LAYER_FILE)).ok()?).ok()?;
        let layer = Layer::new(
            diff_id.clone(),
            &home.join("fs"),
            file.size,
            file.entries,
            file.root,
        );
        if layer.dir.is_dir() {
            return Some(layer);
        }
        let blob = self.packed_blob(&layer).ok().flatten();
        blob.map(|_| layer.packed_in(self))
    }

    /// Whether the files of a layer are those of its diff id.
    pub(crate) fn is_layer_whole(&self, layer: &Layer) -> Result<bool, StoreError> {
        if let Some(pulled) = self.remembered(layer, PULLED_FILE)?
            && let Ok(blob) = pulled.digest.parse::<Digest>()
            && let Ok(blob) = fs::File::open(self.blob_path(&blob))
        {
            let (home, file) = match self.unpack_blob(blob, &layer.diff_id) {
                Ok(done) => done,
                // Then it is not the blob of this layer, and nothing speaks for the layer.
                Err(
                    StoreError::DigestMismatch { .. }
                    | StoreError::Unpack { .. }
                    | StoreError::Read { .. },
                ) => return Ok(false),
                Err(error) => return Err(error),
            };
            let fresh = Layer::new(
                layer.diff_id.clone(),
                &home.path().join("fs"),
                file.size,
                file.entries,
                file.root,
            );
            let same =
                (file.size, file.entries, file.root) == (layer.size, layer.entries, layer.has_root);
            return Ok(same && self.same_files(&fresh, layer));
        }
        if !layer.dir.is_dir() {
            let blob = self.packed_blob(layer)?;
            return Ok(blob.is_some_and(|blob| self.is_blob_of(&blob, &layer.diff_id)));
        }
        let mut hash = Hashing(Hasher::with(layer.diff_id.algorithm()));
        // What cannot be read is damaged as well.
        let Ok(entries) = pack(&layer.dir, layer.has_root, self.flavour(), &mut hash) else {
            return Ok(false);
        };
        Ok(hash.0.finish() == layer.diff_id && entries == layer.entries)
    }

    fn same_files(&self, one: &Layer, other: &Layer) -> bool {
        let both = (index(one, self.flavour()), index(other, self.flavour()));
        let (Ok(first), Ok(second)) = both else {
            return false;
        };
        let root = |layer: &Layer| {
            let stack = crate::Stack {
                layers: vec![layer.clone()],
            };
            let path = std::path::Path::new("");
            let attributes = written(stack.xattrs(path).ok()?);
            Some((stack.entry(path).ok()?, attributes))
        };
        first == second && (!one.has_root || root(one) == root(other))
    }

    /// What is remembered beside a layer has no digest of its own.
    fn forget_what_can_be_made_again(&self, diff_id: &Digest) -> Result<(), StoreError> {
        let path = self.layer_home(diff_id).join(INDEX_FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", &path),
            _ => Ok(()),
        }
    }

    /// Takes a layer's directory away, whatever is in it.
    pub(crate) fn discard_layer(&self, diff_id: &Digest) -> Result<(), StoreError> {
        let home = self.layer_home(diff_id);
        let away = self.temp_path();
        match fs::rename(&home, &away) {
            Ok(()) => away.remove(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).at("remove the layer", &home),
        }
    }
}

struct Hashing(Hasher);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
