//! The registry that a mirror fetches from, as far as a mirror needs to know it.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use launchway_model::{Digest, Tag};
use launchway_oci::spec::Descriptor;

/// A registry to mirror. Repositories are named as clients of the mirror name them.
///
/// `Ok(None)` is the registry's word that it has no such thing; an error means that nobody can tell.
pub trait Upstream: Send + Sync {
    /// For people: `registry.example/prefix`.
    fn name(&self) -> &str;

    /// Whether this is the registry that a client means by `ns=`, as containerd adds it when it asks
    /// a mirror.
    fn is_called(&self, namespace: &str) -> bool;

    /// What stands behind a tag now.
    fn resolve<'a>(
        &'a self,
        repository: &'a str,
        tag: &'a Tag,
    ) -> BoxFuture<'a, Result<Option<Digest>, UpstreamError>>;

    /// A manifest by its digest. The digest is checked again here.
    fn manifest<'a>(
        &'a self,
        repository: &'a str,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<UpstreamManifest>, UpstreamError>>;

    /// A blob, about to be read. `size` is given when it is known from a manifest.
    fn blob<'a>(
        &'a self,
        repository: &'a str,
        digest: &'a Digest,
        size: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<UpstreamBlob>, UpstreamError>>;

    /// All tags.
    fn tags<'a>(
        &'a self,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<Tag>>, UpstreamError>>;

    /// What refers to a manifest; empty when there is nothing.
    fn referrers<'a>(
        &'a self,
        repository: &'a str,
        subject: &'a Digest,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>, UpstreamError>>;
}

/// A manifest's bytes, as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamManifest {
    pub media_type: String,
    pub bytes: Bytes,
}

/// A blob's bytes, as they come. Nothing is fetched before they are polled.
pub struct UpstreamBlob {
    /// In bytes; all pieces together have to be as long.
    pub size: u64,
    pub pieces: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

/// Why the upstream gave no answer. The text is shown to clients of the mirror.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UpstreamError(pub String);
