//! How layers come into the store and what is remembered about them.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use launchway_model::{Algorithm, Digest};
use serde::{Deserialize, Serialize};

use crate::canon::canonicalise;
use crate::copied::reduce;
use crate::error::At;
use crate::fuse_marks;
use crate::hash::Hasher;
use crate::mark;
use crate::pack::pack;
use crate::pipe::{self, decompressed};
use crate::spec::Descriptor;
use crate::tar_way::{Ignored, See, Seen, TarSink, Tee, Watched};
use crate::temp::ChangedBy;
use crate::unpack::{Unpacked, unpack_tar};
use crate::whole::layer_name;
use crate::{
    CommitOptions, Compression, Layer, PathIndex, Stack, Store, StoreError, TempPath, UnpackError,
    UnpackOptions, Whiteouts, WorkingLayer,
};

/// What is written beside a layer's directory.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayerFile {
    pub(crate) size: u64,
    pub(crate) entries: u64,
    /// The tar has an entry for the root directory.
    pub(crate) root: bool,
}

/// The files beside a layer's `fs`.
pub(crate) const LAYER_FILE: &str = "layer.json";
pub(crate) const PULLED_FILE: &str = "pulled.json";
pub(crate) const INDEX_FILE: &str = "paths";
pub(crate) const MARK_FILE: &str = "mark";

impl Store {
    pub(crate) fn layer_home(&self, diff_id: &Digest) -> PathBuf {
        self.root()
            .join("layers")
            .join(diff_id.algorithm().as_str())
            .join(diff_id.hex())
    }

    /// The layer with this diff id, when the store has it unpacked. From then on nobody removes it
    /// while this process lives.
    #[must_use]
    pub fn layer(&self, diff_id: &Digest) -> Option<Layer> {
        self.use_layer(diff_id).ok().flatten()
    }

    fn require(&self, diff_id: &Digest) -> Result<Layer, StoreError> {
        self.layer(diff_id)
            .ok_or_else(|| StoreError::NoLayer(diff_id.clone()))
    }

    /// Makes a layer of what was changed in the upper directory. The directory itself becomes the
    /// layer's; nothing is copied. A layer without changes has no entries.
    ///
    /// # Errors
    /// When an entry cannot be part of a layer, or the disk fails.
    pub fn commit_layer(
        &self,
        layer: WorkingLayer,
        below: &Stack,
        options: &CommitOptions,
    ) -> Result<Layer, StoreError> {
        match &layer.changed_by {
            ChangedBy::Overlay => {}
            ChangedBy::Fuse => fuse_marks::translate(layer.upper(), self.flavour())?,
            ChangedBy::Copy(copied) => reduce(layer.upper(), below, copied, self.flavour())?,
        }
        let has_root = canonicalise(
            layer.upper(),
            below,
            self.flavour(),
            options.clamp_mtime,
            &options.ignore,
        )?;
        let mut tar = TarSink::of_layer(self, options)?;
        let entries = pack(layer.upper(), has_root, self.flavour(), &mut tar)?;
        let packed = tar.finish(None)?;
        let home = layer.into_temp()?;
        let file = LayerFile {
            size: packed.size,
            entries,
            root: has_root,
        };
        let compressed = options.compress.zip(packed.blob.as_ref());
        self.settle_made(&home, &packed.diff_id, &file, compressed)
    }

    /// As [`settle`](Self::settle), for a layer that was made here, with its compressed form.
    pub(crate) fn settle_made(
        &self,
        home: &TempPath,
        diff_id: &Digest,
        file: &LayerFile,
        compressed: Option<(Compression, &Descriptor)>,
    ) -> Result<Layer, StoreError> {
        if let Some((compression, blob)) = compressed {
            write_json(&home.path().join(compression.file()), blob)?;
        }
        let layer = self.settle(home, diff_id, file, None)?;
        if let Some((compression, blob)) = compressed
            && self.remembered(&layer, compression.file())?.as_ref() != Some(blob)
        {
            self.remember(&layer, compression.file(), blob)?;
        }
        // The layer was there, packed alone.
        if !layer.dir.is_dir() && home.path().join("fs").is_dir() {
            self.give_files(home, &layer)?;
        }
        Ok(layer)
    }

