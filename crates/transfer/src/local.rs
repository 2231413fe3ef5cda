//! Reading images from the files of a layout, wherever these are. Everything here waits for the
//! disk.

use std::collections::BTreeMap;

use launchway_model::Digest;
use launchway_oci::Hasher;
use launchway_oci::spec::{Descriptor, Index, media};
use launchway_registry::RawManifest;
use serde::Deserialize;

use crate::files::Files;
use crate::index_file::{IndexFile, NotFound};
use crate::{Document, Name, TransferError};

/// A layout whose index was read.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) shown: String,
    pub(crate) files: Files,
    pub(crate) index: IndexFile,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnType {
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Local {
    /// Reads the index of a layout.
    pub(crate) fn open(shown: String, files: Files) -> Result<Self, TransferError> {
        let refused = |reason: String| TransferError::Local {
            path: files.path().to_owned(),
            reason,
            help: String::new(),
        };
        if files.small("oci-layout")?.is_none() {
            return Err(match files.path().exists() {
                true => refused("it is no OCI image layout: it has no oci-layout file".to_owned()),
                false => refused("there is no such file or folder".to_owned()),
            });
        }
        let bytes = files
            .small("index.json")?
            .ok_or_else(|| refused("it is no OCI image layout: it has no index.json".to_owned()))?;
        let index = IndexFile::read(&bytes)
            .map_err(|reason| refused(format!("its index.json cannot be used: {reason}")))?;
        Ok(Self {
            shown,
            files,
            index,
        })
    }

    pub(crate) fn probe(&self, name: &Name) -> Result<Option<Digest>, TransferError> {
        let digest = match self.index.find(name) {
            Ok(digest) => digest,
            Err(NotFound::Absent(_)) => return Ok(None),
            Err(found @ NotFound::Ambiguous(_)) => return Err(self.not_found(name, found)),
        };
        Ok(self.files.body(&digest).map(|_| digest))
    }

    fn not_found(&self, name: &Name, found: NotFound) -> TransferError {
        let (what, there) = match (name, found) {
            (Name::Only, NotFound::Ambiguous(there)) => {
                ("single image; say which one is meant".to_owned(), there)
            }
            (name, NotFound::Ambiguous(there)) => (format!("single image called {name}"), there),
            (Name::Only, NotFound::Absent(there)) => ("image".to_owned(), there),
            (name, NotFound::Absent(there)) => (format!("image called {name}"), there),
        };
        TransferError::Absent {
            place: self.shown.clone(),
            what,
            there,
        }
    }

    pub(crate) fn manifest(&self, name: &Name) -> Result<RawManifest, TransferError> {
        let digest = self
            .index
            .find(name)
            .map_err(|found| self.not_found(name, found))?;
        let bytes = self
            .files
            .document(&digest)?
            .ok_or_else(|| TransferError::Absent {
                place: self.shown.clone(),
                what: format!("document {digest}"),
                there: Vec::new(),
            })?;
        let mut hasher = Hasher::with(digest.algorithm());
        hasher.update(&bytes);
        let got = hasher.finish();
        let refused = |reason: String| TransferError::Document {
            place: self.shown.clone(),
            digest: digest.to_string(),
            reason,
        };
        if got != digest {
            return Err(refused(format!("its content has the digest {got}")));
        }
        let own: OwnType = serde_json::from_slice(&bytes)
            .map_err(|error| refused(format!("it is no JSON object of a manifest: {error}")))?;
        let listed = self.index.media_type(&digest);
        let media_type = own.media_type.or(listed).unwrap_or_else(|| {
            match own.manifests {
                Some(_) => media::INDEX,
                None => media::MANIFEST,
            }
            .to_owned()
        });
        Ok(RawManifest {
            bytes,
            media_type,
            digest,
        })
    }

    /// Everything in the index that refers to something, by what it refers to. A layout has no
    /// other list of referrers but the tags that stand in for one.
    pub(crate) fn subjects(&self) -> Result<BTreeMap<Digest, Vec<Descriptor>>, TransferError> {
        let mut subjects: BTreeMap<Digest, Vec<Descriptor>> = BTreeMap::new();
        for digest in self.index.digests() {
            // What is listed and is no document refers to nothing.
            let Ok(raw) = self.manifest(&Name::Digest(digest)) else {
                continue;
            };
            let Ok(document) = Document::read(raw, &self.shown) else {
                continue;
            };
            if let Some(subject) = document.subject() {
                let found = subjects.entry(subject).or_default();
                found.push(document.descriptor());
            }
        }
        Ok(subjects)
    }

    /// What the tag that stands in for a list of referrers says.
    pub(crate) fn stand_in(&self, subject: &Digest) -> Vec<Descriptor> {
        let tag = format!("{}-{}", subject.algorithm().as_str(), subject.hex());
        let listed = self
            .manifest(&Name::Tag(tag))
            .ok()
            .and_then(|raw| serde_json::from_slice::<Index>(&raw.bytes).ok());
        listed.map(|index| index.manifests).unwrap_or_default()
    }
}

/// Joins two lists of referrers; each is there once.
pub(crate) fn joined(mut one: Vec<Descriptor>, other: Vec<Descriptor>) -> Vec<Descriptor> {
    for descriptor in other {
        if !one.iter().any(|known| known.digest == descriptor.digest) {
            one.push(descriptor);
        }
    }
    one
}
