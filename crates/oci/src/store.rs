//! Blobs and layers under one directory, shared by threads and processes.
//!
//! ```text
//! oci-layout, blobs/<algorithm>/<hex>    an OCI image layout's blobs
//! layers/<algorithm>/<hex>/fs            an unpacked layer, by its diff id
//! layers/<algorithm>/<hex>/*             what is remembered about it
//! marks/<algorithm>/<hex>                of a blob: whether it is believed, and when it was used
//! door                                   shut while something is removed
//! locks/<name>                           turns: what is done by one at a time, and only then there
//! tmp/<process>-<n>/                     everything unfinished
//! ```
//!
//! Whatever has a final name is complete: it was made under `tmp` and renamed. Nothing is synced to
//! disk; what was made before the machine was last started is hashed before it is used, once.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use launchway_model::{Algorithm, Digest};

use crate::copied::copy_stack;
use crate::error::At;
use crate::hash::{Hasher, hash_reader};
use crate::held::{Held, ShutDoor};
use crate::mark;
use crate::temp::{ChangedBy, Session};
use crate::xattr::tolerate;
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
    held: Held,
    /// Which boot of the machine this is.
    boot: String,
}

const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

impl Store {
    /// Opens the store under `root` and makes it when there is none. What dead processes left
    /// unfinished is removed.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn open(root: &Path, flavour: Flavour) -> Result<Self, StoreError> {
        Self::open_in_boot(root, flavour, &mark::this_boot())
    }

    /// As [`open`](Self::open), as if the machine had been started anew when `boot` is another one
    /// than before: for tests of what a loss of power leaves.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn open_in_boot(root: &Path, flavour: Flavour, boot: &str) -> Result<Self, StoreError> {
        const DIRECTORIES: [&str; 7] = [
            "blobs/sha256",
            "blobs/sha512",
            "marks/sha256",
            "marks/sha512",
            "layers",
            "locks",
            "tmp",
        ];
        for directory in DIRECTORIES {
            let directory = root.join(directory);
            fs::create_dir_all(&directory).at("make", &directory)?;
        }
        // Overlay takes paths with commas and colons badly, and relative ones change their
        // meaning; everything is given out absolute.
        let root = fs::canonicalize(root).at("find", root)?;
        let session = Session::open(&root.join("tmp"))?;
        let held = session.held(root.join("door"))?;
        let store = Self {
            inner: Arc::new(Inner {
                root,
                flavour,
                session,
                held,
                boot: boot.to_owned(),
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

    /// Whether the store has the blob. From then on nobody removes it while this process lives.
    #[must_use]
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.use_blob(digest).unwrap_or(false)
    }

    /// Holds a blob, and says whether it is there and whole. One that is damaged is removed.
    fn use_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        let (name, path) = (blob_name(digest), self.blob_path(digest));
        let was_whole = self.held().hold(&name)?;
        if !path.is_file() {
            return Ok(false);
        }
        if was_whole {
            return Ok(true);
        }
        let mark = self.blob_mark(digest);
        if !self.is_believed(&mark) {
            let _turn = self.check_turn(digest)?;
            if !path.is_file() {
                return Ok(false);
            }
            if !self.is_believed(&mark) {
                match self.hash_blob(digest) {
                    Ok(()) => mark::settle(&mark)?,
                    Err(StoreError::DigestMismatch { .. }) => {
                        return self.discard_blob(digest).map(|()| false);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        mark::touch(&mark);
        self.held().is_whole(&name);
        Ok(true)
    }

    /// The blob's path, when it can be used.
    fn usable_blob(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        if self.use_blob(digest)? {
            Ok(self.blob_path(digest))
        } else {
            Err(StoreError::NoBlob(digest.clone()))
        }
    }

    /// The mark goes first, so that none is left for what comes under this name later.
    fn discard_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        for path in [self.blob_mark(digest), self.blob_path(digest)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).at("remove", &path);
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn held(&self) -> &Held {
        &self.inner.held
    }

    /// Which boot of the machine this is: what was made in another one is not believed unseen.
    #[must_use]
    pub fn boot(&self) -> &str {
        &self.inner.boot
    }

    pub(crate) fn is_believed(&self, mark: &Path) -> bool {
        mark::is_believed(mark, self.boot())
    }

    pub(crate) fn blob_mark(&self, digest: &Digest) -> PathBuf {
        self.root()
            .join("marks")
            .join(digest.algorithm().as_str())
            .join(digest.hex())
    }

    /// The length of a blob in bytes.
    ///
    /// # Errors
    /// When the store does not have it.
    pub fn blob_size(&self, digest: &Digest) -> Result<u64, StoreError> {
        let path = self.usable_blob(digest)?;
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
        let path = self.usable_blob(digest)?;
        fs::read(&path).map_err(|error| Self::blob_error(error, digest, "read", path))
    }

    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<fs::File, StoreError> {
        let path = self.usable_blob(digest)?;
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
            let temp = self.temp_path();
            fs::write(&temp, bytes).at("write", &temp)?;
            self.adopt_blob(temp.path(), &digest)?;
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
        if self.use_blob(digest)? {
            return fs::remove_file(path).at("remove", path);
        }
        // It stands there before the blob does, so that no older mark can speak for it.
        mark::write(&self.blob_mark(digest), self.boot())?;
        let target = self.blob_path(digest);
        fs::rename(path, &target).at("move a blob to", &target)?;
        self.held().is_whole(&blob_name(digest));
        Ok(())
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
        self.usable_blob(digest)?;
        self.hash_blob(digest)
    }

    pub(crate) fn hash_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.blob_path(digest);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) => return Err(Self::blob_error(error, digest, "open", path)),
        };
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
            let flags = rustix::fs::XattrFlags::empty();
            let set = rustix::fs::lsetxattr(upper, name.as_os_str(), value, flags);
            tolerate(name, set).at("set the attributes of", upper)?;
        }
        Ok(layer)
    }

    /// As [`new_layer_on`](Self::new_layer_on), with a copy of everything that the stack shows in the
    /// upper directory, for machines on which nothing stacks layers. What a step changes of it becomes
    /// the layer.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn new_layer_with_all_of(&self, below: &Stack) -> Result<WorkingLayer, StoreError> {
        let mut layer = self.new_layer_on(below)?;
        layer.changed_by = ChangedBy::Copy(copy_stack(below, layer.upper())?);
        Ok(layer)
    }

    /// Writes a file on the store's file system that is there completely or not at all.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn put_file(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let temp = self.temp_path();
        let mut file = fs::File::create_new(&temp).at("make", &temp)?;
        file.write_all(bytes).at("write", &temp)?;
        drop(file);
        fs::rename(&temp, path).at("move a file to", path)
    }

    /// Keeps something that lies beside the store from being removed while this process lives,
    /// whether it is there yet or not. The name is what [`ShutDoor::is_held`] is asked for.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn hold(&self, name: &str) -> Result<(), StoreError> {
        self.held().hold(name).map(|_| ())
    }

    /// Shuts the door: until it is dropped nobody begins to use anything.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn shut_door(&self) -> Result<ShutDoor, StoreError> {
        ShutDoor::shut(&self.root().join("door"), &self.root().join("tmp"))
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

/// The name under which a blob is held.
#[must_use]
pub fn blob_name(digest: &Digest) -> String {
    format!("blob {digest}")
}
