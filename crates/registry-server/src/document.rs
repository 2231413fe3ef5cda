//! What a registry needs to know of a manifest: its kind, what it points at, its subject.

use launchway_model::{Digest, Platform};
use launchway_oci::spec::{Annotations, SpecPlatform, media};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A manifest or index, read from its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) artifact_type: Option<String>,
    pub(crate) annotations: Option<Annotations>,
    pub(crate) subject: Option<Digest>,
    /// The configuration of an image.
    pub(crate) config: Option<Digest>,
    /// What has to be in the repository: configuration, layers, children of an index. Layers that
    /// lie elsewhere (foreign, non-distributable) are left out.
    pub(crate) content: Vec<Content>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) kind: ContentKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ContentKind {
    Blob,
    /// A manifest or index listed by an index.
    Manifest {
        media_type: String,
        platform: Option<Platform>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<WireDescriptor>,
    layers: Option<Vec<WireDescriptor>>,
    manifests: Option<Vec<WireDescriptor>>,
    fs_layers: Option<IgnoredAny>,
    subject: Option<WireDescriptor>,
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<SpecPlatform>,
}

impl Document {
    /// Reads a manifest of this media type; the error says what is wrong with it.
    pub(crate) fn parse(media_type: &str, bytes: &[u8]) -> Result<Self, String> {
        let is_index = media::is_index(media_type);
        if !is_index && !media::is_manifest(media_type) {
            return Err(format!("{media_type:?} is no media type of a manifest"));
        }
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|error| format!("the manifest cannot be read: {error}"))?;
        if wire.schema_version != Some(2) {
            return Err("a manifest has schemaVersion 2".to_owned());
        }
        if let Some(inside) = &wire.media_type
            && inside != media_type
        {
            return Err(format!(
                "the manifest says it is {inside:?}, the request says {media_type:?}"
            ));
        }
        // A document that is both kinds at once means different things to different readers.
        let confused = if is_index {
            wire.config.is_some() || wire.layers.is_some()
        } else {
            wire.manifests.is_some()
        };
        if confused || wire.fs_layers.is_some() {
            return Err("the manifest has fields of another kind of manifest".to_owned());
        }
        let subject = wire
            .subject
            .as_ref()
            .map(|subject| digest_of(subject, "subject"))
            .transpose()?;
        let mut document = Self {
            artifact_type: wire.artifact_type.filter(|text| !text.is_empty()),
            annotations: wire.annotations,
            subject,
            config: None,
            content: Vec::new(),
        };
        if is_index {
            let manifests = wire.manifests.ok_or("an index has a list of manifests")?;
            for child in &manifests {
                document.content.push(child_of_index(child)?);
            }
        } else {
            let config = wire.config.ok_or("an image manifest has a config")?;
            let digest = digest_of(&config, "config")?;
            document.config = Some(digest.clone());
            document.content.push(blob(digest, config.size));
            // Empty or missing is the same here (OCI image-spec, manifest.md).
            if document.artifact_type.is_none() {
                document.artifact_type = Some(config.media_type);
            }
            for layer in wire.layers.unwrap_or_default() {
                let digest = digest_of(&layer, "layers")?;
                if !lies_elsewhere(&layer.media_type) {
                    document.content.push(blob(digest, layer.size));
                }
            }
        }
        Ok(document)
    }
}

fn blob(digest: Digest, size: u64) -> Content {
    Content {
        digest,
        size,
        kind: ContentKind::Blob,
    }
}

fn child_of_index(child: &WireDescriptor) -> Result<Content, String> {
    let digest = digest_of(child, "manifests")?;
    let is_manifest = media::is_index(&child.media_type) || media::is_manifest(&child.media_type);
    let kind = if is_manifest {
        ContentKind::Manifest {
            media_type: child.media_type.clone(),
            platform: child.platform.as_ref().and_then(platform),
        }
    } else {
        // BuildKit's cache is an index of layers.
        ContentKind::Blob
    };
    Ok(Content {
        digest,
        size: child.size,
        kind,
    })
}

