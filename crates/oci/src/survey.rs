//! What the store holds: how large it is, what it needs, when it was used. Looking holds nothing and
//! touches nothing, so that it does not make things look used.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use launchway_model::{Algorithm, Digest};
use rustix::fs::{AtFlags, CWD, FileType, statat};
use serde::{Deserialize, Serialize};

use crate::error::At;
use crate::held::ShutDoor;
use crate::layers::{LAYER_FILE, MARK_FILE, PULLED_FILE};
use crate::mark;
use crate::pack::{names_in, open_dir};
use crate::spec::Descriptor;
use crate::{Compression, Hasher, Store, StoreError, TempPath};

/// Documents are small; what is larger is a layer that nobody remembers.
const MAX_DOCUMENT: u64 = 4 << 20;
pub(crate) const USAGE_FILE: &str = "usage";

/// Everything in a store but what is unfinished.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    pub names: Vec<StoredName>,
    pub blobs: Vec<StoredBlob>,
    pub layers: Vec<StoredLayer>,
}

/// An image that was built or pulled under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredName {
    pub reference: String,
    pub digest: Digest,
    pub origin: Origin,
    /// Seconds since 1970.
    pub used: i64,
}

/// How an image came to be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Built,
    Pulled,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    pub digest: Digest,
    /// Bytes on the disk.
    pub size: u64,
    /// It has another name outside of the store, so removing it frees nothing.
    pub is_linked: bool,
    pub used: i64,
    pub content: BlobContent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobContent {
    /// The compressed form of a layer, or something unknown.
    Layer,
    /// An index, a manifest or a configuration, with what it leads to.
    Document {
        what: &'static str,
        blobs: Vec<Digest>,
        layers: Vec<Digest>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLayer {
    pub diff_id: Digest,
    /// Bytes on the disk, hard links counted once.
    pub size: u64,
    pub used: i64,
    /// Its compressed forms.
    pub blobs: Vec<Digest>,
    pub was_pulled: bool,
}

/// What is remembered of a layer's size: its files never change.
#[derive(Serialize, Deserialize)]
struct UsageFile {
    bytes: u64,
}

/// How deep a tree is looked at when its size is told. Only what was made to be a burden lies deeper.
const DEEPEST: usize = 1_000;

/// How many bytes of the disk a tree takes: whole blocks, every inode once. What vanishes while it is
/// looked at counts nothing, nor does what lies a thousand directories deep.
///
/// # Errors
/// When the disk fails.
pub fn disk_usage(path: &Path) -> io::Result<u64> {
    let mut seen = BTreeSet::new();
    let mut bytes = 0;
    let mut waiting = Vec::new();
    let mut look = |parent: BorrowedFd<'_>, name: &OsStr| -> io::Result<Option<Level>> {
        let Some(stat) = unless_gone(statat(parent, name, AtFlags::SYMLINK_NOFOLLOW))? else {
            return Ok(None);
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory || stat.st_nlink <= 1 || seen.insert((stat.st_dev, stat.st_ino)) {
            bytes += stat.st_blocks.cast_unsigned() * 512;
        }
        if !is_directory {
            return Ok(None);
        }
        let Some(directory) = unless_gone(open_dir(parent, name))? else {
            return Ok(None);
        };
        let names = names_in(&directory)?.into_iter();
        Ok(Some((directory, names)))
    };
    waiting.extend(look(CWD, path.as_os_str())?);
    while let Some((directory, names)) = waiting.last_mut() {
        let Some(name) = names.next() else {
            waiting.pop();
            continue;
        };
        let inner = look(directory.as_fd(), OsStr::from_bytes(&name))?;
        if waiting.len() < DEEPEST {
            waiting.extend(inner);
        }
    }
    Ok(bytes)
}

/// A directory, and the names in it that are still to be looked at.
type Level = (OwnedFd, std::vec::IntoIter<Vec<u8>>);

fn unless_gone<T, E: Into<io::Error>>(looked: Result<T, E>) -> io::Result<Option<T>> {
    match looked.map_err(Into::into) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

impl Store {
    /// Remembers under which name an image was built or pulled.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn name_image(
        &self,
        reference: &str,
        digest: &Digest,
        origin: Origin,
    ) -> Result<(), StoreError> {
        self.hold(&image_name(reference))?;
        let path = self.name_path(reference);
        let word = match origin {
            Origin::Built => "built",
            Origin::Pulled => "pulled",
        };
        let text = format!("{digest}\n{reference}\n{word}\n");
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            mark::touch(&path);
            return Ok(());
        }
        let names = self.root().join("names");
        fs::create_dir_all(&names).at("make", &names)?;
        self.put_file(&path, text.as_bytes())
    }

    fn name_path(&self, reference: &str) -> PathBuf {
        let name = Hasher::digest(reference.as_bytes());
        self.root().join("names").join(name.hex())
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn survey(&self) -> Result<Survey, StoreError> {
        let mut survey = Survey::default();
        for (_, path) in listed(&self.root().join("names"))? {
            let read = fs::read_to_string(&path).ok();
            survey
                .names
                .extend(read.and_then(|text| read_name(&text, &path)));
        }
        let mut of_layers = BTreeSet::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let folder = self.root().join("layers").join(algorithm.as_str());
            for (hex, home) in listed(&folder)? {
                let Ok(diff_id) = digest(algorithm, &hex) else {
                    continue;
                };
                let layer = self.survey_layer(diff_id, &home)?;
                of_layers.extend(layer.blobs.iter().cloned());
                survey.layers.push(layer);
            }
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let folder = self.root().join("blobs").join(algorithm.as_str());
            for (hex, path) in listed(&folder)? {
                let Ok(digest) = digest(algorithm, &hex) else {
                    continue;
                };
                let Ok(metadata) = fs::metadata(&path) else {
                    continue;
                };
                let content = if of_layers.contains(&digest) || metadata.len() > MAX_DOCUMENT {
                    BlobContent::Layer
                } else {
                    fs::read(&path).map_or(BlobContent::Layer, |bytes| read_document(&bytes))
                };
                survey.blobs.push(StoredBlob {
                    used: self.blob_used(&digest),
                    digest,
                    size: metadata.blocks() * 512,
                    is_linked: metadata.nlink() > 1,
                    content,
                });
            }
        }
        Ok(survey)
    }

    fn survey_layer(&self, diff_id: Digest, home: &Path) -> Result<StoredLayer, StoreError> {
        let descriptor = |file: &str| -> Option<Digest> {
            let bytes = fs::read(home.join(file)).ok()?;
            let descriptor: Descriptor = serde_json::from_slice(&bytes).ok()?;
            descriptor.digest.parse().ok()
        };
        let files = [
            PULLED_FILE,
            Compression::Gzip.file(),
            Compression::Zstd.file(),
            Compression::Uncompressed.file(),
        ];
        let usage = home.join(USAGE_FILE);
        let known: Option<UsageFile> = fs::read(&usage)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let size = match known {
            Some(known) => known.bytes,
            None => {
                let bytes = disk_usage(home).at("look at", home)?;
                // Only a convenience: a store that cannot be written to is looked at all the same.
                if home.join(LAYER_FILE).exists()
                    && let Ok(text) = serde_json::to_vec(&UsageFile { bytes })
                {
                    let _ = self.put_file(&usage, &text);
                }
                bytes
            }
        };
        let blobs: BTreeSet<Digest> = files.into_iter().filter_map(descriptor).collect();
        Ok(StoredLayer {
            size,
            used: self.layer_used(&diff_id),
            diff_id,
            blobs: blobs.into_iter().collect(),
            was_pulled: home.join(PULLED_FILE).exists(),
        })
    }

    /// When a blob was last used, in seconds since 1970.
    #[must_use]
    pub fn blob_used(&self, digest: &Digest) -> i64 {
        let mark = self.blob_mark(digest);
        mark::last_used(&mark).max(mark::last_used(&self.blob_path(digest)))
    }

    /// When a layer was last used, in seconds since 1970.
    #[must_use]
    pub fn layer_used(&self, diff_id: &Digest) -> i64 {
        let home = self.layer_home(diff_id);
        let mark = mark::last_used(&home.join(MARK_FILE));
        mark.max(mark::last_used(&home.join(LAYER_FILE)))
    }

    /// When an image was last built or pulled under a name, in seconds since 1970.
    #[must_use]
    pub fn name_used(&self, reference: &str) -> i64 {
        mark::last_used(&self.name_path(reference))
    }

    /// Takes a blob out of its place; it is gone when what is returned is.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn take_blob(
        &self,
        door: &ShutDoor,
        digest: &Digest,
    ) -> Result<Option<TempPath>, StoreError> {
        // Its mark goes first, so that none is left for what comes under this name later.
        drop(self.take_away(door, &self.blob_mark(digest))?);
        self.take_away(door, &self.blob_path(digest))
    }

    /// Takes a layer out of its place; it is gone when what is returned is.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn take_layer(
        &self,
        door: &ShutDoor,
        diff_id: &Digest,
    ) -> Result<Option<TempPath>, StoreError> {
        self.take_away(door, &self.layer_home(diff_id))
    }

    /// Takes the name of an image away.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn take_name(
        &self,
        door: &ShutDoor,
        reference: &str,
    ) -> Result<Option<TempPath>, StoreError> {
        self.take_away(door, &self.name_path(reference))
    }

    /// Takes something on the store's file system out of its place, in one step: nobody sees it half
    /// removed, and what a killed process leaves is removed by the next one. `None` when there was
    /// nothing.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn take_away(&self, _: &ShutDoor, path: &Path) -> Result<Option<TempPath>, StoreError> {
        let away = self.temp_path();
        match fs::rename(path, &away) {
            Ok(()) => Ok(Some(away)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("remove", path),
        }
    }

    /// Hashes a blob again, without using it. `None` when it is gone.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn is_blob_whole(&self, digest: &Digest) -> Result<Option<bool>, StoreError> {
        match self.hash_blob(digest) {
            Ok(()) => Ok(Some(true)),
            Err(StoreError::DigestMismatch { .. }) => Ok(Some(false)),
            Err(StoreError::NoBlob(_)) => Ok(None),
            // A file that cannot be read to its end is as good as damaged.
            Err(StoreError::Io { source, .. }) if source.raw_os_error() == Some(5) => {
                Ok(Some(false))
            }
            Err(error) => Err(error),
        }
    }

    /// Looks whether the files of a layer are those of its diff id, without using it. Its blob is
    /// used for that, when it was pulled. `None` when the layer is gone.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn check_layer(&self, diff_id: &Digest) -> Result<Option<bool>, StoreError> {
        let whole = match self.read_layer(diff_id) {
            Some(layer) => self.is_layer_whole(&layer)?,
            None => false,
        };
        // One that somebody takes away meanwhile looks damaged.
        let is_there = self.layer_home(diff_id).exists();
        Ok(is_there.then_some(whole))
    }

    /// Says that a blob was looked at and is whole, so that it need not be looked at again after the
    /// next start of the machine. What was made since this one may not be on the disk yet, and stays
    /// as it is.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn settle_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        self.settle_mark(&self.blob_mark(digest))
    }

    /// As [`settle_blob`](Self::settle_blob), for a layer.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn settle_layer(&self, diff_id: &Digest) -> Result<(), StoreError> {
        self.settle_mark(&self.layer_home(diff_id).join(MARK_FILE))
    }
}

