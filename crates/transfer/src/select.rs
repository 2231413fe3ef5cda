//! Which part of an image is meant, when platforms were named. Values in, values out.

use bytes::Bytes;
use launchway_model::{Digest, Platform};
use launchway_oci::spec::Descriptor;
use launchway_oci::{Hasher, is_attestation, platform_of, select_platform};
use launchway_registry::RawManifest;
use serde_json::Value;

use crate::document::attested;
use crate::{Body, Document, TransferError};

/// What is to be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The document that was named, whole.
    Whole,
    /// This entry of it.
    Entry(Descriptor),
    /// A shorter index, made here: its digest is a new one.
    Fewer(RawManifest),
}

/// The platforms an index has images for, in its order.
#[must_use]
pub fn platforms_of(document: &Document) -> Vec<Platform> {
    let mut platforms = Vec::new();
    for platform in document.children().filter_map(platform_of) {
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    platforms
}

/// Chooses platforms from an index. One platform gives its manifest as it is; several give an
/// index of their entries with what attests them, unless they are all there is.
///
/// A lone manifest is its own only choice: whoever wants to know its platform reads its
/// configuration.
pub fn resolve(
    document: &Document,
    wanted: &[Platform],
    place: &str,
) -> Result<Choice, TransferError> {
    let Body::Index(index) = &document.body else {
        return Ok(Choice::Whole);
    };
    if wanted.is_empty() {
        return Ok(Choice::Whole);
    }
    let mut chosen: Vec<&Descriptor> = Vec::new();
    let mut missing = Vec::new();
    for platform in wanted {
        match select_platform(index, platform) {
            Ok(entry) if chosen.contains(&entry) => {}
            Ok(entry) => chosen.push(entry),
            Err(_) => missing.push(platform.to_string()),
        }
    }
    if !missing.is_empty() {
        return Err(TransferError::NoPlatform {
            place: place.to_owned(),
            wanted: missing,
            there: platforms_of(document)
                .iter()
                .map(ToString::to_string)
                .collect(),
        });
    }
    if let [only] = chosen[..] {
        return Ok(Choice::Entry(only.clone()));
    }
    let kept = |entry: &Descriptor| {
        let about = || attested(entry).filter(|_| is_attestation(entry));
        chosen.contains(&entry)
            || about().is_some_and(|about| chosen.iter().any(|chosen| chosen.digest == about))
    };
    let images = || {
        index
            .manifests
            .iter()
            .filter(|one| platform_of(one).is_some())
    };
    if images().all(&kept) {
        return Ok(Choice::Whole);
    }
    let positions: Vec<bool> = index.manifests.iter().map(kept).collect();
    shorter(document, &positions)
        .map(Choice::Fewer)
        .ok_or_else(|| TransferError::Document {
            place: place.to_owned(),
            digest: document.digest().to_string(),
            reason: "its list of manifests cannot be shortened".to_owned(),
        })
}

/// The same index with fewer entries; everything else in it stays.
fn shorter(document: &Document, kept: &[bool]) -> Option<RawManifest> {
    let mut value: Value = serde_json::from_slice(&document.raw.bytes).ok()?;
    let entries = value.get_mut("manifests")?.as_array_mut()?;
    let mut positions = kept.iter();
    entries.retain(|_| positions.next().copied().unwrap_or(false));
    let bytes = Bytes::from(serde_json::to_vec(&value).ok()?);
    Some(RawManifest {
        digest: Hasher::digest(&bytes),
        media_type: document.raw.media_type.clone(),
        bytes,
    })
}

/// The digest a choice comes to.
pub(crate) fn digest_of(document: &Document, choice: &Choice) -> Option<Digest> {
    match choice {
        Choice::Whole => Some(document.digest().clone()),
        Choice::Entry(entry) => entry.digest.parse().ok(),
        Choice::Fewer(raw) => Some(raw.digest.clone()),
    }
}
