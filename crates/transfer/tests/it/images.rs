//! Images made by the test that needs them.

use bytes::Bytes;
use launchway_model::Digest;
use launchway_oci::Hasher;
use launchway_oci::spec::media;
use launchway_registry::RawManifest;
use launchway_transfer::Document;
use serde_json::{Value, json};

/// Documents and blobs that belong together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Images {
    pub(crate) documents: Vec<Document>,
    pub(crate) blobs: Vec<Bytes>,
}

impl Images {
    /// A blob, and the descriptor of it.
    pub(crate) fn blob(&mut self, media_type: &str, bytes: impl Into<Bytes>) -> Value {
        let bytes = bytes.into();
        let descriptor = json!({
            "mediaType": media_type,
            "digest": Hasher::digest(&bytes).to_string(),
            "size": bytes.len(),
        });
        if !self.blobs.contains(&bytes) {
            self.blobs.push(bytes);
        }
        descriptor
    }

    /// A document, and the descriptor of it.
    pub(crate) fn document(&mut self, value: &Value) -> Value {
        // Not the spelling that this program would choose, so that a rewritten one is seen.
        let bytes = Bytes::from(serde_json::to_string_pretty(value).unwrap());
        let media_type = value["mediaType"].as_str().unwrap().to_owned();
        let descriptor = json!({
            "mediaType": media_type,
            "digest": Hasher::digest(&bytes).to_string(),
            "size": bytes.len(),
        });
        let raw = RawManifest {
            digest: Hasher::digest(&bytes),
            media_type,
            bytes,
        };
        self.documents
            .push(Document::read(raw, "the test").unwrap());
        descriptor
    }

    /// An image of one platform with these layers.
    pub(crate) fn image(&mut self, architecture: &str, layers: &[&str]) -> Value {
        let diff_ids: Vec<String> = layers
            .iter()
            .map(|layer| Hasher::digest(layer.as_bytes()).to_string())
            .collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.blob(media::CONFIG, config.to_string());
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| self.blob(media::LAYER_TAR, (*layer).to_owned()))
            .collect();
        let mut descriptor = self.document(&json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": config,
            "layers": layers,
        }));
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        descriptor
    }

    /// What buildx adds about an image.
    pub(crate) fn attestation(&mut self, about: &Value) -> Value {
        let config = self.blob(media::CONFIG, "{}");
        let text = format!("made {}", about["digest"]);
        let layer = self.blob("application/vnd.in-toto+json", text);
        let mut descriptor = self.document(&json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": config,
            "layers": [layer],
        }));
        descriptor["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        descriptor["annotations"] = json!({
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": about["digest"],
        });
        descriptor
    }

    pub(crate) fn index(&mut self, entries: &[Value]) -> Value {
        self.document(&json!({
            "schemaVersion": 2,
            "mediaType": media::INDEX,
            "manifests": entries,
            "annotations": { "made.by": "the test" },
        }))
    }

    /// An artifact about another document.
    pub(crate) fn referrer(&mut self, about: &Value, text: &str) -> Value {
        let config = self.blob(media::EMPTY, "{}");
        let layer = self.blob("text/plain", text.to_owned());
        let mut subject = about.clone();
        for field in ["platform", "annotations"] {
            subject.as_object_mut().unwrap().remove(field);
        }
        self.document(&json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "artifactType": "application/vnd.test.note",
            "config": config,
            "layers": [layer],
            "subject": subject,
        }))
    }
}

pub(crate) fn digest(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}

/// Two platforms with a shared layer, their attestations, and an index within the index.
pub(crate) fn family() -> (Images, Value) {
    let mut images = Images::default();
    let one = images.image("amd64", &["shared", "of amd64"]);
    let other = images.image("arm64", &["shared", "of arm64"]);
    let third = images.image("riscv64", &["of riscv64"]);
    let about_one = images.attestation(&one);
    let about_other = images.attestation(&other);
    let mut nested = images.index(&[third]);
    nested["annotations"] = json!({ "more": "platforms" });
    let root = images.index(&[one, other, about_one, about_other, nested]);
    (images, root)
}
