//! One image taken apart: its platforms with their layers and configuration, and what is attached
//! to it. Reads documents through a function it is given; no disk, no HTML.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use launchway_model::{Digest, Platform};
use launchway_oci::spec::{Annotations, Descriptor, ImageConfig, Index, Manifest, media};

use super::survey;
use crate::document::ContentKind;
use crate::store::ManifestInfo;

/// More parts of one index than this are counted instead of shown.
const PARTS_SHOWN: usize = 64;

/// What BuildKit writes at the entry of an attestation.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

#[derive(Debug)]
pub(super) struct Detail {
    /// By which it was asked for.
    pub(super) tag: Option<String>,
    pub(super) digest: Digest,
    pub(super) media_type: String,
    /// Of the document itself, in bytes.
    pub(super) size: u64,
    pub(super) artifact_type: Option<String>,
    pub(super) subject: Option<Digest>,
    pub(super) annotations: Annotations,
    /// One for each platform, or the thing itself.
    pub(super) parts: Vec<Part>,
    /// Parts that are not shown.
    pub(super) more_parts: usize,
    pub(super) attached: Vec<Attached>,
}

/// The manifest of one platform, or of an artifact.
#[derive(Debug)]
pub(super) struct Part {
    /// A platform, or what it is.
    pub(super) label: String,
    pub(super) digest: Digest,
    /// Manifest, configuration and layers, each blob counted once.
    pub(super) size: u64,
    /// `None` where it is not here or is no image's.
    pub(super) config: Option<Config>,
    pub(super) layers: Vec<Layer>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) digest: String,
    pub(super) created: Option<String>,
    pub(super) user: Option<String>,
    pub(super) entrypoint: Vec<String>,
    pub(super) command: Vec<String>,
    pub(super) directory: Option<String>,
    pub(super) ports: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) media_type: String,
    /// What the history says made it.
    pub(super) made_by: Option<String>,
}

/// An attestation in the index, or something that names this or a part of it as its subject.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attached {
    pub(super) digest: Digest,
    pub(super) kind: String,
    /// The platform it speaks of; empty for the image as a whole.
    pub(super) about: String,
    pub(super) size: u64,
}

/// Something an index lists, and what the index says of it.
struct Child {
    digest: Digest,
    platform: Option<Platform>,
    annotations: Annotations,
}

/// `read` gives a document's bytes, or nothing where they are not here.
pub(super) fn take_apart<E>(
    info: &ManifestInfo,
    known: &HashMap<Digest, Arc<ManifestInfo>>,
    mut read: impl FnMut(&Digest) -> Result<Option<Bytes>, E>,
) -> Result<Detail, E> {
    let mut detail = Detail {
        tag: None,
        digest: info.digest.clone(),
        media_type: info.media_type.clone(),
        size: info.size,
        artifact_type: info.document.artifact_type.clone(),
        subject: info.document.subject.clone(),
        annotations: info.document.annotations.clone().unwrap_or_default(),
        parts: Vec::new(),
        more_parts: 0,
        attached: Vec::new(),
    };
    let mut attestations = Vec::new();
    let mut seen = HashSet::from([info.digest.clone()]);
    let mut open = vec![Child {
        digest: info.digest.clone(),
        platform: None,
        annotations: Annotations::new(),
    }];
    while let Some(child) = open.pop() {
        let Some(found) = known.get(&child.digest) else {
            detail.more_parts += 1;
            continue;
        };
        if is_attestation(&child) {
            attestations.push(child);
        } else if media::is_index(&found.media_type) {
            let children = children(read(&child.digest)?);
            // The last one that is pushed is the next one that is shown.
            let children = children.into_iter().rev();
            open.extend(children.filter(|child| seen.insert(child.digest.clone())));
        } else if detail.parts.len() < PARTS_SHOWN {
            let part = part(&child, found, &mut read)?;
            detail.parts.extend(part);
        } else {
            detail.more_parts += 1;
        }
    }
    for child in attestations {
        let about = child.annotations.get(REFERENCE_DIGEST);
        let of = |part: &&Part| about.is_some_and(|about| part.digest.to_string() == *about);
        let about = detail.parts.iter().find(of).map(|part| part.label.clone());
        let size = known.get(&child.digest).map_or(0, |info| whole_size(info));
        detail.attached.push(Attached {
            kind: predicates(read(&child.digest)?),
            digest: child.digest,
            about: about.unwrap_or_default(),
            size,
        });
    }
    Ok(detail)
}