    /// Unpacks a pulled layer and checks it against its diff id. Several callers may ask for one
    /// layer at once: one unpacks, the others wait for it.
    ///
    /// # Errors
    /// When the blob is missing, damaged, or not what the diff id says.
    pub fn import_layer(
        &self,
        blob: &Digest,
        media_type: &str,
        diff_id: &Digest,
    ) -> Result<Layer, StoreError> {
        if !is_layer(media_type) {
            return Err(StoreError::MediaType(media_type.to_owned()));
        }
        let size = self.blob_size(blob)?;
        let pulled = descriptor(media_type, blob, size);
        let _lock = self.turn(diff_id.hex())?;
        if let Some(layer) = self.layer(diff_id) {
            // A blob that is gone is replaced by the one that is here now.
            if self.remembered(&layer, PULLED_FILE)?.as_ref() != Some(&pulled) {
                self.remember(&layer, PULLED_FILE, &pulled)?;
            }
            return Ok(layer);
        }
        let (home, file) = self.unpack_blob(self.open_blob(blob)?, diff_id)?;
        self.settle(&home, diff_id, &file, Some(&pulled))
    }

    /// Unpacks a blob under a temporary name, and checks that it is the layer.
    pub(crate) fn unpack_blob(
        &self,
        blob: fs::File,
        diff_id: &Digest,
    ) -> Result<(TempPath, LayerFile), StoreError> {
        let read = |source| StoreError::Read {
            what: "blob of a layer",
            source,
        };
        let tar = decompressed(blob).map_err(read)?;
        let home = self.layer_in_progress()?;
        let hasher = Hasher::with(diff_id.algorithm());
        let mut seen = Seen::new(hasher);
        let unpacked = pipe::read_ahead(tar, |tar| self.unpack_seen(tar, &mut seen, &home))
            .map_err(|source| StoreError::Unpack {
                diff_id: diff_id.clone(),
                source,
            })?;
        let found = seen.hasher.finish();
        check_diff_id(diff_id, found)?;
        let file = LayerFile {
            size: seen.length,
            entries: unpacked.entries,
            root: unpacked.has_root,
        };
        Ok((home, file))
    }

