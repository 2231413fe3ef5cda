//! Manifests: asked for, read, put, deleted. They are raw bytes here, and their digest is
//! verified before anybody reads them.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use launchway_model::{Algorithm, Digest, Reference, Repository, Tag};
use launchway_oci::spec::media;

use crate::answer::Failure;
use crate::auth::{Access, Actions};
use crate::body::Payload;
use crate::core::Core;
use crate::shape;
use crate::transport::{Answer, Request};
use crate::verify::digest_of;
use crate::{ErrorClass, Found, MANIFEST_LIMIT, ManifestTarget, Probe, RawManifest, RegistryError};

/// The header that names the digest of an answer's content.
pub(crate) const CONTENT_DIGEST: &str = "docker-content-digest";

/// What stands behind `manifests/` for a reference.
fn name_of(reference: &Reference) -> String {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_string(),
        (None, None) => "latest".to_owned(),
    }
}

fn accept() -> HeaderValue {
    const {
        HeaderValue::from_static(
            "application/vnd.oci.image.index.v1+json, \
             application/vnd.oci.image.manifest.v1+json, \
             application/vnd.docker.distribution.manifest.list.v2+json, \
             application/vnd.docker.distribution.manifest.v2+json",
        )
    }
}

/// The media type of an answer without its parameters.
fn content_type(answer: &Answer) -> Option<String> {
    let value = answer.text(CONTENT_TYPE.as_str())?;
    let name = value.split(';').next().unwrap_or_default().trim();
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}

fn is_manifest_type(media_type: &str) -> bool {
    media::is_index(media_type) || media::is_manifest(media_type)
}

fn too_large(why: &str) -> Failure {
    Failure::permanent(format!(
        "the manifest is larger than the {} MiB {why}",
        MANIFEST_LIMIT / 1024 / 1024
    ))
}

fn mismatch(want: &Digest, got: &Digest) -> Failure {
    Failure::permanent(format!(
        "content does not match its digest: {want} was asked for, {got} came"
    ))
}

impl Core {
    pub(crate) async fn probe(&self, reference: &Reference) -> Probe {
        let what = format!("manifests/{}", name_of(reference));
        let mut tries = self.tries(&Method::HEAD, &reference.repository, &what);
        loop {
            if let Err(error) = tries.start().await {
                return Probe::Unknown(error);
            }
            let failure = match self.head_manifest(&reference.repository, reference).await {
                Ok(found) => return Probe::Present(found),
                Err(failure) if failure.class == ErrorClass::Missing => return Probe::Absent,
                Err(failure) => failure,
            };
            if let Err(error) = tries.again(failure).await {
                return Probe::Unknown(error);
            }
        }
    }

    pub(crate) async fn resolve(&self, reference: &Reference) -> Probe {
        for mirror in self.mirrors_of(&reference.repository) {
            let trial = self.trial(&mirror);
            if let Some(found) = trial.judge(self.head_manifest(&mirror, reference).await) {
                return Probe::Present(found);
            }
        }
        self.probe(reference).await
    }

