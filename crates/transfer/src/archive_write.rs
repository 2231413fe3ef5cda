//! Archives as destinations: blobs are written one after the other as they come, the index last.
//!
//! The tar grows beside its place and moves there when it is whole; what was there before is
//! replaced then. A copy that broke off leaves nothing, and begins anew.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use launchway_model::Digest;
use launchway_oci::spec::Descriptor;
use launchway_registry::{BlobBody, PushOutcome, RawManifest};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::archive::Kind;
use crate::blob::{Incoming, blocking, pour};
use crate::docker::{entry_name, loadable};
use crate::error::At as _;
use crate::files::blob_name;
use crate::index_file::{EntryName, IndexFile};
use crate::layout::Temporary;
use crate::place::{Answer, Blob, Holds, Place, Role};
use crate::{Body, Document, Name, TransferError};

/// An archive that is being written.
#[derive(Debug)]
pub(crate) struct NewArchive {
    path: PathBuf,
    kind: Kind,
    shown: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    target: PathBuf,
    kind: Kind,
    /// None before the first entry, and after the last.
    tar: Option<Growing>,
    written: BTreeSet<Digest>,
    index: IndexFile,
    /// The image of `manifest.json`, and what it goes by.
    image: Option<(Document, Vec<String>)>,
}

/// The file that will be the archive.
struct Growing {
    builder: tar::Builder<BufWriter<File>>,
    part: Temporary,
}

impl std::fmt::Debug for Growing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Growing").field(&self.part).finish()
    }
}

