//! What a build leaves for other programs: the image's id, and buildx's metadata file.

use std::io::Write as _;
use std::path::Path;

use launchway_release::single::PackedImage;

use super::Result;
use super::write::write_file;
use crate::failure::Failure;

/// The id by which Docker knows an image: the digest of its configuration; of several platforms that
/// of the index.
pub(super) fn image_id(image: &PackedImage) -> String {
    match image.config_digest() {
        Some(digest) => digest.to_string(),
        None => image.digest().to_string(),
    }
}

/// The keys that buildx writes and others read. Without an image there is nothing to say.
pub(super) fn metadata(image: Option<&PackedImage>, names: &[String]) -> serde_json::Value {
    let mut told = serde_json::Map::new();
    if let Some(image) = image {
        if let Some(config) = image.config_digest() {
            told.insert(
                "containerimage.config.digest".to_owned(),
                config.to_string().into(),
            );
        }
        told.insert(
            "containerimage.descriptor".to_owned(),
            serde_json::json!(image.descriptor),
        );
        told.insert(
            "containerimage.digest".to_owned(),
            image.digest().to_string().into(),
        );
        if !names.is_empty() {
            told.insert("image.name".to_owned(), names.join(",").into());
        }
    }
    told.into()
}

/// Writes a small file, whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> Result {
    write_file(path, |file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::caused(format!("cannot write {}", path.display()), &error))
}
