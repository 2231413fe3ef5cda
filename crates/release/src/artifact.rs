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