impl NewArchive {
    pub(crate) fn new(path: PathBuf, kind: Kind) -> Self {
        let state = State {
            target: path.clone(),
            kind,
            tar: None,
            written: BTreeSet::new(),
            index: IndexFile::empty(),
            image: None,
        };
        Self {
            shown: format!("{}:{}", kind.word(), path.display()),
            path,
            kind,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// One writer at a time: an archive is one stream.
    async fn state(&self) -> OwnedMutexGuard<State> {
        Arc::clone(&self.state).lock_owned().await
    }
}

impl State {
    /// The tar, made when this is the first that goes into it.
    fn tar(&mut self) -> Result<&mut Growing, TransferError> {
        if self.tar.is_none() {
            let folder = match self.target.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            let (part, file) = Temporary::within(folder)?;
            let mut growing = Growing {
                builder: tar::Builder::new(BufWriter::with_capacity(1 << 20, file)),
                part,
            };
            growing.entry("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
            self.tar = Some(growing);
        }
        Ok(self.tar.as_mut().expect("it was just made"))
    }

    fn put_blob(
        &mut self,
        mut incoming: Incoming,
        digest: &Digest,
        size: u64,
    ) -> Result<(), TransferError> {
        let tar = self.tar()?;
        let path = tar.part.0.clone();
        let mut header = header(size);
        let written = tar
            .builder
            .append_data(&mut header, blob_name(digest), &mut incoming);
        let checked = match written {
            Err(source) if !incoming.is_broken() => Err(TransferError::Io {
                act: "write",
                path,
                source,
            }),
            _ => incoming.check(digest),
        };
        match checked {
            Ok(()) => {
                self.written.insert(digest.clone());
            }
            // What follows a broken entry cannot be read any more.
            Err(_) => self.tar = None,
        }
        checked
    }

    fn put_document(
        &mut self,
        document: &Document,
        listed: bool,
        tag: Option<&str>,
    ) -> Result<(), TransferError> {
        let digest = document.digest().clone();
        if !self.written.contains(&digest) {
            let bytes = document.raw.bytes.clone();
            self.tar()?.entry(&blob_name(&digest), &bytes)?;
            self.written.insert(digest);
        }
        let refused = |reason: String| TransferError::Local {
            path: self.target.clone(),
            reason,
            help: "name it as docker does, for example docker-archive:FILE:app:v1".to_owned(),
        };
        let name = match (tag, self.kind) {
            (None, _) => None,
            (Some(tag), Kind::Oci) => Some(EntryName {
                tag: tag.to_owned(),
                full: None,
            }),
            (Some(tag), Kind::Docker) => Some(
                entry_name(tag)
                    .map_err(|error| refused(format!("{tag:?} is no reference: {error}")))?,
            ),
        };
        if listed || document.subject().is_some() {
            self.index.put(&document.descriptor(), name.as_ref());
        }
        if listed && document.is_image() {
            let names = name.and_then(|name| name.full).into_iter().collect();
            self.image = Some((document.clone(), names));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TransferError> {
        let index = self.index.bytes();
        let loadable = match (self.kind, &self.image) {
            (Kind::Docker, Some((document, names))) => match &document.body {
                Body::Manifest(manifest) => {
                    let list = [loadable(manifest, names)];
                    Some(serde_json::to_vec(&list).expect("the list is plain JSON"))
                }
                Body::Index(_) => None,
            },
            _ => None,
        };
        let target = self.target.clone();
        let tar = self.tar()?;
        tar.entry("index.json", &index)?;
        if let Some(loadable) = loadable {
            tar.entry("manifest.json", &loadable)?;
        }
        let Some(Growing { builder, part }) = self.tar.take() else {
            return Ok(());
        };
        builder
            .into_inner()
            .and_then(|mut file| file.flush())
            .at("write", &part.0)?;
        part.become_file(&target)
    }
}

impl Growing {
    fn entry(&mut self, name: &str, bytes: &[u8]) -> Result<(), TransferError> {
        let mut header = header(bytes.len() as u64);
        self.builder
            .append_data(&mut header, name, bytes)
            .at("write", &self.part.0)
    }
}

/// The same header for every entry, so that equal images give equal archives.
fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

impl Place for NewArchive {
    fn shown(&self) -> String {
        self.shown.clone()
    }

    fn probe<'a>(&'a self, _: &'a Name) -> Answer<'a, Option<Digest>> {
        // What is there now will be replaced.
        async { Ok(None) }.boxed()
    }

    fn manifest<'a>(&'a self, name: &'a Name) -> Answer<'a, RawManifest> {
        async move {
            Err(TransferError::Absent {
                place: self.shown.clone(),
                what: name.to_string(),
                there: Vec::new(),
            })
        }
        .boxed()
    }

    fn blob(&self, digest: &Digest, _: u64) -> Result<BlobBody, TransferError> {
        Err(TransferError::Absent {
            place: self.shown.clone(),
            what: digest.to_string(),
            there: Vec::new(),
        })
    }

    fn has_blob<'a>(&'a self, digest: &'a Digest, _: u64) -> Answer<'a, bool> {
        async move { Ok(self.state().await.written.contains(digest)) }.boxed()
    }

    fn referrers<'a>(&'a self, _: &'a Digest) -> Answer<'a, Vec<Descriptor>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn put_blob<'a>(&'a self, blob: &'a Blob) -> Answer<'a, PushOutcome> {
        async move {
            let mut state = self.state().await;
            if state.written.contains(&blob.digest) {
                return Ok(PushOutcome::AlreadyThere);
            }
            let (digest, size) = (blob.digest.clone(), blob.size);
            pour(blob, move |incoming| {
                state.put_blob(incoming, &digest, size)
            })
            .await??;
            Ok(PushOutcome::Uploaded)
        }
        .boxed()
    }

    fn put_manifest<'a>(&'a self, document: &'a Document, role: Role<'a>) -> Answer<'a, ()> {
        async move {
            let mut state = self.state().await;
            let document = document.clone();
            let tag = match role {
                Role::Tagged(tag) => Some(tag.to_owned()),
                Role::Part | Role::Root => None,
            };
            let listed = role != Role::Part;
            blocking(&self.path, move || {
                state.put_document(&document, listed, tag.as_deref())
            })
            .await
        }
        .boxed()
    }

    fn finish(&self) -> Answer<'_, ()> {
        async move {
            let mut state = self.state().await;
            blocking(&self.path, move || state.finish()).await
        }
        .boxed()
    }

    fn give_up(&self) -> BoxFuture<'_, ()> {
        // Whoever writes still holds the state.
        async move { self.state().await.tar = None }.boxed()
    }

    fn holds(&self) -> Holds {
        match self.kind {
            Kind::Oci => Holds::Anything,
            Kind::Docker => Holds::OneImage,
        }
    }
}

/// Whether an archive can be put at a path: its folder is there and it is no folder itself.
pub(crate) fn check(path: &Path) -> Result<(), TransferError> {
    let refused = |source: io::Error| TransferError::Io {
        act: "write to",
        path: path.to_owned(),
        source,
    };
    if path.is_dir() {
        return Err(refused(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder",
        )));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(refused(io::Error::new(
            io::ErrorKind::NotFound,
            "its folder does not exist",
        )));
    }
    Ok(())
}
