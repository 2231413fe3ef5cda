//! What a repository holds at one moment, derived from its `index.json` and the manifests it names.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use launchway_model::Digest;
use launchway_oci::spec::{Descriptor, Index, media};

use super::{Act as _, StoreError, blob_path};
use crate::MANIFEST_LIMIT;
use crate::document::{ContentKind, Document};

/// The annotation that makes an entry of `index.json` a tag.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// One state of a repository. Never changed; a push makes a new one.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(super) index: Index,
    pub(super) stamp: Stamp,
    /// Tags in the order of their bytes.
    pub(crate) tags: BTreeMap<String, Digest>,
    /// Every manifest: the entries of `index.json`, and the children of indexes that are there.
    pub(crate) manifests: HashMap<Digest, Arc<ManifestInfo>>,
    /// From a subject to what refers to it, sorted.
    referrers: HashMap<Digest, Vec<Digest>>,
}

#[derive(Debug)]
pub(crate) struct ManifestInfo {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) size: u64,
    pub(crate) document: Document,
}

/// Tells one `index.json` from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl Snapshot {
    /// Reads what the index names. Manifests that `known` has are not read again: their bytes
    /// cannot have changed.
    pub(super) fn derive(
        index: Index,
        stamp: Stamp,
        blobs: &Path,
        known: &HashMap<Digest, Arc<ManifestInfo>>,
    ) -> Result<Self, StoreError> {
        let mut tags = BTreeMap::new();
        let mut manifests: HashMap<Digest, Arc<ManifestInfo>> = HashMap::new();
        let mut open: Vec<(Digest, String)> = Vec::new();
        for entry in &index.manifests {
            // A layout that something else wrote may list what a registry cannot serve.
            let Ok(digest) = entry.digest.parse::<Digest>() else {
                continue;
            };
            if !is_servable(&entry.media_type) {
                continue;
            }
            if let Some(tag) = tag_of(entry)
                && tag.parse::<launchway_model::Tag>().is_ok()
            {
                tags.insert(tag.to_owned(), digest.clone());
            }
            open.push((digest, entry.media_type.clone()));
        }
        while let Some((digest, media_type)) = open.pop() {
            if manifests.contains_key(&digest) {
                continue;
            }
            let info = match known.get(&digest) {
                Some(info) if info.media_type == media_type => Arc::clone(info),
                _ => match ManifestInfo::read(blobs, &digest, &media_type)? {
                    Some(info) => Arc::new(info),
                    None => continue,
                },
            };
            for content in &info.document.content {
                if let ContentKind::Manifest { media_type, .. } = &content.kind {
                    open.push((content.digest.clone(), media_type.clone()));
                }
            }
            manifests.insert(digest, info);
        }
        tags.retain(|_, digest| manifests.contains_key(digest));
        let mut referrers: HashMap<Digest, Vec<Digest>> = HashMap::new();
        for info in manifests.values() {
            if let Some(subject) = &info.document.subject {
                let list = referrers.entry(subject.clone()).or_default();
                list.push(info.digest.clone());
            }
        }
        for list in referrers.values_mut() {
            list.sort_unstable();
        }
        Ok(Self {
            index,
            stamp,
            tags,
            manifests,
            referrers,
        })
    }

    pub(crate) fn by_tag(&self, tag: &str) -> Option<&Arc<ManifestInfo>> {
        self.manifests.get(self.tags.get(tag)?)
    }

    /// What has this digest as its subject, in the order of digests.
    pub(crate) fn referrers(&self, subject: &Digest) -> impl Iterator<Item = &ManifestInfo> {
        self.referrers
            .get(subject)
            .into_iter()
            .flatten()
            .filter_map(|digest| self.manifests.get(digest).map(AsRef::as_ref))
    }

    /// How large a manifest says that this content is, in bytes.
    pub(crate) fn size_of(&self, digest: &Digest) -> Option<u64> {
        let contents = self
            .manifests
            .values()
            .flat_map(|info| &info.document.content);
        contents
            .into_iter()
            .find(|content| content.digest == *digest)
            .map(|content| content.size)
    }

    /// A manifest that needs this blob as its configuration or a layer.
    pub(super) fn user_of_blob(&self, blob: &Digest) -> Option<&Digest> {
        let uses = |info: &&Arc<ManifestInfo>| {
            info.document
                .content
                .iter()
                .any(|content| content.kind == ContentKind::Blob && content.digest == *blob)
        };
        self.manifests.values().find(uses).map(|info| &info.digest)
    }
}

impl ManifestInfo {
    /// `None` when the file is not there, or is no manifest that a registry would have taken.
    fn read(blobs: &Path, digest: &Digest, media_type: &str) -> Result<Option<Self>, StoreError> {
        const ACT: &str = "read a manifest";
        let path = blob_path(blobs, digest);
        let Some(file) = super::blobs::absent_is_none(File::open(path)).act(ACT)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(MANIFEST_LIMIT + 1)
            .read_to_end(&mut bytes)
            .act(ACT)?;
        if bytes.len() as u64 > MANIFEST_LIMIT {
            return Ok(None);
        }
        let Ok(document) = Document::parse(media_type, &bytes) else {
            return Ok(None);
        };
        Ok(Some(Self {
            digest: digest.clone(),
            media_type: media_type.to_owned(),
            size: bytes.len() as u64,
            document,
        }))
    }
}

pub(super) fn is_servable(media_type: &str) -> bool {
    media::is_index(media_type) || media::is_manifest(media_type)
}

pub(super) fn tag_of(entry: &Descriptor) -> Option<&str> {
    let annotations = entry.annotations.as_ref()?;
    annotations.get(REF_NAME).map(String::as_str)
}