fn digest_of(descriptor: &WireDescriptor, field: &str) -> Result<Digest, String> {
    descriptor
        .digest
        .parse()
        .map_err(|error| format!("{:?} in {field} is no digest: {error}", descriptor.digest))
}

fn platform(wire: &SpecPlatform) -> Option<Platform> {
    Platform::new(&wire.os, &wire.architecture, wire.variant.as_deref()).ok()
}

/// Layers that nobody pushes because a licence forbids it; they come from their `urls`.
fn lies_elsewhere(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":2}"#;

    #[test]
    fn what_is_wrong_is_said() {
        let manifest = |rest: &str| format!(r#"{{"schemaVersion":2,"config":{CONFIG}{rest}}}"#);
        for (media_type, text, want) in [
            (media::MANIFEST, manifest(""), None),
            (media::DOCKER_MANIFEST, manifest(""), None),
            (
                media::MANIFEST,
                manifest(r#","layers":[],"x":{"y":[1]}"#),
                None,
            ),
            (
                media::INDEX,
                r#"{"schemaVersion":2,"manifests":[]}"#.into(),
                None,
            ),
            (
                "text/plain",
                manifest(""),
                Some("no media type of a manifest"),
            ),
            (media::MANIFEST, "{".into(), Some("cannot be read")),
            (media::MANIFEST, "[]".into(), Some("cannot be read")),
            (media::MANIFEST, "".into(), Some("cannot be read")),
            (media::MANIFEST, "{}".into(), Some("schemaVersion 2")),
            (
                media::MANIFEST,
                r#"{"schemaVersion":1}"#.into(),
                Some("schemaVersion 2"),
            ),
            (
                media::MANIFEST,
                r#"{"schemaVersion":2}"#.into(),
                Some("has a config"),
            ),
            (
                media::INDEX,
                r#"{"schemaVersion":2}"#.into(),
                Some("list of manifests"),
            ),
            (
                media::MANIFEST,
                manifest(r#","manifests":[]"#),
                Some("another kind"),
            ),
            (
                media::MANIFEST,
                manifest(r#","fsLayers":[]"#),
                Some("another kind"),
            ),
            (
                media::INDEX,
                manifest(r#","manifests":[]"#),
                Some("another kind"),
            ),
            (
                media::DOCKER_MANIFEST,
                manifest(r#","mediaType":"application/vnd.oci.image.manifest.v1+json""#),
                Some("says it is"),
            ),
            (
                media::MANIFEST,
                manifest(r#","layers":[{"mediaType":"x","digest":"sha256:..","size":1}]"#),
                Some("is no digest"),
            ),
            (
                media::MANIFEST,
                manifest(r#","layers":[{"mediaType":"x","digest":"sha256:..","size":-1}]"#),
                Some("cannot be read"),
            ),
        ] {
            let got = Document::parse(media_type, text.as_bytes());
            match (want, got) {
                (None, Ok(_)) => {}
                (Some(part), Err(message)) if message.contains(part) => {}
                (want, got) => panic!("{text}: want {want:?}, got {got:?}"),
            }
        }
    }

    #[test]
    fn layers_that_lie_elsewhere_are_not_asked_for() {
        let layer = |media_type: &str, c: char| {
            let hex = c.to_string().repeat(64);
            format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{hex}","size":7}}"#)
        };
        let text = format!(
            r#"{{"schemaVersion":2,"config":{CONFIG},"layers":[{},{},{}]}}"#,
            layer(media::LAYER_GZIP, 'b'),
            layer(
                "application/vnd.oci.image.layer.nondistributable.v1.tar",
                'c'
            ),
            layer(
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                'd'
            ),
        );
        let document = Document::parse(media::MANIFEST, text.as_bytes()).unwrap();
        let first: Vec<_> = document
            .content
            .iter()
            .map(|content| &content.digest.hex()[..1])
            .collect();
        assert_eq!(first, ["a", "b"]);
        assert_eq!(document.artifact_type.as_deref(), Some(media::CONFIG));
    }
}
