//! OCI layouts: finding the manifest, reading blobs, undoing compression; every digest is checked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::FlattenError;

pub(super) enum Layout {
    Directory(PathBuf),
    /// The files of a tar, by their cleaned names.
    Tar(BTreeMap<String, Vec<u8>>),
}

impl Layout {
    pub(super) fn open(path: &Path) -> Result<Self, FlattenError> {
        if path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let read = |source| FlattenError::Read {
            what: path.display().to_string(),
            source,
        };
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(File::open(path).map_err(read)?);
        for entry in archive.entries().map_err(read)? {
            let mut entry = entry.map_err(read)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if entry.header().entry_type().is_file() {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(read)?;
                files.insert(name.trim_start_matches("./").to_owned(), bytes);
            }
        }
        Ok(Self::Tar(files))
    }

    /// The manifest for the platform, looked for in nested indexes too.
    pub(super) fn manifest(&self, platform: Option<&str>) -> Result<Value, FlattenError> {
        let index = parse("index.json", &self.file("index.json")?)?;
        let mut found = Vec::new();
        self.collect(&index, platform, &mut found)?;
        match found.len() {
            1 => Ok(found.remove(0)),
            count => Err(FlattenError::Wrong(format!(
                "{count} images for {}",
                platform.unwrap_or("any platform")
            ))),
        }
    }

    /// The document that a descriptor names.
    pub(super) fn json(&self, descriptor: &Value) -> Result<Value, FlattenError> {
        let digest = digest_of(descriptor)?;
        parse(digest, &self.blob(descriptor)?)
    }

    /// The tar of a layer.
    pub(super) fn layer(&self, descriptor: &Value, diff_id: &str) -> Result<Vec<u8>, FlattenError> {
        let blob = self.blob(descriptor)?;
        let tar = decompressed(blob).map_err(|source| FlattenError::Read {
            what: format!("layer {diff_id}"),
            source,
        })?;
        let found = crate::sha256(&tar);
        if found != diff_id {
            return Err(FlattenError::Wrong(format!(
                "the layer that should be {diff_id} is {found}"
            )));
        }
        Ok(tar)
    }

    fn collect(
        &self,
        index: &Value,
        platform: Option<&str>,
        found: &mut Vec<Value>,
    ) -> Result<(), FlattenError> {
        for descriptor in index["manifests"].as_array().into_iter().flatten() {
            let document = self.json(descriptor)?;
            if document.get("manifests").is_some() {
                self.collect(&document, platform, found)?;
                continue;
            }
            // Attestations stand among the images, under a platform that does not exist.
            if descriptor["annotations"]["vnd.docker.reference.type"].is_string() {
                continue;
            }
            let config = self.json(&document["config"])?;
            if platform.is_none_or(|platform| is_for(&config, platform)) {
                found.push(document);
            }
        }
        Ok(())
    }

    fn blob(&self, descriptor: &Value) -> Result<Vec<u8>, FlattenError> {
        let digest = digest_of(descriptor)?;
        let bytes = self.file(&format!("blobs/{}", digest.replacen(':', "/", 1)))?;
        let found = crate::sha256(&bytes);
        if found != digest {
            return Err(FlattenError::Wrong(format!(
                "the blob that should be {digest} is {found}"
            )));
        }
        if descriptor["size"].as_u64() != Some(bytes.len() as u64) {
            return Err(FlattenError::Wrong(format!(
                "{digest} has {} bytes, its descriptor says {}",
                bytes.len(),
                descriptor["size"]
            )));
        }
        Ok(bytes)
    }

    fn file(&self, name: &str) -> Result<Vec<u8>, FlattenError> {
        match self {
            Self::Directory(root) => {
                fs::read(root.join(name)).map_err(|source| FlattenError::Read {
                    what: root.join(name).display().to_string(),
                    source,
                })
            }
            Self::Tar(files) => files
                .get(name)
                .cloned()
                .ok_or_else(|| FlattenError::Wrong(format!("{name} is missing"))),
        }
    }
}

fn digest_of(descriptor: &Value) -> Result<&str, FlattenError> {
    descriptor["digest"]
        .as_str()
        .ok_or_else(|| FlattenError::Wrong(format!("a descriptor without a digest: {descriptor}")))
}

fn parse(what: &str, bytes: &[u8]) -> Result<Value, FlattenError> {
    serde_json::from_slice(bytes).map_err(|source| FlattenError::Json {
        what: what.to_owned(),
        source,
    })
}

/// Whether an image is for a platform; a variant is left to the comparison of the configurations.
fn is_for(config: &Value, platform: &str) -> bool {
    let mut words = platform.split('/');
    ["os", "architecture"]
        .iter()
        .all(|name| config[name].as_str() == words.next())
}

/// By the first bytes: the media type is what a writer claims.
fn decompressed(blob: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut tar = Vec::new();
    if blob.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(blob.as_slice()).read_to_end(&mut tar)?;
    } else if blob.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        zstd::stream::read::Decoder::new(blob.as_slice())?.read_to_end(&mut tar)?;
    } else {
        tar = blob;
    }
    Ok(tar)
}
