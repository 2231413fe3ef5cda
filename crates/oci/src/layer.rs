//! A layer that is in the store, and how a new one is made.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use launchway_model::Digest;
use rustix::fs::CWD;

use crate::pack::open_dir;
use crate::unpack::Flavour;
use crate::xattr;
use crate::{Compression, Store, StoreError};

/// A committed or imported layer. Its directory never changes.
#[derive(Clone, Debug)]
pub struct Layer {
    pub diff_id: Digest,
    /// Once it is [unpacked](Self::unpack), usable as a lower directory of an overlay: removals are character devices 0:0, directories
    /// that hide everything below carry the opaque attribute of the store's flavour.
    pub dir: PathBuf,
    /// The length of the uncompressed tar.
    pub size: u64,
    /// How many entries the tar has; 0 for a layer that changes nothing.
    pub entries: u64,
    /// Whether the tar has an entry for the root directory itself.
    pub(crate) has_root: bool,
    pub(crate) handle: Arc<OnceLock<OwnedFd>>,
    root_ends: Arc<OnceLock<bool>>,
    /// The store that unpacks it, when it is packed alone.
    packed_in: Option<Store>,
}

impl Layer {
    pub(crate) fn new(
        diff_id: Digest,
        dir: &Path,
        size: u64,
        entries: u64,
        has_root: bool,
    ) -> Self {
        Self {
            diff_id,
            dir: dir.to_owned(),
            size,
            entries,
            has_root,
            handle: Arc::default(),
            root_ends: Arc::default(),
            packed_in: None,
        }
    }

    /// The same, unpacked by this store when it is opened.
    pub(crate) fn packed_in(mut self, store: &Store) -> Self {
        self.packed_in = Some(store.clone());
        self
    }

    /// Makes its files, if nobody has yet.
    ///
    /// # Errors
    /// When its compressed form is gone or damaged, or the disk fails.
    pub fn unpack(&self) -> Result<(), StoreError> {
        match &self.packed_in {
            Some(store) if self.handle.get().is_none() => store.unpack_in_place(self),
            _ => Ok(()),
        }
    }

    /// Whether its root hides everything below it, as a layer may say that replaces all of an image.
    pub(crate) fn hides_all_below(&self) -> io::Result<bool> {
        const MARKS: [&CStr; 2] = [Flavour::Trusted.opaque(), Flavour::User.opaque()];
        if let Some(ends) = self.root_ends.get() {
            return Ok(*ends);
        }
        let root = self.open()?;
        let mut ends = false;
        for mark in MARKS {
            ends |= xattr::is_opaque(root, mark)?;
        }
        Ok(*self.root_ends.get_or_init(|| ends))
    }

    /// The opened directory; opened once and shared by all clones.
    pub(crate) fn open(&self) -> io::Result<&OwnedFd> {
        if let Some(directory) = self.handle.get() {
            return Ok(directory);
        }
        self.unpack().map_err(io::Error::other)?;
        let directory = open_dir(CWD, self.dir.as_os_str())?;
        Ok(self.handle.get_or_init(|| directory))
    }
}

/// Asked while a layer is written whether that is to end. Never, unless it is told when.
#[derive(Clone, Default)]
pub struct Stop(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Stop {
    #[must_use]
    pub fn when(is_asked: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_asked)))
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.as_ref().is_some_and(|is_asked| is_asked())
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Stop")
    }
}

/// How a layer is made from an upper directory.
#[derive(Clone, Debug, Default)]
pub struct CommitOptions {
    /// Times later than this (seconds since the epoch) become this.
    pub clamp_mtime: Option<i64>,
    /// Also make the blob, in the same pass.
    pub compress: Option<Compression>,
    /// Paths (relative to the root) that were put there for a mount and are no part of the
    /// result. A directory is left out only when nothing below it stays.
    pub ignore: Vec<PathBuf>,
    /// When to give up, with an error and without a layer.
    pub stop: Stop,
}