/// What has the image, or a part of it, as its subject.
pub(super) fn referrer(info: &ManifestInfo, about: &str) -> Attached {
    let kind = info.document.artifact_type.as_deref();
    Attached {
        digest: info.digest.clone(),
        kind: kind.unwrap_or(&info.media_type).to_owned(),
        about: about.to_owned(),
        size: whole_size(info),
    }
}

fn is_attestation(child: &Child) -> bool {
    child
        .platform
        .as_ref()
        .is_some_and(|platform| !survey::is_known(platform))
        || child
            .annotations
            .get(REFERENCE_TYPE)
            .is_some_and(|kind| kind == "attestation-manifest")
}

fn children(index: Option<Bytes>) -> Vec<Child> {
    let index = index.and_then(|bytes| serde_json::from_slice::<Index>(&bytes).ok());
    let entries = index.map(|index| index.manifests).unwrap_or_default();
    let child = |entry: Descriptor| {
        let platform = entry.platform.as_ref().and_then(|platform| {
            let variant = platform.variant.as_deref();
            Platform::new(&platform.os, &platform.architecture, variant).ok()
        });
        Some(Child {
            digest: entry.digest.parse().ok()?,
            platform,
            annotations: entry.annotations.unwrap_or_default(),
        })
    };
    entries.into_iter().filter_map(child).collect()
}

fn part<E>(
    child: &Child,
    info: &ManifestInfo,
    read: &mut impl FnMut(&Digest) -> Result<Option<Bytes>, E>,
) -> Result<Option<Part>, E> {
    let manifest = read(&child.digest)?;
    let manifest = manifest.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
    let Some(manifest) = manifest else {
        return Ok(None);
    };
    let is_image = matches!(
        manifest.config.media_type.as_str(),
        media::CONFIG | media::DOCKER_CONFIG
    );
    let config = match &info.document.config {
        Some(config) if is_image => read(config)?,
        _ => None,
    };
    let config = config.and_then(|bytes| serde_json::from_slice::<ImageConfig>(&bytes).ok());
    let said = config.as_ref().and_then(|config| {
        Platform::new(&config.os, &config.architecture, config.variant.as_deref()).ok()
    });
    let label = match child.platform.clone().or(said) {
        Some(platform) => platform.to_string(),
        None => {
            let kind = info.document.artifact_type.as_deref();
            kind.unwrap_or("no platform").to_owned()
        }
    };
    let mut made_by = config.iter().flat_map(|config| {
        let steps = config.history.iter();
        steps
            .filter(|step| step.empty_layer != Some(true))
            .map(|step| step.created_by.clone().filter(|text| !text.is_empty()))
    });
    let layers = manifest.layers.iter().filter_map(|layer| {
        // Asked for in any case: the steps and the layers go side by side.
        let made_by = made_by.next().flatten();
        Some(Layer {
            digest: layer.digest.parse().ok()?,
            size: layer.size,
            media_type: layer.media_type.clone(),
            made_by,
        })
    });
    let layers = layers.collect();
    Ok(Some(Part {
        label,
        digest: child.digest.clone(),
        size: whole_size(info),
        config: config.map(|config| basics(config, manifest.config.digest)),
        layers,
    }))
}

fn basics(image: ImageConfig, digest: String) -> Config {
    let told = |text: Option<String>| text.filter(|text| !text.is_empty());
    let config = image.config;
    Config {
        digest,
        created: told(image.created),
        user: told(config.user),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        directory: told(config.working_dir),
        ports: config
            .exposed_ports
            .map(|ports| ports.into_keys().collect())
            .unwrap_or_default(),
    }
}

/// A manifest with its configuration and layers, each blob counted once.
fn whole_size(info: &ManifestInfo) -> u64 {
    let mut seen = HashSet::new();
    let content = info.document.content.iter();
    content
        .filter(|content| content.kind == ContentKind::Blob && seen.insert(&content.digest))
        .map(|content| content.size)
        .fold(info.size, u64::saturating_add)
}

/// What an attestation states, out of its manifest.
fn predicates(manifest: Option<Bytes>) -> String {
    let manifest = manifest.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok());
    let mut found: Vec<String> = Vec::new();
    for layer in manifest.iter().flat_map(|manifest| &manifest.layers) {
        let annotations = layer.annotations.as_ref();
        let predicate = annotations.and_then(|annotations| annotations.get(PREDICATE_TYPE));
        if let Some(predicate) = predicate
            && !found.contains(predicate)
        {
            found.push(predicate.clone());
        }
    }
    match found.is_empty() {
        true => "attestation".to_owned(),
        false => found.join(", "),
    }
}

#[cfg(test)]
#[path = "detail/tests.rs"]
mod tests;