impl Store {
    /// A mark keeps its time: looking is no use.
    fn settle_mark(&self, path: &Path) -> Result<(), StoreError> {
        if mark::is_of_boot(path, self.boot()) {
            return Ok(());
        }
        let time = fs::metadata(path).and_then(|metadata| metadata.modified());
        match mark::settle(path) {
            // What it speaks of is gone.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            other => other?,
        }
        if let Ok(time) = time {
            mark::set_time(path, time);
        }
        Ok(())
    }
}

/// The name under which the name of an image is held.
#[must_use]
pub fn image_name(reference: &str) -> String {
    format!("image {reference}")
}

fn digest(algorithm: Algorithm, hex: &str) -> Result<Digest, launchway_model::DigestError> {
    format!("{}:{hex}", algorithm.as_str()).parse()
}

/// The entries of a directory by their names, sorted; none where there is no directory.
fn listed(folder: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("list", folder)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.at("list", folder)?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn read_name(text: &str, path: &Path) -> Option<StoredName> {
    let mut lines = text.split('\n');
    let digest = lines.next()?.parse().ok()?;
    let reference = lines.next()?.to_owned();
    let origin = match lines.next()? {
        "built" => Origin::Built,
        "pulled" => Origin::Pulled,
        _ => return None,
    };
    Some(StoredName {
        reference,
        digest,
        origin,
        used: mark::last_used(path),
    })
}

fn read_document(bytes: &[u8]) -> BlobContent {
    #[derive(Deserialize)]
    struct Any {
        config: Option<serde_json::Value>,
        layers: Option<Vec<Descriptor>>,
        manifests: Option<Vec<Descriptor>>,
        rootfs: Option<RootFs>,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Vec<String>,
    }
    if bytes.first() != Some(&b'{') {
        return BlobContent::Layer;
    }
    let Ok(any) = serde_json::from_slice::<Any>(bytes) else {
        return BlobContent::Layer;
    };
    let digests = |descriptors: Vec<Descriptor>| -> Vec<Digest> {
        let parsed = descriptors.iter().map(|one| one.digest.parse());
        parsed.filter_map(Result::ok).collect()
    };
    let document = |what, blobs, layers| BlobContent::Document {
        what,
        blobs,
        layers,
    };
    match any {
        Any {
            manifests: Some(manifests),
            ..
        } => document("index", digests(manifests), Vec::new()),
        Any {
            rootfs: Some(rootfs),
            ..
        } => {
            let layers = rootfs.diff_ids.iter().map(|text| text.parse());
            document(
                "configuration",
                Vec::new(),
                layers.filter_map(Result::ok).collect(),
            )
        }
        Any {
            config: Some(config),
            layers: Some(layers),
            ..
        } => {
            let mut blobs = digests(layers);
            let config = config.get("digest").and_then(|digest| digest.as_str());
            blobs.extend(config.and_then(|digest| digest.parse().ok()));
            document("manifest", blobs, Vec::new())
        }
        _ => document("document", Vec::new(), Vec::new()),
    }
}