    pub(crate) async fn manifest(
        &self,
        reference: &Reference,
    ) -> Result<RawManifest, RegistryError> {
        for mirror in self.mirrors_of(&reference.repository) {
            let trial = self.trial(&mirror);
            if let Some(manifest) = trial.judge(self.get_manifest(&mirror, reference).await) {
                return Ok(manifest);
            }
        }
        let what = format!("manifests/{}", name_of(reference));
        let mut tries = self.tries(&Method::GET, &reference.repository, &what);
        loop {
            tries.start().await?;
            match self.get_manifest(&reference.repository, reference).await {
                Ok(manifest) => return Ok(manifest),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    async fn head_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Found, Failure> {
        let url = self.url(repository, &format!("manifests/{}", name_of(reference)))?;
        let request = Request::new(Method::HEAD, url).header(ACCEPT, accept());
        let answer = match self
            .ask(&Access::to(repository, Actions::Pull), &request)
            .await
        {
            Ok(answer) => answer,
            // There are registries that know no HEAD.
            Err(failure) if matches!(failure.status, Some(405 | 501)) => {
                return self.found_by_reading(repository, reference).await;
            }
            Err(failure) => return Err(failure),
        };
        let told = answer.text(CONTENT_DIGEST).map(str::parse::<Digest>);
        let size = answer
            .text(CONTENT_LENGTH.as_str())
            .and_then(|length| length.parse().ok());
        let media_type = content_type(&answer).filter(|name| is_manifest_type(name));
        let digest = match (told, &reference.digest) {
            (Some(Ok(told)), Some(want))
                if told.algorithm() == want.algorithm() && told != *want =>
            {
                return Err(mismatch(want, &told));
            }
            (_, Some(want)) => Some(want.clone()),
            (Some(Ok(told)), None) => Some(told),
            (_, None) => None,
        };
        match (digest, media_type, size) {
            (Some(digest), Some(media_type), Some(size)) => Ok(Found {
                digest,
                media_type,
                size,
            }),
            _ => self.found_by_reading(repository, reference).await,
        }
    }

    /// For registries whose HEAD tells too little.
    async fn found_by_reading(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Found, Failure> {
        let manifest = self.get_manifest(repository, reference).await?;
        Ok(Found {
            digest: manifest.digest,
            media_type: manifest.media_type,
            size: manifest.bytes.len() as u64,
        })
    }

    /// One try to read a manifest.
    pub(crate) async fn get_manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<RawManifest, Failure> {
        let url = self.url(repository, &format!("manifests/{}", name_of(reference)))?;
        let request = Request::new(Method::GET, url).header(ACCEPT, accept());
        let answer = self
            .ask(&Access::to(repository, Actions::Pull), &request)
            .await?;
        let told = answer
            .text(CONTENT_DIGEST)
            .and_then(|told| told.parse::<Digest>().ok());
        let named = content_type(&answer);
        let bytes = answer
            .bytes(MANIFEST_LIMIT)
            .await?
            .ok_or_else(|| too_large("that are read"))?;
        let want = reference.digest.clone().or(told);
        let algorithm = want.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let digest = digest_of(algorithm, &bytes);
        if let Some(want) = want
            && want != digest
        {
            return Err(mismatch(&want, &digest));
        }
        let read = shape::read(&bytes, named.as_deref()).map_err(Failure::permanent)?;
        for blob in read.blobs {
            self.knowledge.remember_named(repository, blob);
        }
        Ok(RawManifest {
            bytes,
            media_type: read.media_type,
            digest,
        })
    }

    pub(crate) async fn put_manifest(
        &self,
        repository: &Repository,
        target: ManifestTarget,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, RegistryError> {
        let algorithm = match &target {
            ManifestTarget::Exactly(digest) => digest.algorithm(),
            ManifestTarget::Tag(_) | ManifestTarget::Digest => Algorithm::Sha256,
        };
        let digest = digest_of(algorithm, &bytes);
        let name = match &target {
            ManifestTarget::Tag(tag) => tag.to_string(),
            ManifestTarget::Digest => digest.to_string(),
            ManifestTarget::Exactly(digest) => digest.to_string(),
        };
        let mut tries = self.tries(&Method::PUT, repository, &format!("manifests/{name}"));
        if let ManifestTarget::Exactly(want) = &target
            && *want != digest
        {
            return Err(tries.give_up(Failure::permanent(format!(
                "content does not match its digest: {want} was named, {digest} was given"
            ))));
        }
        if bytes.len() as u64 > MANIFEST_LIMIT {
            return Err(tries.give_up(too_large("that could be read again")));
        }
        let answer = loop {
            tries.start().await?;
            match self
                .put_manifest_once(repository, &name, media_type, &bytes)
                .await
            {
                Ok(answer) => break answer,
                Err(failure) => tries.again(failure).await?,
            }
        };
        let keeps_referrers = answer.headers().contains_key("oci-subject");
        answer.drain().await;
        if !keeps_referrers {
            self.refer_by_tag(repository, media_type, &digest, &bytes)
                .await?;
        }
        Ok(digest)
    }

    /// One try to put a manifest; the answer's digest is verified.
    async fn put_manifest_once(
        &self,
        repository: &Repository,
        name: &str,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<Answer, Failure> {
        let url = self.url(repository, &format!("manifests/{name}"))?;
        let media_type = HeaderValue::from_str(media_type)
            .map_err(|_| Failure::permanent("the media type holds characters no header carries"))?;
        let request = Request::new(Method::PUT, url)
            .header(CONTENT_TYPE, media_type)
            .payload(Payload::Bytes(bytes.clone()));
        let answer = self
            .ask(&Access::to(repository, Actions::Push), &request)
            .await?;
        if let Some(Ok(told)) = answer.text(CONTENT_DIGEST).map(str::parse::<Digest>) {
            let sent = digest_of(told.algorithm(), bytes);
            if told != sent {
                return Err(Failure::permanent(format!(
                    "the registry stored {told}, {sent} was sent"
                )));
            }
        } else if answer.status() != StatusCode::CREATED || answer.is_page() {
            return Err(
                Failure::permanent("nothing says that the manifest was stored")
                    .with_status(answer.status().as_u16()),
            );
        }
        Ok(answer)
    }

    /// Puts an index under a tag, without a look at its subject.
    pub(crate) async fn put_plain(
        &self,
        repository: &Repository,
        tag: &Tag,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<(), RegistryError> {
        let mut tries = self.tries(&Method::PUT, repository, &format!("manifests/{tag}"));
        loop {
            tries.start().await?;
            match self
                .put_manifest_once(repository, tag.as_str(), media_type, bytes)
                .await
            {
                Ok(answer) => {
                    answer.drain().await;
                    return Ok(());
                }
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    pub(crate) async fn delete(&self, reference: &Reference) -> Result<(), RegistryError> {
        let what = format!("manifests/{}", name_of(reference));
        let result = self.delete_what(&reference.repository, &what).await;
        result.map_err(|error| match (error.status, &reference.digest) {
            // Tags came late to the deletes of the specification.
            (Some(400 | 405), None) => RegistryError {
                detail: format!(
                    "{}; this registry may delete manifests by their digest only",
                    error.detail
                ),
                ..error
            },
            _ => error,
        })
    }

    pub(crate) async fn delete_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        self.delete_what(repository, &format!("blobs/{digest}"))
            .await?;
        self.knowledge.remember_blob(repository, digest, false);
        Ok(())
    }

    async fn delete_what(&self, repository: &Repository, what: &str) -> Result<(), RegistryError> {
        let mut tries = self.tries(&Method::DELETE, repository, what);
        let mut stumbled = false;
        loop {
            tries.start().await?;
            let result = match self.url(repository, what) {
                Ok(url) => {
                    let request = Request::new(Method::DELETE, url);
                    self.ask(&Access::to(repository, Actions::Delete), &request)
                        .await
                }
                Err(failure) => Err(failure),
            };
            match result {
                Ok(answer) if answer.is_page() || answer.status() == StatusCode::RESET_CONTENT => {
                    return Err(tries.give_up(
                        Failure::permanent("nothing says that it was deleted")
                            .with_status(answer.status().as_u16()),
                    ));
                }
                Ok(answer) => {
                    answer.drain().await;
                    return Ok(());
                }
                // The answer to an earlier try was lost, not its effect.
                Err(failure) if failure.class == ErrorClass::Missing && stumbled => return Ok(()),
                Err(failure) => {
                    stumbled |= failure.class == ErrorClass::Transient;
                    tries.again(not_allowed(failure)).await?;
                }
            }
        }
    }
}

/// A registry that knows no deleting says only that it does not know the method. Where it gives a
/// reason of its own (the thing is in use), that stands alone.
fn not_allowed(failure: Failure) -> Failure {
    if !matches!(failure.status, Some(405 | 501)) {
        return failure;
    }
    let said = failure.detail.as_str();
    let says_nothing = said.is_empty()
        || said
            .to_ascii_lowercase()
            .contains("operation is unsupported");
    if !says_nothing {
        return failure;
    }
    let separator = if said.is_empty() { "" } else { "; " };
    Failure {
        detail: format!("{said}{separator}deleting is switched off at this registry"),
        ..failure
    }
}
