//! One repository: an OCI image layout, its manifests and tags, and the lock that orders changes.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;
use launchway_model::{Digest, Tag};
use launchway_oci::spec::{Annotations, Descriptor, Index, media};

use super::blobs::absent_is_none;
use super::queue::{Queue, Waiting};
use super::snapshot::{REF_NAME, Stamp, tag_of};
use super::{Act as _, Blobs, Disk, ManifestInfo, Snapshot, StoreError, TempFile, blob_path};
use crate::document::{Content, Document};

const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

pub(crate) struct Repository {
    directory: PathBuf,
    shared: Arc<Blobs>,
    current: RwLock<Option<Arc<Snapshot>>>,
    /// Held by whoever changes `index.json` or takes a blob away.
    writing: Mutex<()>,
    queue: Queue,
    /// Whether the index is known to be on the disk, and not only in the directory.
    laid_out: AtomicBool,
}

/// A manifest that was read and found sound.
pub(crate) struct PutManifest {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
    pub(crate) document: Document,
    pub(crate) tags: Vec<Tag>,
    pub(crate) content: ContentRule,
}

/// What has to be there before a manifest is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentRule {
    /// All that it points at.
    Present,
    /// Nothing: a mirror fetches it when somebody asks.
    Later,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PutManifestError {
    #[error("the manifest points at content that is not in the repository")]
    Missing(Vec<Content>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How deleting a blob went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DeleteBlob {
    Deleted,
    Unknown,
    /// This manifest, maybe itself the one to be deleted, would be broken by it.
    UsedBy(Digest),
}

impl Repository {
    pub(super) fn new(directory: PathBuf, shared: Arc<Blobs>) -> Self {
        Self {
            directory,
            shared,
            current: RwLock::new(None),
            writing: Mutex::new(()),
            queue: Queue::default(),
            laid_out: AtomicBool::new(false),
        }
    }

    pub(super) fn exists(&self) -> Result<bool, StoreError> {
        self.index_path().try_exists().act("look for a repository")
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.current().is_some()
    }

    /// Lays the repository out if it is not. `index.json` comes last: it is what makes it one.
    pub(super) fn create(&self) -> Result<(), StoreError> {
        if self.laid_out.load(Ordering::Acquire) && self.exists()? {
            return Ok(());
        }
        let _writing = self.lock();
        if self.exists()? {
            // Whoever made it may not have come to flush it.
            self.disk().flush_directory(&self.directory)?;
            self.laid_out.store(true, Ordering::Release);
            return Ok(());
        }
        self.disk()
            .create_directories(&self.blobs().join("sha256"))?;
        self.disk()
            .replace(&self.directory.join("oci-layout"), OCI_LAYOUT)?;
        self.write_index(&empty_index())?;
        self.laid_out.store(true, Ordering::Release);
        Ok(())
    }

    /// The repository's `blobs` directory.
    pub(crate) fn blobs(&self) -> PathBuf {
        self.directory.join("blobs")
    }

    /// What the repository holds now.
    pub(crate) fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        const ACT: &str = "read a repository's index";
        let path = self.index_path();
        let known = self.current();
        if let Some(known) = &known {
            let meta = absent_is_none(fs::metadata(&path)).act(ACT)?;
            if meta.is_some_and(|meta| Stamp::of(&meta) == known.stamp) {
                return Ok(Arc::clone(known));
            }
        }
        let mut file = File::open(&path).act(ACT)?;
        let stamp = Stamp::of(&file.metadata().act(ACT)?);
        let mut text = Vec::new();
        file.read_to_end(&mut text).act(ACT)?;
        let index: Index = serde_json::from_slice(&text)
            .map_err(std::io::Error::from)
            .act(ACT)?;
        // Somebody else wrote here, and may have removed files as well: nothing is taken over.
        let snapshot = Snapshot::derive(index, stamp, &self.blobs(), &HashMap::new())?;
        let snapshot = Arc::new(snapshot);
        self.publish(Some(Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// The blob's file and its size in bytes.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<Option<(File, u64)>, StoreError> {
        const ACT: &str = "open a blob";
        let path = blob_path(&self.blobs(), digest);
        let Some(file) = absent_is_none(File::open(path)).act(ACT)? else {
            return Ok(None);
        };
        let size = file.metadata().act(ACT)?.len();
        Ok(Some((file, size)))
    }

    pub(crate) fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let path = blob_path(&self.blobs(), digest);
        let meta = absent_is_none(fs::metadata(path)).act("look for a blob")?;
        Ok(meta.map(|meta| meta.len()))
    }

    /// All of a small blob; `None` also when it is larger than `limit` bytes.
    pub(crate) fn read_blob(
        &self,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        let Some((file, size)) = self.open_blob(digest)? else {
            return Ok(None);
        };
        if size > limit {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(limit)
            .read_to_end(&mut bytes)
            .act("read a blob")?;
        Ok(Some(bytes.into()))
    }

    /// Puts a finished, checked file into the repository.
    pub(crate) fn add_blob(
        &self,
        digest: &Digest,
        temp: TempFile,
        size: u64,
    ) -> Result<(), StoreError> {
        self.shared.add(&self.blobs(), digest, temp, size)
    }

    /// Stores a manifest and points its tags at it, in one step for whoever reads.
    pub(crate) fn put_manifest(&self, put: PutManifest) -> Result<(), PutManifestError> {
        self.check_content(&put)?;
        if !self.snapshot()?.manifests.contains_key(&put.digest) {
            self.store_manifest(&put)?;
        }
        let ticket = self.queue.enter(put);
        let _writing = self.lock();
        if let Some(outcome) = ticket.take() {
            return outcome;
        }
        self.put_all(self.queue.take());
        ticket.take().unwrap_or_else(|| {
            // Whoever had it in hand has panicked.
            let source = std::io::Error::other("the request that wrote it broke off");
            let act = "write a repository's index";
            Err(StoreError { act, source }.into())
        })
    }

    /// Enters what was pushed, with one write of the index for all of it. The lock is held.
    fn put_all(&self, batch: Vec<Waiting>) {
        let mut entered = Vec::new();
        let result = self.enter_all(batch, &mut entered);
        for waiting in entered {
            let outcome = match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(error.again().into()),
            };
            waiting.settle(outcome);
        }
    }

    fn enter_all(&self, batch: Vec<Waiting>, entered: &mut Vec<Waiting>) -> Result<(), StoreError> {
        let before = match self.snapshot() {
            Ok(before) => before,
            Err(error) => {
                entered.extend(batch);
                return Err(error);
            }
        };
        let mut index = before.index.clone();
        let mut known = before.manifests.clone();
        for waiting in batch {
            let put = &waiting.put;
            // Something may have been deleted since it was looked at without the lock.
            let checked = self.check_content(put).and_then(|()| {
                let is_there = self.blob_size(&put.digest)? == Some(put.bytes.len() as u64);
                if !is_there {
                    self.store_manifest(put)?;
                }
                Ok(())
            });
            if let Err(error) = checked {
                waiting.settle(Err(error));
                continue;
            }
            let info = ManifestInfo {
                digest: put.digest.clone(),
                media_type: put.media_type.clone(),
                size: put.bytes.len() as u64,
                document: put.document.clone(),
            };
            let entry = Descriptor {
                media_type: info.media_type.clone(),
                digest: info.digest.to_string(),
                size: info.size,
                artifact_type: None,
                annotations: None,
                platform: None,
            };
            enter(&mut index.manifests, &entry, &put.tags);
            known.insert(info.digest.clone(), Arc::new(info));
            entered.push(waiting);
        }
        self.commit(&before, index, &known)
    }

    /// Whether everything that a manifest points at is in the repository.
    fn check_content(&self, put: &PutManifest) -> Result<(), PutManifestError> {
        let mut missing = Vec::new();
        if put.content == ContentRule::Present {
            for content in &put.document.content {
                if self.blob_size(&content.digest)?.is_none() {
                    missing.push(content.clone());
                }
            }
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(PutManifestError::Missing(missing))
        }
    }

    fn store_manifest(&self, put: &PutManifest) -> Result<(), StoreError> {
        let temp = self.disk().written(&put.bytes)?;
        self.add_blob(&put.digest, temp, put.bytes.len() as u64)
    }

    /// Takes a tag away; the manifest stays. False when there is no such tag.
    pub(crate) fn delete_tag(&self, tag: &Tag) -> Result<bool, StoreError> {
        let _writing = self.lock();
        let before = self.snapshot()?;
        if !before.tags.contains_key(tag.as_str()) {
            return Ok(false);
        }
        let mut index = before.index.clone();
        untag(&mut index.manifests, tag.as_str());
        self.commit(&before, index, &before.manifests)?;
        Ok(true)
    }

    /// Takes a manifest and all its tags away. False when there is no such manifest.
    pub(crate) fn delete_manifest(&self, digest: &Digest) -> Result<bool, StoreError> {
        let _writing = self.lock();
        let before = self.snapshot()?;
        if !before.manifests.contains_key(digest) {
            return Ok(false);
        }
        let mut index = before.index.clone();
        let text = digest.to_string();
        index.manifests.retain(|entry| entry.digest != text);
        let mut known = before.manifests.clone();
        known.remove(digest);
        // The file may also be a layer of something; that keeps it, though no longer as a manifest.
        // First out of the index, then off the disk: what a tag names is always there.
        let is_blob = before.user_of_blob(digest).is_some();
        if index.manifests != before.index.manifests {
            self.write_index(&index)?;
        }
        if !is_blob {
            self.shared.remove(&self.blobs(), digest)?;
        }
        self.reread(index, &known)?;
        Ok(true)
    }

    /// Takes a blob away unless a manifest needs it.
    pub(crate) fn delete_blob(&self, digest: &Digest) -> Result<DeleteBlob, StoreError> {
        let _writing = self.lock();
        let now = self.snapshot()?;
        if now.manifests.contains_key(digest) {
            return Ok(DeleteBlob::UsedBy(digest.clone()));
        }
        if let Some(user) = now.user_of_blob(digest) {
            return Ok(DeleteBlob::UsedBy(user.clone()));
        }
        Ok(if self.shared.remove(&self.blobs(), digest)? {
            DeleteBlob::Deleted
        } else {
            DeleteBlob::Unknown
        })
    }

    /// Writes the index if it changed and makes it what readers see.
    fn commit(
        &self,
        before: &Snapshot,
        index: Index,
        known: &HashMap<Digest, Arc<ManifestInfo>>,
    ) -> Result<(), StoreError> {
        if index == before.index {
            return Ok(());
        }
        self.write_index(&index)?;
        self.reread(index, known)
    }

    fn reread(
        &self,
        index: Index,
        known: &HashMap<Digest, Arc<ManifestInfo>>,
    ) -> Result<(), StoreError> {
        let meta = fs::metadata(self.index_path()).act("read a repository's index")?;
        let snapshot = Snapshot::derive(index, Stamp::of(&meta), &self.blobs(), known)?;
        self.publish(Some(Arc::new(snapshot)));
        Ok(())
    }

    fn write_index(&self, index: &Index) -> Result<(), StoreError> {
        let text = serde_json::to_vec(index)
            .map_err(std::io::Error::from)
            .act("write a repository's index")?;
        self.disk().replace(&self.index_path(), &text)
    }

    pub(super) fn index_path(&self) -> PathBuf {
        self.directory.join("index.json")
    }

    fn disk(&self) -> &Disk {
        self.shared.disk()
    }

    fn current(&self) -> Option<Arc<Snapshot>> {
        self.current
            .read()
            .expect("nothing panics while it holds a snapshot")
            .clone()
    }

    fn publish(&self, snapshot: Option<Arc<Snapshot>>) {
        *self
            .current
            .write()
            .expect("nothing panics while it holds a snapshot") = snapshot;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        // What a panic left behind is a file on disk, and that is whole at every moment.
        self.writing
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn empty_index() -> Index {
    Index {
        schema_version: 2,
        media_type: Some(media::INDEX.to_owned()),
        artifact_type: None,
        manifests: Vec::new(),
        subject: None,
        annotations: None,
    }
}

/// Enters a manifest under some tags, or under none.
fn enter(entries: &mut Vec<Descriptor>, manifest: &Descriptor, tags: &[Tag]) {
    for entry in entries.iter_mut() {
        if entry.digest == manifest.digest {
            entry.media_type.clone_from(&manifest.media_type);
        }
    }
    if !entries.iter().any(|entry| entry.digest == manifest.digest) {
        entries.push(manifest.clone());
    }
    for tag in tags {
        let is_there = |entry: &Descriptor| {
            entry.digest == manifest.digest && tag_of(entry) == Some(tag.as_str())
        };
        if entries.iter().any(is_there) {
            continue;
        }
        untag(entries, tag.as_str());
        let untagged = entries
            .iter_mut()
            .find(|entry| entry.digest == manifest.digest && tag_of(entry).is_none());
        let entry = match untagged {
            Some(entry) => entry,
            None => {
                entries.push(manifest.clone());
                entries.last_mut().expect("one was just pushed")
            }
        };
        entry
            .annotations
            .get_or_insert_with(Annotations::new)
            .insert(REF_NAME.to_owned(), tag.to_string());
    }
}

/// Takes a tag off whatever has it. A manifest that loses its last tag stays, without one.
fn untag(entries: &mut Vec<Descriptor>, tag: &str) {
    while let Some(at) = entries.iter().position(|entry| tag_of(entry) == Some(tag)) {
        let digest = &entries[at].digest;
        let entries_of_it = entries.iter().filter(|entry| entry.digest == *digest);
        if entries_of_it.count() > 1 {
            entries.remove(at);
        } else if let Some(annotations) = &mut entries[at].annotations {
            annotations.remove(REF_NAME);
            if annotations.is_empty() {
                entries[at].annotations = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(name: &str) -> Descriptor {
        Descriptor {
            media_type: media::MANIFEST.to_owned(),
            digest: name.to_owned(),
            size: 1,
            artifact_type: None,
            annotations: None,
            platform: None,
        }
    }

    fn shown(entries: &[Descriptor]) -> Vec<String> {
        entries
            .iter()
            .map(|entry| format!("{}:{}", entry.digest, tag_of(entry).unwrap_or_default()))
            .collect()
    }

    #[test]
    fn tags_move_and_manifests_stay() {
        let tags = |names: &[&str]| -> Vec<Tag> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        let mut entries = Vec::new();
        for (digest, names, want) in [
            ("a", &[][..], &["a:"][..]),
            ("a", &[], &["a:"]),
            ("a", &["1"], &["a:1"]),
            ("a", &["2", "3"], &["a:1", "a:2", "a:3"]),
            ("b", &["2"], &["a:1", "a:3", "b:2"]),
            ("b", &["1", "3"], &["a:", "b:2", "b:1", "b:3"]),
            ("b", &["1"], &["a:", "b:2", "b:1", "b:3"]),
            ("a", &["9"], &["a:9", "b:2", "b:1", "b:3"]),
        ] {
            enter(&mut entries, &descriptor(digest), &tags(names));
            assert_eq!(shown(&entries), want, "{digest} {names:?}");
        }
        untag(&mut entries, "9");
        untag(&mut entries, "1");
        untag(&mut entries, "none");
        assert_eq!(shown(&entries), ["a:", "b:2", "b:3"]);
    }
}
