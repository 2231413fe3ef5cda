//! Blobs and layers under one directory, shared by threads and processes.
//!
//! ```text
//! oci-layout, blobs/<algorithm>/<hex>    an OCI image layout's blobs
//! layers/<algorithm>/<hex>/fs            an unpacked layer, by its diff id
//! layers/<algorithm>/<hex>/*             what is remembered about it
//! locks/<name>                           turns: what is done by one at a time, and only then there
//! tmp/<process>-<n>/                     everything unfinished
//! ```
//!
//! Whatever has a final name is complete: it was made under `tmp` and renamed. Nothing is synced to
//! disk, because everything is checked against a digest or can be made again.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use launchway_model::{Algorithm, Digest};

use crate::error::At;
use crate::hash::{Hasher, hash_reader};
use crate::temp::Session;
use crate::{BlobWriter, Flavour, Stack, StoreError, TempPath, Tree, Turn, WorkingLayer};

/// Blobs and layers under one directory. Clones share one handle.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    flavour: Flavour,
    session: Arc<Session>,
}

const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

impl Store {
    /// Opens the store under `root` and makes it when there is none. What dead processes left
    /// unfinished is removed.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn open(root: &Path, flavour: Flavour) -> Result<Self, StoreError> {
        for directory in ["blobs/sha256", "blobs/sha512", "layers", "locks", "tmp"] {
            let directory = root.join(directory);
            fs::create_dir_all(&directory).at("make", &directory)?;
        }
        // Overlay takes paths with commas and colons badly, and relative ones change their
        // meaning; everything is given out absolute.
        let root = fs::canonicalize(root).at("find", root)?;
        let session = Session::open(&root.join("tmp"))?;
        let store = Self {
            inner: Arc::new(Inner {
                root,
                flavour,
                session,
            }),
        };
        let layout = store.root().join("oci-layout");
        if !layout.exists() {
            store.put_file(&layout, LAYOUT.as_bytes())?;
        }
        Ok(store)
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    #[must_use]
    pub fn flavour(&self) -> Flavour {
        self.inner.flavour
    }

    /// Where a blob is or would be.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root()
            .join("blobs")
            .join(digest.algorithm().as_str())
            .join(digest.hex())
    }

    #[must_use]
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// The length of a blob in bytes.
    ///
    /// # Errors
    /// When the store does not have it.
    pub fn blob_size(&self, digest: &Digest) -> Result<u64, StoreError> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) => Err(Self::blob_error(error, digest, "look at", path)),
        }
    }

    /// A whole blob; for documents, not for layers.
    ///
    /// # Errors
    /// When the store does not have it.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        fs::read(&path).map_err(|error| Self::blob_error(error, digest, "read", path))
    }

    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<fs::File, StoreError> {
        let path = self.blob_path(digest);
        fs::File::open(&path).map_err(|error| Self::blob_error(error, digest, "open", path))
    }

    fn blob_error(
        source: io::Error,
        digest: &Digest,
        action: &'static str,
        path: PathBuf,
    ) -> StoreError {
        if source.kind() == io::ErrorKind::NotFound {
            return StoreError::NoBlob(digest.clone());
        }
        StoreError::Io {
            action,
            path,
            source,
        }
    }

    /// Stores bytes under their sha256.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Hasher::digest(bytes);
        if !self.has_blob(&digest) {
            self.put_file(&self.blob_path(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// A writer for a blob whose digest is not known yet; it will be a sha256.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        self.blob_writer_with(Algorithm::Sha256)
    }

    /// As [`blob_writer`](Self::blob_writer), with another algorithm.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn blob_writer_with(&self, algorithm: Algorithm) -> Result<BlobWriter, StoreError> {
        BlobWriter::new(self, Hasher::with(algorithm))
    }

    /// A path to download to; [`adopt_blob`](Self::adopt_blob) makes a blob of what is there.
    #[must_use]
    pub fn temp_path(&self) -> TempPath {
        self.inner.session.path()
    }

    /// Takes a file that is known to have this digest as a blob, by renaming it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn adopt_blob(&self, path: &Path, digest: &Digest) -> Result<(), StoreError> {
        let target = self.blob_path(digest);
        if target.is_file() {
            return fs::remove_file(path).at("remove", path);
        }
        fs::rename(path, &target).at("move a blob to", &target)
    }

    /// Copies a file into the store, checking its digest on the way.
    ///
    /// # Errors
    /// When the digest is another one, or the disk fails.
    pub fn copy_blob(&self, path: &Path, digest: &Digest) -> Result<(), StoreError> {
        let mut file = fs::File::open(path).at("open", path)?;
        let mut writer = self.blob_writer_with(digest.algorithm())?;
        io::copy(&mut file, &mut writer).at("copy", path)?;
        writer.finish(Some(digest)).map(|_| ())
    }

    /// Hashes a blob again.
    ///
    /// # Errors
    /// When the store does not have it, or it is damaged.
    pub fn verify_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        let file = self.open_blob(digest)?;
        let (found, _) = hash_reader(file, digest.algorithm()).at("read", &path)?;
        if found == *digest {
            return Ok(());
        }
        Err(StoreError::DigestMismatch {
            what: "blob",
            expected: digest.clone(),
            found,
        })
    }

    /// Directories for an overlay on layers whose root directories nobody changed.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn new_layer(&self) -> Result<WorkingLayer, StoreError> {
        self.new_layer_on(&Stack::default())
    }

    /// As [`new_layer`](Self::new_layer), with the owner, mode and time of the stack's root on the
    /// upper directory, because an overlay's root shows those of its upper one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn new_layer_on(&self, below: &Stack) -> Result<WorkingLayer, StoreError> {
        let layer = WorkingLayer::new(self.temp_path())?;
        let upper = layer.upper();
        let root = below
            .entry(Path::new(""))
            .at("look at the root below", upper)?
            .expect("a stack always has a root directory");
        std::os::unix::fs::chown(upper, Some(root.uid), Some(root.gid))
            .at("set the owner of", upper)?;
        fs::set_permissions(upper, fs::Permissions::from_mode(root.mode))
            .at("set the mode of", upper)?;
        let attributes = below
            .xattrs(Path::new(""))
            .at("read the attributes of the root below", upper)?;
        for (name, value) in &attributes {
            rustix::fs::lsetxattr(
                upper,
                name.as_os_str(),
                value,
                rustix::fs::XattrFlags::empty(),
            )
            .at("set the attributes of", upper)?;
        }
        Ok(layer)
    }

    /// Writes a file that is there completely or not at all.
    pub(crate) fn put_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let temp = self.temp_path();
        let mut file = fs::File::create_new(&temp).at("make", &temp)?;
        file.write_all(bytes).at("write", &temp)?;
        drop(file);
        fs::rename(&temp, path).at("move a file to", path)
    }

    /// The turn of this name, among all threads and processes of the store; waits for it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn turn(&self, name: &str) -> Result<Turn, StoreError> {
        Turn::wait(self.root().join("locks").join(name))
    }

    /// The turn of this name, unless somebody has it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn try_turn(&self, name: &str) -> Result<Option<Turn>, StoreError> {
        Turn::try_now(self.root().join("locks").join(name))
    }
}