    /// Unpacks a plain tar as a layer and keeps it compressed too, in one pass.
    ///
    /// # Errors
    /// When the tar is damaged or has another diff id than expected.
    pub fn import_tar(
        &self,
        tar: impl Read + Send,
        compression: Compression,
        expected: Option<&Digest>,
    ) -> Result<Layer, StoreError> {
        let home = self.layer_in_progress()?;
        let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);
        let mut sink = TarSink::new(self, Some(compression), algorithm)?;
        // The reading thread hashes and compresses; this one unpacks.
        let unpacked = {
            let mut tee = Tee {
                input: tar,
                sink: &mut sink,
            };
            pipe::read_ahead(&mut tee, |tar| self.unpack_seen(tar, &mut Ignored, &home))
                .map_err(StoreError::UnpackArchive)?
        };
        // With a digest to check, a missing end mark is the writer's own affair.
        if expected.is_none() && !unpacked.end_seen {
            return Err(StoreError::UnpackArchive(UnpackError::Damaged {
                at: sink.size,
                reason: "it has no end mark, so it may be cut off",
            }));
        }
        let packed = sink.finish(expected)?;
        let file = LayerFile {
            size: packed.size,
            entries: unpacked.entries,
            root: unpacked.has_root,
        };
        let _lock = self.turn(packed.diff_id.hex())?;
        self.settle(&home, &packed.diff_id, &file, packed.blob.as_ref())
    }

    pub(crate) fn layer_in_progress(&self) -> Result<TempPath, StoreError> {
        let home = self.temp_path();
        let fs_dir = home.path().join("fs");
        fs::create_dir_all(&fs_dir).at("make", &fs_dir)?;
        // What the archive says nothing about is the same under every umask.
        fs::set_permissions(&fs_dir, fs::Permissions::from_mode(0o755))
            .at("set the mode of", &fs_dir)?;
        Ok(home)
    }

    /// Unpacks into the layer being made, then reads to the end: the diff id covers what follows
    /// the end mark too.
    fn unpack_seen(
        &self,
        tar: &mut dyn Read,
        seen: &mut dyn See,
        home: &TempPath,
    ) -> Result<Unpacked, UnpackError> {
        let mut tar = Watched { input: tar, seen };
        let options = UnpackOptions {
            whiteouts: Whiteouts::Overlay(self.flavour()),
            owner: None,
        };
        let unpacked = unpack_tar(&mut tar, &home.path().join("fs"), &options)?;
        io::copy(&mut tar, &mut io::sink()).map_err(UnpackError::Read)?;
        Ok(unpacked)
    }

    /// Gives a finished layer its final name. When another process was faster its layer is used,
    /// which is the same one.
    fn settle(
        &self,
        home: &TempPath,
        diff_id: &Digest,
        file: &LayerFile,
        pulled: Option<&Descriptor>,
    ) -> Result<Layer, StoreError> {
        self.held().hold(&layer_name(diff_id))?;
        write_json(&home.path().join(LAYER_FILE), file)?;
        mark::write(&home.path().join(MARK_FILE), self.boot())?;
        if let Some(pulled) = pulled {
            write_json(&home.path().join(PULLED_FILE), pulled)?;
        }
        let layer = loop {
            self.put_in_place(home, diff_id)?;
            if let Some(layer) = self.use_layer(diff_id)? {
                break layer;
            }
        };
        if let Some(pulled) = pulled
            && self.remembered(&layer, PULLED_FILE)?.is_none()
        {
            self.remember(&layer, PULLED_FILE, pulled)?;
        }
        Ok(layer)
    }

    /// Moves a layer to where it belongs, unless there is one. What stands there and cannot be told
    /// makes room; in the turn, so that it is not one that somebody has put there meanwhile.
    fn put_in_place(&self, home: &TempPath, diff_id: &Digest) -> Result<(), StoreError> {
        let target = self.layer_home(diff_id);
        let parent = target.parent().expect("a layer is in a directory");
        fs::create_dir_all(parent).at("make", parent)?;
        let _turn = self.check_turn(diff_id)?;
        if self.read_layer(diff_id).is_some() {
            return Ok(());
        }
        self.discard_layer(diff_id)?;
        fs::rename(home, &target).at("move a layer to", &target)
    }

    /// The blob of a layer. A layer that was pulled keeps the blob it came as, whatever `compression`
    /// says, unless it came uncompressed; every other layer is compressed at most once.
    ///
    /// # Errors
    /// When the store does not have the layer, or a pulled layer's blob is gone and cannot be made
    /// again.
    pub fn compressed(
        &self,
        diff_id: &Digest,
        compression: Compression,
    ) -> Result<Descriptor, StoreError> {
        self.blob_of(diff_id, compression, Pulled::Kept)
    }

    /// As [`compressed`](Self::compressed), but a layer that came with another compression gets this one.
    ///
    /// # Errors
    /// As there.
    pub fn compressed_anew(
        &self,
        diff_id: &Digest,
        compression: Compression,
    ) -> Result<Descriptor, StoreError> {
        self.blob_of(diff_id, compression, Pulled::Anew)
    }

    fn blob_of(
        &self,
        diff_id: &Digest,
        compression: Compression,
        came: Pulled,
    ) -> Result<Descriptor, StoreError> {
        let layer = self.require(diff_id)?;
        if let Some(found) = self.known_blob(&layer, compression, came)? {
            return Ok(found);
        }
        let _lock = self.turn(diff_id.hex())?;
        if let Some(found) = self.known_blob(&layer, compression, came)? {
            return Ok(found);
        }
        let mut sink = TarSink::new(self, Some(compression), diff_id.algorithm())?;
        let pulled = self.remembered(&layer, PULLED_FILE)?;
        let came_as = match &pulled {
            Some(pulled) => self.open_blob(&parse(&pulled.digest, &layer)?).ok(),
            None => None,
        };
        if let Some(blob) = came_as {
            let read = |source| StoreError::Read {
                what: "blob of a layer",
                source,
            };
            let mut plain = decompressed(blob).map_err(read)?;
            io::copy(&mut plain, &mut sink).map_err(read)?;
        } else {
            layer.unpack()?;
            pack(&layer.dir, layer.has_root, self.flavour(), &mut sink)?;
        }
        let packed = match sink.finish(Some(diff_id)) {
            Err(StoreError::DigestMismatch { .. }) if pulled.is_some() => {
                return Err(StoreError::BlobGone(diff_id.clone()));
            }
            other => other?,
        };
        let blob = packed.blob.expect("a compression was asked for");
        self.remember(&layer, compression.file(), &blob)?;
        Ok(blob)
    }

    /// A blob that is remembered and still there.
    fn known_blob(
        &self,
        layer: &Layer,
        compression: Compression,
        came: Pulled,
    ) -> Result<Option<Descriptor>, StoreError> {
        for file in [PULLED_FILE, compression.file()] {
            if let Some(found) = self.remembered(layer, file)?
                && self.has_blob(&parse(&found.digest, layer)?)
                && fits(&found.media_type, compression, came)
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The index of the layer's paths; made once and remembered.
    ///
    /// # Errors
    /// When the store does not have the layer, or the disk fails.
    pub fn path_index(&self, diff_id: &Digest) -> Result<PathIndex, StoreError> {
        let layer = self.require(diff_id)?;
        let path = self.layer_home(diff_id).join(INDEX_FILE);
        match fs::read(&path) {
            // An index in an older form is made again.
            Ok(bytes) => {
                if let Ok(index) = PathIndex::decode(&bytes) {
                    return Ok(index);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("read", &path),
        }
        let index = crate::index_layer::index(&layer, self.flavour())?;
        self.put_file(&path, &index.encode())?;
        Ok(index)
    }

    /// The index of the layer's paths, when it was made before.
    #[must_use]
    pub fn known_path_index(&self, diff_id: &Digest) -> Option<PathIndex> {
        let bytes = fs::read(self.layer_home(diff_id).join(INDEX_FILE)).ok()?;
        PathIndex::decode(&bytes).ok()
    }

    fn remember(&self, layer: &Layer, file: &str, blob: &Descriptor) -> Result<(), StoreError> {
        let path = self.layer_home(&layer.diff_id).join(file);
        let bytes = serde_json::to_vec(blob).expect("a descriptor is plain JSON");
        self.put_file(&path, &bytes)
    }

    pub(crate) fn remembered(
        &self,
        layer: &Layer,
        file: &str,
    ) -> Result<Option<Descriptor>, StoreError> {
        let path = self.layer_home(&layer.diff_id).join(file);
        match fs::read(&path) {
            // What a loss of power has cut off is made again.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("read", &path),
        }
    }
}

impl Compression {
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Gzip => "gzip.json",
            Self::Zstd => "zstd.json",
            Self::Uncompressed => "plain.json",
        }
    }
}

fn parse(digest: &str, layer: &Layer) -> Result<Digest, StoreError> {
    digest.parse().map_err(|error| StoreError::Damaged {
        path: layer.dir.clone(),
        reason: format!("a remembered blob has no proper digest: {error}"),
    })
}

/// The layer types of OCI and Docker, with those that must not be distributed.
fn is_layer(media_type: &str) -> bool {
    const TYPES: [&str; 2] = [
        "application/vnd.oci.image.layer.",
        "application/vnd.docker.image.rootfs.",
    ];
    let known_codec = |text: &str| {
        [".tar", ".tar+gzip", ".tar+zstd", ".tar.gzip", ".tar.zstd"]
            .iter()
            .any(|end| text.ends_with(end))
    };
    TYPES.iter().any(|start| media_type.starts_with(start)) && known_codec(media_type)
}

/// What becomes of the blob that a layer was pulled as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pulled {
    /// It stays, so that its digest does.
    Kept,
    /// It makes room for one of another compression.
    Anew,
}

/// Whether a blob of this type will do.
fn fits(media_type: &str, compression: Compression, came: Pulled) -> bool {
    let is_asked_for = match compression {
        Compression::Gzip => media_type.ends_with("gzip"),
        Compression::Zstd => media_type.ends_with("zstd"),
        Compression::Uncompressed => media_type.ends_with(".tar"),
    };
    is_asked_for || came == Pulled::Kept && !media_type.ends_with(".tar")
}

pub(crate) fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size,
        artifact_type: None,
        annotations: None,
        platform: None,
    }
}

pub(crate) fn check_diff_id(expected: &Digest, found: Digest) -> Result<(), StoreError> {
    if *expected == found {
        return Ok(());
    }
    Err(StoreError::DigestMismatch {
        what: "uncompressed layer",
        expected: expected.clone(),
        found,
    })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).expect("what is remembered is plain JSON");
    fs::write(path, bytes).at("write", path)
}
