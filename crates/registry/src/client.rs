//! What can be asked of a registry.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use launchway_model::{Digest, Reference, RegistryHost, Repository, Tag};
use launchway_oci::spec::Descriptor;

use crate::{ClientError, ClientOptions, ErrorClass, RegistryError};

/// The largest manifest that is read, in bytes.
pub const MANIFEST_LIMIT: u64 = 8 * 1024 * 1024;

/// A client for any number of registries. Clones share connections, tokens and what is known to exist.
#[derive(Clone, Debug)]
pub struct Client {
    _options: Arc<ClientOptions>,
}

/// Whether a registry has a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    Present(Found),
    /// The registry says that it has not.
    Absent,
    /// Nobody can tell: the question was refused or got no answer.
    Unknown(RegistryError),
}

/// What stands behind a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub digest: Digest,
    pub media_type: String,
    pub size: u64,
}

/// A manifest as its bytes, whose digest has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    pub bytes: Bytes,
    pub media_type: String,
    pub digest: Digest,
}

/// Under which name a manifest is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestTarget {
    Tag(Tag),
    /// Under its own digest alone.
    Digest,
}

/// A blob to push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobSource {
    pub digest: Digest,
    pub size: u64,
    pub body: BlobBody,
}

/// Where a blob's bytes are; can be read again when an upload starts over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobBody {
    File(PathBuf),
    Bytes(Bytes),
}

/// How a blob came to be in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushOutcome {
    AlreadyThere,
    Mounted,
    Uploaded,
}

/// What a registry says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Whether it let us in with a credential, rather than without.
    pub authenticated: bool,
}

fn unfinished<T>() -> Result<T, RegistryError> {
    Err(RegistryError {
        class: ErrorClass::Permanent,
        request: String::new(),
        status: None,
        detail: String::new(),
        attempts: 0,
    })
}

impl Client {
    pub fn new(options: ClientOptions) -> Result<Client, ClientError> {
        Ok(Client {
            _options: Arc::new(options),
        })
    }

    /// Asks the registry itself (never a mirror) whether it has a manifest: one request.
    pub async fn probe(&self, _reference: &Reference) -> Probe {
        Probe::Absent
    }

    /// Like [`Client::probe`], but mirrors may answer: what a pull would get.
    pub async fn resolve(&self, _reference: &Reference) -> Probe {
        Probe::Absent
    }

    pub async fn manifest(&self, _reference: &Reference) -> Result<RawManifest, RegistryError> {
        unfinished()
    }

    pub async fn put_manifest(
        &self,
        _repository: &Repository,
        _target: ManifestTarget,
        _media_type: &str,
        _bytes: Bytes,
    ) -> Result<Digest, RegistryError> {
        unfinished()
    }

    pub async fn pull_blob(
        &self,
        _repository: &Repository,
        _digest: &Digest,
        _size: u64,
        _to: &Path,
    ) -> Result<(), RegistryError> {
        unfinished()
    }

    pub async fn read_blob(
        &self,
        _repository: &Repository,
        _digest: &Digest,
        _limit: u64,
    ) -> Result<Bytes, RegistryError> {
        unfinished()
    }

    pub async fn push_blob(
        &self,
        _repository: &Repository,
        _blob: &BlobSource,
        _mount_from: &[Repository],
    ) -> Result<PushOutcome, RegistryError> {
        unfinished()
    }

    pub async fn blob_exists(
        &self,
        _repository: &Repository,
        _digest: &Digest,
    ) -> Result<bool, RegistryError> {
        unfinished()
    }

    pub async fn tags(&self, _repository: &Repository) -> Result<Vec<Tag>, RegistryError> {
        unfinished()
    }

    pub async fn referrers(
        &self,
        _repository: &Repository,
        _subject: &Digest,
        _artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        unfinished()
    }

    pub async fn delete(&self, _reference: &Reference) -> Result<(), RegistryError> {
        unfinished()
    }

    pub async fn ping(&self, _host: &RegistryHost) -> Result<Ping, RegistryError> {
        unfinished()
    }
}
