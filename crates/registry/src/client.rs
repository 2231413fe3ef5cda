//! What can be asked of a registry.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use launchway_model::{Digest, Reference, RegistryHost, Repository, Tag};
use launchway_oci::spec::Descriptor;

use crate::core::Core;
use crate::source::BlobReader;
use crate::{ClientError, ClientOptions, RegistryError};

/// The largest manifest that is read, in bytes.
pub const MANIFEST_LIMIT: u64 = 8 * 1024 * 1024;

/// How long a registry may stay silent, unless the caller says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client for any number of registries. Clones share connections, tokens and what is known to exist.
#[derive(Clone, Debug)]
pub struct Client {
    core: Arc<Core>,
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
    /// Under its own sha256 digest alone.
    Digest,
    /// Under this digest alone, which has to be its own; for digests of another algorithm.
    Exactly(Digest),
}

/// A blob to push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobSource {
    pub digest: Digest,
    pub size: u64,
    pub body: BlobBody,
}

/// Where a blob's bytes are; can be read again when an upload goes on or starts over.
#[derive(Clone, Debug)]
pub enum BlobBody {
    File(PathBuf),
    Bytes(Bytes),
    /// Read while it is sent, and checked against the digest before the upload is completed.
    Stream(Arc<dyn BlobReader>),
}

impl PartialEq for BlobBody {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Bytes(one), Self::Bytes(other)) => one == other,
            (Self::Stream(one), Self::Stream(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for BlobBody {}

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

impl Client {
    pub fn new(options: ClientOptions) -> Result<Client, ClientError> {
        Self::with_patience(options, PATIENCE)
    }

    /// Like [`Client::new`], with another limit to how long a registry may stay silent before the
    /// try counts as failed.
    pub fn with_patience(
        options: ClientOptions,
        patience: Duration,
    ) -> Result<Client, ClientError> {
        Ok(Client {
            core: Arc::new(Core::new(options, patience)?),
        })
    }

    /// Asks the registry itself, never a mirror, whether it has a manifest: one HEAD when it
    /// answers as it should.
    pub async fn probe(&self, reference: &Reference) -> Probe {
        self.core.probe(reference).await
    }

    /// Like [`Client::probe`], but mirrors are asked first: what a pull would get.
    pub async fn resolve(&self, reference: &Reference) -> Probe {
        self.core.resolve(reference).await
    }

    /// Reads a manifest or an index and verifies its digest. By the digest when the reference has
    /// one, else by the tag, else by the tag `latest`.
    pub async fn manifest(&self, reference: &Reference) -> Result<RawManifest, RegistryError> {
        self.core.manifest(reference).await
    }

    /// Puts a manifest or an index. Everything it points to in the same repository has to be
    /// there. When it has a subject and the registry keeps no list of referrers, the tag that
    /// stands in for the list is updated as well.
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        target: ManifestTarget,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, RegistryError> {
        self.core
            .put_manifest(repository, target, media_type, bytes)
            .await
    }

    /// Downloads a blob to a path, which is written only once the content is verified. A transfer
    /// that breaks off goes on where it stopped; callers who want the same blob at the same time
    /// share one transfer.
    pub async fn pull_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        to: &Path,
    ) -> Result<(), RegistryError> {
        Arc::clone(&self.core)
            .pull_blob(repository, digest, size, to)
            .await
    }

    /// Reads a small blob, such as a config, of at most `limit` bytes.
    pub async fn read_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Bytes, RegistryError> {
        self.core.read_blob(repository, digest, limit).await
    }

    /// Reads a blob piece by piece, from any place, without storing it: give it to
    /// [`Client::push_blob`] to copy a blob from one registry to another. Nothing is asked before
    /// a stream is read. What breaks off is taken up again where it stopped, from mirrors first,
    /// and checked on its way: the last piece of wrong content is never handed over.
    pub fn blob_reader(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
    ) -> Arc<dyn BlobReader> {
        Arc::new(Arc::clone(&self.core).blob_reader(repository, digest, size))
    }

    /// Brings a blob into a repository: not at all when it is there, without sending it when one
    /// of the `mount_from` repositories on the same registry has it, else in one stream. What
    /// breaks off goes on from where the registry says it is. Callers who push the same blob at
    /// the same time share one upload.
    ///
    /// A repository from which this client read a manifest that names the blob is mounted from
    /// without asking first whether the blob is there already, and then the outcome is
    /// [`PushOutcome::Mounted`] in either case.
    pub async fn push_blob(
        &self,
        repository: &Repository,
        blob: &BlobSource,
        mount_from: &[Repository],
    ) -> Result<PushOutcome, RegistryError> {
        Arc::clone(&self.core)
            .push_blob(repository, blob, mount_from)
            .await
    }

    /// Whether a blob is in a repository. A yes is remembered and not asked for again.
    pub async fn blob_exists(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        self.core.blob_exists(repository, digest).await
    }

    /// How large a blob is, in bytes, by what the registry says. A blob that is not there is an
    /// error of the class missing.
    pub async fn blob_size(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<u64, RegistryError> {
        self.core.blob_size(repository, digest).await
    }

    /// All tags of a repository, in the registry's order. Names that are no tags by the grammar
    /// are left out.
    pub async fn tags(&self, repository: &Repository) -> Result<Vec<Tag>, RegistryError> {
        self.core.tags(repository).await
    }

    /// All repositories of a registry that may be seen. Most public registries do not tell, which
    /// is an error of the class auth, missing or permanent. Names that are no repository paths by
    /// the grammar are left out.
    pub async fn catalog(&self, host: &RegistryHost) -> Result<Vec<Repository>, RegistryError> {
        self.core.catalog(host).await
    }

    /// What refers to a manifest (signatures, records), of one artifact type or of all. Empty
    /// when there is nothing, also when the subject itself is not there.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        self.core
            .referrers(repository, subject, artifact_type)
            .await
    }

    /// Deletes a manifest by its digest, or a tag. What is not there is an error of the class
    /// missing.
    pub async fn delete(&self, reference: &Reference) -> Result<(), RegistryError> {
        self.core.delete(reference).await
    }

    /// Deletes a blob from a repository, whether something still names it or not.
    pub async fn delete_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        self.core.delete_blob(repository, digest).await
    }

    /// Asks whether there is a registry and whether it lets us in. No other call needs this.
    pub async fn ping(&self, host: &RegistryHost) -> Result<Ping, RegistryError> {
        self.core.ping(host).await
    }
}
