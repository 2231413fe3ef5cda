//! Reading a manifest or an index: what it is, and where it leads. The bytes stay as they are.

use launchway_model::Digest;
use launchway_oci::spec::{Annotations, Descriptor, Index, Manifest, media};
use launchway_registry::RawManifest;
use serde::Deserialize;

use crate::TransferError;

/// A document that was read: its bytes, and what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub raw: RawManifest,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Index(Box<Index>),
    Manifest(Box<Manifest>),
}

/// What every document has, before it is known which kind it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    schema_version: Option<u32>,
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a document. `place` is for the error.
    pub fn read(raw: RawManifest, place: &str) -> Result<Self, TransferError> {
        let refused = |reason: String| TransferError::Document {
            place: place.to_owned(),
            digest: raw.digest.to_string(),
            reason,
        };
        let head: Head = serde_json::from_slice(&raw.bytes)
            .map_err(|error| refused(format!("it is no JSON object of a manifest: {error}")))?;
        if head.schema_version == Some(1) || head.fs_layers.is_some() {
            return Err(refused(
                "it is in the first format of Docker's manifests, which registries give up; \
                 pull and push it with an old docker first, or build it anew"
                    .to_owned(),
            ));
        }
        if head.schema_version != Some(2) {
            return Err(refused("its schemaVersion is not 2".to_owned()));
        }
        if head.manifests.is_some() && head.config.is_some() {
            // The two readings would lead to different content (CVE-2021-41190).
            return Err(refused(
                "it is an index and a manifest at the same time".to_owned(),
            ));
        }
        let is_index = head.manifests.is_some();
        if let Some(own) = head.media_type.as_deref()
            && (media::is_index(own) || media::is_manifest(own))
            && media::is_index(own) != is_index
        {
            return Err(refused(format!(
                "it says that it is {own}, and its fields say otherwise"
            )));
        }
        let wrong = |error: serde_json::Error| refused(error.to_string());
        let body = if is_index {
            Body::Index(serde_json::from_slice(&raw.bytes).map_err(wrong)?)
        } else {
            Body::Manifest(serde_json::from_slice(&raw.bytes).map_err(wrong)?)
        };
        let document = Self { raw, body };
        for descriptor in document.children().chain(document.blobs()) {
            if let Err(error) = descriptor.digest.parse::<Digest>() {
                return Err(TransferError::Document {
                    place: place.to_owned(),
                    digest: document.raw.digest.to_string(),
                    reason: format!("it points to {:?}: {error}", descriptor.digest),
                });
            }
        }
        Ok(document)
    }

    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.raw.digest
    }

    /// The descriptor that would point to this document.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        let (own, annotations) = match &self.body {
            Body::Index(index) => (index.artifact_type.clone(), index.annotations.clone()),
            Body::Manifest(manifest) => (
                manifest
                    .artifact_type
                    .clone()
                    .or_else(|| Some(manifest.config.media_type.clone())),
                manifest.annotations.clone(),
            ),
        };
        let refers = self.subject().is_some();
        Descriptor {
            media_type: self.raw.media_type.clone(),
            digest: self.raw.digest.to_string(),
            size: self.raw.bytes.len() as u64,
            artifact_type: own.filter(|_| refers),
            annotations: annotations.filter(|_| refers),
            platform: None,
        }
    }

    /// The documents below this one.
    pub fn children(&self) -> impl Iterator<Item = &Descriptor> {
        let listed = match &self.body {
            Body::Index(index) => index.manifests.as_slice(),
            Body::Manifest(_) => &[],
        };
        listed.iter().filter(|one| is_document(&one.media_type))
    }

    /// The blobs this document points to. An index may list some, too.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, listed) = match &self.body {
            Body::Index(index) => (None, index.manifests.as_slice()),
            Body::Manifest(manifest) => (Some(&manifest.config), manifest.layers.as_slice()),
        };
        config
            .into_iter()
            .chain(listed.iter().filter(|one| !is_document(&one.media_type)))
    }

    /// What this document says something about.
    #[must_use]
    pub fn subject(&self) -> Option<Digest> {
        let subject = match &self.body {
            Body::Index(index) => index.subject.as_ref(),
            Body::Manifest(manifest) => manifest.subject.as_ref(),
        };
        subject?.digest.parse().ok()
    }

    #[must_use]
    pub fn annotations(&self) -> Option<&Annotations> {
        match &self.body {
            Body::Index(index) => index.annotations.as_ref(),
            Body::Manifest(manifest) => manifest.annotations.as_ref(),
        }
    }

    /// Whether this is an image, as against an artifact.
    #[must_use]
    pub fn is_image(&self) -> bool {
        match &self.body {
            Body::Index(_) => false,
            Body::Manifest(manifest) => matches!(
                manifest.config.media_type.as_str(),
                media::CONFIG | media::DOCKER_CONFIG
            ),
        }
    }
}

fn is_document(media_type: &str) -> bool {
    media::is_index(media_type) || media::is_manifest(media_type)
}

/// Layers that registries need not have, because others give them away: those of Windows.
pub(crate) fn is_foreign(media_type: &str) -> bool {
    media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
}

/// What an attestation is about.
pub(crate) fn attested(entry: &Descriptor) -> Option<&str> {
    let annotations = entry.annotations.as_ref()?;
    Some(annotations.get("vnd.docker.reference.digest")?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use launchway_oci::Hasher;

    fn read(text: &str) -> Result<Document, TransferError> {
        let raw = RawManifest {
            bytes: text.as_bytes().to_vec().into(),
            media_type: media::MANIFEST.to_owned(),
            digest: Hasher::digest(text.as_bytes()),
        };
        Document::read(raw, "there")
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let config = r#""config":{"mediaType":"m","digest":"sha256:12","size":1}"#;
        for (text, part) in [
            ("{".to_owned(), "no JSON"),
            ("[]".to_owned(), "no JSON"),
            ("{}".to_owned(), "schemaVersion"),
            (
                r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(),
                "first format",
            ),
            (r#"{"schemaVersion":2}"#.to_owned(), "config"),
            (
                format!(r#"{{"schemaVersion":2,"manifests":[],{config}}}"#),
                "at the same time",
            ),
            (
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#
                    .to_owned(),
                "say otherwise",
            ),
            (format!(r#"{{"schemaVersion":2,{config}}}"#), "points to"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(read(r#"{"schemaVersion":2,"manifests":[]}"#).is_ok());
    }
}
