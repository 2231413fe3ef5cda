//! A place in memory that checks what is put into it, as a strict registry would, and writes down
//! every call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use launchway_model::{Digest, Repository};
use launchway_oci::Hasher;
use launchway_oci::spec::Descriptor;
use launchway_registry::{BlobBody, BlobReadError, PushOutcome, RawManifest};
use launchway_transfer::{Answer, Blob, Document, Holds, Name, Place, Role, TransferError};

use crate::images::Images;

#[derive(Clone, Debug)]
pub(crate) struct Memory {
    name: String,
    holds: Holds,
    repository: Option<Repository>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    documents: BTreeMap<Digest, Document>,
    blobs: BTreeMap<Digest, Bytes>,
    tags: BTreeMap<String, Digest>,
    calls: Vec<String>,
    /// Blobs that cannot be put.
    refused: BTreeSet<Digest>,
}

impl Memory {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            holds: Holds::Anything,
            repository: None,
            state: Arc::default(),
        }
    }

    pub(crate) fn holding(mut self, holds: Holds) -> Self {
        self.holds = holds;
        self
    }

    pub(crate) fn at(mut self, repository: &str) -> Self {
        self.repository = Some(repository.parse().unwrap());
        self
    }

    pub(crate) fn with(self, images: &Images, tag: &str, root: &Digest) -> Self {
        {
            let mut state = self.state.lock().unwrap();
            for document in &images.documents {
                state
                    .documents
                    .insert(document.digest().clone(), document.clone());
            }
            for blob in &images.blobs {
                state.blobs.insert(Hasher::digest(blob), blob.clone());
            }
            state.tags.insert(tag.to_owned(), root.clone());
        }
        self
    }

    pub(crate) fn refuse(&self, blob: &Digest) {
        self.state.lock().unwrap().refused.insert(blob.clone());
    }

    pub(crate) fn refuse_nothing(&self) {
        self.state.lock().unwrap().refused.clear();
    }

    pub(crate) fn tag(&self, tag: &str) -> Option<Digest> {
        self.state.lock().unwrap().tags.get(tag).cloned()
    }

    pub(crate) fn documents(&self) -> Vec<Digest> {
        self.state
            .lock()
            .unwrap()
            .documents
            .keys()
            .cloned()
            .collect()
    }

    pub(crate) fn bytes(&self, digest: &Digest) -> Bytes {
        self.state.lock().unwrap().documents[digest]
            .raw
            .bytes
            .clone()
    }

    pub(crate) fn blobs(&self) -> Vec<Digest> {
        self.state.lock().unwrap().blobs.keys().cloned().collect()
    }

    /// The calls since the last time, by their first words.
    pub(crate) fn calls(&self, word: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let fits = state.calls.iter().filter(|call| call.starts_with(word));
        fits.cloned().collect()
    }

    pub(crate) fn forget_calls(&self) {
        self.state.lock().unwrap().calls.clear();
    }

    fn note(&self, call: String) {
        self.state.lock().unwrap().calls.push(call);
    }

    fn find(&self, name: &Name) -> Option<Document> {
        let state = self.state.lock().unwrap();
        let digest = match name {
            Name::Digest(digest) => digest.clone(),
            Name::Tag(tag) => state.tags.get(tag)?.clone(),
            Name::Only => state.tags.values().next()?.clone(),
        };
        state.documents.get(&digest).cloned()
    }

    fn absent(&self, what: impl ToString) -> TransferError {
        TransferError::Absent {
            place: self.name.clone(),
            what: what.to_string(),
            there: Vec::new(),
        }
    }
}

impl Place for Memory {
    fn shown(&self) -> String {
        self.name.clone()
    }

    fn probe<'a>(&'a self, name: &'a Name) -> Answer<'a, Option<Digest>> {
        self.note(format!("probe {name}"));
        async move { Ok(self.find(name).map(|found| found.digest().clone())) }.boxed()
    }

