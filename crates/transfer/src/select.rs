//! Which part of an image is meant, when platforms were named. Values in, values out.

use bytes::Bytes;
use launchway_model::{Digest, Platform};
use launchway_oci::Hasher;
use launchway_oci::spec::Descriptor;
use launchway_registry::RawManifest;
use serde_json::Value;

use crate::document::{attested, is_attestation, platform_of};
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
    let there = platforms_of(document);
    let missing: Vec<String> = wanted
        .iter()
        .filter(|platform| !there.contains(platform))
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        return Err(TransferError::NoPlatform {
            place: place.to_owned(),
            wanted: missing,
            there: there.iter().map(ToString::to_string).collect(),
        });
    }
    let is_wanted =
        |entry: &Descriptor| platform_of(entry).is_some_and(|platform| wanted.contains(&platform));
    let chosen: Vec<&Descriptor> = index
        .manifests
        .iter()
        .filter(|one| is_wanted(one))
        .collect();
    if let [only] = chosen[..] {
        return Ok(Choice::Entry(only.clone()));
    }
    if there.iter().all(|platform| wanted.contains(platform)) {
        return Ok(Choice::Whole);
    }
    if wanted.len() == 1
        && let Some(first) = chosen.first()
    {
        // Several entries for one platform, such as versions of Windows: the first is the default.
        return Ok(Choice::Entry((*first).clone()));
    }
    let kept = |entry: &Descriptor| {
        is_wanted(entry)
            || is_attestation(entry)
                && attested(entry)
                    .is_some_and(|about| chosen.iter().any(|chosen| chosen.digest == about))
    };
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
