//! Images as documents: configurations, manifests and indexes, written the same way every time.

use std::collections::BTreeMap;

use bytes::Bytes;
use launchway_model::{Digest, Platform};
use launchway_oci::Hasher;
use launchway_oci::spec::{
    Annotations, Descriptor, ImageConfig, Index, Manifest, SpecPlatform, media,
};
use launchway_plan::{Node, annotation};

/// One document: its bytes as they travel, and what they hash to.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
}

impl Document {
    pub(crate) fn new(bytes: Vec<u8>, media_type: &str) -> Self {
        Self {
            digest: Hasher::digest(&bytes),
            bytes: bytes.into(),
            media_type: media_type.to_owned(),
        }
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.to_string(),
            size: self.bytes.len() as u64,
            artifact_type: None,
            annotations: None,
            platform: None,
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("documents of plain texts and numbers always serialise")
}

/// The configuration and manifest of one platform.
pub(crate) fn image_documents(
    config: &ImageConfig,
    layers: Vec<Descriptor>,
) -> (Document, Document) {
    let config = Document::new(json(config), media::CONFIG);
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::MANIFEST.to_owned()),
        artifact_type: None,
        config: config.descriptor(),
        layers,
        subject: None,
        annotations: None,
    };
    (config, Document::new(json(&manifest), media::MANIFEST))
}

/// The same manifest with annotations.
pub(crate) fn annotated(manifest: &Document, annotations: Annotations) -> Document {
    let mut parsed: Manifest =
        serde_json::from_slice(&manifest.bytes).expect("it was written by `image_documents`");
    parsed.annotations = Some(annotations);
    Document::new(json(&parsed), &manifest.media_type)
}

/// The index of a node over its platforms, with what Launchway wants to know of it later.
pub(crate) fn node_index(node: &Node, manifests: &[(Platform, Descriptor)]) -> Document {
    let versions: BTreeMap<String, &String> = node
        .pins
        .versions
        .iter()
        .map(|(name, version)| (name.to_string(), version))
        .collect();
    let bases: BTreeMap<&String, String> = node
        .pins
        .bases
        .iter()
        .map(|(reference, digest)| (reference, digest.to_string()))
        .collect();
    let pins = serde_json::json!({ "versions": versions, "bases": bases });
    let annotations = Annotations::from([
        (annotation::INPUT_HASH.to_owned(), node.hash.to_string()),
        (
            annotation::INPUTS.to_owned(),
            serde_json::json!(node.inputs).to_string(),
        ),
        (annotation::NODE.to_owned(), node.id.to_string()),
        (annotation::PINS.to_owned(), pins.to_string()),
    ]);
    index(manifests, Some(annotations))
}

/// An index over platforms.
pub(crate) fn index(
    manifests: &[(Platform, Descriptor)],
    annotations: Option<Annotations>,
) -> Document {
    let index = Index {
        schema_version: 2,
        media_type: Some(media::INDEX.to_owned()),
        artifact_type: None,
        manifests: manifests
            .iter()
            .map(|(platform, manifest)| Descriptor {
                platform: Some(spec_platform(platform)),
                ..manifest.clone()
            })
            .collect(),
        subject: None,
        annotations,
    };
    Document::new(json(&index), media::INDEX)
}

/// An artifact of one blob, perhaps about another manifest.
pub(crate) fn artifact(
    artifact_type: &str,
    blob: Descriptor,
    subject: Option<Descriptor>,
    annotations: Option<Annotations>,
) -> (Document, Document) {
    let empty = Document::new(b"{}".to_vec(), media::EMPTY);
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::MANIFEST.to_owned()),
        artifact_type: Some(artifact_type.to_owned()),
        config: empty.descriptor(),
        layers: vec![blob],
        subject,
        annotations,
    };
    (empty, Document::new(json(&manifest), media::MANIFEST))
}

fn spec_platform(platform: &Platform) -> SpecPlatform {
    SpecPlatform {
        architecture: platform.architecture().to_owned(),
        os: platform.os().to_owned(),
        variant: platform.variant().map(str::to_owned),
        os_version: None,
    }
}

/// The platform a descriptor of an index states; attestations state none that is real.
pub(crate) fn platform_of(descriptor: &Descriptor) -> Option<Platform> {
    let attestation = descriptor
        .annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key("vnd.docker.reference.type"));
    let stated = descriptor.platform.as_ref().filter(|_| !attestation)?;
    Platform::new(&stated.os, &stated.architecture, stated.variant.as_deref())
        .ok()
        .filter(|platform| platform.os() != "unknown")
}

/// The manifest for a platform in an index: the exact one, else one of the same architecture that
/// states no variant.
pub(crate) fn choose<'i>(index: &'i Index, platform: &Platform) -> Option<&'i Descriptor> {
    let all = || {
        index
            .manifests
            .iter()
            .filter_map(|one| Some((platform_of(one)?, one)))
    };
    let exact = all().find(|(stated, _)| stated == platform);
    let near = || {
        all().find(|(stated, _)| {
            stated.os() == platform.os()
                && stated.architecture() == platform.architecture()
                && (stated.variant().is_none() || platform.variant().is_none())
        })
    };
    exact.or_else(near).map(|(_, descriptor)| descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(platform: &str, attestation: bool) -> Descriptor {
        let words: Vec<&str> = platform.split('/').collect();
        Descriptor {
            media_type: media::MANIFEST.into(),
            digest: platform.into(),
            size: 1,
            artifact_type: None,
            annotations: attestation.then(|| {
                Annotations::from([(
                    "vnd.docker.reference.type".into(),
                    "attestation-manifest".into(),
                )])
            }),
            platform: Some(SpecPlatform {
                os: words[0].into(),
                architecture: words[1].into(),
                variant: words.get(2).map(|variant| (*variant).to_owned()),
                os_version: None,
            }),
        }
    }

    #[test]
    fn attestations_are_never_chosen() {
        let index = Index {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            manifests: vec![
                descriptor("linux/amd64", true),
                descriptor("unknown/unknown", false),
                descriptor("linux/arm64/v8", false),
                descriptor("linux/amd64", false),
            ],
            subject: None,
            annotations: None,
        };
        let chosen = |platform: &str| {
            choose(&index, &platform.parse().unwrap()).map(|one| one.digest.as_str())
        };
        assert_eq!(chosen("linux/amd64"), Some("linux/amd64"));
        assert!(
            choose(&index, &"linux/amd64".parse().unwrap())
                .unwrap()
                .annotations
                .is_none()
        );
        assert_eq!(chosen("linux/arm64"), Some("linux/arm64/v8"));
        assert_eq!(chosen("linux/riscv64"), None);
    }
}
