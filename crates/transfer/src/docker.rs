//! What `docker save` wrote before it wrote layouts: a `manifest.json`, configurations and layers.
//!
//! Such an archive has no manifests, so one is made for each image. The configuration stays the
//! bytes it is, so the image's id stays; layers stay as they are, mostly not compressed. The
//! manifest is made of these alone, so the same archive always gives the same digest.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use launchway_model::{Algorithm, Digest};
use launchway_oci::spec::{Descriptor, ImageConfig, Manifest, media};
use launchway_oci::{Hasher, hash_reader};
use serde::{Deserialize, Serialize};

use crate::TransferError;
use crate::blob::FileRange;
use crate::error::At as _;
use crate::files::{Files, Tar, blob_name};
use crate::index_file::{EntryName, IndexFile, with_tag};
use crate::local::Local;

/// One image of `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Loadable {
    pub(crate) config: String,
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) layers: Vec<String>,
}

/// Reads such an archive. Waits for the disk.
pub(crate) fn open(mut tar: Tar, shown: String) -> Result<Local, TransferError> {
    let path = tar.path.clone();
    let refused = |reason: String| TransferError::Local {
        path: path.clone(),
        reason,
        help: String::new(),
    };
    let images = small(&tar, "manifest.json")?.ok_or_else(|| {
        refused("it is no archive of docker save: it has no manifest.json".to_owned())
    })?;
    let images: Vec<Loadable> = serde_json::from_slice(&images)
        .map_err(|error| refused(format!("its manifest.json cannot be used: {error}")))?;
    let mut index = IndexFile::empty();
    for image in images {
        let config = small(&tar, &image.config)?
            .ok_or_else(|| refused(format!("it lacks {}", image.config)))?;
        let read: ImageConfig = serde_json::from_slice(&config)
            .map_err(|error| refused(format!("{} cannot be used: {error}", image.config)))?;
        if read.rootfs.diff_ids.len() != image.layers.len() {
            return Err(refused(format!(
                "{} names {} layers, and manifest.json {}",
                image.config,
                read.rootfs.diff_ids.len(),
                image.layers.len()
            )));
        }
        let mut layers = Vec::new();
        for (name, diff_id) in image.layers.iter().zip(&read.rootfs.diff_ids) {
            let range = tar
                .entries
                .get(name)
                .cloned()
                .ok_or_else(|| refused(format!("it lacks {name}")))?;
            let (digest, media_type) = layer(&range, diff_id, &path)?;
            layers.push(descriptor(media_type, &digest, range.length));
            tar.blobs.insert(digest, range);
        }
        let config = Bytes::from(config);
        let config_digest = Hasher::digest(&config);
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.to_owned()),
            artifact_type: None,
            config: descriptor(media::CONFIG, &config_digest, config.len() as u64),
            layers,
            subject: None,
            annotations: None,
        };
        let manifest = Bytes::from(serde_json::to_vec(&manifest).expect("a manifest is JSON"));
        let digest = Hasher::digest(&manifest);
        let entry = descriptor(media::MANIFEST, &digest, manifest.len() as u64);
        let tags = image.repo_tags.unwrap_or_default();
        if tags.is_empty() {
            index.put(&entry, None);
        }
        for tag in &tags {
            let name = entry_name(tag)
                .map_err(|error| refused(format!("its name {tag:?} is no reference: {error}")))?;
            index.put(&entry, Some(&name));
        }
        tar.made.insert(config_digest, config);
        tar.made.insert(digest, manifest);
    }
    Ok(Local {
        shown,
        files: Files::Tar(Arc::new(tar)),
        index,
    })
}

/// What an image of Docker's goes by in an index.
pub(crate) fn entry_name(text: &str) -> Result<EntryName, launchway_model::ReferenceError> {
    let reference = with_tag(text)?;
    Ok(EntryName {
        tag: reference
            .tag
            .as_ref()
            .map_or_else(|| "latest".to_owned(), ToString::to_string),
        full: Some(reference.to_string()),
    })
}

/// A reference as Docker shows it: without what it would fill in.
pub(crate) fn familiar(full: &str) -> String {
    let short = full.strip_prefix("docker.io/").unwrap_or(full);
    short.strip_prefix("library/").unwrap_or(short).to_owned()
}

/// The entry of `manifest.json` for an image whose blobs lie as in a layout.
pub(crate) fn loadable(manifest: &Manifest, names: &[String]) -> Loadable {
    let path = |descriptor: &Descriptor| {
        descriptor
            .digest
            .parse::<Digest>()
            .map_or_else(|_| descriptor.digest.clone(), |digest| blob_name(&digest))
    };
    Loadable {
        config: path(&manifest.config),
        repo_tags: Some(names.iter().map(|name| familiar(name)).collect()),
        layers: manifest.layers.iter().map(path).collect(),
    }
}

fn small(tar: &Tar, name: &str) -> Result<Option<Vec<u8>>, TransferError> {
    let Some(range) = tar.entries.get(name) else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    range
        .open(0)
        .and_then(|file| {
            file.take(launchway_registry::MANIFEST_LIMIT)
                .read_to_end(&mut bytes)
        })
        .at("read", &tar.path)?;
    Ok(Some(bytes))
}

/// The digest of a layer as it stands in the archive. One that is not compressed is its own diff
/// id, which is checked when it is read; others are hashed now.
fn layer(
    range: &FileRange,
    diff_id: &str,
    path: &Path,
) -> Result<(Digest, &'static str), TransferError> {
    let mut start = [0; 4];
    let read = range
        .open(0)
        .and_then(|mut file| file.read(&mut start))
        .at("read", path)?;
    let media_type = match &start[..read] {
        [0x1f, 0x8b, ..] => media::LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => media::LAYER_ZSTD,
        _ => media::LAYER_TAR,
    };
    if media_type == media::LAYER_TAR
        && let Ok(digest) = diff_id.parse()
    {
        return Ok((digest, media_type));
    }
    let (digest, _) = range
        .open(0)
        .and_then(|file| hash_reader(file, Algorithm::Sha256))
        .at("read", path)?;
    Ok((digest, media_type))
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size,
        artifact_type: None,
        annotations: None,
        platform: None,
    }
}
