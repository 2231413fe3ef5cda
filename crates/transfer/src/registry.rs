//! A repository of a registry as a place.

use futures_util::FutureExt as _;
use launchway_model::{Digest, Reference, ReferenceError, Repository, Tag};
use launchway_oci::spec::Descriptor;
use launchway_registry::{
    BlobBody, BlobSource, Client, ManifestTarget, Probe, PushOutcome, RawManifest,
};

use crate::place::{Answer, Blob, Place, Role};
use crate::{Document, Name, TransferError};

/// One repository, through the client.
#[derive(Clone, Debug)]
pub(crate) struct RegistryPlace {
    client: Client,
    repository: Repository,
}

impl RegistryPlace {
    pub(crate) fn new(client: Client, repository: Repository) -> Self {
        Self { client, repository }
    }

    fn reference(&self, name: &Name) -> Result<Reference, TransferError> {
        Ok(match name {
            Name::Digest(digest) => self.repository.with_digest(digest.clone()),
            Name::Tag(tag) => self.repository.with_tag(self.tag(tag)?),
            Name::Only => self.repository.with_tag(self.tag("latest")?),
        })
    }

    fn tag(&self, text: &str) -> Result<Tag, TransferError> {
        text.parse()
            .map_err(|error: ReferenceError| TransferError::Tag {
                place: self.repository.to_string(),
                tag: text.to_owned(),
                reason: error.reason,
            })
    }
}

impl Place for RegistryPlace {
    fn shown(&self) -> String {
        self.repository.to_string()
    }

    fn probe<'a>(&'a self, name: &'a Name) -> Answer<'a, Option<Digest>> {
        async move {
            match self.client.probe(&self.reference(name)?).await {
                Probe::Present(found) => Ok(Some(found.digest)),
                Probe::Absent => Ok(None),
                Probe::Unknown(error) => Err(error.into()),
            }
        }
        .boxed()
    }

    fn manifest<'a>(&'a self, name: &'a Name) -> Answer<'a, RawManifest> {
        async move { Ok(self.client.manifest(&self.reference(name)?).await?) }.boxed()
    }

    fn blob(&self, digest: &Digest, size: u64) -> Result<BlobBody, TransferError> {
        let reader = self.client.blob_reader(&self.repository, digest, size);
        Ok(BlobBody::Stream(reader))
    }

    fn has_blob<'a>(&'a self, digest: &'a Digest, _: u64) -> Answer<'a, bool> {
        async move { Ok(self.client.blob_exists(&self.repository, digest).await?) }.boxed()
    }

    fn referrers<'a>(&'a self, subject: &'a Digest) -> Answer<'a, Vec<Descriptor>> {
        async move {
            Ok(self
                .client
                .referrers(&self.repository, subject, None)
                .await?)
        }
        .boxed()
    }

    fn put_blob<'a>(&'a self, blob: &'a Blob) -> Answer<'a, PushOutcome> {
        async move {
            let source = BlobSource {
                digest: blob.digest.clone(),
                size: blob.size,
                body: blob.body.clone(),
            };
            let siblings: Vec<Repository> = blob.sibling.iter().cloned().collect();
            Ok(self
                .client
                .push_blob(&self.repository, &source, &siblings)
                .await?)
        }
        .boxed()
    }

    fn put_manifest<'a>(&'a self, document: &'a Document, role: Role<'a>) -> Answer<'a, ()> {
        async move {
            let target = match role {
                Role::Tagged(tag) => ManifestTarget::Tag(self.tag(tag)?),
                // By whichever algorithm those that lead to it name it.
                Role::Part | Role::Root => ManifestTarget::Exactly(document.raw.digest.clone()),
            };
            let raw = &document.raw;
            self.client
                .put_manifest(&self.repository, target, &raw.media_type, raw.bytes.clone())
                .await?;
            Ok(())
        }
        .boxed()
    }

    fn finish(&self) -> Answer<'_, ()> {
        async { Ok(()) }.boxed()
    }

    fn repository(&self) -> Option<&Repository> {
        Some(&self.repository)
    }
}
