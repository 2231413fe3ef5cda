//! What can go wrong with layers and the store.

use std::io;
use std::path::{Path, PathBuf};

use launchway_model::Digest;

/// Why an act on the store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot read the {what}")]
    Read {
        what: &'static str,
        source: io::Error,
    },
    #[error("cannot write the {what}")]
    Write {
        what: &'static str,
        source: io::Error,
    },
    #[error("the {what} has the digest {found}, not {expected}")]
    DigestMismatch {
        what: &'static str,
        expected: Digest,
        found: Digest,
    },
    #[error("cannot unpack the layer {diff_id}")]
    Unpack {
        diff_id: Digest,
        source: UnpackError,
    },
    #[error("cannot unpack the archive")]
    UnpackArchive(#[source] UnpackError),
    #[error("layers of type {0:?} are not supported")]
    MediaType(String),
    #[error("the store holds no blob {0}")]
    NoBlob(Digest),
    #[error("the store holds no layer {0}")]
    NoLayer(Digest),
    #[error(
        "the compressed form of layer {0} was pulled and is gone from the store, so it has to be pulled again"
    )]
    BlobGone(Digest),
    #[error("{path} cannot be part of a layer: {reason}", path = path.display())]
    NotRepresentable { path: PathBuf, reason: &'static str },
    #[error("{path} changed while it was read", path = _0.display())]
    Changed(PathBuf),
    #[error("{path} in the store is damaged: {reason}", path = path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{path} is in several of the images that are to be written together", path = _0.display())]
    SamePath(PathBuf),
    #[error("{path} is not an OCI image layout: {reason}", path = path.display())]
    NotALayout { path: PathBuf, reason: String },
}

/// Why an archive was not unpacked. `entry` is the name as it stands in the archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    #[error("the archive is damaged at byte {at}: {reason}")]
    Damaged { at: u64, reason: &'static str },
    #[error("the archive's entry {entry:?} is refused: {reason}")]
    Refused { entry: String, reason: &'static str },
    #[error("cannot {action} the archive's entry {entry:?}")]
    Entry {
        action: &'static str,
        entry: String,
        source: io::Error,
    },
    #[error("cannot open the directory to unpack into")]
    Target(#[source] io::Error),
}

/// Gives an `io::Error` its act and its path.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::Io {
            action,
            path: path.as_ref().to_owned(),
            source: error.into(),
        })
    }
}