    fn manifest<'a>(&'a self, name: &'a Name) -> Answer<'a, RawManifest> {
        self.note(format!("manifest {name}"));
        async move {
            let found = self.find(name).ok_or_else(|| self.absent(name))?;
            Ok(found.raw)
        }
        .boxed()
    }

    fn blob(&self, digest: &Digest, _: u64) -> Result<BlobBody, TransferError> {
        self.note(format!("blob {digest}"));
        let state = self.state.lock().unwrap();
        let bytes = state.blobs.get(digest).cloned();
        drop(state);
        bytes
            .map(BlobBody::Bytes)
            .ok_or_else(|| self.absent(digest))
    }

    fn has_blob<'a>(&'a self, digest: &'a Digest, _: u64) -> Answer<'a, bool> {
        self.note(format!("has {digest}"));
        async move { Ok(self.state.lock().unwrap().blobs.contains_key(digest)) }.boxed()
    }

    fn referrers<'a>(&'a self, subject: &'a Digest) -> Answer<'a, Vec<Descriptor>> {
        self.note(format!("referrers {subject}"));
        async move {
            let state = self.state.lock().unwrap();
            let all = state.documents.values();
            let found = all.filter(|one| one.subject().as_ref() == Some(subject));
            Ok(found.map(Document::descriptor).collect())
        }
        .boxed()
    }

    fn put_blob<'a>(&'a self, blob: &'a Blob) -> Answer<'a, PushOutcome> {
        self.note(format!("put blob {}", blob.digest));
        async move {
            let (is_there, is_refused) = {
                let state = self.state.lock().unwrap();
                (
                    state.blobs.contains_key(&blob.digest),
                    state.refused.contains(&blob.digest),
                )
            };
            if is_there {
                return Ok(PushOutcome::AlreadyThere);
            }
            if is_refused {
                return Err(TransferError::Blob {
                    digest: blob.digest.clone(),
                    source: BlobReadError::Local("it is refused".to_owned()),
                });
            }
            let bytes = match &blob.body {
                BlobBody::Bytes(bytes) => bytes.clone(),
                BlobBody::Stream(reader) => {
                    let mut bytes = Vec::new();
                    let mut stream = reader.read_from(0);
                    while let Some(piece) = stream.next().await {
                        let piece = piece.map_err(|source| TransferError::Blob {
                            digest: blob.digest.clone(),
                            source,
                        })?;
                        bytes.extend_from_slice(&piece);
                    }
                    bytes.into()
                }
                BlobBody::File(path) => std::fs::read(path).unwrap().into(),
            };
            assert_eq!(Hasher::digest(&bytes), blob.digest);
            assert_eq!(bytes.len() as u64, blob.size);
            let mut state = self.state.lock().unwrap();
            state.blobs.insert(blob.digest.clone(), bytes);
            Ok(PushOutcome::Uploaded)
        }
        .boxed()
    }

    fn put_manifest<'a>(&'a self, document: &'a Document, role: Role<'a>) -> Answer<'a, ()> {
        let what = match role {
            Role::Part => "part".to_owned(),
            Role::Root => "root".to_owned(),
            Role::Tagged(tag) => format!("tag {tag}"),
        };
        self.note(format!("put {what} {}", document.digest()));
        async move {
            let mut state = self.state.lock().unwrap();
            for child in document.children() {
                let digest: Digest = child.digest.parse().unwrap();
                assert!(state.documents.contains_key(&digest), "a child is missing");
            }
            for blob in document.blobs() {
                let digest: Digest = blob.digest.parse().unwrap();
                assert!(state.blobs.contains_key(&digest), "a blob is missing");
            }
            let digest = document.digest().clone();
            state.documents.insert(digest.clone(), document.clone());
            if let Role::Tagged(tag) = role {
                state.tags.insert(tag.to_owned(), digest);
            }
            Ok(())
        }
        .boxed()
    }

    fn finish(&self) -> Answer<'_, ()> {
        self.note("finish".to_owned());
        async { Ok(()) }.boxed()
    }

    fn holds(&self) -> Holds {
        self.holds
    }

    fn repository(&self) -> Option<&Repository> {
        self.repository.as_ref()
    }
}
